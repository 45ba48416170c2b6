"""Formulas become HTML + MathML at build time, by KaTeX in QuickJS: no script for the reader, no bad LaTeX."""

from __future__ import annotations

import functools
import html
import logging
import re
from collections.abc import Callable
from pathlib import Path

import _memory
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.formulas")
KATEX = Path(__file__).resolve().parents[1] / "_theme" / "katex" / "katex.min.js"
MARKED = re.compile(r'<(?:span|div) class="arithmatex"(?=>)')
FORMULA = re.compile(r'<(span|div) class="arithmatex" data-search-exclude>\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.S)
# The JSON round trip flattens KaTeX's rope string: long ropes crash QuickJS's bridge.
# strict:'ignore' allows Chinese in \text{}.
RENDER = """function render(tex, display) {
  const options = {displayMode: display, throwOnError: true, strict: 'ignore', trust: false};
  return JSON.parse(JSON.stringify(katex.renderToString(tex, options)));
}"""


@functools.cache
def engine() -> Callable[[str, bool], str]:
    """KaTeX's renderToString."""
    import quickjs

    context = quickjs.Context()
    context.eval(KATEX.read_text("utf-8"))
    context.eval(RENDER)
    render: Callable[[str, bool], str] = context.get("render")
    return render


@functools.cache
def formula(tex: str, display: bool) -> str:
    """One formula as HTML. Wide ones can be scrolled with the keyboard."""
    tag = "div" if display else "span"
    focus = ' tabindex="0"' if display else ""
    made_from = [tex, display, _memory.digest("docs/_theme/katex/katex.min.js")]
    drawn = _memory.recall("formula", made_from, lambda: engine()(tex, display))
    return f'<{tag} class="math"{focus}>{drawn}</{tag}>'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """KaTeX's script is for the build only."""
    for file in [file for file in files if file.src_uri in ("katex/katex.min.js", "katex/fonts/README.md")]:
        files.remove(file)
    return files


def on_page_content(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Search leaves formulas out; it reads the page before they are drawn, which spares it thousands of boxes."""
    return MARKED.sub(lambda match: f"{match[0]} data-search-exclude", text)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Render what pymdownx.arithmatex marked, on the page and in its docstrings."""

    def render(match: re.Match[str]) -> str:
        tex = html.unescape(match[2]).strip()
        try:
            return formula(tex, match[1] == "div")
        except Exception as error:  # whatever QuickJS raises: the author needs the page and the formula
            log.warning("%s: bad LaTeX `%s`: %s", page.file.src_uri, tex, str(error).splitlines()[0])
            return match[0]

    return FORMULA.sub(render, output)
