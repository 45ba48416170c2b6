"""Fill `<div class="demo" data-demo="name">` with the demo's first result, made by its own code at build time."""

from __future__ import annotations

import functools
import html
import importlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import _memory
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.demos_embed")
ROOT = Path(__file__).resolve().parents[2]
EMBED = re.compile(r'<div class="demo" data-demo="(?P<name>\w+)"(?: data-title="(?P<title>[^"]*)")?>\s*</div>')
WORDS = {
    "zh": {"run": "现场运行", "first": "示例结果", "missing": "这里应有一个示例结果，但构建网站时模型不可用："},
    "en": {
        "run": "Run it live",
        "first": "Sample result",
        "missing": "A sample result belongs here, but the model was not available when the site was built: ",
    },
}
# Six dots in a triangle: the logo's ▶, a causal attention map turned on its side.
DOTS = (
    '<svg class="demo-dots" viewBox="0 0 16 16" aria-hidden="true">'
    + "".join(
        f'<circle cx="{x}" cy="{y}" r="{r}"/>'
        for x, y, r in [(3, 2.6, 1.6), (3, 8, 2.1), (3, 13.4, 1.6), (8, 5.3, 1.8), (8, 10.7, 1.8), (13, 8, 2.2)]
    )
    + "</svg>"
)


def module(name: str) -> ModuleType:
    """The demo called so, whichever chapter it is in."""
    for path in (ROOT / "demos").glob(f"*/{name}.py"):
        for folder in (ROOT, ROOT / "lib"):
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
        return importlib.import_module(f"demos.{path.parent.name}.{name}")
    raise LookupError(f"no demo called {name}: demos/<chapter>/{name}.py does not exist")


def unavailable(error: Exception) -> bool:
    """True where a model is absent or damaged: a note in its place. Every other error fails the build."""
    return type(error).__name__ in ("InputError", "ModelError")


def sample(name: str, language: str) -> dict[str, str]:
    """Title, hint and HTML of the demo's first example; of a streaming demo, its last item."""
    demo = module(name)
    result = demo.predict(*demo.EXAMPLES[language][0], lang=language)
    if isinstance(result, Iterator):
        *_, result = result
    return {"title": demo.TITLE[language], "hint": demo.HINT[language], "result": str(result)}


@functools.cache
def first_result(name: str, language: str) -> dict[str, str]:
    """The sample, remembered while library and demos stay as they are; a note where its model is missing."""
    made_from = [name, language, _memory.digest("lib/**/*", "demos/**/*")]
    try:
        if any(variable.startswith("LARGEMODELS_") for variable in os.environ):  # a model that may change unseen
            return sample(name, language)
        known: dict[str, str] = _memory.recall("demo", made_from, lambda: sample(name, language))
        return known
    except Exception as error:
        if not unavailable(error):
            raise
        demo, text = module(name), str(getattr(error, language, None) or error).replace(f"{ROOT}/", "")
        note = f'<p class="demo-missing" role="note">{WORDS[language]["missing"]}{html.escape(text)}</p>'
        return {"title": demo.TITLE[language], "hint": demo.HINT[language], "result": note}


def card(name: str, title: str, language: str) -> str:
    """The whole card: title, first result, what to try, button, a live region for the loading state."""
    demo, words = first_result(name, language), WORDS[language]
    heading, hint = html.escape(title or demo["title"]), html.escape(demo["hint"])
    return (
        f'<div class="demo" data-demo="{name}" role="group" aria-label="{heading}">'
        f'<div class="demo-head">{DOTS}<span class="demo-title">{heading}</span>'
        f'<span class="demo-tag">{words["first"]}</span></div>'
        f'<div class="demo-result">{demo["result"]}</div>'
        f'<div class="demo-foot"><p class="demo-hint">{hint}</p>'
        f'<button type="button" class="demo-run"><span aria-hidden="true">▶</span> {words["run"]}</button></div>'
        f'<p class="demo-status" role="status" aria-live="polite"></p></div>'
    )


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Fill every demo tag of the page; a demo that cannot answer is a warning, so a strict build fails."""
    language = str(config.theme["language"])

    def fill(match: re.Match[str]) -> str:
        try:
            return card(match["name"], html.unescape(match["title"] or ""), language)
        except Exception as error:  # whatever a demo raises, the author needs the page's name beside it
            log.warning("%s: demo %s: %s: %s", page.file.src_uri, match["name"], type(error).__name__, error)
            return match[0]

    return EMBED.sub(fill, output)
