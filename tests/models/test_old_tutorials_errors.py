"""Old lines that stop: every row of the page's tables is run, the old line and today's, and the message compared."""

import importlib.util
import logging
import os
import re
import tempfile
from pathlib import Path
from unittest import mock

import pytest
import torch

from concepts import LANGUAGES, ROOT, report
from offline import offline
from page import read

SPAN = re.compile(r"`([^`]+)`")
ERROR = re.compile(r"[A-Z]\w*Error: ")
NO_MESSAGE = "—"
PATHS = {language: ROOT / "docs" / language / "models" / "old_tutorials_errors.md" for language in LANGUAGES}


def rows(text: str) -> list[tuple[str, list[str], list[str], list[str]]]:
    """Take the tables apart: section, old lines, what they end with, lines of today.

    A table of two columns has its messages in the paragraph above it.
    """
    found, section, messages = [], "", []
    for line in text.splitlines():
        if heading := re.match(r"#+ .*\{ #([\w-]+) \}", line):
            section, messages = heading[1], []
        elif not line.startswith("|"):
            messages = [span for span in SPAN.findall(line) if ERROR.match(span)] or messages
        elif line.startswith("| `"):
            old, *middle, today = line.strip("| ").split(" | ")
            ends = SPAN.findall(middle[0]) if middle else messages
            found.append((section, SPAN.findall(old), ends, SPAN.findall(today)))
    return found


ROWS = rows(PATHS["en"].read_text("utf-8"))
STOPS = [(old, ends) for section, olds, ends, _ in ROWS if section != "deprecated" for old in olds]
WORKS = [(old, ends) for section, olds, ends, _ in ROWS if section == "deprecated" for old in olds]
TODAY = sorted({line for *_, lines in ROWS for line in lines})


def matches(message: str, patterns: list[str]) -> bool:
    """Whether a message begins as one of the patterns does; … stands for anything."""
    forms = (".*".join(map(re.escape, pattern.split("…"))) for pattern in patterns)
    return any(re.match(form, message, re.S) for form in forms)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """The names that the page's first lines make; their folder goes with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    namespace: dict[str, object] = {}
    exec(read(PATHS["en"]).fences[0].code, namespace)  # noqa: S102 - running the page is the test
    return namespace


def run(line: str, namespace: dict[str, object]) -> None:
    """Run one cell, without a network, and leave the environment as it was."""
    with offline(), mock.patch.dict(os.environ):
        exec(line, namespace)  # noqa: S102


@pytest.mark.parametrize(("old", "ends"), STOPS, ids=lambda value: value if isinstance(value, str) else "")
def test_an_old_line_stops_with_the_message_shown(old: str, ends: list[str], start: dict[str, object]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011, B017 - which one is compared below
        run(old, start)
    message = f"{type(caught.value).__name__}: {caught.value}"
    assert ends and matches(message, ends), f"the page says {ends}, the line ends with {message[:200]}"


@pytest.mark.parametrize("line", TODAY)
def test_todays_line_runs(line: str, start: dict[str, object]) -> None:
    run(line, start)


@pytest.mark.parametrize(("old", "ends"), WORKS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_line_that_still_works_warns_as_shown(old: str, ends: list[str], start: dict[str, object]) -> None:
    from transformers.utils import logging as theirs

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    theirs.warning_once.cache_clear()
    theirs.add_handler(handler)
    run(old, start)
    theirs.remove_handler(handler)
    assert any(matches(text, ends) for text in said) if ends else not said


def test_both_languages_have_the_same_rows() -> None:
    assert rows(PATHS["zh"].read_text("utf-8")) == ROWS
    assert len(STOPS) >= 60 and len(WORKS) >= 6


def test_no_row_names_two_lines_with_one_span() -> None:
    counts = [old for _, olds, _, _ in ROWS for old in olds]
    report([f"{old}: twice" for old in sorted(set(counts)) if counts.count(old) > 1])


def test_a_wrong_message_would_be_found() -> None:
    assert matches("KeyError: 'The task x has been removed.'", ["KeyError: 'The task … has been removed"])
    assert not matches("KeyError: 'The task x has been moved.'", ["KeyError: 'The task … has been removed"])
    assert not matches("TypeError: no", ["KeyError: no"])
    table = "## A { #a }\n\nEnds with `TypeError: …`.\n\n| Old | Today |\n| --- | --- |\n| `f(x)` `g(x)` | `h(x)` |\n"
    assert rows(table) == [("a", ["f(x)", "g(x)"], ["TypeError: …"], ["h(x)"])]


def test_m12_pytorchs_adamw_decays_weights_by_default() -> None:
    with pytest.raises(ImportError, match="cannot import name 'AdamW' from 'transformers'"):
        from transformers import AdamW  # noqa: F401
    with pytest.raises(TypeError, match="unexpected keyword argument 'correct_bias'"):
        torch.optim.AdamW([torch.zeros(1)], correct_bias=False)  # type: ignore[call-arg]
    for decay, left in ((None, 1 - 0.1 * 0.01), (0.0, 1.0)):
        weight = torch.ones(3, requires_grad=True)
        optimizer = torch.optim.AdamW([weight], lr=0.1, **({} if decay is None else {"weight_decay": decay}))
        weight.grad = torch.zeros(3)  # no gradient: what moves is the decay alone
        optimizer.step()
        assert torch.allclose(weight, torch.full((3,), left), atol=1e-7)
    assert torch.optim.AdamW([weight]).defaults["eps"] == 1e-8


def test_m13_padding_needs_a_token_in_tokenizer_and_model() -> None:
    from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2Tokenizer

    tokenizer = GPT2Tokenizer(vocab={"a": 0, "b": 1, "<|endoftext|>": 2}, merges=[])
    config = GPT2Config(vocab_size=3, n_embd=8, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=2)
    judge = GPT2ForSequenceClassification(config).eval()
    with pytest.raises(ValueError, match="Asking to pad but the tokenizer does not have a padding token"):
        tokenizer(["a", "ab"], padding=True)
    tokenizer.pad_token = tokenizer.eos_token
    batch = tokenizer(["a", "ab"], padding=True, return_tensors="pt")
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]]
    with pytest.raises(ValueError, match="Cannot handle batch sizes > 1 if no padding token is defined"):
        judge(**batch)
    judge.config.pad_token_id = tokenizer.pad_token_id
    alone = judge(**tokenizer(["a"], return_tensors="pt")).logits
    assert torch.allclose(judge(**batch).logits[:1], alone, atol=1e-6)  # the filler changes nothing


def test_the_tokenizer_still_swallows_use_auth_token(start: dict[str, object]) -> None:
    from transformers import AutoTokenizer

    folder = str(start["folder"])
    start["tok"].save_pretrained(folder)  # type: ignore[attr-defined]
    swallowed = {"use_auth_token": "hf_…"}
    assert AutoTokenizer.from_pretrained(folder, **swallowed).tokenize("the cats") == ["the", "cat", "##s"]


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_quantisation_says_what_it_needs(start: dict[str, object]) -> None:
    from transformers import BertModel, BitsAndBytesConfig

    with pytest.raises(ImportError, match="requires bitsandbytes"):
        BertModel.from_pretrained(start["folder"], quantization_config=BitsAndBytesConfig(load_in_8bit=True))
