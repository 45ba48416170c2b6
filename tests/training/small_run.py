"""A run small enough for tests, as a program: `python small_run.py FOLDER [--kill-at N] [--accumulate N]`."""

import argparse
import os
import signal
from pathlib import Path

import torch

from largemodels.training.pretraining import Batch, Batches, Settings, pretrain

STEPS, VOCAB, ROWS = 6, 23, 11


def model():
    """Return an untrained GPT-2, the same each time."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(5)
    sizes = {"vocab_size": VOCAB, "n_layer": 2, "n_head": 3, "n_embd": 12, "n_positions": 9}
    drops = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **drops, bos_token_id=0, eos_token_id=0))


def batches(kill_at: int | None = None) -> Batches:
    """Return rows of two lengths; the first tokens are drawn by the batch's own generator, as masks would be."""
    rows = torch.randint(VOCAB, (ROWS, 9), generator=torch.Generator().manual_seed(8))
    asked = 0

    def make(numbers: list[int], generator: torch.Generator) -> Batch:
        nonlocal asked
        asked += 1
        if asked == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        ids = rows[numbers][:, : 9 if numbers[0] < 6 else 7].clone()
        ids[:, 0] = torch.randint(VOCAB, (len(numbers),), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}

    return Batches([(range(6), 2), (range(6, ROWS), 3)], make, seed=1)


def run(folder: Path, kill_at: int | None = None, **settings: object):
    """Train and return the model and the report."""
    trained = model()
    chosen = {"steps": STEPS, "lr": 1e-2, "warmup": 2, "log_every": 1, "save_every": 2, **settings}
    return trained, pretrain(trained, batches(kill_at), Settings(**chosen), folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--accumulate", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    finished, _ = run(given.folder, given.kill_at, accumulate=given.accumulate)
    if int(os.environ.get("RANK", "0")) == 0:
        torch.save(finished.state_dict(), given.folder / "weights.pt")
