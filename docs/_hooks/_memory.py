"""What the last build worked out and this one need not: pure results in `.cache/`, one file per language.

A result lies under the hash of all it was made from: arguments, the files named, hooks, configuration, packages.
Deleting `.cache/` costs time and nothing else. What warned, or was not asked for again, is not kept.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mkdocs.utils import CountHandler

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".cache"
BIG = 1_000_000  # bytes; model weights count by their size, and by the sha256 in the manifest beside them
known: dict[str, Any] = {}
used: dict[str, Any] = {}
warned = CountHandler(level=logging.WARNING)


@functools.cache
def digest(*patterns: str) -> str:
    """One hash over the names and contents of the repository's files that match."""
    found = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in ROOT.glob(pattern)}):
        if path.is_file() and path.suffix != ".pyc":
            size = path.stat().st_size
            found.update(f"{path.relative_to(ROOT).as_posix()}\0{size}\0".encode())
            found.update(b"" if size > BIG else path.read_bytes())
    return found.hexdigest()


@functools.cache
def tools() -> list[str]:
    """What every result depends on: Python's packages with their versions, our hooks, the configuration."""
    packages = Path(sysconfig.get_path("purelib"))
    versions = sorted(path.name for path in packages.glob("*.dist-info"))
    return [str(packages), *versions, digest("docs/_hooks/*.py", "mkdocs.yml")]


def recall(kind: str, made_from: list[Any], make: Callable[[], Any]) -> Any:
    """What `make` returned when everything it is made from was the same; JSON in, JSON out."""
    text = json.dumps([kind, tools(), made_from], ensure_ascii=False)
    key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if key not in known:
        before = warned.get_counts()
        value = make()
        if warned.get_counts() != before:
            return value
        known[key] = value
    used[key] = known[key]
    return used[key]


@contextmanager
def _forgiving() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # a read-only or damaged cache slows the build down, no more
        logging.getLogger("mkdocs.hooks.memory").info("no cache: %s", error)


def begin(language: str) -> None:
    """Read what the last build of this language left."""
    logging.getLogger("mkdocs").addHandler(warned)
    for table in (known, used):
        table.clear()
    for cached in (digest, tools):
        cached.cache_clear()
    with _forgiving():
        file = FOLDER / f"site-{language}.json"
        known.update(json.loads(file.read_text("utf-8")) if file.is_file() else {})


def end(language: str) -> None:
    """Write what this build asked for, in one step: another build may read meanwhile."""
    logging.getLogger("mkdocs").removeHandler(warned)
    with _forgiving():
        FOLDER.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=FOLDER, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as sink:
            json.dump(used, sink, ensure_ascii=False)
        os.replace(name, FOLDER / f"site-{language}.json")
