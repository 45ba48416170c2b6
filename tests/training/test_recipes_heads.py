"""The recipe of the fine-tuned heads in small, and how it reads its data."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from largemodels._checkpoints import SHIPPED
from largemodels.models._tagging import Entity
from largemodels.models.bert import Bert
from largemodels.training.recipes import heads
from largemodels.training.recipes.head_tasks import ABOUT, KINDS, TASKS, Task, baseline, score

BASE = "bilingual-bert"


def write(path: Path, text: str) -> None:
    """Write a compressed file and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode("utf-8")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up data in the form of each data set: topic and name are plain to see."""
    folder = tmp_path_factory.mktemp("data")
    topics, seen = ("球赛", "股票"), {"dev": 60, "test": 20}
    for part, count in seen.items():
        rows = [f"{topics[n % 2]}新闻第{n}条{part}\t{n % 2}" for n in range(count)]
        shared = "两边都有的球赛标题\t0"
        write(folder / f"thucnews-headlines/{part}.txt.gz", "\n".join([*rows, shared]) + "\n")
    write(folder / "thucnews-headlines/class.txt.gz", "sports\nstocks")
    for part, count in {"train": 60, "test": 12}.items():
        posts = [
            {"label": g, "text": f"From: someone\n\n{word} number {n} of the {part} posts"}
            for n in range(count // 2)
            for g, word in (("rec.autos", "engines"), ("sci.space", "rockets"))
        ]
        write(folder / f"20newsgroups/20news-bydate-{part}.jsonl.gz", "\n".join(map(json.dumps, posts)) + "\n")
    for part, count in {"train": 60, "dev": 20}.items():
        rows = [
            {
                "text": f"第{n}天李白来到长安",
                "label": {"name": {"李白": [[a, a + 1]]}, "address": {"长安": [[a + 4, a + 5]]}},
            }
            for n in range(count)
            for a in (2 + len(str(n)),)
        ]
        write(folder / f"cluener2020/{part}.json.gz", "\n".join(json.dumps(row, indent=1) for row in rows))
    return folder


def test_each_task_reads_its_parts(data: Path) -> None:
    topics = TASKS["topics-zh"](data)
    assert topics.labels == ["sports", "stocks"] and len(topics.test) == 20  # the shared headline is gone
    assert len(topics.train) + len(topics.validation) == 61 and topics.validation
    assert not {text for text, _ in topics.train} & {text for text, _ in topics.validation}
    posts = TASKS["topics-en"](data)
    assert posts.labels == ["rec.autos", "sci.space"] and posts.test[0] == ("engines number 0 of the test posts", 0)
    names = TASKS["entities-zh"](data)
    assert len(names.labels) == 1 + 2 * len(KINDS) and len(names.test) == 20
    text, entities = names.test[13]
    assert [text[e.start : e.end] for e in entities] == ["李白", "长安"]
    assert set(ABOUT) == set(TASKS)


def test_a_folder_without_the_data_is_refused(tmp_path: Path) -> None:
    for read in TASKS.values():
        with pytest.raises(FileNotFoundError, match="missing or empty now"):
            read(tmp_path)


@pytest.mark.parametrize("name", TASKS)
def test_counting_finds_what_is_plain_to_see(name: str, data: Path) -> None:
    figures = baseline(TASKS[name](data))
    assert figures and min(figures.values()) > 0.9


def test_scores_of_answers_known_by_hand() -> None:
    task = Task(["a", "b"], False, 1, 1e-3, 8, [], [], [("x", 0), ("y", 0), ("z", 1), ("w", 1)])
    assert score(task, [0, 0, 0, 1]) == {"accuracy": 0.75, "macro F1": pytest.approx((0.8 + 2 / 3) / 2)}
    tags = Task(["O"], True, 1, 1e-3, 8, [], [], [("李白", [Entity(0, 2, "name")])])
    assert score(tags, [[Entity(0, 1, "name")]])["f1"] == 0.0


def test_targets_of_tokens_follow_the_characters(data: Path) -> None:
    task = TASKS["entities-zh"](data)
    _, tokenizer = heads.load_model(BASE, task, True, 0)
    ids, targets = heads.encode([("Li Bai在长安。", [Entity(0, 6, "name"), Entity(7, 9, "address")])], task, tokenizer)[
        0
    ]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    named = [(piece, task.labels[t]) for piece, t in zip(pieces, targets, strict=True) if t > 0]
    assert named[0][1] == "B-name" and named[-2:] == [("长", "B-address"), ("安", "I-address")]
    assert targets[0] == targets[-1] == -100 and targets[pieces.index("在")] == 0
    batch = heads.make_batch([(ids, targets), (ids[:4], targets[:4])], tokenizer.pad_token_id)
    assert batch["labels"][1, 4:].eq(-100).all() and batch["attention_mask"][1].sum() == 4


@pytest.mark.parametrize("name", ["topics-zh", "entities-zh"])
def test_a_head_learns_and_its_card_says_what_was_measured(name: str, data: Path, tmp_path: Path) -> None:
    task = TASKS[name](data)
    task = Task(**{**vars(task), "epochs": 8, "lr": 3e-3, "max_length": 24, "validation": task.validation[:4]})
    out = tmp_path / name
    for pretrained in (True, False):
        report = heads.train(task, BASE, out, seed=1, pretrained=pretrained)
        assert report.curve[-1]["loss"] < 0.7 * torch.tensor(float(len(task.labels))).log()
    table = heads.evaluate(name, task, out, BASE)
    card = (out / "README.md").read_text("utf-8")
    assert table in card and "{{" not in card and f"largemodels train heads {name}" in card
    first = next(iter(score(task, heads.answer(*_opened(out, task), task, task.test)).values()))
    assert f"| this model | {first:.3f} |" in table and first > 0.5
    bert = Bert.from_pretrained(out)
    if task.tags:
        assert [e.kind for e in bert.tag(task.test[3][0])] == ["name", "address"]
    else:
        assert bert.labels == tuple(task.labels)


def _opened(folder: Path, task: Task):
    """Model and tokenizer of a folder, as `evaluate` opens them."""
    import transformers

    auto = "AutoModelForTokenClassification" if task.tags else "AutoModelForSequenceClassification"
    model = getattr(transformers, auto).from_pretrained(folder).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def test_the_base_is_there() -> None:
    assert (SHIPPED / BASE / "model.safetensors").is_file()
