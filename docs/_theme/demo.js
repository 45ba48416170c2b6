/* The only file that knows where demos are served: <demo-host or site root>/demos/<lang>/<name>/.
   A click asks whether the demo answers, then puts it where its first result was. */
(() => {
  const page = new URL(document.currentScript.src);
  const lang = document.documentElement.lang.startsWith("zh") ? "zh" : "en";
  const host = document.querySelector('meta[name="demo-host"]')?.content || "";
  const base = new URL(host ? host.replace(/\/?$/, "/") : "../demos/", page);
  const WORDS = {
    zh: {
      loading: "正在打开演示…", starting: "服务器还在准备演示，请稍等…", ready: "演示已打开。",
      none: "这里没有演示服务器，所以现在点不动；上面的示例结果仍然有效。想自己动手：在自己的电脑上运行 make serve，或访问带服务器的网站。",
      slow: "等了 15 秒，演示还没有回应。服务器可能刚睡醒或者正忙：过一会儿再点一次。",
      broken: "演示打不开，服务器回答的是 ",
    },
    en: {
      loading: "Opening the demo…", starting: "The server is still preparing the demo…", ready: "The demo is open.",
      none: "There is no demo server here, so this cannot run; the sample above still holds. To play with it, run make serve on your own computer, or visit a copy of this site that has a server.",
      slow: "No answer for 15 seconds. The server may be waking up or busy: click again in a moment.",
      broken: "The demo cannot be opened; the server answered ",
    },
  }[lang];
  const dark = () => document.body.dataset.mdColorScheme === "slate";
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  // Asks until the demo answers. 503 means that it is still starting, and is asked again.
  async function answer(url, say) {
    if (base.origin !== location.origin) return; // another host need not allow us to look; its frame will tell
    const stop = AbortSignal.timeout(15000);
    for (;;) {
      const reply = await fetch(url, { signal: stop, cache: "no-store" }).catch((error) => {
        throw new Error(error.name === "TimeoutError" || error.name === "AbortError" ? WORDS.slow : WORDS.none);
      });
      if (reply.ok) return;
      if (reply.status === 404 || reply.status === 405) throw new Error(WORDS.none);
      if (reply.status !== 503) throw new Error(WORDS.broken + reply.status + (lang === "zh" ? "。" : "."));
      say(WORDS.starting);
      await pause(700);
      if (stop.aborted) throw new Error(WORDS.slow);
    }
  }

  // Same origin only: as tall as its content, and in the page's colours. Gradio's containers stretch with the frame, so their
  // children are measured.
  function follow(frame) {
    const inner = frame.contentDocument;
    const fit = () => {
      const ends = [...inner.querySelectorAll("main .column > *, footer")].map((e) => e.getBoundingClientRect().bottom);
      if (ends.length) frame.style.height = Math.ceil(Math.max(...ends) + inner.documentElement.scrollTop) + 16 + "px";
    };
    const paint = () => inner.body.classList.toggle("dark", dark());
    new MutationObserver(fit).observe(inner.body, { childList: true, subtree: true, attributes: true, characterData: true });
    new ResizeObserver(fit).observe(inner.body);
    new MutationObserver(paint).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
    paint();
    fit();
  }

  function frameFor(box, url) {
    const frame = document.createElement("iframe");
    frame.title = box.getAttribute("aria-label");
    frame.className = "demo-frame demo-opening"; // out of sight until there is something to see
    frame.src = url + "?__theme=" + (dark() ? "dark" : "light");
    frame.style.height = "640px"; // kept where the frame is another host's and cannot be measured
    return frame;
  }

  // Resolves when Gradio has drawn the demo; of another host only the frame's load event is known.
  async function drawn(frame) {
    const end = Date.now() + 15000;
    const loaded = new Promise((done) => frame.addEventListener("load", () => done(true)));
    if (base.origin !== location.origin) return (await Promise.race([loaded, pause(15000)])) === true;
    while (Date.now() < end) {
      if (frame.contentDocument?.querySelector("main .column > *")) return true;
      await pause(100);
    }
    return false;
  }

  async function run(box) {
    const button = box.querySelector(".demo-run");
    const status = box.querySelector(".demo-status");
    const say = (text, kind = "") => { status.textContent = text; status.dataset.kind = kind; };
    const url = new URL(`${lang}/${box.dataset.demo}/`, base).href;
    button.disabled = true;
    box.setAttribute("aria-busy", "true");
    say(WORDS.loading, "busy");
    try {
      await answer(url, (text) => say(text, "busy"));
      const frame = frameFor(box, url);
      box.querySelector(".demo-foot").before(frame);
      if (!(await drawn(frame))) {
        frame.remove();
        throw new Error(WORDS.slow);
      }
      if (base.origin === location.origin) follow(frame);
      frame.classList.remove("demo-opening");
      box.querySelector(".demo-result").hidden = true;
      box.classList.add("demo-live");
      say(WORDS.ready, "done");
      if (document.activeElement === button || document.activeElement === document.body) frame.focus({ preventScroll: true });
      button.hidden = true;
    } catch (error) {
      say(error.message, "error");
      button.disabled = false;
    } finally {
      box.removeAttribute("aria-busy");
    }
  }

  document.querySelectorAll(".demo[data-demo]").forEach((box) => {
    box.querySelector(".demo-run")?.addEventListener("click", () => run(box));
  });
})();
