"""House rule 4: every public object of a concept is documented in full, in both languages, on exactly one page each."""

import ast
import functools
import inspect
import re
import runpy
import textwrap
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import griffe
import pytest

from concepts import LANGUAGES, ROOT, Concept, concepts, pages, report
from page import read

FIRST_LINE = 88
SHAPE = re.compile(r"`\([^`]*\)`|\b(?:any|same|its|their) shapes?\b")
LINKED_SOURCE = re.compile(r"^Source: .*?https?://", re.M | re.S)
SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Examples|Attributes):", re.M)
HAN = re.compile(r"[\u3400-\u9fff]")


@functools.cache
def package(name: str, library: Path) -> griffe.Module:
    """Read the source of a whole package, without importing it, once."""
    loaded = griffe.load(name, search_paths=[library], docstring_parser="google")
    assert isinstance(loaded, griffe.Module)
    return loaded


def load(module: str, library: Path = ROOT / "lib") -> griffe.Module:
    """Read a module's source, without importing it."""
    name, _, inside = module.partition(".")
    loaded = package(name, library)[inside] if inside else package(name, library)
    assert isinstance(loaded, griffe.Module)
    return loaded


def public(owner: griffe.Module | griffe.Class) -> Iterator[griffe.Function | griffe.Class]:
    """Functions and classes defined here, and the methods of the classes; underscores are private."""
    for name, member in owner.members.items():
        if isinstance(member, griffe.Function | griffe.Class) and not name.startswith("_"):
            yield member
            if isinstance(member, griffe.Class):
                yield from public(member)


def entries(obj: griffe.Object) -> dict[str, dict[str, str]]:
    """Read a docstring's sections: of each kind, what is named there and what is said of it."""
    if obj.docstring is None:
        return {}
    found: dict[str, dict[str, str]] = {}
    for section in obj.docstring.parse("google", warnings=False):
        if section.kind.value in ("parameters", "returns", "yields", "raises", "attributes"):
            named = {getattr(e, "name", "") or str(e.annotation): e.description for e in section.value}
            found[section.kind.value] = named
    return found


def raised(function: griffe.Function) -> set[str]:
    """Names of the exceptions that a function itself raises."""
    tree = ast.parse(textwrap.dedent("\n".join(function.lines)))
    errors = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    classes = [error.func if isinstance(error, ast.Call) else error for error in errors]
    return {name.id for name in classes if isinstance(name, ast.Name) and name.id[0].isupper()}


def first_line(obj: griffe.Object) -> list[str]:
    """Check that a docstring exists, begins with a short sentence, and shows how the object is used."""
    if obj.docstring is None:
        return ["no docstring"]
    line = obj.docstring.value.splitlines()[0]
    return [f"the first line has {len(line)} characters, at most {FIRST_LINE}"] if len(line) > FIRST_LINE else []


def signature_problems(function: griffe.Function) -> list[str]:
    """Compare a function's docstring with its signature and its body."""
    sections = entries(function)
    arguments = [p for p in function.parameters if p.name not in ("self", "cls")]
    described = [name.lstrip("*") for name in sections.get("parameters", {})]
    found = []
    if described != [p.name.lstrip("*") for p in arguments]:
        found.append(f"Args are {described}, the signature has {[p.name for p in arguments]}")
    returns = str(function.returns or "None")
    results = sections.get("returns") or sections.get("yields") or {}
    if returns != "None" and not results:
        found.append(f"no Returns or Yields, but it gives {returns}")
    missing = raised(function) - set(sections.get("raises", {}))
    if missing:
        found.append(f"Raises lacks {', '.join(sorted(missing))}")
    for parameter in arguments:
        text = sections.get("parameters", {}).get(parameter.name, "")
        if "Tensor" in str(parameter.annotation) and text and not SHAPE.search(text):
            found.append(f"{parameter.name}: a tensor without its shape in backticks")
    if "Tensor" in returns and results and not SHAPE.search(" ".join(results.values())):
        found.append("Returns: a tensor without its shape in backticks")
    return found


def has_example(obj: griffe.Object) -> bool:
    """Whether the docstring, or for a class one of its methods, shows how to use it."""
    inside = list(public(obj)) if isinstance(obj, griffe.Class) else []
    return any(o.docstring is not None and ">>> " in o.docstring.value for o in (obj, *inside))


def docstring_problems(module: griffe.Module) -> list[str]:
    """Say what the docstrings of one module lack."""
    found = [f"{module.path}: {problem}" for problem in first_line(module)]
    objects = list(public(module))
    for obj in objects:
        problems = first_line(obj)
        if obj.docstring is not None and isinstance(obj, griffe.Function):
            problems += signature_problems(obj)
        if obj.parent is module and not has_example(obj):
            problems.append("no example")
        found += [f"{obj.path}: {problem}" for problem in problems]
    texts = [o.docstring.value for o in (module, *objects) if o.docstring is not None]
    if not any(LINKED_SOURCE.search(text) for text in texts):
        found.append(f"{module.path}: no “Source:” with a link")
    return found


def shown_times(names: list[str], blocks: list[str]) -> list[str]:
    """Name every object that the API blocks of one language show never, or more than once."""
    counts = Counter({name: sum(name == b or name.startswith(f"{b}.") for b in blocks) for name in names})
    return [f"{name}: shown {times} times" for name, times in counts.items() if times != 1]


def catalogue_problems(objects: list[griffe.Object], catalogue: dict[str, dict[str, str]]) -> list[str]:
    """Compare the sections of Chinese docstrings with those of the English ones."""
    found = []
    for obj in objects:
        if obj.docstring is None:
            continue
        chinese = catalogue.get(obj.path, {}).get("zh", "")
        english = obj.docstring.value
        if not HAN.search(chinese):
            found.append(f"{obj.path}: no Chinese text")
        elif SECTION.findall(inspect.cleandoc(chinese)) != SECTION.findall(english):
            found.append(f"{obj.path}: the Chinese text has other sections than the English one")
        else:
            twin = griffe.Function(obj.name)
            twin.docstring = griffe.Docstring(inspect.cleandoc(chinese), parent=twin)
            for kind in ("parameters", "raises"):
                names, wanted = list(entries(twin).get(kind, {})), list(entries(obj).get(kind, {}))
                if names != wanted:
                    found.append(f"{obj.path}: the Chinese {kind} are {names}, the English ones {wanted}")
    return found


@pytest.mark.parametrize("concept", concepts(), ids=str)
def test_every_public_object_is_documented(concept: Concept) -> None:
    report(docstring_problems(load(concept.module)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_public_object_is_on_one_page(language: str) -> None:
    blocks = [name for path in pages(language) for name in read(path).api_blocks]
    modules = [load(concept.module) for concept in concepts()]
    report(shown_times([obj.path for module in modules for obj in (module, *public(module))], blocks))


@pytest.mark.parametrize("concept", concepts(), ids=str)
def test_the_chinese_text_has_the_same_sections(concept: Concept) -> None:
    path = concept.places["Chinese API"]
    module = load(concept.module)
    catalogue = tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}
    report(catalogue_problems([module, *public(module)], catalogue))


def test_the_chinese_catalogues_are_complete_and_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    if runpy.run_path(str(ROOT / "docs" / "_hooks" / "api_zh.py"))["main"]([]):
        pytest.fail(capsys.readouterr().out, pytrace=False)


GOOD = '''"""Adding.

Source: Peano, 1889, https://example.org, section 1.
"""

from torch import Tensor


def add(a: Tensor, b: float) -> Tensor:
    """Add two things.

    Args:
        a: one, shape `(B, T)`.
        b: the other.

    Returns:
        The sum, shape `(B, T)`.

    Raises:
        ValueError: if `b` is 13.

    Examples:
        >>> add(1, 2)
        3
    """
    if b == 13:
        raise ValueError("b must not be 13; take 14")
    return a + b
'''


def made_up(folder: Path, text: str) -> griffe.Module:
    """Return a module with this text."""
    (folder / "adding.py").write_text(text, "utf-8")
    return load("adding", folder)


def test_a_documented_module_is_accepted(tmp_path: Path) -> None:
    assert docstring_problems(made_up(tmp_path, GOOD)) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("    Args:\n        a: one, shape `(B, T)`.\n        b: the other.\n\n", "", "Args are []"),
        ("        b: the other.\n", "", "Args are ['a']"),
        ("one, shape `(B, T)`", "one", "a: a tensor without its shape"),
        ("The sum, shape `(B, T)`", "The sum", "Returns: a tensor without its shape"),
        ("    Returns:\n        The sum, shape `(B, T)`.\n\n", "", "no Returns"),
        ("        ValueError: if", "        TypeError: if", "Raises lacks ValueError"),
        ("        >>> add(1, 2)", "        add(1, 2)", "no example"),
        ("Source: Peano", "By Peano", "no “Source:”"),
        ("Add two things.", "Add " + "two " * 30, "the first line has"),
        ('    """Add two things.', '    x = """Add two things.', "no docstring"),
    ],
)
def test_a_gap_in_the_documentation_is_reported(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    assert complaint in "\n".join(docstring_problems(made_up(tmp_path, GOOD.replace(old, new))))


def test_an_object_on_no_page_or_on_two_is_reported() -> None:
    assert shown_times(["a.b", "a.b.c"], ["a.b"]) == []
    assert shown_times(["a.b", "a.b.c"], ["a.b", "a.b.c"]) == ["a.b.c: shown 2 times"]
    assert shown_times(["a.b", "a.bc"], ["a.b"]) == ["a.bc: shown 0 times"]


SUM = """相加。

Args:
    a: 一个，形状 `(B, T)`。
    b: 另一个。

Returns:
    和，形状 `(B, T)`。

Raises:
    ValueError: 如果 `b` 是 13。

Examples:
    >>> add(1, 2)
    3
"""


def test_a_faithful_translation_is_accepted(tmp_path: Path) -> None:
    objects = list(public(made_up(tmp_path, GOOD)))
    assert catalogue_problems(objects, {"adding.add": {"zh": SUM}}) == []


@pytest.mark.parametrize(
    ("chinese", "complaint"),
    [
        ("Add two things.", "no Chinese text"),
        (SUM.replace("Returns:", "返回："), "other sections"),
        (SUM.replace("b:", "c:"), "Chinese parameters are ['a', 'c']"),
        (SUM.replace("ValueError", "TypeError"), "Chinese raises are ['TypeError']"),
    ],
)
def test_a_poor_translation_is_reported(tmp_path: Path, chinese: str, complaint: str) -> None:
    objects = list(public(made_up(tmp_path, GOOD)))
    assert complaint in "\n".join(catalogue_problems(objects, {"adding.add": {"zh": chinese}}))
