"""Train a GPT for a fixed time: learning rate and end follow the clock, threads follow measurement."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from largemodels.training._muon import Muon
from largemodels.training.recipes.character_gpt import next_token_loss

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel


def mixed_precision() -> torch.autocast | nullcontext:
    """bfloat16 autocast where the CPU has instructions for it, else nothing: emulated, it is slower than float32.

    Returns:
        A context manager.
    """
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast("cpu", torch.bfloat16) if has_bf16 else nullcontext()


def make_optimizers(model: "GPT2LMHeadModel", lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, norms and biases.

    Args:
        model: A GPT-2 language model.
        lr: Peak learning rate of both.

    Returns:
        The two optimizers; each group remembers its peak as `peak_lr`.
    """
    matrices = [p for p in model.transformer.h.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    return [Muon(matrices, lr=lr), adam]


@dataclass(frozen=True)
class Progress:
    """How far a run is: updates, tokens seen, wall-clock seconds."""

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.steps} steps, {self.tokens} tokens, {self.seconds:.0f} s"


class ThreadChoice:
    """Picks the faster thread count again and again, by measurement.

    On a machine that other processes use, two threads that wait for each other can be far slower than one.

    Args:
        period: Steps between measurements; each measures a few steps with every count.
    """

    def __init__(self, period: int = 100) -> None:
        self.counts = sorted({1, torch.get_num_threads()})
        self.period = period
        self.took = dict.fromkeys(self.counts, 0.0)

    def apply(self, step: int) -> int:
        """Set the thread count of a step.

        Args:
            step: Number of the step, from 0.

        Returns:
            The thread count now in force.
        """
        trial, repeat = divmod(step % self.period, 5)
        count = self.counts[trial] if trial < len(self.counts) else min(self.counts, key=self.took.__getitem__)
        if trial < len(self.counts) and repeat == 0:
            self.took[count] = 0.0
        if count != torch.get_num_threads():
            torch.set_num_threads(count)
        return count

    def record(self, step: int, count: int, seconds: float) -> None:
        """Add what a step took, if it belongs to a measurement.

        Args:
            step: Number of the step, from 0.
            count: Thread count it ran with.
            seconds: Its duration.
        """
        if step % self.period < 5 * len(self.counts):
            self.took[count] += seconds


def train_step(model: "GPT2LMHeadModel", ids: Tensor, ignored_id: int, optimizers: list, lr: float) -> float:
    """One update.

    Args:
        model: Trained in place.
        ids: `(B, T)` token ids.
        ignored_id: Token that is never a target.
        optimizers: From `make_optimizers`.
        lr: Learning rate of this step.

    Returns:
        Training loss before the update, nats per token.
    """
    with mixed_precision():
        loss = next_token_loss(model, ids, ignored_id)
    loss.backward()
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def train(
    model: "GPT2LMHeadModel",
    batches: Iterator[Tensor],
    seconds: float,
    ignored_id: int,
    lr: float = 4e-3,
    state: Path | None = None,
) -> Progress:
    """Train for a fixed time; the learning rate falls linearly to 0 with the clock, so it always ends on time.

    Args:
        model: Trained in place.
        batches: Endless `(B, T)` token ids.
        seconds: Wall-clock budget.
        ignored_id: Token that is never a target.
        lr: Peak learning rate, reached after 100 steps.
        state: File for weights and progress, written once a minute; if it exists, training continues from it with
            fresh momentum.

    Returns:
        Progress of the whole run, what came before `state` included.
    """
    done = Progress()
    if state and state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        done = Progress(**saved["done"])
    optimizers, threads, losses = make_optimizers(model, lr), ThreadChoice(), []
    first, began = done.steps, time.monotonic() - done.seconds
    saved_at = step_began = time.monotonic()
    while done.seconds < seconds:
        count = threads.apply(done.steps)
        ids = next(batches)
        scale = min(1.0, (done.steps - first + 1) / 100) * (1 - done.seconds / seconds)
        losses.append(train_step(model, ids, ignored_id, optimizers, lr * scale))
        now = time.monotonic()
        threads.record(done.steps, count, now - step_began)
        step_began = now
        done = Progress(done.steps + 1, done.tokens + ids.numel(), now - began)
        if done.steps % 100 == 0:
            report(done, losses, count)
            losses = []
        if state and now - saved_at > 60:
            torch.save({"model": model.state_dict(), "done": asdict(done)}, state)
            saved_at = now
    return done


def report(done: Progress, losses: list[float], threads: int) -> None:
    """Print one line of the learning curve.

    Args:
        done: Progress so far.
        losses: Training losses since the last line, nats per token.
        threads: Thread count in use.
    """
    speed = done.tokens / done.seconds
    loss = sum(losses) / len(losses)
    line = f"step {done.steps:6d}  {done.seconds:6.0f} s  {speed:6.0f} tokens/s on {threads}  loss {loss:.3f}"
    print(line, flush=True)
