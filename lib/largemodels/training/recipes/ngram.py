"""Interpolated Kneser–Ney n-gram model: what counting alone can do, to compare a trained model with.

Source: Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1998,
https://dash.harvard.edu/handle/1/25104739, section 2.7 and the interpolated form of section 4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class _Order:
    """Counts of one order; an n-gram is one integer, its tokens the digits to the base of the vocabulary size."""

    grams: Tensor  # `(G,)` int64, sorted
    counts: Tensor  # `(G,)` float64
    contexts: Tensor  # `(H,)` int64, sorted: an n-gram without its last token
    totals: Tensor  # `(H,)` float64: sum of the counts that begin with a context
    kinds: Tensor  # `(H,)` float64: number of different tokens after a context
    discount: float


def _read(grams: Tensor, counts: Tensor, vocab_size: int) -> _Order:
    """Sum up the counts of one order."""
    contexts, place = (grams // vocab_size).unique(return_inverse=True)
    totals = torch.zeros(len(contexts), dtype=torch.float64).index_add_(0, place, counts)
    kinds = torch.bincount(place, minlength=len(contexts)).double()
    once, twice = ((counts == number).sum().item() for number in (1, 2))
    return _Order(grams, counts, contexts, totals, kinds, once / (once + 2 * twice) if once else 0.0)


def _find(keys: Tensor, table: Tensor, values: Tensor) -> Tensor:
    """Value of each key, 0 for those that the table does not hold."""
    place = torch.searchsorted(table, keys).clamp(max=len(table) - 1)
    return torch.where(table[place] == keys, values[place], 0.0)


class NGram:
    """Counts of a corpus, and the probabilities that interpolated Kneser–Ney smoothing makes of them.

    Args:
        windows: `(N, order)` token ids: each target with the tokens before it, of the training text.
        vocab_size: Number of tokens; `vocab_size ** order` must be below 2⁶³.

    Raises:
        ValueError: If there is no window, or the n-grams do not fit into 64 bits.
    """

    def __init__(self, windows: Tensor, vocab_size: int) -> None:
        order = windows.shape[-1]
        if not len(windows) or vocab_size**order >= 2**63:
            raise ValueError(
                f"need a window and vocab_size ** order < 2 ** 63, got {len(windows)}, {vocab_size**order}"
            )
        self.vocab_size = vocab_size
        grams, counts = self._keys(windows).unique(return_counts=True)
        self.orders = [_read(grams, counts.double(), vocab_size)]
        for length in range(order - 1, 0, -1):  # how many different tokens stand before a shorter n-gram
            grams, counts = (grams % vocab_size**length).unique(return_counts=True)
            self.orders.insert(0, _read(grams, counts.double(), vocab_size))

    def _keys(self, windows: Tensor) -> Tensor:
        """N-grams as integers."""
        keys = torch.zeros(len(windows), dtype=torch.int64)
        for column in windows.T:
            keys = keys * self.vocab_size + column
        return keys

    def probs(self, windows: Tensor) -> Tensor:
        """Probability of the last token of each window, given those before it.

        Args:
            windows: `(N, order)` token ids.

        Returns:
            `(N,)` probabilities, float64, all above 0.
        """
        probs = torch.full((len(windows),), 1 / self.vocab_size, dtype=torch.float64)
        for length, order in enumerate(self.orders, 1):
            grams = self._keys(windows[:, windows.shape[1] - length :])
            contexts = grams // self.vocab_size
            totals = _find(contexts, order.contexts, order.totals)
            left = order.discount * _find(contexts, order.contexts, order.kinds)
            seen = (_find(grams, order.grams, order.counts) - order.discount).clamp(min=0)
            probs = torch.where(totals > 0, (seen + left * probs) / totals.clamp(min=1), probs)
        return probs


def row_windows(rows: Tensor, order: int, ignored_id: int) -> Tensor:
    """Every token of every row with the `order - 1` tokens before it; a row's first token stands before itself.

    Args:
        rows: `(N, T)` token ids; the first of each row is only read, never predicted.
        order: Length of a window.
        ignored_id: Windows that end on this token are left out.

    Returns:
        `(M, order)` token ids.
    """
    padded = torch.cat([rows[:, :1].expand(-1, order - 2), rows], 1)
    windows = padded.unfold(1, order, 1).flatten(0, 1)  # (N (T - 1), order)
    return windows[windows[:, -1] != ignored_id]
