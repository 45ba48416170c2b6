"""Menu and reading order from the pages' front matter: chapters by their index.md, concepts by their own `order`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.utils.meta import get_data

log = logging.getLogger("mkdocs.hooks.navigation")


def front_matter(file: File) -> dict[str, Any]:
    """Front matter of a page; a missing title or order is a warning, so a strict build fails."""
    meta = get_data(Path(str(file.abs_src_path)).read_text("utf-8"))[1]
    for key in ("title", "order") if file.src_uri != "index.md" else ("title",):
        if key not in meta:
            log.warning("%s: the front matter has no `%s`", file.src_uri, key)
    return {"title": file.src_uri, "order": 0, **meta}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Write config.nav: the home page, pages at the top level, then one section per chapter folder."""
    chapters: dict[str, list[tuple[float, str, str]]] = {}
    for file in files.documentation_pages():
        chapter, _, name = file.src_uri.rpartition("/")
        meta = front_matter(file)
        order = float("-inf") if name == "index.md" else float(meta["order"])
        chapters.setdefault(chapter, []).append((order, file.src_uri, str(meta["title"])))
        if name == "index.md" and chapter:
            chapters.setdefault("", []).append((float(meta["order"]), chapter, str(meta["title"])))
    nav: list[Any] = []
    for _, uri, title in sorted(chapters.get("", [])):
        nav.append(uri if uri.endswith(".md") else {title: [page for _, page, _ in sorted(chapters[uri])]})
    config.nav = nav
    return files
