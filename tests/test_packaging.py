"""What is installed is what is locked, and heavy imports stay where they belong."""

import ast
import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from concepts import ROOT, report

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINNED_BY_TORCH = re.compile(r"nvidia-|cuda-|triton$")  # its own metadata names exact versions


def locked() -> dict[str, Version]:
    """Read constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(number) for name, number in pairs}


def direct() -> list[Requirement]:
    """Everything that pyproject.toml asks for, extras included."""
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for text in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]]


def needed(requirements: list[Requirement], seen: dict[str, set[str]]) -> dict[str, set[str]]:
    """Follow requirements from package to package; return each package's name with the extras it was asked for."""
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name in seen and requirement.extras <= seen[name]:
            continue
        seen.setdefault(name, set()).update(requirement.extras)
        try:
            onward = [Requirement(text) for text in requires(requirement.name) or []]
        except PackageNotFoundError:
            continue
        extras = ["", *requirement.extras]
        needed([r for r in onward if not r.marker or any(r.marker.evaluate({"extra": e}) for e in extras)], seen)
    return seen


def test_every_dependency_is_locked() -> None:
    missing = sorted(set(needed(direct(), {})) - set(locked()))
    report([f"{name} is not in constraints.txt" for name in missing if not PINNED_BY_TORCH.match(name)])


def test_nothing_else_is_locked() -> None:
    extra = sorted(set(locked()) - set(needed(direct(), {})))
    report([f"{name} is in constraints.txt, but nothing needs it" for name in extra])


def test_locked_versions_are_installed_and_in_range() -> None:
    exact = locked()
    report([f"{r}: {exact[canonicalize_name(r.name)]} is locked" for r in direct()
            if exact[canonicalize_name(r.name)] not in r.specifier])  # fmt: skip
    report([f"{name} {version(name)} is installed, {number} is locked" for name, number in exact.items()
            if Version(Version(version(name)).public) != number])  # fmt: skip


def test_every_dependency_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    report([f"{r.name}: no comment says why" for r in direct()
            if not re.search(rf'^ +"{re.escape(r.name)}[^"]*", +# \S', text, re.M)])  # fmt: skip


def eager_imports(text: str, package: str) -> list[int]:
    """Return the lines that import a package when their module is imported; type checkers' imports do not count."""
    lines = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if any(name.split(".")[0] == package for name in names):
            lines.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(text))
    return lines


@pytest.mark.parametrize(("folder", "package"), [("lib", "transformers"), ("demos", "gradio"), ("lib", "sklearn")])
def test_heavy_packages_are_imported_inside_functions(folder: str, package: str) -> None:
    paths: list[Path] = sorted((ROOT / folder).rglob("*.py"))
    found = {path.relative_to(ROOT): eager_imports(path.read_text("utf-8"), package) for path in paths}
    report([f"{path}:{line} imports {package} at once" for path, lines in found.items() for line in lines])


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("import transformers", [1]),
        ("class A:\n    from transformers.models import bert", [2]),
        ("try:\n    import transformers.models as m\nexcept ImportError:\n    pass", [2]),
        ("def f():\n    import transformers", []),
        ("if TYPE_CHECKING:\n    from transformers import BertModel", []),
        ("import transformers_like", []),
    ],
)
def test_an_eager_import_is_reported(text: str, lines: list[int]) -> None:
    assert eager_imports(text, "transformers") == lines
