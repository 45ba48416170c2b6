"""What the fine-tuned heads learn: texts, labels, and what counting alone reaches."""

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from largemodels.evaluation.metrics import accuracy, confusion_matrix, precision_recall_f1
from largemodels.models._tagging import Entity, entities_of, entity_scores, tag_names, tags_of
from largemodels.training.recipes.corpora import SPLITS, require, split_of
from largemodels.training.recipes.newsgroups import read_newsgroups

KINDS = ("address", "book", "company", "game", "government", "movie", "name", "organization", "position", "scene")
Rows = list[tuple[str, Any]]  # a text with the number of its class, or with its entities


@dataclass(frozen=True)
class Task:
    """One head.

    Attributes:
        labels: names of the classes, or of the tags.
        tags: whether every token gets a label, or the whole text one.
        epochs: how often each training text is read.
        lr: peak learning rate.
        max_length: tokens of a text that are read; the rest is cut off.
        train: training texts.
        validation: texts that are looked at while training.
        test: texts that are only measured at the end.
        spaces: whether words are written with spaces between them.
    """

    labels: list[str]
    tags: bool
    epochs: int
    lr: float
    max_length: int
    train: Rows
    validation: Rows
    test: Rows
    spaces: bool = False


def topics_zh(data: Path) -> Task:
    """Chinese headlines, ten topics: the dev part is learned from, the test part measured on.

    Args:
        data: folder that holds `thucnews-headlines`.

    Returns:
        The task; a headline of the test part that is also in dev is left out.
    """
    names = [f"thucnews-headlines/{name}.txt.gz" for name in ("dev", "test", "class")]
    require(data, *names)
    lines = [gzip.decompress((data / name).read_bytes()).decode("utf-8").splitlines() for name in names]
    parts = [[(row.rsplit("\t", 1)[0], int(row.rsplit("\t", 1)[1])) for row in part if row] for part in lines[:2]]
    known = {text for text, _ in parts[0]}
    test = [row for row in parts[1] if row[0] not in known]
    return Task(lines[2], False, 4, 5e-4, 64, *_split(parts[0]), test)


def topics_en(data: Path) -> Task:
    """20 Newsgroups by date, all twenty groups; headers, signatures and quotations are taken off.

    Args:
        data: folder that holds `20newsgroups`.

    Returns:
        The task.
    """
    require(data, "20newsgroups/20news-bydate-train.jsonl.gz", "20newsgroups/20news-bydate-test.jsonl.gz")
    train, test = read_newsgroups(data)
    labels = sorted({group for _, group in train})
    numbered = [[(" ".join(text.split()), labels.index(group)) for text, group in part] for part in (train, test)]
    return Task(labels, False, 4, 5e-4, 128, *_split(numbered[0]), numbered[1], spaces=True)


def entities_zh(data: Path) -> Task:
    """CLUENER 2020, ten kinds of entities in Chinese news; its dev part is the test, as its test has no labels.

    Args:
        data: folder that holds `cluener2020`.

    Returns:
        The task.
    """
    require(data, "cluener2020/train.json.gz", "cluener2020/dev.json.gz")
    train, test = (list(_cluener(data / f"cluener2020/{name}.json.gz")) for name in ("train", "dev"))
    return Task(tag_names(KINDS), True, 6, 5e-4, 64, *_split(train), test)


_CLASSIFY = """from largemodels.models.bert import Bert

bert = Bert.from_pretrained("{name}")
print(bert.classify(["{text}"])[0])"""
ABOUT = {  # what the model card says of each
    "topics-zh": {
        "language": "zh",
        "pipeline": "text-classification",
        "about_zh": "判断一条中文新闻标题属于十类中的哪一类。",
        "use": _CLASSIFY.format(name="topics-zh", text="国足今晚迎战韩国队"),
        "data": "THUCNews headlines, ten balanced classes (research use): 10,000 of the dev part to learn from, the "
        "test part to measure on, without headlines that stand in both.",
        "limits": "Headlines of about 2010, from one portal. One that fits none of the classes gets one all the same.",
    },
    "topics-en": {
        "language": "en",
        "pipeline": "text-classification",
        "about_zh": "判断一篇英文帖子属于 20 个新闻组中的哪一个。",
        "use": _CLASSIFY.format(name="topics-en", text="The shuttle reached orbit after a clean launch."),
        "data": "20 Newsgroups (no licence stated), split by date, all twenty groups; headers, signatures, quotations "
        "taken off, posts of which nothing remains left out.",
        "limits": "Posts of 1993, read up to the greatest length; what comes later is not seen. Groups about the same "
        "thing are taken for each other.",
    },
    "entities-zh": {
        "language": "zh",
        "pipeline": "token-classification",
        "about_zh": "在中文新闻里标出十种名称：地址、书名、公司、游戏、政府、电影、人名、机构、职位、景点。",
        "use": 'from largemodels.models.bert import Bert\n\nbert = Bert.from_pretrained("entities-zh")\n'
        'print(bert.tag("马云在杭州创办了阿里巴巴公司。"))',
        "data": "CLUENER 2020 (research use), ten kinds of entities: its training part to learn from, its dev part to "
        "measure on, as its test part has no labels.",
        "limits": "Sentences of newspapers of about 2010. Entities never overlap. Figures count whole entities: limits "
        "and kind must both be right.",
    },
}
TASKS = {"topics-zh": topics_zh, "topics-en": topics_en, "entities-zh": entities_zh}


def _split(rows: Rows) -> tuple[Rows, Rows]:
    """Training and validation rows: about 5 % are held out by the hash of the text."""
    parts: dict[str, Rows] = {split: [] for split in SPLITS}
    for row in rows:
        parts[split_of(row[0], held_out_percent=10)].append(row)
    return parts["train"] + parts["test"], parts["validation"]


def _cluener(path: Path) -> Iterator[tuple[str, list[Entity]]]:
    """Texts with their entities; the file is one JSON object after the other, ends inclusive."""
    text, decoder, place = gzip.decompress(path.read_bytes()).decode("utf-8").strip(), json.JSONDecoder(), 0
    while place < len(text):
        row, end = decoder.raw_decode(text, place)
        spans = [(a, b + 1, kind) for kind, names in row["label"].items() for s in names.values() for a, b in s]
        yield row["text"], [Entity(*span) for span in sorted(spans)]
        while end < len(text) and text[end].isspace():
            end += 1
        place = end


def baseline(task: Task) -> dict[str, float]:
    """Counting alone: TF-IDF with logistic regression, or the characters around each character with the same.

    Args:
        task: what to learn.

    Returns:
        Figures on the test part, as `score` gives them.
    """
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.pipeline import make_pipeline

    if task.tags:
        model = make_pipeline(
            FeatureHasher(2**20, input_type="string"), SGDClassifier(loss="log_loss", alpha=1e-6, random_state=0)
        )
        model.fit(
            [around(text, at) for text, _ in task.train for at in range(len(text))],
            [tag for text, found in task.train for tag in tags_of(characters(text), found)],
        )
        answers = [list(model.predict([around(text, at) for at in range(len(text))])) for text, _ in task.test]
        got = [entities_of(characters(text), tags) for (text, _), tags in zip(task.test, answers, strict=True)]
        return score(task, got)
    grams = {"ngram_range": (1, 2), "min_df": 2} if task.spaces else {"analyzer": "char", "ngram_range": (1, 3)}
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, **grams), LogisticRegression(C=10, max_iter=1_000))
    model.fit([text for text, _ in task.train], [label for _, label in task.train])
    return score(task, model.predict([text for text, _ in task.test]).tolist())


def characters(text: str) -> list[tuple[int, int]]:
    """Offsets of single characters.

    Args:
        text: any text.

    Returns:
        One pair for each.
    """
    return [(at, at + 1) for at in range(len(text))]


def around(text: str, at: int) -> list[str]:
    """What a counting tagger sees of one character: itself and two neighbours on each side, single and in pairs.

    Args:
        text: any text.
        at: which character.

    Returns:
        Clues, each with its place.
    """
    padded = f"  {text}  "
    one = [f"{shift:+} {padded[at + 2 + shift]}" for shift in range(-2, 3)]
    return one + [f"{shift:+} {padded[at + 2 + shift : at + 4 + shift]}" for shift in range(-2, 2)]


def score(task: Task, got: Sequence[Any]) -> dict[str, float]:
    """Compare answers with the test part.

    Args:
        task: what was learned.
        got: for each test text the number of its class, or its entities.

    Returns:
        Accuracy and macro-F1, or precision, recall and F1 over entities; fractions 0-1.
    """
    wanted = [label for _, label in task.test]
    if task.tags:
        return entity_scores(wanted, got)
    matrix = confusion_matrix(torch.tensor(wanted), torch.tensor(got), len(task.labels))
    f1 = precision_recall_f1(matrix, "macro")[2]
    return {"accuracy": accuracy(matrix).item(), "macro F1": f1.item()}
