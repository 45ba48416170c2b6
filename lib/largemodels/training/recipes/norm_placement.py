"""Train the same small Transformer with and without residual connections and layer normalisation, and measure.

    largemodels train norm-placement --out lib/largemodels/measurements

writes `norm_placement.json`: gradient norms by layer before training, and losses for several learning rates. The task
is to write eight random symbols in reverse order; guessing costs ln 8 = 2.08 nats. Two minutes on one core.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from largemodels.transformer.attention import scaled_dot_product_attention
from largemodels.transformer.layer_norm import layer_norm, post_norm, pre_norm
from largemodels.transformer.positional_encoding import positional_encoding
from largemodels.transformer.residual import residual

Branch = Callable[[Tensor], Tensor]
JOINS: dict[str, Callable[[Tensor, Branch], Tensor]] = {
    "neither": lambda x, branch: branch(x),
    "residual only": residual,
    "norm only": lambda x, branch: layer_norm(branch(x)),
    "post-norm": post_norm,
    "pre-norm": pre_norm,
}
SYMBOLS, T, C, LAYERS = 8, 8, 32, 6  # each layer is an attention and a feed-forward branch
RATES, SEEDS = (1e-3, 3e-3, 1e-2), 2
WARMUPS = {"post-norm": (0, 50), "pre-norm": (0, 50)}  # in steps; the others are trained without
STEPS, BATCH, EVERY = 200, 32, 10  # a point of a loss curve is the mean of this many steps


def parameters(seed: int) -> list[Tensor]:
    """Draw all weights: normal, with variance one over the number of inputs; every placement starts from the same.

    Args:
        seed: of the random numbers.

    Returns:
        Embedding `(SYMBOLS, C)`, then for each layer `(C, 3C)`, `(C, C)`, `(C, 2C)`, `(2C, C)`, and `(C, SYMBOLS)`.
    """
    g = torch.Generator().manual_seed(seed)
    shapes = [(C, 3 * C), (C, C), (C, 2 * C), (2 * C, C)] * LAYERS + [(C, SYMBOLS)]
    drawn = [torch.randn(SYMBOLS, C, generator=g)] + [torch.randn(*s, generator=g) / s[0] ** 0.5 for s in shapes]
    return [weight.requires_grad_() for weight in drawn]


def logits(ids: Tensor, params: list[Tensor], placement: str) -> Tensor:
    """Run the network.

    Args:
        ids: symbols, shape `(B, T)`.
        params: what `parameters` returned.
        placement: a key of `JOINS`.

    Returns:
        Scores of each symbol at each place, shape `(B, T, SYMBOLS)`.
    """
    join, x = JOINS[placement], params[0][ids] + positional_encoding(T, C)  # (B, T, C)
    for layer in range(LAYERS):
        qkv, out, up, down = params[1 + 4 * layer : 5 + 4 * layer]

        def attend(state: Tensor, qkv: Tensor = qkv, out: Tensor = out) -> Tensor:
            return scaled_dot_product_attention(*(state @ qkv).chunk(3, dim=-1))[0] @ out

        def feed(state: Tensor, up: Tensor = up, down: Tensor = down) -> Tensor:
            return torch.relu(state @ up) @ down

        x = join(join(x, attend), feed)
    return (layer_norm(x) if placement == "pre-norm" else x) @ params[-1]


def batch_loss(params: list[Tensor], placement: str, generator: torch.Generator) -> Tensor:
    """Return the mean loss, in nats per symbol, on fresh sequences."""
    ids = torch.randint(SYMBOLS, (BATCH, T), generator=generator)
    return F.cross_entropy(logits(ids, params, placement).flatten(0, 1), ids.flip(1).flatten())


def gradient_norms(placement: str) -> list[float]:
    """Return the gradient norm of each layer's last weight matrix before training, averaged over the seeds."""
    norms = torch.zeros(LAYERS)
    for seed in range(SEEDS):
        params = parameters(seed)
        loss = batch_loss(params, placement, torch.Generator().manual_seed(100 + seed))
        found = torch.autograd.grad(loss, params[4:-1:4])
        norms += torch.stack([gradient.norm() for gradient in found]) / SEEDS
    return [float(f"{norm:.3g}") for norm in norms.tolist()]


def train(placement: str, lr: float, warmup: int, seed: int, steps: int = STEPS) -> list[float]:
    """Train with Adam and return the loss curve.

    Args:
        placement: a key of `JOINS`.
        lr: learning rate after the warm-up.
        warmup: steps over which the learning rate rises from near 0.
        seed: of the parameters and of the data.
        steps: number of steps, a multiple of `EVERY`.

    Returns:
        Means over `EVERY` steps each, in nats per symbol; infinite where training broke down.
    """
    params, generator = parameters(seed), torch.Generator().manual_seed(100 + seed)
    optimizer, losses = torch.optim.Adam(params, lr=lr), []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / (warmup + 1))
        optimizer.zero_grad()
        loss = batch_loss(params, placement, generator)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    means = [sum(losses[i : i + EVERY]) / EVERY for i in range(0, steps, EVERY)]
    return [round(mean, 3) if math.isfinite(mean) else math.inf for mean in means]


def measure() -> dict[str, Any]:
    """Return gradient norms and loss curves of every placement."""
    found: dict[str, Any] = {
        "layers": LAYERS, "width": C, "length": T, "symbols": SYMBOLS, "steps": STEPS, "every": EVERY, "seeds": SEEDS,
        "guessing": round(math.log(SYMBOLS), 3), "rates": RATES, "gradients": {}, "losses": {},
    }  # fmt: skip
    for placement in JOINS:
        found["gradients"][placement] = gradient_norms(placement)
        print(f"{placement:14} gradients {found['gradients'][placement]}", flush=True)
        found["losses"][placement] = {}
        for warmup in WARMUPS.get(placement, (0,)):
            for lr in RATES:
                runs = [train(placement, lr, warmup, seed) for seed in range(SEEDS)]
                found["losses"][placement][f"{lr:g}/{warmup}"] = runs
                print(f"{placement:14} lr {lr:g} warm-up {warmup:3}: {[run[-1] for run in runs]}", flush=True)
    return found


def main() -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    found = json.dumps(measure())
    (out / "norm_placement.json").write_text(found + "\n", "utf-8")


if __name__ == "__main__":
    main()
