"""Replace a python fence that only says `# source: dotted.name` by that object's source, without its docstrings.

The name is that of a function, class, method or constant; or of a module, which is then shown whole.
"""

from __future__ import annotations

import ast
import logging
import re
import sys
import textwrap
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.sources")
ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent>[ ]*)```[ ]*python[ ]*\n[ ]*# source: (?P<name>[\w.]+)[ ]*\n[ ]*```[ ]*$", re.M)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Documented = Definition | ast.Module


def locate(dotted: str) -> tuple[Path, list[str]]:
    """File of the module that the dotted name begins with, and the names inside it; none for the whole module."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        for root in (ROOT / "lib", ROOT):
            path = root.joinpath(*parts[:cut]).with_suffix(".py")
            if path.is_file():
                return path, parts[cut:]
    raise LookupError(f"no module of the repository begins {dotted}")


def find(body: list[ast.stmt], names: list[str], dotted: str) -> ast.stmt:
    """The statement that defines the name, going into classes."""
    for node in body:
        if isinstance(node, Definition) and node.name == names[0]:
            return node if len(names) == 1 else find(node.body, names[1:], dotted)
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        if len(names) == 1 and any(isinstance(target, ast.Name) and target.id == names[0] for target in targets):
            return node
    raise LookupError(f"{dotted}: nothing called {names[0]} there")


def docstrings(tree: ast.AST, lines: list[str]) -> set[int]:
    """Numbers of the lines that docstrings take, with the blank lines below them."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, Documented) and ast.get_docstring(node, clean=False) is not None and len(node.body) > 1:
            end = node.body[0].end_lineno or node.body[0].lineno
            while not lines[end].strip():
                end += 1
            found.update(range(node.body[0].lineno, end + 1))
    return found


def render(dotted: str) -> str:
    """Source of an object or of a module of the repository, dedented, without any docstring."""
    path, names = locate(dotted)
    text = path.read_text("utf-8")
    lines, tree = text.splitlines(), ast.parse(text)
    if names:
        node = find(tree.body, names, dotted)
        decorators = node.decorator_list if isinstance(node, Definition) else []
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        shown, drop = range(first, (node.end_lineno or first) + 1), docstrings(node, lines)
    else:
        shown, drop = range(1, len(lines) + 1), docstrings(tree, lines)
    return textwrap.dedent("\n".join(lines[number - 1] for number in shown if number not in drop)).strip("\n").rstrip()


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill the page's source fences; an unknown name is a warning, so a strict build fails."""

    def fill(match: re.Match[str]) -> str:
        try:
            code = render(match["name"])
        except (LookupError, SyntaxError) as error:
            log.warning("%s: source fence: %s", page.file.src_uri, error)
            return match[0]
        path = locate(match["name"])[0].relative_to(ROOT).as_posix()
        return textwrap.indent(f'```python title="{path}"\n{code}\n```', match["indent"])

    return FENCE.sub(fill, markdown)


if __name__ == "__main__":
    print("\n\n".join(render(name) for name in sys.argv[1:]))
