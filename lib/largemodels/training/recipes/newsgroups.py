"""Measurement on 20 Newsgroups: what a random split and left-in headers make of the same classifier's accuracy.

    largemodels train newsgroups --data DATA

prints accuracy and macro-F1 of TF-IDF with logistic regression, for both splits of whole and of stripped posts.
`read_newsgroups` reads the posts for programs and tests, too.
"""

import argparse
import gzip
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

Posts = list[tuple[str, str]]


def stripped(text: str) -> str:
    """Take headers, signature and quotations off a post, with the functions that scikit-learn's loader uses.

    Args:
        text: a whole post.

    Returns:
        What its author wrote; "" if nothing is left.
    """
    from sklearn.datasets import _twenty_newsgroups as loader

    for part in (loader.strip_newsgroup_header, loader.strip_newsgroup_footer, loader.strip_newsgroup_quoting):
        text = part(text)
    return text.strip()


def read_newsgroups(data: Path, strip: bool = True, share: float = 1.0) -> tuple[Posts, Posts]:
    """Read the posts, split by date.

    Args:
        data: folder that holds `20newsgroups/20news-bydate-train.jsonl.gz` and `…-test.jsonl.gz`.
        strip: leave out headers, signatures, quotations, and posts of which nothing remains.
        share: fraction of each part that is kept, above 0 and at most 1: always the same posts, drawn at random.

    Returns:
        Training and test posts, each a text with the name of its group.

    Raises:
        ValueError: if `share` is out of range, or a part holds no post.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}; 1 reads every post")
    parts = []
    for name in ("train", "test"):
        with gzip.open(data / "20newsgroups" / f"20news-bydate-{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        posts = [(stripped(row["text"]) if strip else row["text"], row["label"]) for row in rows]
        posts = [(text, label) for text, label in posts if text]
        parts.append(random.Random(0).sample(posts, math.ceil(share * len(posts))) if share < 1 else posts)
        if not parts[-1]:
            raise ValueError(f"{name} must hold at least one post, got none; look at the files in {data.name}")
    return parts[0], parts[1]


def shuffled_split(train: Posts, test: Posts, seed: int = 0) -> tuple[Posts, Posts]:
    """Throw the posts together and split them at random into parts of the same sizes.

    Args:
        train: one part.
        test: the other.
        seed: of the order.

    Returns:
        As many training and test posts as before.
    """
    posts = random.Random(seed).sample([*train, *test], len(train) + len(test))
    return posts[: len(train)], posts[len(train) :]


def baseline(train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """Fit TF-IDF with logistic regression, trained by stochastic gradient descent, on one part; test it on the other.

    Args:
        train: texts with their groups.
        test: texts with their groups.

    Returns:
        Accuracy and macro-F1, fractions.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.pipeline import make_pipeline

    (texts, labels), (asked, wanted) = zip(*train, strict=True), zip(*test, strict=True)
    words = TfidfVectorizer(sublinear_tf=True, min_df=2)
    model = make_pipeline(words, SGDClassifier(loss="log_loss", alpha=1e-5, random_state=0))
    answers = model.fit(texts, labels).predict(asked)
    return float(accuracy_score(wanted, answers)), float(f1_score(wanted, answers, average="macro"))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds 20newsgroups")
    parser.add_argument("--share", type=float, default=1.0, help="fraction of the posts, 0 to 1")
    options = parser.parse_args()
    for strip in (False, True):
        train, test = read_newsgroups(options.data, strip, options.share)
        for name, parts in {"random": shuffled_split(train, test), "by date": (train, test)}.items():
            what = "stripped" if strip else "with headers"
            accuracy, macro_f1 = baseline(*parts)
            print(f"{what}, split {name}: accuracy {accuracy:.1%}, macro-F1 {macro_f1:.1%}", flush=True)


if __name__ == "__main__":
    main()
