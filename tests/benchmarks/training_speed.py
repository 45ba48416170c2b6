"""Print the pretraining throughput of `pretrain` beside a plain loop: same model, batches, optimizer and schedule.

The plain loop is what nanoGPT does: forward, backward, clip, step, nothing else. Both train the poetry GPT's sizes on
made-up rows, on one thread, in turns within one run; time counts once everything is set up and one step is taken.
Without a GPU it is processor time, which does not count what other programs take.
"""

import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from largemodels.training.pretraining import Batch, Batches, Settings, learning_rate, pretrain, uses_bfloat16

ROWS, LENGTH, VOCAB = 18, 66, 5_000  # about 1,200 tokens a step, as in the recipe of poem-gpt
ROUNDS, STEPS = 3, 12
NOW = time.perf_counter if torch.cuda.is_available() else time.process_time


def model() -> torch.nn.Module:
    """Return the poetry GPT, untrained, the same each time."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCAB, "n_layer": 4, "n_head": 7, "n_embd": 224, "n_positions": LENGTH}
    drops = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    net = GPT2LMHeadModel(GPT2Config(**sizes, **drops, bos_token_id=0, eos_token_id=0)).train()
    return net.to("cuda" if torch.cuda.is_available() else "cpu")


class Clock:
    """Hands out batches and notes when each was asked for."""

    def __init__(self) -> None:
        self.rows = torch.randint(VOCAB, (500, LENGTH), generator=torch.Generator().manual_seed(1))
        self.asked: list[float] = []

    def make(self, numbers: list[int], generator: torch.Generator) -> Batch:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.asked.append(NOW())
        ids = self.rows[numbers]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}

    def tokens_per_second(self) -> float:
        """Return the throughput between the third batch and the last; `Trainer` asks for two before the first step."""
        first, *_, last = self.asked[2:]
        return (len(self.asked) - 3) * ROWS * LENGTH / (last - first)


def settings() -> Settings:
    return Settings(steps=STEPS, lr=3e-4, warmup=5, log_every=10)


def ours() -> tuple[float, Tensor]:
    """Train with `pretrain`."""
    clock, net = Clock(), model()
    batches = Batches([(range(500), ROWS)], clock.make)
    quiet = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        pretrain(net, batches, settings(), Path(folder))
    return clock.tokens_per_second(), next(net.parameters()).detach()


def plain() -> tuple[float, Tensor]:
    """Train with a loop of our own: AdamW as Trainer sets it up, no decay on norms and biases."""
    clock, net, told = Clock(), model(), settings()
    batches = Batches([(range(500), ROWS)], clock.make)
    device = next(net.parameters()).device
    wide, thin = ([p for p in net.parameters() if (p.ndim > 1) == matrix] for matrix in (True, False))
    groups = [{"params": wide, "weight_decay": told.weight_decay}, {"params": thin, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=told.lr, fused=True)
    for step in range(told.steps):
        batch = {name: tensor.to(device) for name, tensor in batches[step].items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(told.precision)):
            loss = net(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), told.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, told)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return clock.tokens_per_second(), next(net.parameters()).detach()


def main() -> None:
    """Print tokens per second of both in each round, and the ratio of the medians."""
    torch.set_num_threads(1)
    speeds: dict[str, list[float]] = {"pretrain": [], "plain": []}
    for number in range(ROUNDS + 1):  # the first warms up and does not count
        weights = []
        for name, run in (("pretrain", ours), ("plain", plain))[:: 1 if number % 2 else -1]:
            speed, table = run()
            weights.append(table)
            if number:
                speeds[name].append(speed)
        gap = (weights[0] - weights[1]).abs().max().item()
        shown = ", ".join(f"{name} {values[-1]:,.0f}" for name, values in speeds.items() if values)
        print(f"round {number}: {shown or 'warm-up'} tokens/s; largest difference of the weights {gap:.1e}", flush=True)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = [one / other for one, other in zip(speeds["pretrain"], speeds["plain"], strict=True)]
    told = ", ".join(f"{name} {value:,.0f}" for name, value in medians.items())
    spread = f"from {min(ratios):.2f} to {max(ratios):.2f}"
    print(f"medians: {told} tokens/s; median ratio {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()
