r"""Decoding: from the next token's logits to a token, and from tokens to text.

Four pure functions bend the logits; `Decoding` applies them in the order that Transformers uses.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from largemodels.models import _loading

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BROKEN = "\ufffd"  # what a tokenizer writes for a character of which bytes are missing


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    r"""Divide the logits by the temperature: below 1 the favourites win more often, above 1 less often.

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
    r"""Keep the fewest tokens whose probabilities add up to `top_p` or more, and forbid the rest.

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
    """Make every token that has already occurred less likely: its logit is divided, or, if negative, multiplied.

    Source: Keskar et al., "CTRL", 2019, https://arxiv.org/abs/1909.05858, section 4.1.
    Differs from the paper: a negative logit is multiplied; dividing it would make the token *more* likely.

    Args:
        logits: shape `(V,)`.
        ids: the tokens so far, shape `(T,)`.
        penalty: 1 changes nothing; the paper uses about 1.2.

    Returns:
        Logits, shape `(V,)`.

    Raises:
        ValueError: if `penalty` is not a finite number above 0.

    Examples:
        >>> penalise_repetition(torch.tensor([3.0, -3.0, 3.0]), torch.tensor([0, 1]), 1.5)
        tensor([ 2.0000, -4.5000,  3.0000])
    """
    if not 0 < penalty < math.inf:
        raise ValueError(f"repetition_penalty must be above 0 and finite, got {penalty}; 1 switches it off")
    seen = logits[ids]  # (T,)
    return logits.scatter(0, ids, torch.where(seen < 0, seen * penalty, seen / penalty))


@dataclass(frozen=True)
class Decoding:
    """One way of choosing tokens; contradictions and numbers out of range are refused when it is made."""

    do_sample: bool
    temperature: float
    top_k: int | None
    top_p: float
    repetition_penalty: float
    vocab_size: int

    def __post_init__(self) -> None:
        """Try every setting on logits that do not matter."""
        if not self.do_sample and (self.temperature, self.top_k, self.top_p) != (1.0, None, 1.0):
            raise ValueError("temperature, top_k and top_p only matter when drawing at random; set do_sample=True")
        self.bend(torch.zeros(self.vocab_size), torch.zeros(1, dtype=torch.long))

    def bend(self, logits: Tensor, ids: Tensor) -> Tensor:
        """Return the logits `(V,)` to choose from, given those of the model and the tokens so far `(T,)`."""
        logits = penalise_repetition(logits, ids, self.repetition_penalty)
        if self.do_sample:
            logits = apply_temperature(logits, self.temperature)
            if self.top_k is not None:
                logits = top_k_filter(logits, self.top_k)
            logits = top_p_filter(logits, self.top_p)
        return logits

    def choose(self, logits: Tensor, ids: Tensor, generator: torch.Generator) -> int:
        """Return the next token."""
        logits = self.bend(logits, ids)
        if not self.do_sample:
            return int(logits.argmax())
        return int(torch.multinomial(logits.softmax(-1), 1, generator=generator))


def whole(value: int, name: str, low: int, high: int) -> None:
    """Refuse a setting that is not a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value!r}; choose one of those")


def read(
    tokenizer: "PreTrainedTokenizerFast", text: str, name: str, least: int, new: int, context_length: int
) -> list[int]:
    """Return a text's ids; fewer than `least`, or no room left for `new` more, is an error: nothing is cut."""
    _loading.check_text(text, name)
    whole(new, "max_new_tokens", 0, 10**6)
    ids: list[int] = tokenizer(text)["input_ids"]
    if len(ids) < least:
        raise ValueError(f"{name} must have at least {least} token(s), got {len(ids)}; write something")
    if len(ids) + new > context_length:
        raise ValueError(
            f"{name} and new tokens must fit into {context_length} positions, got {len(ids)} + {new} = "
            f"{len(ids) + new}; shorten the {name} or ask for fewer"
        )
    return ids


def new_ids(
    forward: Callable[[Sequence[int], Any], tuple[Tensor, Any]],
    prompt: Sequence[int],
    count: int,
    how: Decoding,
    ends: set[int],
    seed: int,
) -> Iterator[int]:
    """Yield up to `count` tokens, one forward pass each, until an end token; the whole prompt only passes once."""
    generator = torch.Generator().manual_seed(seed)
    seen, cache, step = torch.tensor(prompt), None, prompt
    for _ in range(count):
        logits, cache = forward(step, cache)  # (len(step), V)
        chosen = how.choose(logits[-1], seen, generator)
        if chosen in ends:
            return
        yield chosen
        seen, step = torch.cat([seen, torch.tensor([chosen])]), [chosen]


def pieces(tokenizer: "PreTrainedTokenizerFast", prompt: Sequence[int], new: Iterable[int]) -> Iterator[str]:
    """Turn new tokens into text as they come; a character is held back until its last byte is there.

    Decoding token by token loses spaces and splits characters, so each piece is the difference between two
    decodings that begin at the same earlier token.
    """
    ids, start, end = list(prompt), 0, len(prompt)

    def grown() -> str:
        plain = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        before, now = (tokenizer.decode(part, **plain) for part in (ids[start:end], ids[start:]))
        return now[len(before) :]

    for number in new:
        ids.append(number)
        text = grown()
        if text and not text.endswith(BROKEN):
            yield text
            start, end = end, len(ids)
    if rest := grown():
        yield rest


def until_stop(parts: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """Return the text up to the first stop string, in pieces."""
    if isinstance(stop, str):
        raise TypeError("stop must be a list of strings, got one str; write [stop]")
    if "" in stop:
        raise ValueError('stop must not hold the empty string, got ""; remove it')
    return _until_stop(parts, stop)


def _until_stop(parts: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """Pass text on; hold back what may be the beginning of a stop string."""
    held = ""
    for part in parts:
        held += part
        found = [(held.index(s) + len(s), held.index(s)) for s in stop if s in held]
        if found:  # the one that ends first, so that it does not matter how the text was cut into parts
            if text := held[: min(found)[1]]:
                yield text
            return
        kept = max((n for s in stop for n in range(1, len(s)) if held.endswith(s[:n])), default=0)
        if text := held[: len(held) - kept]:
            yield text
        held = held[len(held) - kept :]
    if held:
        yield held
