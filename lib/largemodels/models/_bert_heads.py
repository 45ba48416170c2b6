"""What stands behind `Bert`: texts made a batch, and the heads that judge tokens or pairs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from largemodels.models import _loading
from largemodels.models._tagging import Entity, entities_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

HEADS = {  # what a question needs: ends of the names of the classes that have it, what to call it, a model that has it
    "masked": (
        ("BertForPreTraining", "ForMaskedLM"), "masked-language head, so it cannot fill a mask", "bilingual-bert"
    ),
    "next": (("BertForPreTraining",), "next-sentence head, so it cannot judge two sentences", "bilingual-bert"),
    "tags": (("ForTokenClassification",), "tagging head, so it cannot find entities", "those of `train heads`"),
}  # fmt: skip


def heads(model: "PreTrainedModel") -> tuple[str, ...]:
    """Return the keys of HEADS that a model has."""
    return tuple(head for head, (ends, _, _) in HEADS.items() if type(model).__name__.endswith(ends))


def check(found: tuple[str, ...], need: str) -> None:
    """Refuse a model that was not trained for the question.

    Args:
        found: from `heads`.
        need: a key of HEADS.

    Raises:
        ValueError: if it lacks the head.
    """
    if need not in found:
        raise ValueError(f"the model has no {HEADS[need][1]}; load one trained for it, such as {HEADS[need][2]}")


def batch(
    tokenizer: "PreTrainedTokenizerFast", texts: Sequence[str], prefix: str, context_length: int
) -> tuple[Tensor, Tensor]:
    """Return texts as one batch, shorter ones filled up.

    Args:
        tokenizer: the model's.
        texts: `B` texts.
        prefix: put before each of them.
        context_length: tokens that each may have, special ones and prefix included.

    Returns:
        Ids and mask, both `(B, T)`.

    Raises:
        TypeError: if `texts` is one string or holds something else than strings.
        ValueError: if there is no text, or one is too long or not valid Unicode.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a list of texts, got one str; write [text]")
    if not texts:
        raise ValueError("texts must hold at least one text, got none; give a list of texts")
    for number, text in enumerate(texts):
        _loading.check_text(text, f"texts[{number}]")
    rows = tokenizer([prefix + text for text in texts], verbose=False)["input_ids"]
    for number, row in enumerate(rows):
        if len(row) > context_length:
            raise ValueError(
                f"a text may have at most {context_length} tokens, got {len(row)} in texts[{number}]; "
                "shorten or split it"
            )
    filled = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    return filled["input_ids"], filled["attention_mask"]


@torch.inference_mode()
def fill_mask(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", batch: tuple[Tensor, Tensor], k: int
) -> list[list[tuple[str, float]]]:
    """Return the `k` likeliest tokens of each mask.

    Args:
        model: has a masked-language head.
        tokenizer: its tokenizer.
        batch: ids and mask of one text, both `(1, T)`.
        k: guesses for each mask.

    Returns:
        One list of token and probability for each mask.

    Raises:
        ValueError: if there is no mask or `k` is out of range.
    """
    ids, mask = batch
    hidden = ids[0] == tokenizer.mask_token_id  # (T,)
    if not hidden.any():
        raise ValueError(f"text must hold at least one {tokenizer.mask_token}, got none; write it where to guess")
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= model.config.vocab_size:
        raise ValueError(f"k must be a whole number from 1 to {model.config.vocab_size}, got {k!r}; 5 is usual")
    out = model(input_ids=ids, attention_mask=mask)
    logits = out.prediction_logits if "prediction_logits" in out else out.logits  # (1, T, V)
    probs, guesses = logits[0, hidden].float().softmax(-1).topk(k)  # (M, k)
    rows = zip(guesses.tolist(), probs.tolist(), strict=True)
    return [list(zip(tokenizer.convert_ids_to_tokens(row), p, strict=True)) for row, p in rows]


@torch.inference_mode()
def next_sentence(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", first: str, second: str, context_length: int
) -> float:
    """Return the probability that `second` followed `first`.

    Args:
        model: has a next-sentence head; its class 0 is "follows".
        tokenizer: its tokenizer.
        first: one text.
        second: another.
        context_length: tokens that both may have together, special ones included.

    Returns:
        A fraction from 0 to 1.

    Raises:
        TypeError: if a text is no string.
        ValueError: if a text has no token or both are too long together.
    """
    for name, text in (("first", first), ("second", second)):
        _loading.check_text(text, name)
        if not tokenizer.tokenize(text):
            raise ValueError(f"{name} must hold at least one token, got {text!r}; write a sentence")
    row = tokenizer(first, second, return_token_type_ids=True, return_tensors="pt", verbose=False)
    count = row["input_ids"].shape[1]
    if count > context_length:
        raise ValueError(
            f"both texts together may have at most {context_length} tokens, got {count} with the special ones; "
            "shorten one"
        )
    logits = model(**row.to(model.device)).seq_relationship_logits  # (1, 2)
    return float(logits[0].float().softmax(-1)[0])


@torch.inference_mode()
def tag(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", batch: tuple[Tensor, Tensor], text: str
) -> list[Entity]:
    """Return the entities of one text.

    Args:
        model: has a tagging head; its labels are BIO tags.
        tokenizer: its tokenizer.
        batch: ids and mask of the text, both `(1, T)`.
        text: the same text.

    Returns:
        Entities in the order of the text.
    """
    ids, mask = batch
    offsets = tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    logits = model(input_ids=ids, attention_mask=mask).logits  # (1, T, n_tags)
    probs, numbers = logits[0].float().softmax(-1).max(-1)  # (T,)
    return entities_of(offsets, [model.config.id2label[n] for n in numbers.tolist()], probs.tolist())
