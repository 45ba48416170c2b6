"""BLEU: how many runs of one to four tokens a translation shares with the references, and whether it is too short."""

import math
from collections import Counter
from collections.abc import Sequence


def runs(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """Count the runs of n tokens.

    Args:
        tokens: A sentence.
        n: Length of a run.

    Returns:
        Run to its number of occurrences.
    """
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu(
    translations: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]], longest: int = 4
) -> float:
    """Corpus BLEU of Papineni et al., 2002 (https://aclanthology.org/P02-1040), without smoothing.

    Args:
        translations: Tokens of each translation.
        references: Of each translation, one or more references, as tokens.
        longest: Longest run that is counted; the paper's 4.

    Returns:
        Score from 0 to 100: the geometric mean of the clipped precisions, times the brevity penalty.

    Example:
        >>> round(bleu([list("我爱你们。")], [[list("我爱你。"), list("我很爱你们。")]]), 1)
        84.1
    """
    found, possible = [0] * longest, [0] * longest
    written = wanted = 0
    for tokens, known in zip(translations, references, strict=True):
        written += len(tokens)
        wanted += min((abs(len(r) - len(tokens)), len(r)) for r in known)[1]  # the reference nearest in length
        for n in range(longest):
            counts, most = runs(tokens, n + 1), Counter[tuple[str, ...]]()
            for reference in known:
                most |= runs(reference, n + 1)
            found[n] += (counts & most).total()
            possible[n] += counts.total()
    if not all(found):
        return 0.0
    precision = sum(math.log(a / b) for a, b in zip(found, possible, strict=True)) / longest
    return 100 * math.exp(precision + min(0.0, 1 - wanted / written))
