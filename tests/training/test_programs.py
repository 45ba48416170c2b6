"""Every program of the pages runs whole, offline, on the shipped models, and does what its page says."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from concepts import LANGUAGES, ROOT, pages, report
from largemodels._checkpoints import shipped
from offline import offline
from page import read

PACKAGE = "largemodels.training.programs"
NAMES = [path.stem for path in sorted((ROOT / "lib" / PACKAGE.replace(".", "/")).glob("p*.py"))]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Return a function that runs a program without a network and returns the lines that it prints."""

    def lines(name: str, *args: object, **options: object) -> list[str]:
        with offline():
            importlib.import_module(f"{PACKAGE}.{name}").main(*args, **options)
        return capsys.readouterr().out.rstrip("\n").split("\n")

    return lines


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_program_is_shown_and_run_on_a_page(language: str) -> None:
    bodies = [fence.body for path in pages(language) for fence in read(path).fences]
    shown = {name for name in NAMES if f"# source: {PACKAGE}.{name}" in bodies}
    executed = {name for name in NAMES if any(re.search(rf"\b{name}\.main\(", body) for body in bodies)}
    report([f"{name}: no {language} page shows it" for name in NAMES if name not in shown])
    report([f"{name}: no {language} page runs it" for name in NAMES if name not in executed])


def test_every_program_says_how_it_is_run() -> None:
    texts = {name: (ROOT / "lib" / PACKAGE.replace(".", "/") / f"{name}.py").read_text("utf-8") for name in NAMES}
    report([f"{name}: no command" for name, text in texts.items() if f"Run: `python -m {PACKAGE}.{name}" not in text])
    wrong = [name for name, text in texts.items() if not text.startswith(f'"""{name[:3].upper()}: ')]
    report([f"{name}: the docstring does not begin with its number" for name in wrong])


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that puts a shipped model into a folder of another name, as a reader's own would be."""

    def make(name: str) -> str:
        (tmp_path / "own").symlink_to(shipped(name), target_is_directory=True)
        return str(tmp_path / "own")

    return make


def test_p02_is_beam_search_and_counts_new_tokens(
    run: Callable[..., list[str]], folder: Callable[[str], str]
) -> None:
    from largemodels.models.gpt import Gpt

    prompt, source = "<七律>秋风", folder("poem-gpt-zh")
    (line,) = run("p02_beam_search", {source: prompt}, num_beams=3, max_new_tokens=7)
    gpt = Gpt.from_pretrained(source)
    expected = gpt.generate(prompt, num_beams=3, max_new_tokens=7)[0]
    assert line == f"{source}: 秋风{expected}"
    assert len(gpt.tokens(expected)) == 7


def test_p04_tells_another_story_with_another_seed(run: Callable[..., list[str]]) -> None:
    opening = {"poem-gpt-zh": "<五律>从前有座山，"}
    first, again, other = ("".join(run("p04_story", opening, max_new_tokens=9, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert first.startswith("从前有座山，")


def test_p04_stops_where_the_positions_end(run: Callable[..., list[str]], folder: Callable[[str], str]) -> None:
    source, longest = folder("poem-gpt-zh"), "<七律>" + "春" * 60  # 61 tokens, and 66 positions
    story = "".join(run("p04_story", {source: longest}, max_new_tokens=50))
    assert 60 < len(story) <= 65


def test_p06_gives_the_cosines_of_our_own_encoder(
    run: Callable[..., list[str]], folder: Callable[[str], str]
) -> None:
    from largemodels.models.bert import Bert

    texts = ["好吃。", "This one is a good deal longer.", "猫"]
    head, *rows = run("p06_embeddings", folder("sentiment-bert-zh-en"), texts)
    own = torch.nn.functional.normalize(Bert.from_pretrained("sentiment-bert-zh-en").encode(texts), dim=-1)
    assert head.startswith("last_hidden_state (3, ") and head.endswith("embeddings (3, 384)")
    printed = torch.tensor([[float(cell) for cell in row.split()[:3]] for row in rows])
    assert (printed - own @ own.T).abs().max() <= 0.005 + 1e-5  # two digits are printed


def test_p07_learns_and_is_right_on_unseen_sentences(
    run: Callable[..., list[str]], folder: Callable[[str], str]
) -> None:
    lines = run("p07_fine_tuning", folder("sentiment-bert-zh-en"), epochs=2)
    losses = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("epoch")]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.6
    assert sum(" right " in line for line in lines) == 4


def test_p07_unseen_sentences_are_unseen() -> None:
    from largemodels.training.programs import p07_fine_tuning as program

    seen = set(re.split(r"[|\n]", program.GOOD + "|" + program.BAD))
    assert len(seen) == 24 and not seen & set(program.UNSEEN)


def test_p07_schedule_rises_and_falls_in_straight_lines() -> None:
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=2.0)
    schedule = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=2, num_training_steps=6)
    rates = []
    for _ in range(7):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == [0, 1, 2, 1.5, 1, 0.5, 0]
