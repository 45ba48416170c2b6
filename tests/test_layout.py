"""House rule 1: a concept has all its places, names are unique, files stay short, and nothing lies about unowned."""

import ast
from collections import Counter
from pathlib import Path

import pytest

import page
from concepts import LANGUAGES, ROOT, belongs, chapters, concepts, demos, embedded_demos, report

MODULE_LINES, FUNCTION_LINES = 300, 50


def missing_places(root: Path) -> list[str]:
    """Name every file that a concept lacks."""
    return [
        f"{concept}: no {place}, write {path.relative_to(root)}"
        for concept in concepts(root)
        for place, path in concept.places.items()
        if not path.is_file()
    ]


def repeated_names(root: Path) -> list[str]:
    """Name every concept or demo that exists twice: its name is its address."""
    names = Counter(concept.name for concept in concepts(root))
    demo_names = Counter(path.stem for path in demos(root))
    return [name for counted in (names, demo_names) for name, times in counted.items() if times > 1]


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring, which is read on the page."""
    assert function.end_lineno
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    assert function.body[0].end_lineno
    return lines - (function.body[0].end_lineno - function.body[0].lineno + 1)


def too_long(path: Path) -> list[str]:
    """Name the module if it is too long, and its functions that are."""
    text = path.read_text("utf-8")
    length = len(text.splitlines())
    found = [f"{path.name}: {length} lines, at most {MODULE_LINES}"] if length > MODULE_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node) > FUNCTION_LINES:
            found.append(f"{path.name}: {node.name} has {code_lines(node)} lines, at most {FUNCTION_LINES}")
    return found


def essays(root: Path, chapter: str) -> set[str]:
    """Names of a chapter's pages without an algorithm; one that shows code may have a test of its own."""
    paths = (root / "docs" / "zh" / chapter).glob("*.md")
    return {path.stem for path in paths if page.read(path).front.get("kind") == "essay"} - {"index"}


def unowned(root: Path) -> list[str]:
    """Name every page, demo, test and catalogue that belongs to no concept."""
    found = []
    owners = {chapter: {c.name for c in concepts(root) if c.chapter == chapter} for chapter in chapters(root)}
    for language in LANGUAGES:
        folder = root / "docs" / language
        for path in (p for p in sorted(folder.rglob("*")) if p.is_file()):
            chapter, name = path.relative_to(folder).parent.as_posix(), path.name.split(".")[0]
            is_concept = name in owners.get(chapter, set())
            if path.suffix == ".md":
                is_essay = page.read(path).front.get("kind") == "essay"
                right = is_concept != is_essay
            else:
                right = language == "zh" and path.name == f"{name}.api.toml" and is_concept
            if not right:
                found.append(f"{path.relative_to(root)}: neither a concept's page nor an essay (kind: essay), or both")
    for path in demos(root):
        owned = belongs(path.stem, owners.get(path.parent.name, set()))
        shown = all(path.stem in embedded_demos(language, root) for language in LANGUAGES)
        if not (owned and shown):
            found.append(f"{path.relative_to(root)}: named after no concept of its chapter, or embedded by no page")
    for chapter, names in owners.items():
        modules = {p.stem.strip("_") for p in (root / "lib" / "largemodels" / chapter).rglob("*")}
        for path in sorted((root / "tests" / chapter).glob("test_*.py")):
            if not belongs(path.stem.removeprefix("test_"), names | modules | essays(root, chapter)):
                found.append(f"{path.relative_to(root)}: tests no module and no essay of its chapter")
    return found


def absent_demos(root: Path) -> list[str]:
    """Name every embedded demo that does not exist."""
    names = {path.stem for path in demos(root)}
    return sorted(name for language in LANGUAGES for name in embedded_demos(language, root) - names)


def test_every_concept_has_all_its_places() -> None:
    report(missing_places(ROOT))


def test_names_are_unique() -> None:
    report(repeated_names(ROOT))


def test_modules_and_functions_stay_short() -> None:
    paths = [path for folder in ("lib/largemodels", "demos") for path in sorted((ROOT / folder).rglob("*.py"))]
    report([problem for path in paths for problem in too_long(path)])


def test_every_file_belongs_to_a_concept() -> None:
    report(unowned(ROOT))


def test_every_embedded_demo_exists() -> None:
    report(absent_demos(ROOT))


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Return a made-up tree with one whole concept and one essay."""
    texts = {
        "lib/largemodels/sums/__init__.py": "",
        "lib/largemodels/sums/adding.py": "",
        "demos/sums/__init__.py": "",
        "demos/sums/adding.py": "",
        "tests/sums/test_adding.py": "",
        "docs/zh/sums/adding.api.toml": "",
    }
    for language in LANGUAGES:
        texts[f"docs/{language}/sums/adding.md"] = '<div class="demo" data-demo="adding"></div>'
        texts[f"docs/{language}/index.md"] = "---\nkind: essay\n---\n"
    for name, text in texts.items():
        write(tmp_path / name, text)
    return tmp_path


def write(path: Path, text: str = "") -> None:
    """Write a file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def test_a_whole_tree_has_no_problem(house: Path) -> None:
    assert missing_places(house) + repeated_names(house) + unowned(house) + absent_demos(house) == []


def test_an_essay_may_have_a_test(house: Path) -> None:
    write(house / "tests/sums/test_history.py")
    assert [problem.split(":")[0] for problem in unowned(house)] == ["tests/sums/test_history.py"]
    for language in LANGUAGES:
        write(house / f"docs/{language}/sums/history.md", "---\nkind: essay\n---\n")
    assert unowned(house) == []


@pytest.mark.parametrize("place", ["Chinese page", "English page", "demo", "test", "Chinese API"])
def test_a_missing_place_is_reported(house: Path, place: str) -> None:
    concepts(house)[0].places[place].unlink()
    assert [problem.split(",")[0] for problem in missing_places(house)] == [f"sums/adding: no {place}"]


def test_a_repeated_name_is_reported(house: Path) -> None:
    write(house / "lib/largemodels/products/__init__.py")
    write(house / "lib/largemodels/products/adding.py")
    assert repeated_names(house) == ["adding"]


@pytest.mark.parametrize(
    "stray",
    [
        "docs/zh/sums/history.md",
        "docs/en/sums/adding.api.toml",
        "docs/en/picture.png",
        "demos/sums/adding_twice.py",
        "demos/sums/multiplying.py",
        "tests/sums/test_multiplying.py",
    ],
)
def test_a_stray_file_is_reported(house: Path, stray: str) -> None:
    write(house / stray)
    assert [problem.split(":")[0] for problem in unowned(house)] == [stray]


def test_an_embedded_demo_that_does_not_exist_is_reported(house: Path) -> None:
    write(house / "docs/zh/index.md", '---\nkind: essay\n---\n<div data-demo="dividing"></div>')
    assert absent_demos(house) == ["dividing"]


def test_long_code_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "long.py", "def long():\n" + '    """One."""\n' + "    pass\n" * FUNCTION_LINES)
    assert too_long(tmp_path / "long.py") == [f"long.py: long has {FUNCTION_LINES + 1} lines, at most {FUNCTION_LINES}"]
    write(tmp_path / "long.py", "x = 1\n" * (MODULE_LINES + 1))
    assert too_long(tmp_path / "long.py") == [f"long.py: {MODULE_LINES + 1} lines, at most {MODULE_LINES}"]
