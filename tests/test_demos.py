"""House rule 5: a demo imports quickly and quietly, looks the same in both languages, answers, and explains bad input.

No network and no GPU here. Every demo's `predict` is called as the server calls it: with whatever a visitor sends.
"""

import functools
import importlib
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from concepts import LANGUAGES, ROOT, demos, report
from offline import offline

NAMES = [f"demos.{path.parent.name}.{path.stem}" for path in demos()]
IMPORT_SECONDS = 1.0  # of CPU time, beyond torch, which the library needs
HEAVY = ("gradio", "transformers", "spaces", "sklearn")
HAN = re.compile(r"[\u3400-\u9fff]")
ALWAYS_WRONG = [math.nan, math.inf, -1e308, [], {}, "\ud800", "x" * 100_000]
SOMETIMES_WRONG = ["0.5", None, True, ""]

IMPORTER = """
import contextlib, importlib, io, json, sys, time
import torch
sys.path.insert(0, "tests")
from offline import offline
found = {}
for name in sys.argv[1:]:
    quiet, start = io.StringIO(), time.process_time()
    with offline(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        importlib.import_module(name)
    heavy = [module for module in HEAVY if module in sys.modules]
    found[name] = {"seconds": time.process_time() - start, "said": quiet.getvalue(), "heavy": heavy}
print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def neither_network_nor_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    with offline():
        yield


@functools.cache
def load(name: str) -> ModuleType:
    """Import one demo."""
    return importlib.import_module(name)


def last(answer: str | Iterator[str]) -> str:
    """Return an answer, or the last state of a streamed one."""
    return answer if isinstance(answer, str) else list(answer)[-1]


def text_problems(demo: ModuleType) -> list[str]:
    """Compare the Chinese and the English words and examples of a demo."""
    found = [f"{field} is not in zh and en" for field in ("TITLE", "HINT", "LABELS", "EXAMPLES")
             if set(getattr(demo, field, {})) != set(LANGUAGES)]  # fmt: skip
    if found:
        return found
    for field in ("TITLE", "HINT"):
        if not HAN.search(getattr(demo, field)["zh"]):
            found.append(f"{field}[zh] holds no Chinese")
        if HAN.search(getattr(demo, field)["en"]):
            found.append(f"{field}[en] holds Chinese")
    if set(demo.LABELS["zh"]) != set(demo.LABELS["en"]):
        found.append(f"LABELS differ: {set(demo.LABELS['zh']) ^ set(demo.LABELS['en'])}")
    kinds = {lang: [tuple(map(type, row)) for row in demo.EXAMPLES[lang]] for lang in LANGUAGES}
    if kinds["zh"] != kinds["en"] or not kinds["zh"]:
        found.append(f"EXAMPLES differ in number or in kinds of arguments: {kinds}")
    return found


def picture_problems(html: str) -> list[str]:
    """Check that an answer is a picture with its text twin, and stands alone on any page."""
    found = []
    twins = re.findall(r'<p class="lm-twin">(.*?)</p>', html, re.S)
    if '<figure class="lm-figure"' not in html:
        found.append("no figure")
    if not any(twin.strip() for twin in twins):
        found.append("no text twin")
    if re.search(r"<script|<iframe|\s(?:src|href|on\w+)\s*=|url\(|javascript:", html, re.I):
        found.append("a script or an address")
    ids = re.findall(r'\sid="([^"]*)"', html)
    if len(ids) != len(set(ids)):
        found.append("an id twice")
    if 'class="lm-error"' in html:
        found.append("an error box")
    return found


def poisoned(row: tuple[object, ...]) -> Iterator[tuple[int, object, bool, tuple[object, ...]]]:
    """Yield a row of arguments with each of them, one after the other, replaced by something bad."""
    for position in range(len(row)):
        for certain, values in ((True, ALWAYS_WRONG), (False, SOMETIMES_WRONG)):
            for value in values:
                yield position, value, certain, (*row[:position], value, *row[position + 1 :])


def poison_problems(demo: ModuleType) -> list[str]:
    """Send bad values to `predict`; only InputError may come back, with one message in each language."""
    from demos._ui import InputError

    found = []
    for position, value, certain, arguments in poisoned(demo.EXAMPLES["en"][0]):
        what = f"argument {position + 1} = {repr(value)[:20]}"
        try:
            answer = demo.predict(*arguments, lang="en")
            text = answer if isinstance(answer, str) else next(answer)
        except InputError as error:
            if not HAN.search(error.zh) or HAN.search(error.en) or not error.en:
                found.append(f"{what}: the message is not bilingual: {error.zh!r}, {error.en!r}")
            continue
        except Exception as error:  # anything else would reach the visitor as a failure
            found.append(f"{what}: {type(error).__name__}: {error}"[:300])
            continue
        if certain:
            found.append(f"{what}: accepted")
        elif not isinstance(text, str):
            found.append(f"{what}: answered with {type(text).__name__}")
    return found


@functools.cache
def controls(demo: ModuleType, lang: str) -> tuple[list[str], list[str]]:
    """Build a demo's page; return the kinds of its components and the names of its end points."""
    config = demo.build(lang).get_config_file()
    names = [str(event["api_name"]) for event in config["dependencies"] if event["api_name"]]
    return [component["type"] for component in config["components"]], names


def test_demos_import_quickly_and_quietly() -> None:
    program = IMPORTER.replace("HEAVY", repr(HEAVY))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "lib"), str(ROOT)])}
    run = subprocess.run(
        [sys.executable, "-c", program, *NAMES], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=200
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    seen = json.loads(run.stdout)
    report([f"{name} imports {what['heavy']}" for name, what in seen.items() if what["heavy"]])
    report([f"{name} says {what['said']!r}" for name, what in seen.items() if what["said"]])
    report([f"{name}: {what['seconds']:.1f} s" for name, what in seen.items() if what["seconds"] > IMPORT_SECONDS])


@pytest.mark.parametrize("name", NAMES)
def test_words_and_examples_exist_in_both_languages(name: str) -> None:
    report(text_problems(load(name)))


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_have_the_same_controls(name: str) -> None:
    (zh, zh_names), (en, en_names) = (controls(load(name), lang) for lang in LANGUAGES)
    assert zh == en
    assert zh_names == en_names
    assert name.rsplit(".", 1)[1] in en_names


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_every_example_answers(name: str, lang: str) -> None:
    demo = load(name)
    for row in demo.EXAMPLES[lang]:
        problems = picture_problems(last(demo.predict(*row, lang=lang)))
        report([f"{row}: {problem}" for problem in problems])


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_gets_a_bilingual_message(name: str) -> None:
    report(poison_problems(load(name)))


def made_up() -> ModuleType:
    """Return a demo that adds, and that is right."""
    from demos import _ui

    demo = ModuleType("adding")
    demo.TITLE = {"zh": "加法", "en": "Adding"}
    demo.HINT = {"zh": "改一个数", "en": "Change a number"}
    demo.LABELS = {"zh": {"a": "数"}, "en": {"a": "Number"}}
    demo.EXAMPLES = {"zh": [(1.0,)], "en": [(1.0,)]}
    demo.predict = lambda a, lang: str(_ui.number(a, _ui.label(demo.LABELS, "a"), 0, 9))
    return demo


def test_a_demo_that_is_right_is_accepted() -> None:
    demo = made_up()
    assert text_problems(demo) + poison_problems(demo) == []
    assert picture_problems('<figure class="lm-figure"><p class="lm-twin">Two.</p></figure>') == []


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("HINT", {"en": "Change a number"}, "HINT is not in zh and en"),
        ("TITLE", {"zh": "Adding", "en": "Adding"}, "TITLE[zh] holds no Chinese"),
        ("TITLE", {"zh": "加法", "en": "加法"}, "TITLE[en] holds Chinese"),
        ("LABELS", {"zh": {"a": "数"}, "en": {"b": "Number"}}, "LABELS differ"),
        ("EXAMPLES", {"zh": [(1.0,)], "en": [(1.0,), (2.0,)]}, "EXAMPLES differ"),
        ("EXAMPLES", {"zh": [(1.0,)], "en": [("1",)]}, "EXAMPLES differ"),
    ],
)
def test_words_that_differ_are_reported(field: str, value: object, complaint: str) -> None:
    demo = made_up()
    setattr(demo, field, value)
    assert complaint in "\n".join(text_problems(demo))


@pytest.mark.parametrize(
    ("predict", "complaint"),
    [
        (lambda a, lang: "fine", "= nan: accepted"),
        (lambda a, lang: str(a + 1), "TypeError"),
        (lambda a, lang: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_demo_that_takes_anything_is_reported(predict: object, complaint: str) -> None:
    demo = made_up()
    demo.predict = predict
    assert complaint in "\n".join(poison_problems(demo))


@pytest.mark.parametrize(
    ("html", "complaint"),
    [
        ("2", "no figure"),
        ('<figure class="lm-figure"><p class="lm-twin"></p></figure>', "no text twin"),
        ('<figure class="lm-figure"><img src="https://example.org"></figure>', "a script or an address"),
        ('<b id="a"></b><b id="a"></b>', "an id twice"),
        ('<div class="lm-error"></div>', "an error box"),
    ],
)
def test_an_answer_that_does_not_stand_alone_is_reported(html: str, complaint: str) -> None:
    assert complaint in picture_problems(html)
