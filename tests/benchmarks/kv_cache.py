"""Tokens per second on one thread, in one run: our decoder with and without the KV cache, and Transformers' `generate`.

    python tests/benchmarks/kv_cache.py [rounds]

The ways take turns, and the fastest round of each counts, so that a busy machine slows all of them alike. All write
the same tokens greedily, or the run stops.
"""

import functools
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from largemodels._checkpoints import SHIPPED
from largemodels.models.gpt_decoder import GptDecoder, greedy_continuation

NAMES = ("poem-gpt-zh", "shakespeare-gpt-en")
LENGTHS = (30, 60, 120, 240)
PROMPT, ROUNDS = 6, 5


def ways(name: str, ids: Tensor, new: int) -> dict[str, Callable[[], Tensor]]:
    """Return each way of writing `new` tokens after `ids`."""
    from transformers import GPT2LMHeadModel

    ours = GptDecoder.from_checkpoint(name)
    theirs = GPT2LMHeadModel.from_pretrained(SHIPPED / name, dtype=torch.float32).eval()
    how = {"max_new_tokens": new, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    return {
        "ours, cache": functools.partial(greedy_continuation, ours, ids, new),
        "ours, none": functools.partial(greedy_continuation, ours, ids, new, use_cache=False),
        "generate, cache": functools.partial(theirs.generate, ids, **how),
        "generate, none": functools.partial(theirs.generate, ids, **how, use_cache=False),
    }


def seconds(timed: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """Return the fastest round of each, all of which must give the same tokens."""
    best, wanted = dict.fromkeys(timed, float("inf")), None
    for _ in range(rounds):
        for name, write in timed.items():
            began = time.perf_counter()
            written = write()
            best[name] = min(best[name], time.perf_counter() - began)
            wanted = written if wanted is None else wanted
            if not torch.equal(written, wanted):
                raise SystemExit(f"{name} wrote other tokens than {next(iter(timed))}")
    return best


def main() -> None:
    """Print tokens per second and what they are as multiples of our loop without the cache and of `generate`."""
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    for name in NAMES:
        context = GptDecoder.from_checkpoint(name).config.context_length
        for new in (n for n in LENGTHS if n + PROMPT <= context):
            best = seconds(ways(name, torch.arange(7, 7 + PROMPT)[None], new), rounds)
            print(f"{name}, {PROMPT} + {new} tokens")
            for way, took in best.items():
                gain, beside = best["ours, none"] / took, best["generate, cache"] / took
                print(f"  {way:16} {new / took:7.0f} tokens/s   {gain:5.1f} × ours, none   {beside:5.2f} × generate")


if __name__ == "__main__":
    main()
