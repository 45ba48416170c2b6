"""Walk the library: a module that lies directly in a chapter is a concept, and a concept has its places."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = ("zh", "en")


@dataclass(frozen=True)
class Concept:
    """One algorithm, such as transformer/attention."""

    root: Path
    chapter: str
    name: str

    @property
    def places(self) -> dict[str, Path]:
        """The files that a concept consists of: five places, and the Chinese text of its API."""
        root, chapter, name = self.root, self.chapter, self.name
        return {
            "library": root / "lib" / "largemodels" / chapter / f"{name}.py",
            "Chinese page": root / "docs" / "zh" / chapter / f"{name}.md",
            "English page": root / "docs" / "en" / chapter / f"{name}.md",
            "demo": root / "demos" / chapter / f"{name}.py",
            "test": root / "tests" / chapter / f"test_{name}.py",
            "Chinese API": root / "docs" / "zh" / chapter / f"{name}.api.toml",
        }

    @property
    def module(self) -> str:
        """Dotted name in the library."""
        return f"largemodels.{self.chapter}.{self.name}"

    @property
    def heading_id(self) -> str:
        """Id of the page's first heading."""
        return self.name.replace("_", "-")

    def __str__(self) -> str:
        return f"{self.chapter}/{self.name}"


def public_modules(folder: Path) -> Iterator[Path]:
    """Python files directly in a folder that do not start with an underscore."""
    return (path for path in sorted(folder.glob("*.py")) if not path.name.startswith("_"))


def chapters(root: Path = ROOT) -> list[str]:
    """Packages of the library."""
    return sorted(path.parent.name for path in (root / "lib" / "largemodels").glob("*/__init__.py"))


def concepts(root: Path = ROOT) -> list[Concept]:
    """Every concept of the library, chapter by chapter."""
    library = root / "lib" / "largemodels"
    return [Concept(root, name, path.stem) for name in chapters(root) for path in public_modules(library / name)]


def demos(root: Path = ROOT) -> list[Path]:
    """Every demo: the public modules of the packages in demos/."""
    return [path for init in sorted((root / "demos").glob("*/__init__.py")) for path in public_modules(init.parent)]


def pages(language: str, root: Path = ROOT) -> list[Path]:
    """Every page of one language."""
    return sorted((root / "docs" / language).rglob("*.md"))


def belongs(name: str, owners: set[str]) -> bool:
    """Whether a name is that of an owner, or an owner's name with a suffix: attention_matrices belongs to attention."""
    return any(name == owner or name.startswith(f"{owner}_") for owner in owners)


EMBEDDED = re.compile(r'data-demo="(\w+)"')


def embedded_demos(language: str, root: Path = ROOT) -> set[str]:
    """Names of the demos that the pages of one language embed."""
    return {name for page in pages(language, root) for name in EMBEDDED.findall(page.read_text("utf-8"))}


def report(problems: list[str]) -> None:
    """Fail with every problem on a line of its own."""
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
