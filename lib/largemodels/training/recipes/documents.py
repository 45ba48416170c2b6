"""Running text in Chinese and English for pretraining: documents of sentences, by kind, split by hash."""

import gzip
import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path

from largemodels.training.recipes.corpora import SPLITS, require, split_of
from largemodels.training.recipes.reviews import read_reviews

FILES = (
    "zh-sentiment/chnsenticorp_htl.jsonl.gz", "zh-sentiment/waimai_10k.jsonl.gz",
    "zh-sentiment/online_shopping_10_cats.jsonl.gz", "sst2/train.tsv.gz", "sst2/dev.tsv.gz", "sst2/test.tsv.gz",
    "cmrc2018/dev.json.gz", "cmrc2018/trial.json.gz", "csl-benchmark/ts.dev.tsv.gz", "csl-benchmark/kg.dev.tsv.gz",
    "lccc-dialogue/LCCC-base_test.json.gz", "thucnews-headlines/dev.txt.gz", "cluener2020/train.json.gz",
    "tatoeba-eng-cmn/eng-cmn-simplified.tsv.gz", "imdb/train.jsonl.xz", "wikitext-2/valid.txt.gz",
    "xquad/xquad.en.json.gz",
)  # fmt: skip
Documents = list[list[str]]  # each document a list of sentences
_ZH_END = re.compile(r"(?<=[。！？；!?…])")
_EN_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z0-9])")
_CLAUSE = re.compile(r"(?<=[，,；;])")


def split_sentences(text: str, language: str) -> list[str]:
    """Cut running text into sentences.

    Args:
        text: a paragraph.
        language: "zh" or "en".

    Returns:
        Sentences, white space trimmed, none empty. A text of one sentence is cut at its commas.

    Example:
        >>> split_sentences("It rained. Mr. Li stayed at home!", "en")
        ['It rained.', 'Mr.', 'Li stayed at home!']
    """
    ends = _ZH_END if language == "zh" else _EN_END
    parts = [part.strip() for part in ends.split(text) if part.strip()]
    if len(parts) == 1:
        parts = [part.strip() for part in _CLAUSE.split(text) if part.strip()]
    return parts


def _json_lines(path: Path) -> Iterator[dict]:
    """Rows of a compressed file, one JSON object a line."""
    opened = lzma.open if path.suffix == ".xz" else gzip.open
    with opened(path, "rt", encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines)


def _contexts(path: Path) -> list[str]:
    """Paragraphs of a question-answering file in SQuAD's form."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    return [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]


def _abstracts(folder: Path) -> list[str]:
    """Abstracts of Chinese papers; test files stay unread."""
    texts = []
    for name in ("ts.dev.tsv.gz", "kg.dev.tsv.gz"):
        with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
            texts += [row[1] for row in (line.split("\t") for line in lines) if len(row) > 1]
    return texts


def _dialogues(path: Path) -> list[list[str]]:
    """Short chats, the spaces between characters removed."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [[turn.replace(" ", "") for turn in chat] for chat in json.load(file)]


def _wikipedia(path: Path) -> list[str]:
    """Paragraphs of WikiText, written the way people write."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = [line.strip() for line in lines if len(line) > 80 and not line.startswith(" =")]
    return [plain_wikitext(text) for text in texts]


def plain_wikitext(text: str) -> str:
    """Undo the tokenisation of WikiText.

    Args:
        text: a paragraph with spaces around punctuation.

    Returns:
        The paragraph as people write it.

    Example:
        >>> plain_wikitext("It weighs 0 @.@ 7 kg ( 2 lb ) , at most .")
        'It weighs 0.7 kg (2 lb), at most.'
    """
    text = re.sub(r" @([-.,])@ ", r"\1", text)
    text = re.sub(r" ([,.;:!?%)\]]|'s\b|n't\b|'re\b|'ve\b|'ll\b)", r"\1", text)
    return re.sub(r"([(\[$]) ", r"\1", text)


def _film_reviews(path: Path) -> list[str]:
    """Film reviews, labels left aside."""
    return [row["text"].replace("<br />", " ") for row in _json_lines(path)]


def read_documents(data: Path) -> dict[str, tuple[str, Documents]]:
    """All the text of the recipe, by kind; parts that other recipes test on are not read.

    Args:
        data: folder with `zh-sentiment`, `sst2`, `cmrc2018`, `csl-benchmark`, `lccc-dialogue`, `thucnews-headlines`,
            `cluener2020`, `tatoeba-eng-cmn`, `imdb`, `wikitext-2`, `20newsgroups` and `xquad`.

    Returns:
        Kind to language and documents, without repeats.

    Raises:
        FileNotFoundError: naming every file that is missing or empty.
    """
    require(data, *FILES)
    reviews = [review.text for review in read_reviews(data)["zh"]["train"]]
    with gzip.open(data / "thucnews-headlines/dev.txt.gz", "rt", encoding="utf-8") as lines:
        headlines = [line.split("\t")[0] for line in lines]
    entities = (data / "cluener2020/train.json.gz").read_bytes()
    named = re.findall(r'"text": ("(?:[^"\\]|\\.)*")', gzip.decompress(entities).decode("utf-8"))
    with gzip.open(data / "tatoeba-eng-cmn/eng-cmn-simplified.tsv.gz", "rt", encoding="utf-8") as lines:
        pairs = [line.rstrip("\n").split("\t") for line in lines]
    texts = {
        "reviews": ("zh", reviews),
        "encyclopaedia": ("zh", _contexts(data / "cmrc2018/dev.json.gz") + _contexts(data / "cmrc2018/trial.json.gz")),
        "abstracts": ("zh", _abstracts(data / "csl-benchmark")),
        "news": ("zh", headlines + [json.loads(text) for text in named]),
        "sentences zh": ("zh", [pair[1] for pair in pairs]),
        "film reviews": ("en", _film_reviews(data / "imdb/train.jsonl.xz")),
        "wikipedia": ("en", _wikipedia(data / "wikitext-2/valid.txt.gz") + _contexts(data / "xquad/xquad.en.json.gz")),
        "sentences en": ("en", [pair[0] for pair in pairs]),
    }
    kinds = {
        kind: (language, [split_sentences(text, language) for text in dict.fromkeys(rows) if text.strip()])
        for kind, (language, rows) in texts.items()
    }
    return kinds | {"dialogues": ("zh", _dialogues(data / "lccc-dialogue/LCCC-base_test.json.gz"))}


def split_documents(documents: Documents) -> dict[str, Documents]:
    """Divide documents by their hash: 98 % train, 1 % validation, 1 % test.

    Args:
        documents: lists of sentences.

    Returns:
        Split name to documents.
    """
    splits: dict[str, Documents] = {split: [] for split in SPLITS}
    for document in documents:
        if document:
            splits[split_of("".join(document))].append(document)
    return splits
