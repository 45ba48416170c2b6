"""The build's memory: a result counts only while everything it was made from is the same."""

import functools
import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from concepts import ROOT


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The hook's module, over a repository of its own."""
    spec = importlib.util.spec_from_file_location("_memory", ROOT / "docs" / "_hooks" / "_memory.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "FOLDER", tmp_path / ".cache")
    return module


def ask(memory: ModuleType, *builds: list, language: str = "en") -> Iterator[int]:
    """Run builds that each ask for the same results; how many had to be worked out in each."""
    made: list[list] = []

    def make(made_from: list) -> dict:
        made.append(made_from)
        return {"from": made_from}

    for wanted in builds:
        made.clear()
        memory.begin(language)
        for made_from in wanted:
            assert memory.recall("kind", made_from, functools.partial(make, made_from)) == {"from": made_from}
        memory.end(language)
        yield len(made)


def test_what_was_asked_for_again_is_remembered_and_the_rest_forgotten(memory: ModuleType) -> None:
    assert list(ask(memory, [["a"], ["b"]], [["a"], ["b"]], [["a"]], [["a"], ["b"]])) == [2, 0, 0, 1]
    assert list(ask(memory, [["a"]], language="zh")) == [1]


def test_a_changed_file_is_another_question(memory: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "lib" / "one.py"
    source.parent.mkdir()
    source.write_text("x = 1\n")
    before = memory.digest("lib/**/*.py")
    assert memory.digest("docs/**/*.py") != before
    source.write_text("x = 2\n")
    memory.begin("en")
    assert memory.digest("lib/**/*.py") != before
    source.rename(source.with_name("two.py"))
    memory.begin("en")
    assert memory.digest("lib/**/*.py") not in (before, memory.digest("docs/**/*.py"))


def test_another_package_or_configuration_is_another_question(
    memory: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(ask(memory, [["a"]])) == [1]
    (tmp_path / "mkdocs.yml").write_text("strict: true\n")
    assert list(ask(memory, [["a"]], [["a"]])) == [1, 0]
    monkeypatch.setattr(memory.sysconfig, "get_path", lambda name: str(tmp_path / "packages"))
    (tmp_path / "packages" / "theme-2.0.dist-info").mkdir(parents=True)
    assert list(ask(memory, [["a"]])) == [1]


def test_what_warned_is_worked_out_again(memory: ModuleType) -> None:
    def make() -> str:
        made.append(1)
        logging.getLogger("mkdocs.plugins.some").warning("a broken link")
        return "text"

    made: list[int] = []
    for _ in range(2):
        memory.begin("en")
        assert memory.recall("kind", ["a"], make) == "text"
        memory.end("en")
    assert len(made) == 2


def test_a_damaged_or_read_only_memory_is_no_error(memory: ModuleType, tmp_path: Path) -> None:
    assert list(ask(memory, [["a"]])) == [1]
    (tmp_path / ".cache" / "site-en.json").write_text("{")
    assert list(ask(memory, [["a"]], [["a"]])) == [1, 0]
    memory.FOLDER = tmp_path / "lib.txt"
    memory.FOLDER.write_text("a file where the folder should be")
    assert list(ask(memory, [["a"]], [["a"]])) == [1, 1]
