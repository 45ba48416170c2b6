"""Chinese and English reviews and sentence pairs: read, cleaned, deduplicated, split; and a TF-IDF baseline."""

import gzip
import hashlib
import json
import lzma
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

CHINESE_SOURCES = {
    "hotel": "zh-sentiment/chnsenticorp_htl.jsonl.gz",
    "takeaway": "zh-sentiment/waimai_10k.jsonl.gz",
    "shopping": "zh-sentiment/online_shopping_10_cats.jsonl.gz",
}
PAIRS_FILE = "tatoeba-eng-cmn/eng-cmn-simplified.tsv.gz"
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Review:
    """One labelled text.

    Attributes:
        text: The cleaned text.
        label: 0 negative, 1 positive.
        source: `shopping`, `hotel` or `takeaway` (Chinese), `sst2` (English).
    """

    text: str
    label: int
    source: str


def text_key(text: str) -> str:
    """What two texts share when they differ only in case, width, spaces or punctuation.

    Args:
        text: Any text.

    Returns:
        Its letters and digits, NFKC-normalised and lower-cased.

    Example:
        >>> text_key("It 's GOOD！") == text_key("it's good")
        True
    """
    return "".join(char for char in unicodedata.normalize("NFKC", text).lower() if char.isalnum())


def bucket(text: str, buckets: int) -> int:
    """Number in `range(buckets)` that depends on the text's key alone.

    Args:
        text: Any text.
        buckets: How many equally likely numbers there are.

    Returns:
        The first eight bytes of the key's SHA-256, modulo `buckets`.
    """
    return int.from_bytes(hashlib.sha256(text_key(text).encode()).digest()[:8]) % buckets


def detokenise(text: str) -> str:
    """Write a sentence of SST-2 the way people write: `it 's good , is n't it ?` has spaces nobody types.

    Args:
        text: Space-separated tokens of the Stanford treebank.

    Returns:
        The sentence with punctuation and clitics attached.

    Example:
        >>> detokenise("it 's good , but -lrb- sadly -rrb- it does n't last .")
        "it's good, but (sadly) it doesn't last."
    """
    text = text.replace("-lrb-", "(").replace("-rrb-", ")").replace("``", '"').replace("''", '"')
    text = re.sub(r" (n't|'[a-z]+|[,.;:!?%)])(?= |$)", r"\1", text.strip())
    return re.sub(r"(?<=[($]) ", "", text)


def read_chinese(data: Path) -> list[Review]:
    """Reviews of all three Chinese sources, as they stand in the files.

    Args:
        data: Folder that holds `zh-sentiment`.

    Returns:
        Reviews in file order, white space collapsed; shopping last, since it repeats most of the hotel reviews.
    """
    reviews = []
    for source, name in CHINESE_SOURCES.items():
        with gzip.open(data / name, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        reviews += [Review(" ".join(row["text"].lstrip("\ufeff").split()), row["label"], source) for row in rows]
    return reviews


def read_sst2(data: Path) -> dict[str, list[Review]]:
    """SST-2 with its own split; `test` is the validation set of GLUE, whose labels are public.

    Args:
        data: Folder that holds `sst2`.

    Returns:
        `train`, `validation` and `test`.
    """
    parts = {}
    for part, name in zip(PARTS, ("train", "dev", "test"), strict=True):
        with gzip.open(data / f"sst2/{name}.tsv.gz", "rt", encoding="utf-8") as lines:
            rows = [line.rstrip("\n").rsplit("\t", 1) for line in list(lines)[1:]]
        parts[part] = [Review(detokenise(text), int(label), "sst2") for text, label in rows]
    return parts


def read_film_reviews(data: Path, count: int = 5_000) -> list[str]:
    """Whole English reviews without labels: SST-2 alone has too few words to choose a vocabulary from.

    Args:
        data: Folder that holds `imdb`.
        count: How many of the 25,000 training reviews to read.

    Returns:
        Texts, line breaks of HTML removed.
    """
    with lzma.open(data / "imdb/train.jsonl.xz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"].replace("<br />", " ") for line in islice(lines, count)]


def without_repeats(parts: dict[str, list[Review]]) -> dict[str, list[Review]]:
    """Keep each text once, in the part nearest to the test set; drop texts that carry both labels.

    Args:
        parts: `train`, `validation` and `test`.

    Returns:
        The same parts with fewer rows; no key occurs in two of them.
    """
    labels: dict[str, set[int]] = {}
    for review in (review for part in PARTS for review in parts[part]):
        labels.setdefault(text_key(review.text), set()).add(review.label)
    seen: set[str] = {""}
    kept: dict[str, list[Review]] = {}
    for part in reversed(PARTS):
        kept[part] = []
        for review in parts[part]:
            key = text_key(review.text)
            if key not in seen and len(labels[key]) == 1:
                seen.add(key)
                kept[part].append(review)
    return kept


def read_reviews(data: Path) -> dict[str, dict[str, list[Review]]]:
    """All reviews by language and part.

    Args:
        data: Folder that holds `zh-sentiment` and `sst2`.

    Returns:
        `{"zh": {"train": ..., "validation": ..., "test": ...}, "en": ...}`; Chinese texts are split 80/5/15 by hash.
    """
    chinese: dict[str, list[Review]] = {part: [] for part in PARTS}
    for review in read_chinese(data):
        draw = bucket(review.text, 20)
        chinese["test" if draw < 3 else "validation" if draw == 3 else "train"].append(review)
    return {"zh": without_repeats(chinese), "en": without_repeats(read_sst2(data))}


def read_pairs(data: Path, held_out: int = 500) -> dict[str, list[tuple[str, str]]]:
    """English-Chinese sentence pairs of Tatoeba.

    Args:
        data: Folder that holds `tatoeba-eng-cmn`.
        held_out: How many pairs to keep for the retrieval test.

    Returns:
        `train` and `test`; no sentence of `test` occurs in `train`, and none occurs twice in `test`.
    """
    with gzip.open(data / PAIRS_FILE, "rt", encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    pairs = [(row[0], row[1]) for row in rows]
    pairs.sort(key=lambda pair: hashlib.sha256(text_key(pair[0]).encode()).digest())
    test: list[tuple[str, str]] = []
    used: set[str] = set()
    for english, chinese in pairs:
        keys = {text_key(english), text_key(chinese)}
        if len(test) < held_out and not keys & used:
            test.append((english, chinese))
            used |= keys
    train = [pair for pair in pairs if not {text_key(pair[0]), text_key(pair[1])} & used]
    return {"train": train, "test": test}


def baseline_predictions(train: Sequence[Review], texts: Sequence[str], chinese: bool) -> list[int]:
    """What TF-IDF and logistic regression answer, the yardstick of the BERT.

    Args:
        train: Reviews of one language.
        texts: Texts to classify.
        chinese: Count 1-3 characters; otherwise 1-2 words.

    Returns:
        One label per text.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    grams = {"analyzer": "char", "ngram_range": (1, 3)} if chinese else {"ngram_range": (1, 2), "token_pattern": r"\S+"}
    model = make_pipeline(
        TfidfVectorizer(min_df=2, sublinear_tf=True, **grams),
        LogisticRegression(C=10, max_iter=1000, solver="liblinear"),
    )
    model.fit([review.text for review in train], [review.label for review in train])
    return model.predict(list(texts)).tolist()
