"""The frozen encoder with few labels: vectors in the order of the texts, a linear head, a fair draw."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from largemodels.models.bert import Bert
from largemodels.training.recipes import few_labels, reviews

GOOD, BAD = ("味道好", "送得快", "很满意", "好吃"), ("味道差", "送得慢", "不满意", "难吃")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"text": f"{word}，第{n}次点", "label": label}
            for label, words in ((1, GOOD), (0, BAD)) for word in words for n in range(12)]  # fmt: skip
    for name in reviews.CHINESE_SOURCES.values():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        lines = rows if "waimai" in name else [{"text": "房间干净", "label": 1}]
        (tmp_path / name).write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    (tmp_path / "sst2").mkdir()
    for part in ("train", "dev", "test"):
        (tmp_path / "sst2" / f"{part}.tsv.gz").write_bytes(gzip.compress(b"sentence\tlabel\nfine\t1\n"))
    return tmp_path


def test_vectors_keep_the_order_and_carry_the_prefix() -> None:
    bert, texts = Bert.from_pretrained("sentiment-bert-zh-en"), ["好", "not bad at all", "送得很慢，汤也洒了。"]
    expected = torch.cat([bert.encode([f"query: {text}"]) for text in texts])
    bert.prefix = "query: "
    torch.testing.assert_close(few_labels.vectors(bert, texts), expected, rtol=0, atol=1e-5)


def test_a_dimension_in_which_all_are_equal_does_no_harm() -> None:
    labels = [0, 1] * 10
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) / 10
    points[:, 0] += torch.tensor(labels)
    points[:, 2] = 7.0
    assert few_labels.frozen_accuracy((points, labels), (points, labels)) == 1.0


def test_both_are_taught_with_the_same_reviews(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frozen, tfidf = few_labels.measure("sentiment-bert-zh-en", data, labels=30, draws=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("draw 0, 30 labels: frozen sentiment-bert-zh-en ")
    assert f"frozen sentiment-bert-zh-en {frozen:.3f}, TF-IDF {tfidf:.3f}" in lines[2]
    assert frozen >= 0.9
