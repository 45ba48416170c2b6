r"""BERT's two pretraining tasks: guess hidden tokens, and judge whether a text follows.

Both need nothing but running text. What is asked is made here, and so are the two losses that answer it.

Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018,
https://arxiv.org/abs/1810.04805, section 3.1 and appendix A.1.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

IGNORED = -100  # PyTorch's default for "no answer is asked here"
MASKED, RANDOM = 0.8, 0.1  # of the chosen tokens; the remaining tenth keeps its face


def mask_tokens(
    ids: Tensor,
    maskable: Tensor,
    mask_id: int,
    vocab_size: int,
    *,
    fraction: float = 0.15,
    words: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Choose 15 % of the tokens; hide 80 % of these, replace 10 %, leave 10 % as they are.

    Only the chosen tokens have a target. The tenth that is left as it is, and the tenth that is replaced, keep the
    model from believing whatever it reads: it must give a good vector to every token, not only to `[MASK]`.
    With `words`, a word is chosen as a whole, and the lot of 80/10/10 falls on each of its tokens alone.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3.1, "Task #1: Masked LM"; whole words:
    Cui et al., "Pre-Training with Whole Word Masking for Chinese BERT", 2019, https://arxiv.org/abs/1906.08101.
    Differs from the paper: each token (or word) is chosen independently, so 15 % is the mean, not an exact share.

    Args:
        ids: token ids, shape `(B, T)`.
        maskable: True on tokens that may be chosen, shape `(B, T)`: neither filler nor special tokens.
        mask_id: id of `[MASK]`.
        vocab_size: `V`; random tokens are drawn from all of it, special ones and the true one included.
        fraction: share of the tokens to choose, above 0, at most 1.
        words: number of the word that each token belongs to, from 0 to `T - 1`, shape `(B, T)`: a word is chosen as a
            whole (whole-word masking). None: every token is a word of its own.
        generator: source of random numbers; None takes PyTorch's global one.

    Returns:
        The ids to show to the model, and the targets (the true id where a token was chosen, -100 elsewhere), both of
        shape `(B, T)`.

    Raises:
        ValueError: if the shapes differ, `fraction` is out of range, or `mask_id` is not below `vocab_size`.

    Examples:
        >>> ids = torch.arange(20, 44).view(2, 12)
        >>> shown, targets = mask_tokens(ids, ids > 22, 3, 50, generator=torch.Generator().manual_seed(4))
        >>> bool((shown[targets == -100] == ids[targets == -100]).all())
        True
        >>> bool((targets[targets != -100] == ids[targets != -100]).all())
        True
    """
    _check_masking(ids, maskable, words, fraction, mask_id, vocab_size)

    def draw() -> Tensor:
        return torch.rand(ids.shape, generator=generator)  # (B, T)

    lot = draw() if words is None else draw().gather(1, words)  # (B, T): one draw for all tokens of a word
    chosen = (lot < fraction) & maskable  # (B, T)
    fate = draw()  # (B, T)
    other = torch.randint(vocab_size, ids.shape, generator=generator)  # (B, T)
    shown = ids.where(~(chosen & (fate < MASKED)), mask_id)
    shown = other.where(chosen & (fate >= MASKED) & (fate < MASKED + RANDOM), shown)
    return shown, ids.where(chosen, IGNORED)


def _check_masking(
    ids: Tensor, maskable: Tensor, words: Tensor | None, fraction: float, mask_id: int, vocab_size: int
) -> None:
    """Refuse what would broadcast or index outside the vocabulary."""
    for name, other in (("maskable", maskable), ("words", words)):
        if other is not None and other.shape != ids.shape:
            raise ValueError(
                f"{name} must have the shape of ids, got {tuple(other.shape)} and {tuple(ids.shape)}; "
                "give one entry for each token"
            )
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}; BERT uses 0.15")
    if not 0 <= mask_id < vocab_size:
        raise ValueError(f"mask_id must lie between 0 and {vocab_size - 1}, got {mask_id}; use the tokenizer's own")


@dataclass(frozen=True)
class SentencePair:
    """Two stretches of text for the question "did the second follow the first?".

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3.1, "Task #2".

    Attributes:
        first: token ids of the first stretch, without special tokens.
        second: token ids of the second; empty if a sentence was left alone.
        follows: True if `second` really followed `first`; None if `second` is empty and nothing is asked.

    Examples:
        >>> SentencePair((7, 8), (9,), True).follows
        True
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    follows: bool | None


def sentence_pairs(
    documents: Sequence[Sequence[Sequence[int]]], length: int, *, seed: int = 0
) -> list[SentencePair]:
    """Cut documents into pairs of neighbouring stretches, half with a false second one.

    Sentences are gathered until the next one would not fit, then cut into two parts at a random place. With
    probability one half the second part is then replaced by sentences of another document, as many as fit; what it
    replaced goes back and opens the next pair, so no text is lost. If none fits, the pair stays a true one. Only a
    sentence longer than `length` is cut.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3.1, "Task #2", and appendix A.2.
    Differs from the paper: the rare short sequences of the original data (one in ten) are left out.

    Args:
        documents: each a list of sentences, each sentence a list of token ids. False partners are drawn from the same
            list, so give texts of one kind and language: a change of language would give the answer away.
        length: tokens that both parts may have together, special tokens not counted, at least 2.
        seed: of the cuts and of the false partners.

    Returns:
        Pairs in the order of the documents. A sentence that is left alone, because its document ends or the next one
        does not fit, has an empty second part.

    Raises:
        ValueError: if `length` is below 2 or no document holds a token.

    Examples:
        >>> pairs = sentence_pairs([[[1, 2], [3]], [[4], [5, 6], [7]]], 4, seed=2)
        >>> [(pair.first, pair.second, pair.follows) for pair in pairs][:2]
        [((1, 2), (4,), False), ((3,), (), None)]
    """
    if length < 2:
        raise ValueError(f"length must be at least 2, got {length}; each part needs one token")
    kept = [[tuple(sentence[:length]) for sentence in document if sentence] for document in documents]
    kept = [document for document in kept if document]
    if not kept:
        raise ValueError("documents must hold at least one token, got none; give texts that are not empty")
    rng, pairs = random.Random(seed), []
    for number, document in enumerate(kept):
        at = 0
        while at < len(document):
            end, room = at, length
            while end < len(document) and len(document[end]) <= room:
                room -= len(document[end])
                end += 1
            pair, at = _one_pair(kept, number, at, end, length, rng)
            pairs.append(pair)
    return pairs


def _one_pair(
    documents: list[list[tuple[int, ...]]], number: int, at: int, end: int, length: int, rng: random.Random
) -> tuple[SentencePair, int]:
    """Return a pair that begins with sentence `at` of a document, and where the next one begins."""
    document = documents[number]
    if end - at < 2:
        return SentencePair(document[at], (), None), at + 1
    cut = rng.randrange(at + 1, end)
    first = tuple(token for sentence in document[at:cut] for token in sentence)
    if len(documents) > 1 and rng.random() < 0.5:
        other = rng.randrange(len(documents) - 1)
        other += other >= number  # any document but this one
        start = rng.randrange(len(documents[other]))
        false: tuple[int, ...] = ()
        for sentence in documents[other][start:]:  # whole sentences, as in true pairs: an end cut off would tell
            if len(first) + len(false) + len(sentence) > length:
                break
            false += sentence
        if false:
            return SentencePair(first, false, False), cut
    return SentencePair(first, tuple(token for sentence in document[cut:end] for token in sentence), True), end


def masked_language_loss(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Return the mean surprise at the hidden tokens.

    It is $-\frac{1}{|M|} \sum_{i \in M} \ln P(x_i \mid \tilde{x})$; a model that knows nothing scores $\ln V$.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3.1 and appendix A.2.

    Args:
        logits: shape `(..., V)`.
        targets: the true ids, -100 where nothing is asked, shape `(...)`.

    Returns:
        The loss in nats per hidden token, shape `()`; 0 if none is hidden.

    Raises:
        ValueError: if the shapes do not fit.

    Examples:
        >>> masked_language_loss(torch.zeros(2, 5, 100), torch.tensor([[-100, 7, -100, -100, 4], [-100] * 5]))
        tensor(4.6052)
    """
    return _loss(logits, targets, "targets")


def next_sentence_loss(logits: Tensor, follows: Tensor) -> Tensor:
    r"""Return the mean surprise at the answer to "did the second follow?".

    Guessing scores $\ln 2$.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3.1, "Task #2". As in the paper's code and
    in Transformers, class 0 is "follows" and class 1 is "random".

    Args:
        logits: of the two classes, shape `(B, 2)`.
        follows: 0 where the second stretch followed, 1 where it is a random one, -100 where nothing is asked,
            shape `(B,)`.

    Returns:
        The loss in nats per pair, shape `()`; 0 if no pair is asked.

    Raises:
        ValueError: if the shapes do not fit.

    Examples:
        >>> next_sentence_loss(torch.zeros(3, 2), torch.tensor([0, 1, -100]))
        tensor(0.6931)
    """
    return _loss(logits, follows, "follows")


def _loss(logits: Tensor, targets: Tensor, name: str) -> Tensor:
    """Return the mean cross-entropy where something is asked."""
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"{name} must have the shape of the logits without their last axis, got {tuple(targets.shape)} for logits "
            f"{tuple(logits.shape)}; give one target for each row of logits"
        )
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))  # half precision would round the sum
    total = cross_entropy(exact.flatten(0, -2), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return total / (targets != IGNORED).sum().clamp(min=1)
