"""House rule 3: what a page shows is what its code does, and every page reads in the same order.

All Python fences of a page run in order in one namespace, without a network, and each shown output is compared with
what was printed. A twin page whose code is the same but for comments (test_parity) is compared with the same run.
"""

import contextlib
import doctest
import functools
import importlib
import io
import re
import runpy
import socket
from pathlib import Path

import pytest

from concepts import LANGUAGES, ROOT, Concept, concepts, pages, report
from offline import NetworkUsedError, offline
from page import Fence, Page, read

IDS = ("try", "idea", "formula", "code", "by-hand", "pitfalls", "exercises", "api", "further")
TITLES = {
    "zh": ("试一试", "直觉", "公式", "代码", "手算", "容易出错的地方", "练习", "API", "延伸阅读"),
    "en": ("Try it", "Idea", "Formula", "Code", "By hand", "Where it breaks", "Exercises", "API", "Further"),
}
PAGE_LINES = range(100, 251)
IDEA = {"zh": (300, re.compile(r"[\u3400-\u9fff]")), "en": (150, re.compile(r"[^\W_]+(?:['’-][^\W_]+)*"))}
SHOWN_SOURCE_LINES = {"object": 25, "module": 60}
SKIPS_ALLOWED = 0.02
SOURCE = re.compile(r"# source: ([\w.]+)$")
SKIP = re.compile(r"<!-- skip:(.*?)-->")
PAGES = [path.relative_to(ROOT / "docs").as_posix() for language in LANGUAGES for path in pages(language)]
LESSONS = [
    (concept, language, concept.places[place])
    for concept in concepts()
    for language, place in (("zh", "Chinese page"), ("en", "English page"))
    if concept.places[place].is_file()
]
MODULES = [
    path.relative_to(ROOT / "lib").with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for path in sorted((ROOT / "lib" / "largemodels").rglob("*.py"))
]


def is_run(fence: Fence) -> bool:
    """Whether a fence is Python that has to run."""
    return fence.language == "python" and not fence.body.startswith("# source:") and not SKIP.search(fence.before)


@functools.cache
def printed(codes: tuple[str, ...]) -> list[str]:
    """Run pieces of code in one namespace; return what each printed, or the error that ended the run."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    outputs = []
    for code in codes:
        out = io.StringIO()
        try:
            with offline(), contextlib.redirect_stdout(out):
                exec(compile(code, "<page>", "exec"), namespace)  # noqa: S102 - running the page is the test
        except Exception as error:  # any error of a page is a finding
            return [*outputs, f"{out.getvalue()}{type(error).__name__}: {error}"]
        outputs.append(out.getvalue())
    return outputs


def wrong_outputs(page: Page) -> list[str]:
    """Run a page and say where it shows something else than it prints."""
    found = [f"line {f.line}: write ```python, not ```{f.info}" for f in page.fences if f.language in ("py", "pycon")]
    if "```" in page.prose:
        found.append("a fence is not closed: ``` must stand on a line of its own")
    running = [fence for fence in page.fences if is_run(fence)]
    outputs = printed(tuple(fence.code for fence in running))
    if len(outputs) < len(running):
        return [*found, f"line {running[len(outputs)].line}: not reached, the code above it failed"]
    shown = {}
    for fence, following in zip(page.fences, page.fences[1:], strict=False):
        if following.is_output:
            shown[fence.line] = following.body
    found += [
        f"line {fence.line}: shows the output of code that does not run"
        for fence in page.fences
        if fence.line in shown and fence not in running and not SKIP.search(fence.before)
    ]
    for fence, output in zip(running, outputs, strict=True):
        want, got = shown.get(fence.line, "").rstrip(), output.rstrip()
        if want != got:
            found.append(f"line {fence.line}: the page shows\n{want}\nbut the code prints\n{got}")
    return found


def wrong_sources(page: Page) -> list[str]:
    """Check fences that include code from the library: the name exists, and what is shown is short."""
    hook = runpy.run_path(str(ROOT / "docs" / "_hooks" / "sources.py"))
    found = []
    for fence in page.fences:
        if not fence.body.startswith("# source:"):
            continue
        match = SOURCE.fullmatch(fence.body.strip())
        if not match:
            found.append(f"line {fence.line}: a source fence holds one line, # source: dotted.name")
            continue
        length = len(hook["render"](match[1]).splitlines())
        most = SHOWN_SOURCE_LINES["object" if hook["locate"](match[1])[1] else "module"]
        if length > most:
            found.append(f"line {fence.line}: {match[1]} shows {length} lines, at most {most}")
    return found


def pasted_code(page: Page, library: str) -> list[str]:
    """Name functions and classes of the library that the page spells out instead of including them."""
    pattern = re.compile(r"^(?:def|class) (\w+)", re.M)
    own = set(pattern.findall(library))
    spelt = {name for fence in page.fences if fence.language == "python" for name in pattern.findall(fence.body)}
    return [f"{name} is pasted; include it with # source:" for name in sorted(own & spelt)]


def skips(texts: list[str]) -> tuple[list[str], int, int]:
    """Return problems, number of skipped fences, and number of all Python fences."""
    fences = [fence for text in texts for fence in Page(text).fences if fence.language == "python"]
    reasons = [match[1].strip() for fence in fences if (match := SKIP.search(fence.before))]
    return ["a skip without a reason" for reason in reasons if not reason], len(reasons), len(fences)


def wrong_shape(page: Page, language: str, concept: Concept) -> list[str]:
    """Say where a lesson leaves the common form: length, order of headings, length of the idea."""
    found = []
    length = len(page.text.splitlines())
    if length not in PAGE_LINES:
        found.append(f"{length} lines, wanted {PAGE_LINES.start} to {PAGE_LINES.stop - 1}")
    want = list(zip(TITLES[language], IDS, strict=True))
    have = [(title, name) for level, title, name in page.headings if level == 2]
    if have != want:
        found.append(f"second-level headings are {have}, wanted {want}")
    first = [name for level, _, name in page.headings if level == 1]
    if first != [concept.heading_id]:
        found.append(f"first-level headings are {first}, wanted {[concept.heading_id]}")
    limit, unit = IDEA[language]
    idea = re.sub(r"<figure\b.*?</figure>|<svg\b.*?</svg>|\$.*?\$", "", page.section("idea"), flags=re.S)
    count = len(unit.findall(idea))
    if not 0 < count <= limit:
        found.append(f"the idea has {count} {'characters' if language == 'zh' else 'words'}, at most {limit}")
    if not page.figures:
        found.append("no figure")
    if concept.name not in Page(page.section("try")).demos:
        found.append("“Try it” does not embed the concept's demo")
    return found


def untested_mistakes(page: Page, concept: Concept) -> list[str]:
    """Name the mistakes that a page corrects but no test of the concept shows."""
    folder = concept.places["test"].parent
    tests = "".join(path.read_text("utf-8") for path in folder.glob(f"test_{concept.name}*.py"))
    ids = [name for _, _, name in page.headings if re.fullmatch(r"m\d\d", name)]
    return [f"{name}: no function test_{name}_… in {folder.name}" for name in ids if f"def test_{name}_" not in tests]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_its_code_prints(name: str) -> None:
    page = read(ROOT / "docs" / name)
    report(wrong_outputs(page) + wrong_sources(page))


@pytest.mark.parametrize(("concept", "language", "path"), LESSONS, ids=lambda value: getattr(value, "stem", str(value)))
def test_a_lesson_has_the_common_form(concept: Concept, language: str, path: Path) -> None:
    page = read(path)
    library = concept.places["library"].read_text("utf-8")
    report(wrong_shape(page, language, concept) + untested_mistakes(page, concept) + pasted_code(page, library))


@pytest.mark.parametrize("name", [name for name in PAGES if read(ROOT / "docs" / name).front.get("kind") == "essay"])
def test_an_essay_corrects_only_tested_mistakes(name: str) -> None:
    path = Path(name)
    report(untested_mistakes(read(ROOT / "docs" / name), Concept(ROOT, path.parent.name, path.stem)))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name: str) -> None:
    out = io.StringIO()
    with offline():
        module = importlib.import_module(name)
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        for example in doctest.DocTestFinder(exclude_empty=True).find(module):
            runner.run(example, out=out.write)
    if runner.summarize(verbose=False).failed:
        pytest.fail(out.getvalue(), pytrace=False)


def test_few_fences_are_skipped_and_each_says_why() -> None:
    problems, skipped, total = skips([(ROOT / "docs" / name).read_text("utf-8") for name in PAGES])
    docstrings = [path.read_text("utf-8") for path in (ROOT / "lib").rglob("*.py")]
    skipped += sum(text.count("doctest: +SKIP") for text in docstrings)
    total += sum(text.count(">>> ") for text in docstrings)
    report(problems)
    assert skipped <= SKIPS_ALLOWED * total


OUTPUT = "\n```{.text .output}\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\nprint(1)\n```" + OUTPUT + "2\n```\n", "but the code prints"),
        ("```python\nprint(1)\n```\n", "but the code prints"),
        ("```python\nx = 1\n```" + OUTPUT + "1\n```\n", "but the code prints"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```python\n1 / 0\n```\n\n```python\nx = 1\n```\n", "not reached"),
        ("```bash\necho 1\n```" + OUTPUT + "1\n```\n", "code that does not run"),
        ("```pycon\n>>> 1\n```\n", "write ```python"),
        ("```python\nprint(1) ```\n", "a fence is not closed"),
        ("```python\nimport socket\nsocket.create_connection(('example.org', 80))\n```\n", "NetworkUsedError"),
        ("??? success\n    ```python\n    print(1)\n    ```\n", "but the code prints"),
    ],
)
def test_a_page_that_is_wrong_is_reported(text: str, complaint: str) -> None:
    assert complaint in "\n".join(wrong_outputs(Page(text)))


def test_a_page_that_is_right_is_accepted() -> None:
    text = "```python\nx = 1  # 一\n```\n\n```python\nprint(x)\n```" + OUTPUT + "1\n```\n"
    text += "<!-- skip: slow -->\n```python\n1 / 0\n```\n"
    assert wrong_outputs(Page(text)) == []
    assert skips([text, "<!-- skip: -->\n```python\nx\n```\n"]) == (["a skip without a reason"], 2, 4)


def test_a_wrong_source_fence_is_reported() -> None:
    long = "```python\n# source: largemodels.transformer.attention\nprint(1)\n```\n"
    assert "holds one line" in "".join(wrong_sources(Page(long)))
    whole = "```python\n# source: largemodels.models.gpt\n```\n"
    assert "lines, at most 60" in "".join(wrong_sources(Page(whole)))
    with pytest.raises(LookupError):
        wrong_sources(Page("```python\n# source: largemodels.nothing.at_all\n```\n"))


def test_a_module_is_shown_whole_without_docstrings(tmp_path: Path) -> None:
    render = runpy.run_path(str(ROOT / "docs" / "_hooks" / "sources.py"))["render"]
    render.__globals__["ROOT"] = tmp_path
    (tmp_path / "adding.py").write_text('"""Adding.\n\nMore.\n"""\n\nX = 1\n\n\ndef add():\n    """Add."""\n    pass\n')
    assert render("adding") == "X = 1\n\n\ndef add():\n    pass"
    assert render("adding.add") == "def add():\n    pass"


def test_pasted_code_is_reported() -> None:
    page = Page("```python\ndef softmax(x):\n    return x\n```\n")
    assert pasted_code(page, "def softmax(x): ...") == ["softmax is pasted; include it with # source:"]
    assert pasted_code(page, "def relu(x): ...") == []


def lesson(ids: tuple[str, ...] = IDS, idea: str = "Short. <svg></svg>", lines: int = 100) -> Page:
    """Return a made-up English lesson about adding."""
    parts = [f"## {TITLES['en'][IDS.index(name)]} {{ #{name} }}\n{idea if name == 'idea' else ''}\n" for name in ids]
    text = "# Adding { #adding }\n" + "".join(parts).replace("#try }", '#try }\n<div data-demo="adding"></div>')
    return Page(text + "\n" * (lines - len(text.splitlines())))


def test_a_lesson_of_another_form_is_reported(tmp_path: Path) -> None:
    concept = Concept(tmp_path, "sums", "adding")
    assert wrong_shape(lesson(), "en", concept) == []
    assert "lines, wanted" in wrong_shape(lesson(lines=251), "en", concept)[0]
    assert "headings are" in wrong_shape(lesson((*IDS[1::-1], *IDS[2:])), "en", concept)[0]
    assert "the idea has 151 words" in wrong_shape(lesson(idea="word " * 151 + "<svg></svg>"), "en", concept)[0]
    assert "no figure" in wrong_shape(lesson(idea="Short."), "en", concept)
    assert untested_mistakes(Page("### M06 { #m06 }\n"), concept) == ["m06: no function test_m06_… in sums"]


def test_the_guard_closes_the_network() -> None:
    with offline(), pytest.raises(NetworkUsedError):
        socket.getaddrinfo("example.org", 80)
    assert socket.getaddrinfo("127.0.0.1", 80)
