"""Remember between builds what takes longest: API blocks, entries of the search index, compiled templates.

Formulas and the demos' first results are remembered by their own hooks. When a memory counts is said in _memory.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from xml.etree import ElementTree  # only reads what we wrote ourselves

import _memory
import griffe
from jinja2 import Environment, FileSystemBytecodeCache
from material.plugins.search.plugin import SearchIndex
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocstrings_handlers.python import PythonHandler

render, add_entries = PythonHandler.render, SearchIndex.add_entry_from_context


def api_block(language: str) -> Callable[..., str]:
    """Replaces PythonHandler.render: an API block, and the headings that it reports to the page."""

    @functools.wraps(render)
    def block(self: PythonHandler, data: Any, options: Any, locale: str | None = None) -> str:
        before = len(self._headings)

        def make() -> list[Any]:
            text = render(self, data, options, locale)
            return [text, [ElementTree.tostring(heading, "unicode") for heading in self._headings[before:]]]

        sources = _memory.digest("lib/**/*.py", *["docs/zh/**/*.api.toml"] * (language == "zh"))
        text, headings = _memory.recall("api", [data.path, repr(options), str(locale), language, sources], make)
        for member in data.members.values():  # rendering resolves imported names; the inventory lists them, too
            if isinstance(member, griffe.Alias):
                with suppress(griffe.AliasResolutionError):
                    member.resolve_target()
        self._headings[before:] = map(ElementTree.fromstring, headings)  # noqa: S314
        return str(text)

    return block


def search_entries(self: SearchIndex, page: Page) -> None:
    """Replaces SearchIndex.add_entry_from_context: the page's entries, Chinese cut into words."""
    before = len(self.entries)

    def make() -> list[Any]:
        add_entries(self, page)
        return list(self.entries[before:])

    made_from = [page.url, page.title, page.content, repr(page.meta), _memory.digest("docs/glossary.yml")]
    self.entries[before:] = _memory.recall("search", made_from, make)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Open the memory of this pass's language."""
    language = str(config.theme["language"])
    _memory.begin(language)
    PythonHandler.render, SearchIndex.add_entry_from_context = api_block(language), search_entries
    return config


def on_env(env: Environment, config: MkDocsConfig, files: Files) -> Environment:
    """Templates are compiled once, too; Jinja compares their sources itself."""
    folder = _memory.FOLDER / "templates"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return env
    env.bytecode_cache = FileSystemBytecodeCache(str(folder))
    return env


def on_post_build(config: MkDocsConfig) -> None:
    """Keep what this pass used."""
    _memory.end(str(config.theme["language"]))
