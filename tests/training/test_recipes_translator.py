"""The translator's recipe on made-up sentences: splits, tokens, batches, a run that continues."""

import argparse
import gzip
import itertools
import json
from pathlib import Path

import pytest
import torch

from largemodels.training.recipes import sentence_pairs, translator
from largemodels.training.recipes.sentence_pairs import (
    END_ID,
    START_ID,
    TOKENS_PER_STEP,
    UNKNOWN_ID,
    Pair,
    bucketed_batches,
    build_source_tokenizer,
    numbered,
    plain_english,
    read_pairs,
    target_tokens,
    tidy_chinese,
)
from largemodels.transformer.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from largemodels.transformer.translation import Translator

NUMBERS = [("one", "一"), ("two", "二"), ("three", "三"), ("four", "四"), ("five", "五")]
PAIRS: list[Pair] = [
    (f"I have {a} cats and {b} dogs.", f"我有{x}只猫和{y}只狗。")
    for (a, x), (b, y) in itertools.product(NUMBERS, NUMBERS)
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "tatoeba-eng-cmn"
    folder.mkdir(parents=True)
    pairs = [*PAIRS, ("I have ONE cats and one dogs", "我有一只猫, 一只狗.")] * 4
    rows = [f"{english}\t{chinese}\n" for english, chinese in pairs]
    with gzip.open(folder / "eng-cmn-simplified.tsv.gz", "wt", encoding="utf-8") as file:
        file.writelines(rows)
    return tmp_path / "data"


def test_spellings_of_one_sentence_stay_together(data: Path) -> None:
    splits = read_pairs(data)
    assert sum(map(len, splits.values())) == 104
    plain = [{plain_english(english) for english, _ in pairs} for pairs in splits.values()]
    assert not plain[0] & (plain[1] | plain[2]) and not plain[1] & plain[2]
    assert plain_english("“Don’t go,” said TOM.") == "don't go said tom"


def test_chinese_is_spelt_one_way() -> None:
    assert tidy_chinese("你好, Tom Smith 在家吗?") == "你好，Tom Smith在家吗？"
    assert tidy_chinese(" 3.5 米高. ") == "3.5米高。"


def test_nothing_english_is_unknown_and_rare_characters_are() -> None:
    tokenizer = build_source_tokenizer([english for english, _ in PAIRS], vocab_size=300)
    assert tokenizer.decode(tokenizer.encode("Ünknown 词!").ids) == " ünknown 词!"
    tokens = target_tokens([*(chinese for _, chinese in PAIRS), "鲸"])
    ((source, target),) = numbered([("one dog", "一鲸。")], tokenizer, tokens)
    assert source[-1] == tokenizer.token_to_id("<end>") and tokenizer.token_to_id("<pad>") == 0
    assert target == [START_ID, tokens.index("一"), UNKNOWN_ID, tokens.index("。"), END_ID]


def test_batches_hold_every_pair_once_and_not_too_many_tokens() -> None:
    rows = [([5 + i] * (1 + i % 17), [START_ID, *[4] * (i % 23), END_ID]) for i in range(500)]
    seen: list[int] = []
    batches = bucketed_batches(rows, seed=0)
    while len(seen) < len(rows):
        source, target = next(batches)
        assert source.numel() + target.numel() <= TOKENS_PER_STEP
        seen += source[:, 0].tolist()
    assert sorted(seen) == [5 + i for i in range(500)]


def test_loss_skips_filler_and_unknown_targets() -> None:
    torch.manual_seed(0)
    model = EncoderDecoder(EncoderDecoderConfig(9, 11, n_embd=8, n_head=2, n_layer=1, n_hidden=12)).eval()
    source, target = torch.tensor([[5, 6, 1]]), torch.tensor([[START_ID, 7, UNKNOWN_ID, END_ID]])
    rows = model(source, target[:, :-1]).log_softmax(-1)[0]
    wanted = -(rows[0, 7] + rows[2, END_ID]) / 2
    padded_source, padded_target = torch.tensor([[5, 6, 1, 0, 0]]), torch.tensor([[*target[0].tolist(), 0, 0, 0]])
    for pair in ((source, target), (padded_source, padded_target)):
        assert translator.translation_loss(model, *pair).item() == pytest.approx(wanted.item(), abs=1e-5)


def test_a_run_learns_continues_and_is_written(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"n_embd": 16, "n_head": 2, "n_layer": 1, "n_hidden": 32, "dropout": 0.0, "norm_first": True}
    monkeypatch.setattr(translator, "SIZES", sizes)
    monkeypatch.setattr(translator, "SOURCE_VOCABULARY", 300)
    monkeypatch.setattr(translator, "WARM_UP_STEPS", 5)
    monkeypatch.setattr(sentence_pairs, "TOKENS_PER_STEP", 400)
    splits = read_pairs(data)
    splits["validation"] = splits["validation"] or splits["train"][:4]
    arguments = argparse.Namespace(out=tmp_path / "model", seconds=1.5, seed=0, state=tmp_path / "state.pt")
    translator.train_checkpoint(splits, arguments)
    first = torch.load(arguments.state, weights_only=True)["progress"]
    arguments.seconds = 3.0
    translator.train_checkpoint(splits, arguments)
    second = torch.load(arguments.state, weights_only=True)["progress"]
    assert second[0] > first[0] and second[2] == pytest.approx(3, abs=2)
    assert "steps" in json.loads((arguments.out / "config.json").read_text())["trained"]
    stored = Translator.from_checkpoint(arguments.out)
    report = translator.evaluate(stored, splits["train"][:6], "train")
    assert "6 references" in report and "beam 5: BLEU" in report
