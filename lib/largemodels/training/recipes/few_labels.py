"""Measurement: a frozen pretrained encoder against TF-IDF, both taught with a few labelled Chinese takeaway reviews.

    largemodels models add e5
    largemodels train few-labels --data DATA --source e5

prints one line per draw of labels, and the means.
"""

import argparse
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from largemodels.models.bert import BATCH, Bert
from largemodels.training.fine_tuning import fit_head
from largemodels.training.recipes.reviews import Review, read_reviews

LONGEST = 200  # characters of a review that are read
STRENGTH = 0.01  # of 0.001, 0.01, 0.1 and 1 the best for e5 on 500 validation reviews, 50 labels, mean of 3 draws
TEST, DRAWS = 1_000, 5


def vectors(bert: Bert, texts: Sequence[str]) -> Tensor:
    """Encode texts, those of about the same length together, so that little is filled up.

    Args:
        bert: an encoder.
        texts: `N` texts; what is beyond LONGEST characters is not read.

    Returns:
        `(N, C)`.
    """
    cut = [text[:LONGEST] for text in texts]
    order = sorted(range(len(cut)), key=lambda row: len(cut[row]))
    found = torch.empty(len(cut), bert.n_embd)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        found[rows] = bert.encode([cut[row] for row in rows])
    return found


def frozen_accuracy(train: tuple[Tensor, Sequence[int]], test: tuple[Tensor, Sequence[int]]) -> float:
    """Fit logistic regression on standardised vectors and test it.

    Args:
        train: `(N, C)` vectors with `N` labels, 0 or 1.
        test: the same.

    Returns:
        Fraction of right answers.
    """
    # Some encoders have a dimension in which all vectors are equal.
    mean, spread = train[0].mean(0), train[0].std(0).clamp(min=1e-6)
    weight, bias = fit_head((train[0] - mean) / spread, train[1], 2, STRENGTH)
    answers = ((test[0] - mean) / spread @ weight.T + bias).argmax(-1)
    return (answers == torch.tensor(test[1])).double().mean().item()


def tfidf_accuracy(train: Sequence[Review], test: Sequence[Review]) -> float:
    """Fit logistic regression on TF-IDF of one to three characters and test it.

    Args:
        train: labelled reviews.
        test: the same.

    Returns:
        Fraction of right answers.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    )
    model.fit([row.text for row in train], [row.label for row in train])
    return float(model.score([row.text for row in test], [row.label for row in test]))


def measure(source: str, data: Path, labels: int = 50, draws: int = DRAWS, part: str = "test") -> tuple[float, float]:
    """Draw labels several times, teach both, print the accuracies.

    Args:
        source: name, folder or hub id of an encoder.
        data: folder that holds `zh-sentiment` and `sst2`.
        labels: how many reviews each draw takes from the training part.
        draws: how often; the seed of a draw is its number.
        part: "test", or "validation" to choose settings.

    Returns:
        Mean accuracy of the frozen encoder and of TF-IDF, fractions.
    """
    parts = read_reviews(data)["zh"]
    pool, held_out = ([row for row in parts[name] if row.source == "takeaway"] for name in ("train", part))
    asked = random.Random(0).sample(held_out, min(TEST, len(held_out)))
    bert, scores = Bert.from_pretrained(source), []
    test = vectors(bert, [row.text for row in asked]), [row.label for row in asked]
    for draw in range(draws):
        drawn = random.Random(draw).sample(pool, labels)
        train = vectors(bert, [row.text for row in drawn]), [row.label for row in drawn]
        scores.append((frozen_accuracy(train, test), tfidf_accuracy(drawn, asked)))
        ours, baseline = scores[-1]
        print(f"draw {draw}, {labels} labels: frozen {source} {ours:.3f}, TF-IDF {baseline:.3f}", flush=True)
    frozen, tfidf = (statistics.mean(column) for column in zip(*scores, strict=True))
    print(f"mean of {draws} draws: frozen {source} {frozen:.3f}, TF-IDF {tfidf:.3f}, {len(asked)} {part} reviews")
    return frozen, tfidf


def main() -> None:
    """Command line of the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds zh-sentiment and sst2")
    parser.add_argument("--source", default="e5", help="name, folder or hub id of the encoder")
    parser.add_argument("--labels", type=int, default=50, help="labelled reviews of each draw")
    parser.add_argument("--draws", type=int, default=DRAWS, help="how often labels are drawn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    measure(options.source, options.data, options.labels, options.draws)


if __name__ == "__main__":
    main()
