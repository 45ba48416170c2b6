"""The recipe of the digit nets on made-up digits: it learns, counts, writes a folder that opens, and a true card."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from largemodels._checkpoints import SHIPPED
from largemodels.foundations.mlp import Mlp
from largemodels.training.recipes import digits, digits_by_size


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data root with 10,000 pictures: a bright row whose height is the class."""
    g = np.random.default_rng(0)
    y = g.integers(0, 10, 10_000).astype(np.uint8)
    x = g.integers(0, 9, (10_000, 28, 28)).astype(np.uint8)
    x[np.arange(10_000), 4 + 2 * y] = 255
    (tmp_path / "mnist-10k").mkdir()
    np.savez(tmp_path / "mnist-10k" / "mnist10k.npz", x=x.reshape(-1, 784), y=y)
    return tmp_path


def test_digits_are_read_as_shares_of_ink(data: Path) -> None:
    images, targets = digits.read_digits(data)
    assert images.shape == (10_000, 28, 28) and targets.dtype == torch.int64
    assert images.min() == 0 and images.max() == 1


def test_splits_do_not_overlap() -> None:
    rows = [set(range(10_000)[part]) for part in digits.SPLITS.values()]
    assert [len(part) for part in rows] == [7000, 1000, 2000]
    assert len(set.union(*rows)) == 10_000


def test_distortions_are_small_different_and_repeatable() -> None:
    image = torch.zeros(1, 28, 28)
    image[:, 4:24, 12:16] = 1
    seen = digits.distort(image.expand(50, 28, 28), torch.Generator().manual_seed(1))
    again = digits.distort(image.expand(50, 28, 28), torch.Generator().manual_seed(1))
    assert torch.equal(seen, again) and not torch.equal(seen[0], seen[1])
    assert seen.min() >= 0 and seen.max() <= 1 + 1e-6
    ink = seen.sum((1, 2)) / image.sum()
    assert ((ink > 0.6) & (ink < 1.5)).all()


def test_a_checkpoint_is_trained_and_its_card_tells_what_it_does(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digits, "TRAINING", slice(0, 1_500))
    images, targets = digits.read_digits(data)
    folder = tmp_path / "net"
    options = argparse.Namespace(out=folder, epochs=2, lr=2e-3, seed=0)
    digits.train_checkpoint("mlp", images, targets, options)
    counts = digits.confusion(Mlp.from_checkpoint(folder), images[digits.TEST], targets[digits.TEST])
    card = (folder / "README.md").read_text("utf-8")
    assert int(counts.sum()) == 2000 and counts.trace() > 1000
    assert f"test: {int(counts.trace())} of 2000 right" in card
    assert "{{" not in card and "118,282 parameters" in card


def test_the_shipped_net_is_small_and_its_card_complete() -> None:
    folder = SHIPPED / "digits-mlp"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1 << 20
    card = (folder / "README.md").read_text("utf-8")
    assert "CC BY-SA 3.0" in card and "Seed 0" in card and "{{" not in card


@pytest.mark.parametrize("name", sorted(digits_by_size.MODELS))
def test_each_measured_model_learns(data: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits_by_size, "STEPS", 60)
    images, targets = digits.read_digits(data)
    x = images.flatten(1)
    answer, count = digits_by_size.MODELS[name](x[:100], targets[:100], seed=0)
    assert (answer(x[100:200]) == targets[100:200]).double().mean() > 0.8
    assert count == {"logistic": 7850, "mlp": 118_282}.get(name, count) > 784
