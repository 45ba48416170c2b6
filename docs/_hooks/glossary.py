"""Tooltips: the first occurrence of each glossary term on a page becomes an <abbr>. jieba learns the terms, too.

Chinese has no spaces between words, so Markdown's own abbreviations cannot be used.
"""

from __future__ import annotations

import functools
import html
import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import _memory
import jieba
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

GLOSSARY = Path(__file__).resolve().parents[1] / "glossary.yml"
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
LEAVE = {"a", "abbr", "annotation", "autoref", "button", "code", "figure", "kbd", "label", "pre", "script", "style"}
LEAVE |= {"h1", "h2", "h3", "h4", "h5", "h6", "summary", "svg", "th"}
LEAVE_CLASS = {"arithmatex", "math", "demo", "highlight", "doc-signature", "doc-section-title", "no-terms"}


@functools.cache
def entries() -> list[dict[str, Any]]:
    """The glossary as written."""
    loaded: list[dict[str, Any]] = yaml.safe_load(GLOSSARY.read_text("utf-8"))
    return loaded


@functools.cache
def terms(language: str) -> tuple[re.Pattern[str], dict[str, dict[str, Any]]]:
    """One pattern for all terms, longest first, and the entry that each (lower-cased) term means."""
    by_term = {str(entry[language]).lower(): entry for entry in entries()}
    longest = "|".join(re.escape(term) for term in sorted(by_term, key=len, reverse=True))
    before, after = (r"\b", r"(?:e?s)?\b") if language == "en" else ("(?<![A-Za-z0-9])", "(?![A-Za-z0-9])")
    return re.compile(f"{before}(?P<term>{longest}){after}", re.I), by_term


class Marker(HTMLParser):
    """Copies HTML through unchanged, marking terms in running text."""

    def __init__(self, language: str) -> None:
        super().__init__(convert_charrefs=False)
        self.language, self.out, self.seen = language, [""], set[str]()
        self.open: list[tuple[str, bool]] = []  # tags we are inside of, and whether text there is left alone

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.out.append(self.get_starttag_text() or "")
        if tag not in VOID:
            classes = set((dict(attrs).get("class") or "").split())
            inherited = bool(self.open) and self.open[-1][1]
            self.open.append((tag, inherited or tag in LEAVE or bool(classes & LEAVE_CLASS)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.out.append(self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        self.out.append(f"</{tag}>")
        while any(tag == name for name, _ in self.open) and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.out.append(data if self.open and self.open[-1][1] else terms(self.language)[0].sub(self.mark, data))

    def handle_entityref(self, name: str) -> None:
        self.out.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.out.append(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        self.out.append(f"<!--{data}-->")

    def mark(self, match: re.Match[str]) -> str:
        """The first occurrence becomes reachable by touch and keyboard; Material shows its title as a tooltip."""
        entry = terms(self.language)[1][match["term"].lower()]
        if entry["id"] in self.seen:
            return match[0]
        self.seen.add(entry["id"])
        twins = [entry["en"] if self.language == "zh" else entry["zh"], entry["code"]]
        names = " · ".join(twin for twin in twins if twin and twin.lower() != match["term"].lower())
        colon = ("：" if self.language == "zh" else ": ") if names else ""
        title = html.escape(f"{names}{colon}{entry['def'][self.language]}")
        return f'<abbr title="{title}" tabindex="0" data-term="{entry["id"]}">{match[0]}</abbr>'


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Keep 大语言模型 and the like in one piece in the search index."""
    jieba.setLogLevel(logging.WARNING)
    for entry in entries():
        jieba.add_word(str(entry["zh"]))
    return config


def on_page_content(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mark the page's terms."""
    language = str(config.theme["language"])

    def make() -> str:
        marker = Marker(language)
        marker.feed(text)
        marker.close()
        return "".join(marker.out)

    found: str = _memory.recall("terms", [text, language, _memory.digest("docs/glossary.yml")], make)
    return found
