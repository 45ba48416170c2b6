"""Recipe of the fine-tuned heads: topics of headlines, of newsgroup posts, and names in Chinese news.

    largemodels train heads topics-zh --data DATA --out FOLDER
    largemodels train heads topics-zh --data DATA --evaluate FOLDER

The tasks are `topics-zh`, `topics-en` and `entities-zh`. Training also trains the same net from random weights, for the
comparison on the card.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from largemodels.models import _loading
from largemodels.models._tagging import entities_of, tags_of
from largemodels.training.fine_tuning import IGNORED, load_classifier
from largemodels.training.pretraining import REPORT, Batch, Batches, Report, Settings, pretrain
from largemodels.training.recipes.checkpoint_folder import fill_card, write_checkpoint
from largemodels.training.recipes.head_tasks import ABOUT, TASKS, Rows, Task, baseline, score

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

CARD = Path(__file__).with_name("heads_card.md")
WITHOUT = "without_pretraining.json"
ROWS_PER_BATCH = 16


def load_model(
    base: str, task: Task, pretrained: bool, seed: int
) -> tuple["PreTrainedModel", "PreTrainedTokenizerFast"]:
    """An encoder with a new head for a task.

    Args:
        base: Name or folder of the pretrained encoder.
        task: Gives labels, and whether they belong to tokens or to texts.
        pretrained: False leaves everything random.
        seed: Of everything that starts random.

    Returns:
        The model in float32, and its tokenizer.
    """
    if not task.tags:
        return load_classifier(base, task.labels, pretrained=pretrained, seed=seed)
    encoder, tokenizer = _loading.load(base, "AutoModel", device="cpu", dtype=torch.float32)
    from transformers import AutoModelForTokenClassification

    config = encoder.config
    config.id2label, config.label2id = dict(enumerate(task.labels)), {n: i for i, n in enumerate(task.labels)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForTokenClassification.from_config(config, dtype=torch.float32)
    if pretrained:
        model.base_model.load_state_dict(encoder.state_dict())
    return model.eval(), tokenizer


def encode(rows: Rows, task: Task, tokenizer: "PreTrainedTokenizerFast") -> list[tuple[list[int], Any]]:
    """Token ids and targets.

    Args:
        rows: Texts with labels.
        task: Gives label names and the greatest length.
        tokenizer: The model's.

    Returns:
        For each text its ids, and its class or one class for each token; -100 at special tokens.
    """
    texts = [text for text, _ in rows]
    found = tokenizer(texts, truncation=True, max_length=task.max_length, return_offsets_mapping=task.tags)
    if not task.tags:
        return list(zip(found["input_ids"], [label for _, label in rows], strict=True))
    number = {name: i for i, name in enumerate(task.labels)}
    targets = []
    for offsets, (_, entities) in zip(found["offset_mapping"], rows, strict=True):
        tags = tags_of(offsets, entities)
        targets.append([IGNORED if a == b else number[tag] for (a, b), tag in zip(offsets, tags, strict=True)])
    return list(zip(found["input_ids"], targets, strict=True))


def make_batch(rows: Sequence[tuple[list[int], Any]], pad: int) -> Batch:
    """Fill rows up to the longest.

    Args:
        rows: From `encode`.
        pad: Id of the filler.

    Returns:
        What the model's `forward` takes.
    """
    length = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [pad] * (length - len(ids)) for ids, _ in rows])
    mask = torch.tensor([[1] * len(ids) + [0] * (length - len(ids)) for ids, _ in rows])
    by_token = isinstance(rows[0][1], list)
    labels = [t + [IGNORED] * (length - len(t)) for _, t in rows] if by_token else [label for _, label in rows]
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor(labels)}


def length_groups(rows: Sequence[tuple[list[int], Any]]) -> list[tuple[list[int], int]]:
    """Row numbers by length, so that little is filled up.

    Args:
        rows: From `encode`.

    Returns:
        Groups of rows of about the same length.
    """
    edges = [0, 8, 16, 24, 32, 48, 64, 96, 10**9]
    groups = [
        [i for i, (ids, _) in enumerate(rows) if a < len(ids) <= b] for a, b in zip(edges, edges[1:], strict=False)
    ]
    return [(group, ROWS_PER_BATCH) for group in groups if group]


@torch.inference_mode()
def answer(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", task: Task, rows: Rows) -> list[Any]:
    """What the model says of texts.

    Args:
        model: With the task's head, in evaluation mode.
        tokenizer: Its tokenizer.
        task: What it has learned.
        rows: Texts; their labels are not looked at.

    Returns:
        For each text the number of its class, or its entities.
    """
    answers: list[Any] = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    for at in range(0, len(order), 64):
        chosen = order[at : at + 64]
        texts = [rows[i][0] for i in chosen]
        inputs = tokenizer(
            texts, truncation=True, max_length=task.max_length, padding=True, return_tensors="pt",
            return_offsets_mapping=task.tags,
        )  # fmt: skip
        offsets = inputs.pop("offset_mapping").tolist() if task.tags else []
        probs, numbers = model(**inputs).logits.softmax(-1).max(-1)
        for row, i in enumerate(chosen):
            if task.tags:
                tags = [task.labels[n] for n in numbers[row].tolist()]
                answers[i] = entities_of(offsets[row], tags, probs[row].tolist())
            else:
                answers[i] = int(numbers[row])
    return answers


def train(task: Task, base: str, out: Path, seed: int, pretrained: bool) -> Report:
    """Train one net and write its folder; without pretraining, only its figures.

    Args:
        task: What to learn.
        base: The pretrained encoder.
        out: Checkpoint folder.
        seed: Of head, order and dropout.
        pretrained: False starts from random weights.

    Returns:
        The report of the run.
    """
    torch.manual_seed(seed)
    model, tokenizer = load_model(base, task, pretrained, seed)
    rows = encode(task.train, task, tokenizer)
    batches = Batches(
        length_groups(rows), lambda numbers, _: make_batch([rows[i] for i in numbers], tokenizer.pad_token_id), seed
    )
    steps = task.epochs * batches.per_epoch
    settings = Settings(
        steps=steps, lr=task.lr, warmup=math.ceil(0.1 * steps), seed=seed, validate_every=batches.per_epoch,
        save_every=batches.per_epoch, log_every=min(100, batches.per_epoch),
    )  # fmt: skip

    def validate() -> dict[str, float]:
        held = Task(**{**vars(task), "test": task.validation})
        return {name: round(v, 4) for name, v in score(held, answer(model, tokenizer, held, held.test)).items()}

    state = out.with_name(f"{out.name}-{'state' if pretrained else 'random-state'}")
    report = pretrain(model.train(), batches, settings, state, validate)
    model.eval()
    if pretrained:
        write_checkpoint(out, model, tokenizer, card="")
        (out / REPORT).write_text((state / REPORT).read_text("utf-8"), encoding="utf-8")
    else:
        figures = score(task, answer(model, tokenizer, task, task.test))
        (out / WITHOUT).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return report


def evaluate(name: str, task: Task, folder: Path, base: str) -> str:
    """Measure a folder beside its baselines, and fill its card.

    Args:
        name: Of the task.
        task: What it has learned.
        folder: Checkpoint folder, written by `train`.
        base: The encoder it was made from.

    Returns:
        The table of test figures.
    """
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

    auto = AutoModelForTokenClassification if task.tags else AutoModelForSequenceClassification
    model, tokenizer = auto.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    figures = {
        "this model": score(task, answer(model, tokenizer, task, task.test)),
        "the same net without pretraining": json.loads((folder / WITHOUT).read_text("utf-8")),
        "characters around it, logistic regression" if task.tags else "TF-IDF, logistic regression": baseline(task),
    }
    columns = list(figures["this model"])
    lines = [f"| test part | {' | '.join(columns)} |", "| --- " * (1 + len(columns)) + "|"]
    lines += [f"| {who} | {' | '.join(f'{found[c]:.3f}' for c in columns)} |" for who, found in figures.items()]
    report = json.loads((folder / REPORT).read_text("utf-8"))
    facts = {
        "name": name, "base": base, "labels": ", ".join(task.labels), "max_length": str(task.max_length),
        "rows": f"{len(task.train):,} training, {len(task.validation):,} validation, {len(task.test):,} test",
        "parameters": f"{report['parameters']:,}", "tokens": f"{report['tokens']:,}",
        "seconds": f"{report['seconds']:,.0f}",
        "machine": ", ".join(f"{key} {value}" for key, value in report["machine"].items()),
        "settings": ", ".join(f"{key} {value}" for key, value in report["settings"].items()),
        "curve": "\n".join(f"| {' | '.join(map(str, row.values()))} |" for row in report["validation"]),
    }  # fmt: skip
    looked_at = list(report["validation"][0])[1:]
    facts |= ABOUT[name] | {"columns": " | ".join(looked_at), "bars": "| --- " * len(looked_at)}
    fill_card(folder, CARD, metrics="\n".join(lines), **facts)
    return "\n".join(lines)


def main() -> None:
    """Train a head, or evaluate one and fill its model card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(TASKS), help="what to learn")
    parser.add_argument("--data", type=Path, required=True, help="data root")
    parser.add_argument("--base", default="bilingual-bert", help="encoder to start from: name or folder")
    parser.add_argument("--seed", type=int, default=0, help="of head, order and dropout")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path, help="train, and write this checkpoint folder")
    action.add_argument("--evaluate", type=Path, metavar="FOLDER", help="measure this folder and write its card")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = TASKS[arguments.task](arguments.data)
    if arguments.evaluate:
        print(evaluate(arguments.task, task, arguments.evaluate, arguments.base))
        return
    for pretrained in (True, False):
        print(train(task, arguments.base, arguments.out, arguments.seed, pretrained).markdown())


if __name__ == "__main__":
    main()
