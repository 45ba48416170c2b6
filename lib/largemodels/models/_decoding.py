"""What `Gpt` needs for decoding: one checked way of choosing, a model's logits, and text out of tokens."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from largemodels.models import _loading, _steps, decoding

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

BROKEN = "\ufffd"  # what a tokenizer writes for a character of which bytes are missing


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
        return decoding.bend(
            logits, ids, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
        )  # fmt: skip

    def choose(self, logits: Tensor, ids: Tensor, generator: torch.Generator) -> int:
        """Return the next token."""
        logits = self.bend(logits, ids)
        if not self.do_sample:
            return int(logits.argmax())
        return int(torch.multinomial(logits.softmax(-1), 1, generator=generator))


def read(
    tokenizer: "PreTrainedTokenizerFast", text: str, name: str, least: int, new: int, context_length: int
) -> list[int]:
    """Return a text's ids; fewer than `least`, or no room left for `new` more, is an error: nothing is cut."""
    _loading.check_text(text, name)
    _steps.whole(new, "max_new_tokens", 0, 10**6)
    ids: list[int] = tokenizer(text)["input_ids"]
    if len(ids) < least:
        raise ValueError(f"{name} must have at least {least} token(s), got {len(ids)}; write something")
    if len(ids) + new > context_length:
        raise ValueError(
            f"{name} and new tokens must fit into {context_length} positions, got {len(ids)} + {new} = "
            f"{len(ids) + new}; shorten the {name} or ask for fewer"
        )
    return ids


def next_logits(model: "PreTrainedModel") -> decoding.NextLogits:
    """Make a logits function of a model, which keeps the keys and values of the rows asked last (KV cache)."""
    before = torch.zeros(0, 0, dtype=torch.long)
    cache: Any = None

    @torch.inference_mode()
    def ask(ids: Tensor) -> Tensor:
        nonlocal before, cache
        new = ids
        if cache is not None and ids.shape[1] == before.shape[1] + 1:
            same = (ids[:, None, :-1] == before).all(-1)  # (N, rows before)
            if same.any(1).all():  # every row is an earlier one with a token more
                cache.reorder_cache(same.int().argmax(1).to(model.device))
                new = ids[:, -1:]
        out = model(input_ids=new.to(model.device), past_key_values=cache if new is not ids else None, use_cache=True)
        before, cache = ids, out.past_key_values
        return out.logits[:, -1].float().cpu()  # (N, V)

    return ask


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
