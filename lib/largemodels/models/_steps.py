"""What decoding rests on: checks, and beam search step by step, so that it can be watched."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Beam:
    """The new tokens of one candidate, the sum of their log-probabilities in nats, and what becomes of it."""

    tokens: tuple[int, ...]
    log_prob: float
    fate: str  # lives, ends, or dies


Ended = tuple[tuple[int, ...], float]  # the new tokens of a text, and its score


@dataclass(frozen=True)
class Step:
    """The candidates of one step and the best ended texts so far, each best first."""

    candidates: list[Beam]
    finished: list[Ended]


def beam_steps(
    log_probs: Callable[[Tensor], Tensor], ids: Tensor, max_new_tokens: int, *,
    num_beams: int, ends: Collection[int], length_penalty: float, early_stopping: bool | str,
) -> Iterator[Step]:  # fmt: skip
    """Yield step after step of the search that Transformers does; `ids` has shape `(1, T)`."""
    totals, start, finished = torch.zeros(1), ids.shape[1], list[Ended]()
    spare = max(2, 1 + len(ends)) * num_beams  # some go on even if the best ones end
    for length in range(1, max_new_tokens + 1):
        sums = totals[:, None] + log_probs(ids)  # (N, V)
        totals, places = sums.flatten().topk(min(spare, sums.numel()))  # (spare,)
        parents, tokens = places // sums.shape[1], places % sums.shape[1]
        ids = torch.cat([ids[parents], tokens[:, None]], dim=1)  # (spare, T + 1)
        ended = [length == max_new_tokens or token in ends for token in tokens.tolist()]
        fates = _fates(ended, num_beams)
        texts = [tuple(row) for row in ids[:, start:].tolist()]
        scores = (totals / length**length_penalty).tolist()
        new = [(texts[i], scores[i]) for i, fate in enumerate(fates) if fate == "ends"]
        finished = sorted(finished + new, key=lambda text: -text[1])[:num_beams]
        yield Step(list(map(Beam, texts, totals.tolist(), fates)), finished)
        living = [i for i, fate in enumerate(fates) if fate == "lives"]
        ids, totals = ids[living], totals[living]  # (N, T + 1), (N,)
        longest = max_new_tokens if early_stopping == "never" and length_penalty > 0 else length
        if not living or len(finished) == num_beams and (
            early_stopping is True or totals[0] / longest**length_penalty <= finished[-1][1]
        ):
            return


def _fates(ended: list[bool], num_beams: int) -> list[str]:
    """Say what becomes of candidates, best first: an ended one counts only among the first `num_beams`."""
    living = [i for i, end in enumerate(ended) if not end][:num_beams]
    return ["lives" if i in living else "ends" if end and i < num_beams else "dies" for i, end in enumerate(ended)]


def whole(value: int, name: str, low: int, high: int) -> int:
    """Return a setting, or refuse it if it is not a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value!r}; choose one of those")
    return value


def start(prompt: Sequence[int], max_new_tokens: int) -> Tensor:
    """Return the prompt as ids `(1, T)`."""
    whole(max_new_tokens, "max_new_tokens", 1, 10**6)
    if not len(prompt):
        raise ValueError("prompt must have at least 1 token, got 0; begin with one")
    return torch.tensor([list(prompt)])


def ask(next_logits: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
    """Return the logits `(N, V)`, or refuse another shape."""
    with torch.inference_mode():
        logits = next_logits(ids)
    if logits.ndim != 2 or len(logits) != len(ids):
        raise ValueError(
            f"next_logits must return shape (N, V) with N = {len(ids)}, got {tuple(logits.shape)}; "
            "take the last position, logits[:, -1]"
        )
    return logits


def until(tokens: list[int], ends: Collection[int]) -> list[int]:
    """Return the tokens up to the first end token, which stays."""
    length = next((i for i, token in enumerate(tokens, 1) if token in ends), len(tokens))
    return tokens[:length]
