"""Chinese docstrings: `<page>.api.toml` beside each Chinese page replaces the English ones in the zh pass.

Each entry carries a fingerprint of the English text it was written for. A missing, stale or superfluous entry is a
warning in the zh pass, so a strict build fails.
`python docs/_hooks/api_zh.py [page …]` prints what is to be written, with fingerprints.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import griffe

log = logging.getLogger("mkdocs.hooks.api_zh")
ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "zh"
# magiclink wants a space before an address; Chinese has none there.
BARE_LINK = re.compile(r"(?<![<(\[`\"])https?://[^\s，。；：、）)>]+")
DIRECTIVE = re.compile(r"^::: ([\w.]+)", re.M)


def fingerprint(docstring: str) -> str:
    """First eight hex digits of the sha256 of the English docstring."""
    return hashlib.sha256(inspect.cleandoc(docstring).encode()).hexdigest()[:8]


def documented(obj: griffe.Object) -> Iterator[griffe.Object]:
    """The object and its public members, where they have a docstring: what an API block shows."""
    if obj.docstring is not None:
        yield obj
    for name, member in obj.members.items():
        if isinstance(member, griffe.Object) and not name.startswith("_") and not member.is_module:
            yield from documented(member)


def known(package: griffe.Object, name: str) -> bool:
    """Whether the package has the object; if not, mkdocstrings says so itself."""
    try:
        return bool(package.modules_collection.get_member(name))
    except KeyError:
        return False


def doctests(text: str) -> list[str]:
    """Example lines, which must be the same in both languages."""
    return [line.strip() for line in text.splitlines() if line.strip().startswith((">>>", "..."))]


def problems(package: griffe.Object, page: Path) -> list[str]:
    """Compare one page's catalogue with the modules that its API section shows, and put the Chinese texts in place."""
    names = DIRECTIVE.findall(page.read_text("utf-8"))
    modules = [package.modules_collection.get_member(name) for name in names if known(package, name)]
    objects = {obj.path: obj for module in modules for obj in documented(module)}
    catalogue = page.with_suffix(".api.toml")
    entries: dict[str, Any] = tomllib.loads(catalogue.read_text("utf-8")) if catalogue.is_file() else {}
    found = [f'superfluous: ["{path}"]' for path in entries if path not in objects]
    for path, obj in objects.items():
        if obj.docstring is None:
            continue
        english, entry = obj.docstring.value, entries.get(path)
        if entry is None:
            found.append(f'missing: ["{path}"]  of = "{fingerprint(english)}"')
            continue
        if entry["of"] != fingerprint(english):
            found.append(f'stale: ["{path}"]  of = "{entry["of"]}", the English text is now "{fingerprint(english)}"')
        chinese = inspect.cleandoc(entry["zh"])
        if doctests(chinese) != doctests(english):
            found.append(f'examples differ: ["{path}"]')
        obj.docstring.value = BARE_LINK.sub(r"<\g<0>>", chinese)
    return [f"{catalogue.relative_to(ROOT)}: {problem}" for problem in found]


def pages() -> list[Path]:
    """Chinese pages with an API section, and pages with a catalogue."""
    catalogues = {path.with_name(path.name.replace(".api.toml", ".md")) for path in PAGES.rglob("*.api.toml")}
    return sorted(catalogues | {path for path in PAGES.rglob("*.md") if DIRECTIVE.search(path.read_text("utf-8"))})


class ChineseDocstrings(griffe.Extension):
    """Swap the docstrings once the package is loaded; English passes change nothing."""

    def __init__(self, language: str) -> None:
        self.language = language

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        if self.language == "zh" and pkg.name == "largemodels":
            for page in pages():
                for problem in problems(pkg, page):
                    log.warning(problem)


def main(wanted: list[str]) -> int:
    """Print every problem of the wanted pages (all by default); 1 if there is one."""
    package = cast(griffe.Object, griffe.load("largemodels", search_paths=[ROOT / "lib"]))
    found = [text for page in pages() if not wanted or page.stem in wanted for text in problems(package, page)]
    print("\n".join(found) or "every docstring has its Chinese twin")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
