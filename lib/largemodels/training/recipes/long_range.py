"""Measure how far an RNN, an LSTM and a Transformer remember, and what a longer sequence costs each of them.

    largemodels train long-range --out lib/largemodels/measurements

writes `recall.json` (accuracy against distance, trained from scratch, means of several seeds) and `step_time.json`
(seconds of one training step and bytes kept for its backward pass, against length).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from largemodels.transformer.attention import scaled_dot_product_attention
from largemodels.transformer.positional_encoding import positional_encoding

SYMBOLS, NOISE = 8, 8  # what is to be remembered, and what stands between; one more token asks
ASK = SYMBOLS + NOISE
DISTANCES = (5, 10, 20, 40, 80)
LENGTHS = (16, 32, 64, 128, 256, 512, 1024)
WIDTHS = {"RNN": 64, "LSTM": 32, "Transformer": 32}  # about as many parameters each
LR = {"RNN": 2e-3, "LSTM": 5e-3, "Transformer": 2e-3}  # the better of these two for each at distance 10 or 20
STEPS, BATCH, SEEDS = 1000, 32, 3
SOLVED = 0.02  # nats; training ends early when the mean loss of 50 steps is below
TEST_SEQUENCES = 1000


class Recurrent(nn.Module):
    """Embedding, one recurrent layer, and a linear layer on its last state."""

    def __init__(self, layer: Callable[..., nn.Module], C: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ASK + 1, C)
        self.layer = layer(C, C, batch_first=True)
        self.head = nn.Linear(C, SYMBOLS)
        if layer is nn.LSTM:  # forget gates open at first: Jozefowicz et al. 2015
            with torch.no_grad():
                self.layer.bias_ih_l0[C : 2 * C] = 1.0  # type: ignore[operator]

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits `(B, SYMBOLS)` for token ids `(B, T)`."""
        states, _ = self.layer(self.embedding(ids))  # (B, T, C)
        return self.head(states[:, -1])


class Attentive(nn.Module):
    """Embedding and sinusoidal positions, one pre-norm Transformer layer, and a linear layer on its last position."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ASK + 1, C)
        self.layer = nn.TransformerEncoderLayer(C, 4, 2 * C, dropout=0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(C, SYMBOLS)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits `(B, SYMBOLS)` for token ids `(B, T)`."""
        C = self.embedding.embedding_dim
        x = self.embedding(ids) + positional_encoding(ids.shape[1], C)  # (B, T, C)
        return self.head(self.layer(x)[:, -1])


def make(kind: str) -> nn.Module:
    """Return an untrained model.

    Args:
        kind: "RNN", "LSTM" or "Transformer".

    Returns:
        A module from token ids `(B, T)` to logits `(B, SYMBOLS)`.
    """
    C = WIDTHS[kind]
    return {"RNN": lambda: Recurrent(nn.RNN, C), "LSTM": lambda: Recurrent(nn.LSTM, C)}.get(
        kind, lambda: Attentive(C)
    )()


def sequences(count: int, distance: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw sequences whose first token is to be named at the end.

    Args:
        count: how many (B).
        distance: tokens from the first to the one that asks; `T = distance + 1`.
        generator: where the random numbers come from.

    Returns:
        Token ids, shape `(B, T)`, and the first token of each, shape `(B,)`.
    """
    first = torch.randint(SYMBOLS, (count, 1), generator=generator)
    between = torch.randint(SYMBOLS, ASK, (count, distance - 1), generator=generator)
    return torch.cat([first, between, torch.full((count, 1), ASK)], dim=1), first[:, 0]


def recall_accuracy(kind: str, distance: int, seed: int, steps: int = STEPS) -> float:
    """Train a model on one distance and test it on sequences that it has not seen.

    Args:
        kind: "RNN", "LSTM" or "Transformer".
        distance: tokens from the one to be remembered to the one that asks.
        seed: of the parameters and of the data.
        steps: updates at most, each on `BATCH` fresh sequences.

    Returns:
        Fraction of `TEST_SEQUENCES` answered rightly; guessing gives `1 / SYMBOLS`.
    """
    torch.manual_seed(seed)
    generator, model = torch.Generator().manual_seed(1000 + seed), make(kind)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=LR[kind]), []
    for _ in range(steps):
        ids, wanted = sequences(BATCH, distance, generator)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(ids), wanted)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if len(losses) >= 50 and statistics.mean(losses[-50:]) < SOLVED:
            break
    ids, wanted = sequences(TEST_SEQUENCES, distance, torch.Generator().manual_seed(9))
    with torch.no_grad():
        return (model(ids).argmax(-1) == wanted).float().mean().item()


def layers(C: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return one layer of each kind, from `(B, T, C)` to `(B, T, C)`; attention both written out and fused."""
    rnn, lstm = nn.RNN(C, C, batch_first=True), nn.LSTM(C, C, batch_first=True)
    project, out = nn.Linear(C, 3 * C), nn.Linear(C, C)

    def attend(x: Tensor, mix: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        q, k, v = project(x).unflatten(-1, (3, 4, C // 4)).permute(2, 0, 3, 1, 4)  # each (B, 4, T, C / 4)
        return out(mix(q, k, v).transpose(1, 2).flatten(2))

    return {
        "RNN": lambda x: rnn(x)[0],
        "LSTM": lambda x: lstm(x)[0],
        "attention": lambda x: attend(x, lambda q, k, v: scaled_dot_product_attention(q, k, v)[0]),
        "fused attention": lambda x: attend(x, F.scaled_dot_product_attention),
    }


def step_cost(layer: Callable[[Tensor], Tensor], T: int, C: int, repeats: int = 15) -> tuple[float, int]:
    """Measure one forward and backward pass over a batch of 2 sequences.

    Args:
        layer: from `(B, T, C)` to `(B, T, C)`.
        T: length, in tokens.
        C: width.
        repeats: passes; the fastest counts, since whatever else the machine does only makes a pass slower.

    Returns:
        Seconds of the fastest pass, and bytes of the distinct tensors that autograd keeps between the two passes.
    """
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = torch.randn(2, T, C, generator=torch.Generator().manual_seed(T), requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(x).sum().backward()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        layer(x).sum().backward()
        times.append(time.perf_counter() - began)
    return min(times), sum(kept.values())


def measure_recall() -> dict[str, Any]:
    """Return accuracy against distance for the three models."""
    found: dict[str, Any] = {
        "distances": DISTANCES, "chance": 1 / SYMBOLS, "steps": STEPS, "batch": BATCH, "lr": LR, "seeds": SEEDS,
        "parameters": {kind: sum(p.numel() for p in make(kind).parameters()) for kind in WIDTHS}, "accuracy": {},
    }  # fmt: skip
    for kind in WIDTHS:
        found["accuracy"][kind] = []
        for distance in DISTANCES:
            runs = [recall_accuracy(kind, distance, seed) for seed in range(SEEDS)]
            found["accuracy"][kind].append([round(run, 3) for run in runs])
            print(f"{kind:12} distance {distance:4}: {statistics.mean(runs):.3f}  {runs}", flush=True)
    return found


def measure_cost(C: int = 64) -> dict[str, Any]:
    """Return milliseconds and bytes of one training step against length for the four layers."""
    torch.manual_seed(0)
    found: dict[str, Any] = {"lengths": LENGTHS, "width": C, "batch": 2, "milliseconds": {}, "kilobytes": {}}
    for name, layer in layers(C).items():
        costs = [step_cost(layer, T, C) for T in LENGTHS]
        found["milliseconds"][name] = [round(1000 * seconds, 2) for seconds, _ in costs]
        found["kilobytes"][name] = [round(kept / 1024) for _, kept in costs]
        print(f"{name:16} ms {found['milliseconds'][name]}  kB {found['kilobytes'][name]}", flush=True)
    return found


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON files")
    parser.add_argument("--only", choices=("recall", "step_time"), help="measure one of the two")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, measure in {"recall": measure_recall, "step_time": measure_cost}.items():
        if options.only in (None, name):
            (options.out / f"{name}.json").write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
