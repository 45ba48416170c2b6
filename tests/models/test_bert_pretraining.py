"""Masks, pairs and both losses against Transformers' own, binomial bounds, laws, and numbers worked out by hand."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from largemodels.models.bert_pretraining import (
    IGNORED,
    mask_tokens,
    masked_language_loss,
    next_sentence_loss,
    sentence_pairs,
)

MASK, V = 3, 50


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def within(count: int, n: int, p: float) -> bool:
    """Whether a count lies within four standard deviations of a binomial's mean."""
    return abs(count - n * p) <= 4 * math.sqrt(n * p * (1 - p))


def random_bert(**sizes: int) -> Any:
    """A small BertForPreTraining of random float64 weights, without dropout."""
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(sizes.pop("seed", 0))
    config = BertConfig(
        vocab_size=V, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **sizes,
    )  # fmt: skip
    return BertForPreTraining(config).double()


@st.composite
def rows(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, float, int]:
    """Ids, which of them may be chosen, word numbers, a fraction and a seed."""
    B, T, seed = draw(st.integers(1, 4)), draw(st.integers(1, 30)), draw(st.integers(0, 10**6))
    g = seeded(seed)
    words = (torch.rand(B, T, generator=g) < 0.6).cumsum(1).clamp(max=T - 1)  # (B, T): 0, 1, 1, 2, …
    return torch.randint(V, (B, T), generator=g), torch.rand(B, T, generator=g) < 0.8, words, draw(
        st.floats(0.01, 1)
    ), seed  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(rows(), st.booleans())
def test_targets_are_the_true_ids_where_chosen_and_nothing_else_is_touched(case: Any, whole: bool) -> None:
    ids, maskable, words, fraction, seed = case
    kept = ids.clone()
    how = {"fraction": fraction, "words": words if whole else None}
    shown, targets = mask_tokens(ids, maskable, MASK, V, generator=seeded(seed), **how)
    chosen = targets != IGNORED
    assert torch.equal(ids, kept)
    assert not (chosen & ~maskable).any()
    assert torch.equal(targets[chosen], ids[chosen])
    assert torch.equal(shown[~chosen], ids[~chosen])
    assert shown.min() >= 0
    assert shown.max() < V
    again = mask_tokens(ids, maskable, MASK, V, generator=seeded(seed), **how)
    assert torch.equal(shown, again[0])
    assert torch.equal(targets, again[1])


@settings(deadline=None, max_examples=60)
@given(rows())
def test_a_word_is_chosen_as_a_whole_or_not_at_all(case: Any) -> None:
    ids, maskable, words, fraction, seed = case
    _, targets = mask_tokens(ids, maskable, MASK, V, fraction=fraction, words=words, generator=seeded(seed))
    chosen = targets != IGNORED
    for row in range(len(ids)):
        for word in words[row].unique():
            inside = chosen[row, (words[row] == word) & maskable[row]]
            assert inside.all() or not inside.any()


def test_fifteen_percent_are_chosen_and_of_these_80_10_10() -> None:
    ids = torch.randint(5, 9_999, (80, 500), generator=seeded(0))
    shown, targets = mask_tokens(ids, ids > 4, MASK, 10_000, generator=seeded(1))
    chosen = targets != IGNORED
    n = int(chosen.sum())
    assert within(n, ids.numel(), 0.15)
    hidden, same = int((shown == MASK).sum()), int((chosen & (shown == ids)).sum())
    assert within(hidden, n, 0.8)
    assert within(same, n, 0.1)
    assert within(n - hidden - same, n, 0.1)
    strange = shown[chosen & (shown != MASK) & (shown != ids)].double()
    assert abs(strange.mean() - 4_999.5) <= 4 * 10_000 / math.sqrt(12 * len(strange))  # uniform over the vocabulary


def test_whole_words_are_chosen_as_often_as_tokens() -> None:
    ids = torch.randint(5, 99, (90, 400), generator=seeded(0))
    words = (torch.arange(400) // 4).expand(90, -1)  # (90, 400): words of four tokens
    _, targets = mask_tokens(ids, ids > 4, MASK, 100, words=words, generator=seeded(2))
    chosen = (targets != IGNORED).view(90, 100, 4)
    assert torch.equal(chosen.any(-1), chosen.all(-1))
    assert within(int(chosen[..., 0].sum()), 9_000, 0.15)


def test_the_whole_fraction_chooses_all_that_may_be_chosen() -> None:
    ids = torch.tensor([[1, 7, 8, 9, 2]])
    shown, targets = mask_tokens(ids, ids > 2, MASK, V, fraction=1, generator=seeded(0))
    assert targets.tolist() == [[IGNORED, 7, 8, 9, IGNORED]]
    assert shown[0, [0, 4]].tolist() == [1, 2]


def test_masks_are_distributed_as_those_of_transformers(bert_folder: Path) -> None:
    """What is seen (chosen; of these: the mask, the true token, another) is counted on the same 60,000 tokens."""
    from transformers import AutoTokenizer, DataCollatorForLanguageModeling

    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    ids = torch.randint(5, len(tokenizer), (300, 200), generator=seeded(0))
    ids[:, 0], ids[:, -1] = tokenizer.cls_token_id, tokenizer.sep_token_id
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    collator = DataCollatorForLanguageModeling(tokenizer, seed=5)
    features = [{"input_ids": row, "special_tokens_mask": s} for row, s in zip(ids, special, strict=True)]
    theirs = collator(features)
    ours = mask_tokens(ids, ~special, tokenizer.mask_token_id, len(tokenizer), generator=seeded(6))

    def counts(shown: Tensor, targets: Tensor) -> list[int]:
        chosen = targets != IGNORED
        assert not (chosen & special).any()
        masked, same = shown == tokenizer.mask_token_id, shown == ids
        return [int(n.sum()) for n in (chosen, chosen & masked, chosen & same, chosen & ~masked & ~same)]

    sizes = (int((~special).sum()), *[None] * 3)
    a, b = counts(*ours), counts(theirs["input_ids"], theirs["labels"])
    for mine, other, size in zip(a, b, sizes, strict=True):
        first, second = (size, size) if size else (a[0], b[0])
        share = (mine + other) / (first + second)
        spread = math.sqrt(share * (1 - share) * (1 / first + 1 / second))
        assert abs(mine / first - other / second) <= 4 * spread


def test_both_losses_equal_those_of_transformers() -> None:
    """Value and gradient with respect to every weight; these are the numbers that are reported."""
    model, g = random_bert(), seeded(1)
    ids = torch.randint(5, V, (7, 13), generator=g)
    shown, targets = mask_tokens(ids, ids > 8, MASK, V, fraction=0.3, generator=g)
    segments = (torch.arange(13) > 6).long().expand(7, -1)
    follows = torch.tensor([0, 1, 1, 0, IGNORED, 1, 0])
    out = model(input_ids=shown, token_type_ids=segments, labels=targets, next_sentence_label=follows)
    masked = masked_language_loss(out.prediction_logits, targets)
    following = next_sentence_loss(out.seq_relationship_logits, follows)
    parameters = list(model.parameters())
    mine = torch.autograd.grad(masked + following, parameters, retain_graph=True)
    theirs = torch.autograd.grad(out.loss, parameters)
    value = (masked + following - out.loss).abs().item()
    slope = max(float((a - b).abs().max()) for a, b in zip(mine, theirs, strict=True))
    print(f"largest difference: value {value:.1e}, gradient {slope:.1e}")
    assert value <= 1e-12
    assert slope <= 1e-12


def test_a_model_that_guesses_loses_the_logarithm_of_its_choices() -> None:
    targets, follows = torch.tensor([[4, IGNORED, 7], [IGNORED, 9, 2]]), torch.tensor([0, 1, IGNORED])
    assert masked_language_loss(torch.zeros(2, 3, V), targets).item() == pytest.approx(math.log(V))
    assert next_sentence_loss(torch.zeros(3, 2), follows).item() == pytest.approx(math.log(2))
    model, ids = random_bert(), torch.randint(5, V, (6, 11), generator=seeded(2))
    out = model(input_ids=ids)
    assert masked_language_loss(out.prediction_logits, ids).item() == pytest.approx(math.log(V), rel=0.02)
    follows = torch.tensor([0, 1, 0, 1, 0, 1])
    assert next_sentence_loss(out.seq_relationship_logits, follows).item() == pytest.approx(math.log(2), rel=0.05)


def test_where_nothing_is_asked_the_loss_is_zero_and_not_nan() -> None:
    logits, none = torch.randn(2, 3, V, generator=seeded(0)).requires_grad_(), torch.full((2, 3), IGNORED)
    loss = masked_language_loss(logits, none)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()
    assert torch.nn.functional.cross_entropy(logits.flatten(0, 1), none.flatten()).isnan()
    assert next_sentence_loss(torch.randn(2, 2), torch.tensor([IGNORED] * 2)).item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_losses_are_summed_in_single_precision_at_least(dtype: torch.dtype) -> None:
    logits = torch.randn(4, 5, V, generator=seeded(0)).to(dtype)
    targets = torch.randint(V, (4, 5), generator=seeded(1))
    loss = masked_language_loss(logits, targets)
    exact = torch.nn.functional.cross_entropy(logits.double().flatten(0, 1), targets.flatten())
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)


def test_by_hand() -> None:
    """The page's numbers."""
    words = torch.tensor([[1 / 2, 1 / 4, 1 / 8, 1 / 8]] * 2).log()
    assert masked_language_loss(words, torch.tensor([0, 1])).item() == pytest.approx(1.5 * math.log(2))
    assert next_sentence_loss(torch.tensor([[0.0, math.log(3)]]), torch.tensor([1])).item() == pytest.approx(
        math.log(4 / 3)
    )


Sizes = list[list[int]]
sizes_of_documents = st.lists(st.lists(st.integers(0, 6), max_size=6), min_size=1, max_size=6).filter(
    lambda sizes: any(map(any, sizes))
)


def numbered(sizes: Sizes) -> list[list[list[int]]]:
    """Documents whose sentences have the given lengths; every token is a number of its own."""
    at, documents = 0, []
    for document in sizes:
        documents.append([])
        for size in document:
            documents[-1].append(list(range(at, at + size)))
            at += size
    return documents


@settings(deadline=None, max_examples=150)
@given(sizes_of_documents, st.integers(6, 14), st.integers(0, 10**6))
def test_pairs_keep_all_the_text_and_false_partners_come_from_elsewhere(sizes: Sizes, length: int, seed: int) -> None:
    documents = numbered(sizes)
    home = {token: i for i, document in enumerate(documents) for sentence in document for token in sentence}
    starts = {sentence[0] for document in documents for sentence in document if sentence}
    ends = {sentence[-1] for document in documents for sentence in document if sentence}
    pairs = sentence_pairs(documents, length, seed=seed)
    assert pairs == sentence_pairs(documents, length, seed=seed)
    read: list[int] = []
    for pair in pairs:
        assert pair.first
        assert len(pair.first) + len(pair.second) <= length
        assert (pair.follows is None) == (not pair.second)
        assert pair.first[0] in starts
        read += pair.first
        if not pair.second:
            continue
        assert pair.second[0] in starts
        assert pair.second[-1] in ends
        assert all(b == a + 1 for part in (pair.first, pair.second) for a, b in pairwise(part))
        same_document = home[pair.first[0]] == home[pair.second[0]]
        assert same_document == pair.follows
        if pair.follows:
            assert pair.second[0] == pair.first[-1] + 1
            read += pair.second
    assert read == list(home)  # every token once, in order


def test_half_of_the_pairs_are_false_and_their_partners_come_from_all_documents() -> None:
    documents = numbered([[1] * 17] * 400)  # a sentence of one token fits into every gap
    pairs = [pair for pair in sentence_pairs(documents, 9, seed=1) if pair.second]
    assert within(sum(bool(pair.follows) for pair in pairs), len(pairs), 0.5)
    partners = {pair.second[0] // 17 for pair in pairs if not pair.follows}  # 17 tokens in each document
    assert len(partners) > 200


def test_a_single_document_has_only_true_pairs_and_a_long_sentence_is_cut() -> None:
    pairs = sentence_pairs([[[1, 2], [3], [4, 5], [6]]], 4, seed=0)
    assert all(pair.follows is not False for pair in pairs)
    cut = sentence_pairs([[list(range(10))], [[20]]], 4)
    assert [(pair.first, pair.second, pair.follows) for pair in cut] == [((0, 1, 2, 3), (), None), ((20,), (), None)]


def test_errors_say_what_must_hold() -> None:
    ids = torch.ones(2, 3, dtype=torch.long)
    every = ids > 0
    with pytest.raises(ValueError, match=r"maskable must have the shape of ids, got \(3, 2\) and \(2, 3\); give one"):
        mask_tokens(ids, every.T, MASK, V)
    with pytest.raises(ValueError, match=r"words must have the shape of ids, got \(1, 3\)"):
        mask_tokens(ids, every, MASK, V, words=ids[:1])
    for fraction in (0, 1.01, -0.1, math.nan):
        with pytest.raises(ValueError, match="fraction must be above 0 and at most 1"):
            mask_tokens(ids, every, MASK, V, fraction=fraction)
    for mask_id in (-1, V):
        with pytest.raises(ValueError, match="mask_id must lie between 0 and 49"):
            mask_tokens(ids, every, mask_id, V)
    with pytest.raises(ValueError, match="length must be at least 2, got 1"):
        sentence_pairs([[[1], [2]]], 1)
    for empty in ([], [[]], [[[]]]):
        with pytest.raises(ValueError, match="at least one token, got none"):
            sentence_pairs(empty, 5)
    with pytest.raises(ValueError, match=r"targets must have the shape .* got \(2,\) for logits \(2, 3, 50\)"):
        masked_language_loss(torch.zeros(2, 3, V), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="follows must have the shape"):
        next_sentence_loss(torch.zeros(3, 2), torch.tensor([[0, 1, 1]]))


def test_m10_a_forward_pass_of_a_random_model_is_no_pretraining() -> None:
    """Without labels: no loss, no gradient, no weight moved. With both tasks and an optimiser: the loss falls."""
    model = random_bert(num_labels=2)
    documents = [[[5 + 6 * d + s] * 2 for s in range(6)] for d in range(5)]  # each sentence one token twice
    pairs = [pair for seed in range(4) for pair in sentence_pairs(documents, 8, seed=seed) if pair.follows is not None]
    ids = torch.zeros(len(pairs), 11, dtype=torch.long)
    for row, pair in zip(ids, pairs, strict=True):
        whole = [1, *pair.first, 2, *pair.second, 2]
        row[: len(whole)] = torch.tensor(whole)
    follows = torch.tensor([0 if pair.follows else 1 for pair in pairs])
    before = [p.clone() for p in model.parameters()]
    assert model(input_ids=ids).loss is None
    assert all(p.grad is None and torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))

    g, optimizer, losses = seeded(0), torch.optim.AdamW(model.parameters(), lr=1e-2), []
    for _ in range(40):
        shown, targets = mask_tokens(ids, ids > MASK, MASK, V, generator=g)
        out = model(input_ids=shown, attention_mask=(ids > 0).long())
        loss = masked_language_loss(out.prediction_logits, targets)
        loss = loss + next_sentence_loss(out.seq_relationship_logits, follows)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[0] == pytest.approx(math.log(V) + math.log(2), rel=0.05)
    assert sum(losses[-5:]) / 5 < 0.75 * losses[0]
    assert not any(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True) if p.numel() > 2)


def test_the_demo_numbers_words_by_spaces_and_punctuation() -> None:
    from demos.models.bert_pretraining import word_numbers

    offsets = [(0, 0), (0, 1), (1, 2), (3, 4), (4, 5), (5, 6), (6, 7), (0, 0)]
    assert word_numbers("我们 去,北京", offsets).tolist() == [[0, 1, 1, 2, 3, 4, 4, 5]]
    assert word_numbers("sleeping!", [(0, 0), (0, 5), (5, 8), (8, 9), (0, 0)]).tolist() == [[0, 1, 1, 2, 3]]
    assert word_numbers("", [(0, 0)]).tolist() == [[0]]


def test_the_demo_puts_guesses_where_the_masks_were() -> None:
    from demos.models.bert_pretraining_fill_mask import SPELT, filled

    assert filled("play [MASK] in [MASK][MASK]园", ["##ing", "公", "##x"]) == "playing in 公x园"
    assert SPELT.sub("[MASK]", "天［mask］、【MASK】、[ Mask ]、[masks]") == "天[MASK]、[MASK]、[MASK]、[masks]"
