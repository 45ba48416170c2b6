"""A visitor with Chromium: every page and every demo, both languages, light and dark, on a desk and on a phone.

Whatever page is open, no request may go to another host and the console must show no error.
"""

import os
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Frame, Page, expect, sync_playwright

from concepts import LANGUAGES, ROOT, demos, embedded_demos, pages, report
from page import read

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
FIRST_ANSWER = 90_000  # ms; a model may have to be loaded first
SLOW = 60_000  # ms, on a machine that is busy with other things
# Formulas are thousands of boxes in the colour of the text around them: a box of the same size takes their place.
# Of the words in code one of each class is kept, which is what gives them their colour.
LIGHTEN = """() => {
  document.querySelectorAll(".katex").forEach((formula) => {
    const { width, height } = formula.getBoundingClientRect(), box = document.createElement("span");
    box.style.cssText = `display:inline-block;width:${width}px;height:${height}px`;
    formula.replaceWith(box);
  });
  const seen = new Set();
  document.querySelectorAll(".highlight span[class]:not(:has(*))").forEach((word) => {
    if (seen.has(word.className)) word.replaceWith(word.textContent);
    seen.add(word.className);
  });
  document.body.normalize();
}"""
AXE = Axe().axe_script
COLOURS = ["color-contrast", "link-in-text-block"]  # the slowest rules, and the only ones that see colours
STRUCTURE = {"rules": {rule: {"enabled": False} for rule in COLOURS}}
# Whatever has the same colours, backgrounds, size and weight, on itself and on all around it, has the same contrast:
# one element of each appearance is enough. Everything else is read on the whole page.
APPEARANCES = """() => {
  const seen = new Map(), look = (element) => {
    if (!element) return "";
    if (!seen.has(element)) {
      const s = getComputedStyle(element), own = [
        s.color, s.backgroundColor, s.backgroundImage, s.opacity, s.fontSize, s.fontWeight, s.filter, s.mixBlendMode,
        s.textShadow, s.textDecorationLine, s.position, s.visibility, s.display === "none" && "none",
      ].join("|");
      const around = look(element.parentElement);
      seen.set(element, around.endsWith(own) ? around : `${around}\\n${own}`);
    }
    return seen.get(element);
  };
  const one = new Map();
  for (const element of document.body.querySelectorAll("*")) {
    const written = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const field = element.matches("input, textarea, select");
    const key = `${element.localName === "a"} ${look(element)}`;
    if ((written || field) && element.checkVisibility() && !one.has(key)) one.set(key, element);
  }
  return [...one.values()];
}"""
FIND = "([where, options]) => axe.run(where ?? document, options).then(results => results.violations)"
CUT_OFF = ("console: AbortError", "console: Unexpected error Connection errored out")
WIDTH = "document.documentElement.scrollWidth"
trouble: list[str] = []


def address(language: str, path: str) -> str:
    """Return the address of a page's source file."""
    return f"/{language}/{path.removesuffix('.md').removesuffix('index')}".rstrip("/") + "/"


PAGES = [
    address(language, path.relative_to(ROOT / "docs" / language).as_posix())
    for language in LANGUAGES
    for path in pages(language)
]
DEMOS = [
    (language, path.stem, address(language, lesson.relative_to(ROOT / "docs" / language).as_posix()))
    for language in LANGUAGES
    for path in demos()
    for lesson in [p for p in pages(language) if p.parent.name == path.parent.name and path.stem in read(p).demos][:1]
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        missing = "no Chromium on this machine: install the package chromium to run the browser tests"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def visitor(browser: Browser, server: str) -> Iterator[Page]:
    """One page for all tests, with the server as base address and everything that goes wrong in `trouble`."""
    context = browser.new_context(base_url=server, viewport=DESK, reduced_motion="reduce", locale="zh-CN")
    context.on("request", lambda request: note_foreign(request.url, server))
    context.on("console", note_error)
    context.on("weberror", lambda error: trouble.append(f"script: {error.error}"))
    page = context.new_page()
    page.set_default_timeout(SLOW)
    yield page
    context.close()


def note_foreign(url: str, server: str) -> None:
    """Remember a request that leaves our host."""
    if urlsplit(url).scheme in ("http", "https", "ws", "wss") and urlsplit(url).netloc != urlsplit(server).netloc:
        trouble.append(f"request to another host: {url}")


def note_error(message: ConsoleMessage) -> None:
    """Remember an error that the console shows."""
    if message.type == "error":
        trouble.append(f"console: {message.text} {message.location['url']}")


@pytest.fixture(autouse=True)
def no_trouble() -> Iterator[None]:
    trouble.clear()
    yield
    report(trouble)


def barriers(where: Page | Frame, scheme: str) -> list[str]:
    """Return what keeps people out: axe's serious and critical findings, once colours have stopped changing."""
    where.wait_for_function("() => !document.getAnimations().some(a => a instanceof CSSTransition)", timeout=SLOW)
    if not where.evaluate("() => 'axe' in window"):
        where.evaluate(AXE)
    violations = {"resultTypes": ["violations"]}
    found = where.evaluate(FIND, [where.evaluate_handle(APPEARANCES), {**violations, "runOnly": COLOURS}])
    if scheme == "light":  # structure has no colours
        found += where.evaluate(FIND, [None, {**violations, **STRUCTURE}])
    return [
        f"{scheme}: {rule['id']} ({rule['impact']}): {node['html'][:160]} {node['failureSummary'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"][:3]
    ]


def set_scheme(page: Page, scheme: str) -> None:
    """Switch the system's colours; the site follows."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.wait_for_function("want => (document.body.dataset.mdColorScheme === 'slate') === want", arg=scheme == "dark")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_open_to_everyone(visitor: Page, path: str) -> None:
    visitor.set_viewport_size(PHONE)
    visitor.emulate_media(color_scheme="light", reduced_motion="reduce")
    response = visitor.goto(path)
    assert response
    assert response.ok
    width = visitor.evaluate(WIDTH)
    found = [f"on a phone the page is {width} px wide"] if width > PHONE["width"] else []
    visitor.set_viewport_size(DESK)
    visitor.evaluate(LIGHTEN)
    for scheme in ("light", "dark"):
        set_scheme(visitor, scheme)
        found += barriers(visitor, scheme)
    report(found)


def test_the_first_page_chooses_the_language(visitor: Page) -> None:
    visitor.goto("/")
    visitor.wait_for_url("**/zh/")


@pytest.mark.parametrize("path", ["/zh/", "/zh/transformer/", "/zh/transformer/attention/"])  # test_site reads them all
def test_the_language_switch_stays_on_the_page(visitor: Page, path: str) -> None:
    visitor.set_viewport_size(DESK)
    visitor.goto(path, wait_until="networkidle")  # a page that is left while it loads its index complains
    for language in ("en", "zh"):  # there and back
        visitor.locator(".md-header .md-select > button").hover()
        visitor.locator(f".md-header .md-select__link[hreflang={language}]").click()
        visitor.wait_for_url(f"**{path.replace('/zh/', f'/{language}/', 1)}")
        visitor.wait_for_load_state("networkidle")
        assert visitor.locator("html").get_attribute("lang").startswith(language)


@pytest.mark.parametrize(("language", "words"), [("zh", "注意力"), ("zh", "梯度下降"), ("en", "attention")])
def test_search_finds_pages_of_its_language(visitor: Page, language: str, words: str) -> None:
    visitor.set_viewport_size(DESK)
    visitor.goto(f"/{language}/")
    box = visitor.locator("input.md-search__input")
    box.click()
    box.fill(words)
    box.press("End")  # filling alone starts no search
    results = visitor.locator(".md-search-result__link")
    expect(results.first).to_be_visible()
    for link in results.all():
        assert f"/{language}/" in link.evaluate("link => link.href")


def ask(frame: Frame) -> None:
    """Choose the demo's second example and, where there is one, press its button."""
    # A cell, because the middle of a row may fall between two of them.
    frame.locator("[role=grid] tbody tr td:first-child, .gallery-item").nth(1).click()
    button = frame.locator("button.primary")
    if button.count():
        button.first.click()


@pytest.mark.parametrize(("language", "name", "path"), DEMOS)
def test_a_demo_runs(visitor: Page, language: str, name: str, path: str) -> None:
    visitor.set_viewport_size(DESK)
    visitor.emulate_media(color_scheme="light", reduced_motion="reduce")
    visitor.goto(path)
    box = visitor.locator(f'[data-demo="{name}"]')
    expect(box.locator(".demo-result figure.lm-figure").first).to_be_visible()
    box.locator("button.demo-run").click()
    iframe = box.locator("iframe").element_handle(timeout=FIRST_ANSWER)
    frame = iframe.content_frame()
    assert frame
    expect(frame.locator("h1")).to_be_visible(timeout=FIRST_ANSWER)
    figures = frame.locator(".lm-figure")
    expect(frame.locator(".lm-figure, button.primary").first).to_be_visible(timeout=FIRST_ANSWER)
    before = " ".join(figures.all_inner_texts())
    with visitor.expect_request("**/gradio_api/queue/join*"):
        ask(frame)
    frame.wait_for_function(
        "before => { const now = [...document.querySelectorAll('.lm-figure')].map(f => f.innerText).join(' ');"
        "return now && now !== before }",
        arg=before,
        timeout=FIRST_ANSWER,
    )
    expect(frame.locator(".lm-error")).to_have_count(0)
    found = []
    for scheme in ("light", "dark"):
        set_scheme(visitor, scheme)
        frame.wait_for_function("dark => document.body.classList.contains('dark') === dark", arg=scheme == "dark")
        found += barriers(frame, scheme)
    visitor.set_viewport_size(PHONE)
    for where, width in (("page", visitor.evaluate(WIDTH)), ("demo", frame.evaluate(WIDTH))):
        if width > PHONE["width"]:
            found.append(f"on a phone the {where} is {width} px wide")
    leave(visitor)
    report(found)


def leave(page: Page) -> None:
    """Go away. Gradio complains in the console when an answer still comes in; that is the visitor's right."""
    known = len(trouble)
    page.goto("about:blank")
    trouble[known:] = [text for text in trouble[known:] if not text.startswith(CUT_OFF)]


def test_every_embedded_demo_is_clicked() -> None:
    for language in LANGUAGES:
        assert {name for lang, name, _ in DEMOS if lang == language} == embedded_demos(language)
