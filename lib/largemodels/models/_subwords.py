"""Train and apply subword vocabularies: the loop behind BPE and WordPiece, on numbers, without any text handling.

Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016,
https://arxiv.org/abs/1508.07909, algorithm 1.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

Pair = tuple[int, int]


def merge(ids: Sequence[int], pair: Pair, new: int) -> list[int]:
    """Replace a pair of neighbours by one number, from left to right.

    Args:
        ids: the numbers of one word's pieces.
        pair: the two neighbours to join.
        new: what to write in their place.

    Returns:
        The numbers with every such pair joined.

    Examples:
        >>> merge([1, 2, 1, 2, 2], (1, 2), 7)
        [7, 7, 2]
    """
    joined: list[int] = []
    for number in ids:
        if joined and (joined[-1], number) == pair:
            joined[-1] = new
        else:
            joined.append(number)
    return joined


def learn_merges(
    words: Mapping[tuple[int, ...], int], first_new: int, count: int, min_frequency: int = 1
) -> list[Pair]:
    """Learn which pairs to join, in order: each time the most frequent pair of neighbours.

    Source: Sennrich et al., 2016, https://arxiv.org/abs/1508.07909, algorithm 1.
    Differs from the paper: only the words that hold the pair are counted anew; of equally frequent pairs the one with
    the smaller numbers goes first.

    Args:
        words: each word, as the numbers of its characters or bytes, and how often it occurs.
        first_new: number of the first new piece; the next ones follow.
        count: how many pairs to learn at most.
        min_frequency: stop when no pair occurs so often, at least 1.

    Returns:
        The pairs; the i-th becomes piece `first_new + i`.

    Examples:
        >>> learn_merges({(0, 1): 5, (0, 1, 2): 3, (2, 2, 1): 2}, first_new=3, count=2)
        [(0, 1), (3, 2)]
    """
    spelt, times = [list(word) for word in words], list(words.values())
    found: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)

    def account(word: int, sign: int) -> None:
        for pair in pairwise(spelt[word]):
            found[pair] += sign * times[word]
            where[pair].add(word)

    for word in range(len(spelt)):
        account(word, +1)
    merges: list[Pair] = []
    while found and len(merges) < count:
        best = max(found, key=lambda pair: (found[pair], -pair[0], -pair[1]))
        if found[best] < min_frequency:
            break
        for word in tuple(where[best]):
            account(word, -1)
            spelt[word] = merge(spelt[word], best, first_new + len(merges))
            account(word, +1)
        merges.append(best)
    return merges


def apply_merges(ids: Sequence[int], ranks: Mapping[Pair, int]) -> list[int]:
    """Cut one word: join its pieces in the order in which the pairs were learned.

    Args:
        ids: numbers of the word's bytes.
        ranks: each learned pair and the number of the piece it becomes; earlier ones have smaller numbers.

    Returns:
        Numbers of the pieces, as few as the pairs allow.

    Examples:
        >>> apply_merges([0, 1, 2, 2], {(0, 1): 3, (1, 2): 4, (3, 2): 5})
        [5, 2]
    """
    pieces = list(ids)
    while len(pieces) > 1:
        pair = min(pairwise(pieces), key=lambda pair: ranks.get(pair, float("inf")))
        if pair not in ranks:
            break
        pieces = merge(pieces, pair, ranks[pair])
    return pieces


def longest_match(word: str, ids: Mapping[str, int]) -> list[str] | None:
    """Cut one word as WordPiece does: the longest piece that fits, then the longest of the rest.

    Source: Wu et al., "Google's Neural Machine Translation System", 2016, https://arxiv.org/abs/1609.08144,
    section 4.1; the marks `##` are BERT's.

    Args:
        word: one word, without spaces.
        ids: the vocabulary; a piece that does not begin a word is written with `##` before it.

    Returns:
        The pieces, or None if somewhere no piece fits: then the whole word is unknown.

    Examples:
        >>> longest_match("tokens", {"to": 0, "token": 1, "##s": 2})
        ['token', '##s']
    """
    pieces: list[str] = []
    start = 0
    while start < len(word):
        ends = range(len(word), start, -1)
        candidates = (("##" if start else "") + word[start:end] for end in ends)
        piece = next((candidate for candidate in candidates if candidate in ids), None)
        if piece is None:
            return None
        pieces.append(piece)
        start += len(piece) - (2 if start else 0)
    return pieces
