"""The model that is trained while a visitor watches: it learns, recites when it can, stops in time, fails honestly."""

import math
import time
from itertools import islice

import pytest
import torch
from torch.nn.functional import cross_entropy

from demos import _texts, _ui
from demos.training import pretraining as demo
from largemodels.training import _live
from largemodels.training.pretraining import Settings

LINE = "the cat saw the dog and the dog saw the cat.\n"


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads on a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def settings(**changed: float) -> Settings:
    return Settings(**{"steps": 40, "lr": 0.01, "warmup": 4, "log_every": 20, **changed})


def test_it_learns_a_line_by_heart_and_says_so() -> None:
    first, *_, last = _live.watch(LINE * 9, settings())
    guess = math.log(len(set(LINE)))
    assert first.step == 0 and first.copied < 8 and abs(first.loss - guess) < 0.5
    assert last.step == 40 and last.loss < guess / 2 and last.held_out < guess / 2
    assert last.copied > first.copied
    assert last.tokens == 40 * _live.ROWS * _live.CONTEXT


def test_the_held_out_text_is_never_read_and_poems_are_recited() -> None:
    read, unseen = _live.split(_texts.QUATRAINS)
    assert read + unseen == _texts.QUATRAINS and len(unseen) == math.ceil(len(_texts.QUATRAINS) / 8)
    pupil = _live.Pupil(_texts.QUATRAINS, settings())
    known = {character: i for i, character in enumerate(pupil.characters)}
    assert pupil.read.tolist() == [known[character] for character in read]
    _, *moments = _live.watch(_texts.QUATRAINS, settings(steps=60))
    assert moments[-1].loss < 2 < math.log(len(known)) < moments[-1].held_out  # it recites: worse than guessing


def test_the_loss_is_the_mean_over_all_characters_foretold() -> None:
    torch.manual_seed(3)
    pupil = _live.Pupil(LINE * 5, settings())
    rows = _live.windows(pupil.read)
    with torch.no_grad():
        logits, _ = pupil.model(rows[:, :-1])
        wanted = cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        assert _live.loss_of(pupil.model, rows).item() == pytest.approx(wanted.item(), abs=1e-6)


@pytest.mark.parametrize("length", [2, 30, 48, 49, 50, 97, 150])
def test_windows_cover_the_text(length: int) -> None:
    rows = _live.windows(torch.arange(length))
    assert set(rows.flatten().tolist()) == set(range(length))
    assert {int(x) for x in rows[:, 1:].flatten()} == set(range(1, length))  # every character but the first is foretold


def test_the_longest_copy_is_found() -> None:
    assert _live.longest_copy("xxabcdyy", "abcd ab cd") == 4
    assert _live.longest_copy("小猫在山上", "小狗在山上睡觉") == 3
    assert _live.longest_copy("abc", "xyz") == 0 == _live.longest_copy("", "xyz")


def test_the_parameters_are_counted() -> None:
    model = _live.Pupil(LINE * 5, settings()).model
    assert _live.parameters(len(set(LINE))) == sum(param.numel() for param in model.parameters())


def test_it_stops_in_time_and_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    began = time.monotonic()
    *_, last = _live.watch(LINE * 9, settings(steps=2_000, log_every=1_000), seconds=0.2)
    assert last.step < 2_000 and time.monotonic() - began < 20
    assert torch.equal(state, torch.get_rng_state())


def test_a_run_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    learn = _live.Pupil.learn

    def broken(self: _live.Pupil, step: int) -> tuple[float, int]:
        out = learn(self, step)
        if step == 1:
            with torch.no_grad():
                self.model.wte.fill_(math.nan)
        return out

    monkeypatch.setattr(_live.Pupil, "learn", broken)
    moments = list(_live.watch(LINE * 9, settings(log_every=1)))
    assert [moment.step for moment in moments] == [0, 1, 2] and moments[-1].loss == math.inf
    told = list(demo.predict(LINE * 9, 40, 0.01, 1, lang="en"))[-1]
    assert "stopped being a number" in told


def test_the_demo_streams_and_can_be_stopped() -> None:
    stream = demo.predict(LINE * 9, 24, 0.01, 1, lang="zh")
    states = list(islice(stream, 3))
    stream.close()
    assert "还没有训练" in states[0] and "走到第 2 步" in states[1] and "走到第 4 步" in states[2]


@pytest.mark.parametrize("text", ["x" * 300, "short", " " * 300, "ab" * 99, "字" * 6_000])
def test_texts_without_anything_to_learn_are_refused(text: str) -> None:
    with pytest.raises(_ui.InputError):
        next(demo.predict(text, 40, 0.01, 1))


@pytest.mark.parametrize("text", ["😀🐈" * 150, "שלום עולם\n" * 30, "中文 and English\r\n" * 20])
def test_any_writing_may_be_learned(text: str) -> None:
    assert "lm-figure" in next(demo.predict(text, 40, 0.01, 1))


def test_time_that_is_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SECONDS", 0.1)
    *_, last = demo.predict(LINE * 9, 2_000, 0.01, 1, lang="en")
    assert "Time is up after" in last
