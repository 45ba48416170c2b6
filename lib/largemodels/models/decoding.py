r"""Decoding: from a function that gives the next token's logits to the tokens themselves.

Four pure filters bend the logits; greedy search, sampling and beam search choose. They ask for one thing only: a
callable from token ids `(N, T)` to the next token's logits `(N, V)`, such as `lambda ids: model(ids).logits[:, -1]`.

Source: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020, https://arxiv.org/abs/1904.09751.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from largemodels.models import _steps

NextLogits = Callable[[Tensor], Tensor]


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    r"""Divide the logits by the temperature: below 1 the favourites win more often.

    Source: Ackley, Hinton and Sejnowski, "A Learning Algorithm for Boltzmann Machines", 1985,
    https://doi.org/10.1207/s15516709cog0901_7; as used here: Holtzman et al., 2020,
    https://arxiv.org/abs/1904.09751, equation (4).

    Args:
        logits: shape `(..., V)`.
        temperature: above 0.

    Returns:
        Logits, shape `(..., V)`.

    Raises:
        ValueError: if `temperature` is not a finite number above 0.

    Examples:
        >>> apply_temperature(torch.tensor([2.0, 0.0, -1.0]), 0.5)
        tensor([ 4.,  0., -2.])
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be above 0 and finite, got {temperature}; for greedy use do_sample=False")
    return logits / temperature


def top_k_filter(logits: Tensor, top_k: int) -> Tensor:
    """Keep the `top_k` largest logits and forbid the rest.

    Source: Fan, Lewis and Dauphin, "Hierarchical Neural Story Generation", 2018,
    https://arxiv.org/abs/1805.04833, section 5.

    Args:
        logits: shape `(..., V)`.
        top_k: number of tokens, from 1 to `V`. Tokens that tie with the last one stay too.

    Returns:
        Logits, shape `(..., V)`, -inf where forbidden.

    Raises:
        ValueError: if `top_k` is not a whole number from 1 to `V`.

    Examples:
        >>> top_k_filter(torch.tensor([1.0, 4.0, 2.0]), 2)
        tensor([-inf, 4., 2.])
    """
    V = logits.shape[-1]
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= V:
        raise ValueError(f"top_k must be a whole number from 1 to V = {V}, got {top_k}; use None to switch it off")
    least = logits.topk(top_k, dim=-1).values[..., -1:]  # (..., 1)
    return logits.masked_fill(logits < least, float("-inf"))


def top_p_filter(logits: Tensor, top_p: float) -> Tensor:
    r"""Keep the fewest tokens that have probability `top_p` together, and forbid the rest.

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020,
    https://arxiv.org/abs/1904.09751, equations (2) and (3).
    Differs from the paper: the kept logits are returned; the softmax after this rescales them.

    Args:
        logits: shape `(..., V)`.
        top_p: fraction above 0, at most 1. The most probable token always stays.

    Returns:
        Logits, shape `(..., V)`, -inf where forbidden.

    Raises:
        ValueError: if `top_p` is not above 0 and at most 1.

    Examples:
        >>> probs = torch.tensor([0.1, 0.6, 0.3])
        >>> top_p_filter(probs.log(), 0.8).softmax(-1)
        tensor([0.0000, 0.6667, 0.3333])
    """
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}; use 1 to switch it off")
    if top_p == 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    probs = ordered.softmax(-1)
    enough = probs.cumsum(-1) - probs >= top_p  # what stands before it already adds up to top_p
    enough[..., 0] = False
    return logits.masked_fill(enough.scatter(-1, order, enough), float("-inf"))


def penalise_repetition(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Make tokens that have occurred less likely: divide the logit, or multiply a negative.

    Source: Keskar et al., "CTRL", 2019, https://arxiv.org/abs/1909.05858, section 4.1.
    Differs from the paper: a negative logit is multiplied; dividing it would make the token *more* likely.

    Args:
        logits: shape `(..., V)`.
        ids: the tokens so far, shape `(..., T)`.
        penalty: 1 changes nothing; the paper uses about 1.2.

    Returns:
        Logits, shape `(..., V)`.

    Raises:
        ValueError: if `penalty` is not a finite number above 0.

    Examples:
        >>> penalise_repetition(torch.tensor([3.0, -3.0, 3.0]), torch.tensor([0, 1]), 1.5)
        tensor([ 2.0000, -4.5000,  3.0000])
    """
    if not 0 < penalty < math.inf:
        raise ValueError(f"repetition_penalty must be above 0 and finite, got {penalty}; 1 switches it off")
    seen = logits.gather(-1, ids)  # (..., T)
    return logits.scatter(-1, ids, torch.where(seen < 0, seen * penalty, seen / penalty))


def bend(
    logits: Tensor, ids: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0,
    repetition_penalty: float = 1.0,
) -> Tensor:  # fmt: skip
    """Apply the four filters in the order of Transformers: the repetition penalty first.

    Then come the temperature, top-k and top-p.

    Args:
        logits: shape `(..., V)`.
        ids: the tokens so far, shape `(..., T)`.
        temperature: above 0; 1 switches it off.
        top_k: from 1 to `V`; None switches it off.
        top_p: fraction above 0, at most 1; 1 switches it off.
        repetition_penalty: above 0; 1 switches it off.

    Returns:
        Logits to draw from, shape `(..., V)`.

    Raises:
        ValueError: if a number is out of range.

    Examples:
        >>> bend(torch.tensor([4.0, 3.0, 1.0]), torch.tensor([0]), top_k=2, repetition_penalty=2.0)
        tensor([2., 3., -inf])
    """
    logits = apply_temperature(penalise_repetition(logits, ids, repetition_penalty), temperature)
    return top_p_filter(logits if top_k is None else top_k_filter(logits, top_k), top_p)


def greedy(
    next_logits: NextLogits,
    prompt: Sequence[int],
    max_new_tokens: int,
    *,
    ends: Collection[int] = (),
    repetition_penalty: float = 1.0,
) -> list[int]:
    """Take the most probable token at every step.

    Args:
        next_logits: from ids `(N, T)` to the next token's logits `(N, V)`.
        prompt: ids to begin with, at least one.
        max_new_tokens: how many to write at most, the prompt not counted.
        ends: ids after which nothing is written.
        repetition_penalty: above 0; 1 switches it off.

    Returns:
        The new ids, with the end token if one came.

    Raises:
        ValueError: if the prompt is empty, a number is out of range, or the logits have a wrong shape.

    Examples:
        >>> greedy(lambda ids: torch.eye(5)[(ids[:, -1] + 1) % 5], [1, 2], max_new_tokens=4, ends={0})
        [3, 4, 0]
    """
    ids = _steps.start(prompt, max_new_tokens)  # (1, T)
    for _ in range(max_new_tokens):
        logits = penalise_repetition(_steps.ask(next_logits, ids), ids, repetition_penalty)  # (1, V)
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
        if int(ids[0, -1]) in ends:
            break
    return ids[0, len(prompt) :].tolist()


def sample(
    next_logits: NextLogits,
    prompt: Sequence[int],
    max_new_tokens: int,
    *,
    ends: Collection[int] = (),
    seed: int = 0,
    num_return_sequences: int = 1,
    **filters: Any,
) -> list[list[int]]:
    """Draw every token at random, by the probabilities that the filters leave.

    Source: Holtzman et al., 2020, https://arxiv.org/abs/1904.09751, section 3.

    Args:
        next_logits: from ids `(N, T)` to the next token's logits `(N, V)`.
        prompt: ids to begin with, at least one.
        max_new_tokens: how many to write at most, the prompt not counted.
        ends: ids after which nothing is written.
        seed: where the draws start; no global state is touched.
        num_return_sequences: how many to draw, all at once.
        **filters: temperature, top_k, top_p, repetition_penalty, as for `bend`.

    Returns:
        The new ids of each sequence, with the end token if one came.

    Raises:
        ValueError: if the prompt is empty, a number is out of range, or the logits have a wrong shape.

    Examples:
        >>> sample(lambda ids: torch.eye(5)[(ids[:, -1] + 1) % 5], [1, 2], 3, num_return_sequences=2, top_k=1)
        [[3, 4, 0], [3, 4, 0]]
    """
    _steps.whole(num_return_sequences, "num_return_sequences", 1, 10**6)
    ids = _steps.start(prompt, max_new_tokens).repeat(num_return_sequences, 1)  # (N, T)
    generator, ended = torch.Generator().manual_seed(seed), torch.zeros(len(ids), 1, dtype=torch.bool)
    for _ in range(max_new_tokens):
        probs = bend(_steps.ask(next_logits, ids), ids, **filters).softmax(-1)  # (N, V)
        drawn = torch.multinomial(probs, 1, generator=generator)  # (N, 1)
        ids, ended = torch.cat([ids, drawn], dim=1), ended | torch.isin(drawn, torch.tensor(list(ends) or [-1]))
        if ended.all():
            break
    return [_steps.until(row, ends) for row in ids[:, len(prompt) :].tolist()]


def beam_search(
    next_logits: NextLogits,
    prompt: Sequence[int],
    max_new_tokens: int,
    *,
    num_beams: int = 5,
    ends: Collection[int] = (),
    length_penalty: float = 1.0,
    early_stopping: bool | Literal["never"] = False,
    repetition_penalty: float = 1.0,
    num_return_sequences: int = 1,
) -> list[tuple[list[int], float]]:
    r"""Keep the `num_beams` most probable beginnings at every step instead of one.

    Source: Graves, "Sequence Transduction with Recurrent Neural Networks", 2012, https://arxiv.org/abs/1211.3711;
    the score divided by a power of the length: Wu et al., 2016, https://arxiv.org/abs/1609.08144, section 7.
    Differs from the paper: the divisor is $n^\alpha$, as in Transformers, not $((5 + n)/6)^\alpha$.

    Args:
        next_logits: from ids `(N, T)` to the next token's logits `(N, V)`.
        prompt: ids to begin with, at least one.
        max_new_tokens: how many to write at most, the prompt not counted.
        num_beams: how many beginnings to keep, from 1 to `V` without the end tokens.
        ends: ids after which nothing is written.
        length_penalty: the power $\alpha$; above 0 favours long texts, below 0 short ones.
        early_stopping: stop as soon as `num_beams` texts have ended (True), when no living beam as long as now
            could overtake them (False), or when none of any length could ("never").
        repetition_penalty: above 0; 1 switches it off. It bends log-probabilities here, not logits.
        num_return_sequences: how many texts to return, at most `num_beams`.

    Returns:
        New ids and score of each text, best first. The score is its log-probability in nats, divided.

    Raises:
        ValueError: if the prompt is empty, a number is out of range, or the logits have a wrong shape.

    Examples:
        >>> table = torch.tensor([[0.0, 0.6, 0.4], [0.5, 0.3, 0.2], [0.0, 0.1, 0.9]]).log()
        >>> greedy(lambda ids: table[ids[:, -1]], [0], max_new_tokens=2)
        [1, 0]
        >>> beam_search(lambda ids: table[ids[:, -1]], [0], 2, num_beams=2)[0][0]
        [2, 2]
    """
    _steps.whole(num_return_sequences, "num_return_sequences", 1, _steps.whole(num_beams, "num_beams", 1, 10**6))

    def log_probs(ids: Tensor) -> Tensor:
        scores = _steps.ask(next_logits, ids).log_softmax(-1)  # (N, V)
        _steps.whole(num_beams, "num_beams", 1, scores.shape[1] - len(ends))
        return penalise_repetition(scores, ids, repetition_penalty)

    *_, last = _steps.beam_steps(
        log_probs, _steps.start(prompt, max_new_tokens), max_new_tokens, num_beams=num_beams, ends=ends,
        length_penalty=length_penalty, early_stopping=early_stopping,
    )  # fmt: skip
    return [(list(text), score) for text, score in last.finished[:num_return_sequences]]
