/* Small things of a page that need no server. */
(() => {
  // The language menu keeps the place on the page (heading ids are the same in both languages) and is remembered by the first page.
  document.querySelectorAll(".md-select__link[hreflang]").forEach((link) => {
    link.addEventListener("click", () => {
      try { localStorage.setItem("language", link.hreflang); } catch { /* a browser that stores nothing still switches */ }
      link.hash = location.hash;
    });
  });
  // What scrolls sideways on a narrow screen can be scrolled with the keyboard.
  const reach = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
  }));
  document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code, .lm-scroll, .math").forEach((box) => reach.observe(box));
})();
