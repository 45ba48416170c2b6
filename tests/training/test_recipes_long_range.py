"""The measurements of memory and cost, in small: what they draw, that they learn, and what the written files say."""

import json
import statistics
from importlib import resources
from typing import Any

import pytest
import torch

from largemodels.training.recipes.long_range import ASK, SYMBOLS, WIDTHS, make, recall_accuracy, sequences


def measured(name: str) -> dict[str, Any]:
    return json.loads(resources.files("largemodels").joinpath(f"measurements/{name}.json").read_text("utf-8"))


def test_a_sequence_asks_for_its_first_token() -> None:
    ids, wanted = sequences(50, 7, torch.Generator().manual_seed(0))
    assert ids.shape == (50, 8)
    assert (ids[:, 0] == wanted).all()
    assert (ids[:, -1] == ASK).all()
    assert ((ids[:, 1:-1] >= SYMBOLS) & (ids[:, 1:-1] < ASK)).all()


def test_the_models_are_of_one_size() -> None:
    sizes = [sum(p.numel() for p in make(kind).parameters()) for kind in WIDTHS]
    assert max(sizes) < 1.1 * min(sizes)
    assert dict(zip(WIDTHS, sizes, strict=True)) == measured("recall")["parameters"]


@pytest.mark.parametrize("kind", ["RNN", "Transformer"])
def test_a_short_distance_is_learnt_again(kind: str) -> None:
    assert recall_accuracy(kind, 3, seed=1, steps=300) > 0.95


def test_far_back_the_recurrent_networks_guess_and_the_transformer_knows() -> None:
    found = measured("recall")
    near, far = ({kind: statistics.mean(rows[i]) for kind, rows in found["accuracy"].items()} for i in (0, -1))
    assert min(near.values()) > 0.95
    assert far["Transformer"] > 0.95
    assert max(far["RNN"], far["LSTM"]) < 2 * found["chance"]
