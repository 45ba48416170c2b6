r"""Metrics: how good a classifier, a language model or a translation is, as one number.

Classifiers are judged from their confusion matrix, language models from the nats that each token costs them,
translations from the runs of tokens that they share with a reference.

Source: Sokolova and Lapalme, 2009, https://doi.org/10.1016/j.ipm.2009.03.002 (classifiers); Jelinek et al., 1977,
https://doi.org/10.1121/1.2016299 (perplexity); Papineni et al., 2002, https://aclanthology.org/P02-1040 (BLEU).
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Average = Literal["none", "macro", "micro"]


def confusion_matrix(targets: Tensor, predictions: Tensor, n_classes: int) -> Tensor:
    """Count how often each class was taken for each class.

    Rows are what is true, columns what was said, as in scikit-learn; some books have it the other way round.

    Args:
        targets: true classes, integers from 0 to `n_classes - 1`, shape `(B,)`.
        predictions: predicted classes, same shape.
        n_classes: number of classes, `C`.

    Returns:
        Counts, shape `(C, C)`, int64: the diagonal holds what is right.

    Raises:
        TypeError: if the classes are no integers.
        ValueError: if the shapes differ, there is no example, or a class is out of range.

    Examples:
        >>> confusion_matrix(torch.tensor([0, 0, 0, 1, 2]), torch.tensor([0, 0, 1, 1, 0]), n_classes=3)
        tensor([[2, 1, 0],
                [0, 1, 0],
                [1, 0, 0]])
    """
    if targets.is_floating_point() or predictions.is_floating_point():
        got = f"{targets.dtype} and {predictions.dtype}"
        raise TypeError(f"classes must be integers, got {got}; take argmax of scores, or compare them with a threshold")
    if targets.shape != predictions.shape or targets.ndim != 1 or not len(targets):
        got = f"{tuple(targets.shape)} and {tuple(predictions.shape)}"
        raise ValueError(f"targets and predictions must both have the shape (B,), B above 0, got {got}; flatten them")
    both = torch.stack([targets.long(), predictions.long()])  # (2, B)
    if both.min() < 0 or both.max() >= n_classes:
        got = f"{both.min()} to {both.max()}"
        raise ValueError(f"classes must lie between 0 and n_classes - 1 = {n_classes - 1}, got {got}; number from 0")
    cells = torch.bincount(both[0] * n_classes + both[1], minlength=n_classes**2)  # (C·C,)
    return cells.reshape(n_classes, n_classes)  # (C, C)


def accuracy(matrix: Tensor) -> Tensor:
    r"""Return the share of examples that are right: $\sum_c M_{cc} / \sum_{cd} M_{cd}$.

    Args:
        matrix: confusion matrix, shape `(C, C)`.

    Returns:
        Fraction 0–1, shape `()`, float64.

    Examples:
        >>> accuracy(torch.tensor([[90, 5], [3, 2]]))
        tensor(0.9200, dtype=torch.float64)
    """
    return _share(matrix.diagonal().sum(), matrix.sum())


def precision_recall_f1(matrix: Tensor, average: Average = "none") -> tuple[Tensor, Tensor, Tensor]:
    r"""Return how far a class can be trusted, how much of it was found, and the harmonic mean.

    $P = \mathrm{TP}/(\mathrm{TP}+\mathrm{FP})$, $R = \mathrm{TP}/(\mathrm{TP}+\mathrm{FN})$, and
    $F_1 = 2PR/(P+R) = 2\,\mathrm{TP}/(2\,\mathrm{TP}+\mathrm{FP}+\mathrm{FN})$, which is near the smaller of the two.
    Nothing of nothing is 0: the precision of a class that was never predicted, the recall of one without examples.

    Source: Sokolova and Lapalme, "A systematic analysis of performance measures for classification tasks", 2009,
    https://doi.org/10.1016/j.ipm.2009.03.002. The macro $F_1$ is the mean of the classes' $F_1$, equation (2) of Opitz
    and Burst, 2019, https://arxiv.org/abs/1911.03347, who warn of another number with the same name.

    Args:
        matrix: confusion matrix, shape `(C, C)`.
        average: `"none"` gives one value for each class; `"macro"` their mean, so every class counts the same;
            `"micro"` adds up the classes' counts before it divides, so every example counts the same.

    Returns:
        Precision, recall and F1, fractions 0–1, float64, `(C,)` each, or `()` for an average.

    Raises:
        ValueError: if `average` is none of the three.

    Examples:
        >>> _, found, harmonic = precision_recall_f1(torch.tensor([[90, 5], [3, 2]]))
        >>> found, harmonic
        (tensor([0.9474, 0.4000], dtype=torch.float64), tensor([0.9574, 0.3333], dtype=torch.float64))
    """
    if average not in ("none", "macro", "micro"):
        raise ValueError(f'average must be "none", "macro" or "micro", got {average!r}; choose one of them')
    hits, said, true = matrix.diagonal(), matrix.sum(0), matrix.sum(1)  # (C,) each
    if average == "micro":
        hits, said, true = hits.sum(), said.sum(), true.sum()
    found = _share(hits, said), _share(hits, true), _share(2 * hits, said + true)
    return (found[0].mean(), found[1].mean(), found[2].mean()) if average == "macro" else found


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Divide in float64; nothing of nothing counts as 0."""
    return torch.where(whole > 0, part.double() / whole.clamp(min=1), 0.0)


def perplexity(nats: Tensor) -> Tensor:
    r"""Return e to the mean surprise: among how many equally likely tokens the model wavers.

    Source: Jelinek et al., "Perplexity, a measure of the difficulty of speech recognition tasks", 1977,
    https://doi.org/10.1121/1.2016299.

    Args:
        nats: surprise $-\ln P$ of each token, shape `(T,)`.

    Returns:
        From 1 up, shape `()`; `V` for a model that knows nothing.

    Raises:
        ValueError: if there is no token.

    Examples:
        >>> perplexity(-torch.tensor([0.5, 0.25, 0.125]).log())
        tensor(4.)
    """
    if not nats.numel():
        raise ValueError("nats must hold at least 1 token, got 0; measure a longer text")
    return nats.mean().exp()


def bits_per_character(nats: Tensor, characters: int) -> Tensor:
    r"""Share what a text costs out among its characters: $\sum_i s_i / (n \ln 2)$.

    Characters belong to the text and tokens to the tokenizer. So this number compares models that cut the text
    differently; perplexity does not.

    Source: the same per byte: Gao et al., "The Pile", 2020, https://arxiv.org/abs/2101.00027.

    Args:
        nats: surprise $s_i = -\ln P$ of each token, shape `(T,)`.
        characters: how many characters these tokens spell, `n`; give bytes to get bits per byte.

    Returns:
        Bits per character, shape `()`.

    Raises:
        ValueError: if `characters` is below 1.

    Examples:
        >>> bits_per_character(-torch.tensor([0.5, 0.25, 0.125]).log(), characters=12)
        tensor(0.5000)
    """
    if characters < 1:
        raise ValueError(f"characters must be at least 1, got {characters}; count those that the tokens spell")
    return nats.sum() / (characters * math.log(2))


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """Count the runs of `n` tokens.

    Args:
        tokens: a sentence, cut into tokens.
        n: length of a run, in tokens.

    Returns:
        Each run with the number of its occurrences.

    Examples:
        >>> ngrams(["the", "cat", "the", "cat"], n=2)
        Counter({('the', 'cat'): 2, ('cat', 'the'): 1})
    """
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def clipped_matches(tokens: Sequence[str], references: Sequence[Sequence[str]], n: int) -> int:
    """Count the runs of `n` tokens that a reference has, too, each at most as often as there.

    Source: Papineni et al., 2002, https://aclanthology.org/P02-1040, section 2.1.

    Args:
        tokens: a translation.
        references: one or more right translations.
        n: length of a run, in tokens.

    Returns:
        Number of matches.

    Examples:
        >>> clipped_matches("the the the".split(), ["the cat sat".split(), "on the mat the dog".split()], n=1)
        2
    """
    most = Counter[tuple[str, ...]]()
    for reference in references:
        most |= ngrams(reference, n)  # the larger count of each run
    return (ngrams(tokens, n) & most).total()  # the smaller count of each run


def brevity_penalty(length: int, reference_length: int) -> float:
    r"""Return what being too short costs: $\min(1, e^{1-r/c})$.

    Source: Papineni et al., 2002, https://aclanthology.org/P02-1040, section 2.3.

    Args:
        length: tokens of all translations together, `c`.
        reference_length: tokens of their references, `r`.

    Returns:
        Factor 0–1; 1 unless the translations are shorter.

    Examples:
        >>> round(brevity_penalty(length=8, reference_length=10), 4)
        0.7788
    """
    if length >= reference_length:
        return 1.0
    return math.exp(1 - reference_length / length) if length else 0.0


class Bleu(NamedTuple):
    """A BLEU score and what it is made of.

    Attributes:
        score: 0–100.
        precisions: for runs of 1, 2, … tokens, which share a reference has, too; fractions 0–1.
        brevity_penalty: factor 0–1 for translations that are too short.

    Examples:
        >>> Bleu(score=0.0, precisions=(0.75, 0.0), brevity_penalty=1.0).precisions[0]
        0.75
    """

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float


def bleu(
    translations: Sequence[Sequence[str]],
    references: Sequence[Sequence[Sequence[str]]],
    max_order: int = 4,
    smooth: bool = True,
) -> Bleu:
    r"""Score a corpus of translations by the runs of tokens that they share with references.

    $100 \min(1, e^{1-r/c}) \exp\big(\tfrac14 \sum_{n=1}^{4} \ln p_n\big)$; the counts of all sentences are added up
    before anything is divided. Of several references, the one nearest in length counts for $r$.

    Source: Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", 2002,
    https://aclanthology.org/P02-1040, section 2.3. Differs from the paper: smoothed as in the NIST script, technique 3
    of Chen and Cherry, 2014, https://aclanthology.org/W14-3346: lengths without a match count 1/2, 1/4, … matches.

    Args:
        translations: tokens of each translation.
        references: of each translation, one or more references, as tokens.
        max_order: longest run that is counted, in tokens; the paper's 4.
        smooth: as sacrebleu does by default; False gives 0 as soon as one length has no match.

    Returns:
        The score and its parts. It is 0 if not one token matches, or no translation has `max_order` tokens.

    Raises:
        TypeError: if a sentence is a string: how it is cut decides the score, so cut it first.
        ValueError: if there are not as many translations as references, or one has no reference.

    Examples:
        >>> round(bleu([list("我爱你们。")], [[list("我爱你。"), list("我很爱你们。")]]).score, 1)
        84.1
    """
    if len(translations) != len(references) or not all(references):
        got = f"{len(translations)} translations and {[len(known) for known in references]} references"
        raise ValueError(f"every translation must have at least 1 reference, got {got}; pair them")
    pairs, orders = list(zip(translations, references, strict=True)), range(1, max_order + 1)
    if any(isinstance(sentence, str) for tokens, known in pairs for sentence in (tokens, *known)):
        raise TypeError("a sentence must be a list of tokens, got a string; use list(text) or text.split()")
    matches = [sum(clipped_matches(tokens, known, n) for tokens, known in pairs) for n in orders]
    totals = [sum(max(len(tokens) + 1 - n, 0) for tokens in translations) for n in orders]
    nearest = (min((abs(len(r) - len(tokens)), len(r)) for r in known)[1] for tokens, known in pairs)
    penalty, factor, precisions = brevity_penalty(sum(map(len, translations)), sum(nearest)), 1.0, []
    for matched, total in zip(matches, totals, strict=True):
        factor = factor if matched else factor / 2
        precisions.append((matched or smooth * factor) / total if total and any(matches) else 0.0)
    mean = math.fsum(map(math.log, precisions)) / max_order if all(precisions) else -math.inf
    return Bleu(100 * penalty * math.exp(mean), tuple(precisions), penalty)
