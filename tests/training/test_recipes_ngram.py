"""Kneser–Ney against its definition, written out with dictionaries."""

from collections import Counter, defaultdict

import pytest
import torch

from largemodels.training.recipes.ngram import NGram, row_windows

VOCAB = 7


def by_definition(windows, order, vocab):
    """Interpolated Kneser–Ney from Chen and Goodman's equations, one n-gram at a time."""
    tables = [Counter(tuple(w) for w in windows.tolist())]
    for _ in range(order - 1):
        shorter = defaultdict(set)
        for gram in tables[0]:
            shorter[gram[1:]].add(gram[0])
        tables.insert(0, Counter({gram: len(before) for gram, before in shorter.items()}))

    def prob(gram):
        if not gram:
            return 1 / vocab
        table = tables[len(gram) - 1]
        once, twice = sum(n == 1 for n in table.values()), sum(n == 2 for n in table.values())
        discount = once / (once + 2 * twice) if once else 0.0
        after = {other: n for other, n in table.items() if other[:-1] == gram[:-1]}
        if not after:
            return prob(gram[1:])
        left = discount * len(after) * prob(gram[1:])
        return (max(table[gram] - discount, 0) + left) / sum(after.values())

    return prob


@pytest.fixture(scope="module")
def windows():
    """Windows of twenty rows in which small tokens are frequent."""
    generator = torch.Generator().manual_seed(5)
    rows = (torch.rand(20, 9, generator=generator) ** 2 * VOCAB).long()
    return row_windows(rows, 4, ignored_id=6)


def test_probabilities_are_those_of_the_definition(windows) -> None:
    model, prob = NGram(windows, VOCAB), by_definition(windows, 4, VOCAB)
    asked = torch.randint(VOCAB, (300, 4), generator=torch.Generator().manual_seed(6))
    asked = torch.cat([windows[:50], asked])
    wanted = torch.tensor([prob(tuple(gram)) for gram in asked.tolist()], dtype=torch.float64)
    torch.testing.assert_close(model.probs(asked), wanted, rtol=0, atol=1e-12)


def test_probabilities_of_every_context_sum_to_one(windows) -> None:
    model = NGram(windows, VOCAB)
    contexts = torch.cat([windows[:40, :3], torch.tensor([[6, 6, 6], [5, 6, 1]])])
    every = torch.cat([contexts.repeat_interleave(VOCAB, 0), torch.arange(VOCAB).repeat(len(contexts))[:, None]], 1)
    sums = model.probs(every).view(-1, VOCAB).sum(1)
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-12)


def test_windows_begin_with_the_first_token_again_and_skip_the_ignored() -> None:
    assert row_windows(torch.tensor([[5, 1, 2, 3], [6, 4, 0, 4]]), 3, ignored_id=4).tolist() == [
        [5, 5, 1], [5, 1, 2], [1, 2, 3], [6, 4, 0],
    ]  # fmt: skip


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vocab_size \*\* order < 2 \*\* 63"):
        NGram(torch.zeros(1, 4, dtype=torch.int64), 70_000)
    with pytest.raises(ValueError, match="need a window"):
        NGram(torch.zeros(0, 4, dtype=torch.int64), 7)
