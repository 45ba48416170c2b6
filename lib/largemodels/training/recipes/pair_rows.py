"""Rows for a BERT: a WordPiece vocabulary, pairs of sentences as ids, and the masks of a batch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from largemodels.models.bert_pretraining import IGNORED, SentencePair, mask_tokens
from largemodels.training.pretraining import Batch
from largemodels.training.recipes.documents import Documents

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CONTEXT_LENGTH = 128
VOCAB_SIZE = 8_000
ROWS_PER_BATCH = 24  # of full length; shorter rows are more
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
Rows = dict[str, Tensor]


def build_tokenizer(
    documents: dict[str, tuple[str, Documents]], vocab_size: int = VOCAB_SIZE
) -> "PreTrainedTokenizerFast":
    """WordPiece as BERT uses it: lower case, each Han character by itself, pieces learned from the text.

    Args:
        documents: kind to language and training documents.
        vocab_size: tokens, the five special ones included.

    Returns:
        A tokenizer that adds `[CLS]` and `[SEP]` and gives segment ids.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, min_frequency=10, limit_alphabet=3 * vocab_size // 8, special_tokens=list(SPECIALS),
        show_progress=False,
    )  # fmt: skip
    texts = [sentence for _, rows in documents.values() for document in rows for sentence in document]
    backend.train_from_iterator(texts, trainer)
    start, end = SPECIALS.index("[CLS]"), SPECIALS.index("[SEP]")  # special tokens take the first numbers
    backend.post_processor = processors.BertProcessing(("[SEP]", end), ("[CLS]", start))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",  # noqa: S106
        mask_token="[MASK]", model_max_length=CONTEXT_LENGTH, clean_up_tokenization_spaces=False,  # noqa: S106
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def encode_documents(documents: Documents, tokenizer: "PreTrainedTokenizerFast") -> list[list[list[int]]]:
    """Token ids of every sentence, without special tokens.

    Args:
        documents: lists of sentences.
        tokenizer: from `build_tokenizer`.

    Returns:
        Documents of sentences of ids.
    """
    flat = [sentence for document in documents for sentence in document]
    ids = iter(tokenizer(flat, add_special_tokens=False, verbose=False)["input_ids"]) if flat else iter(())
    return [[next(ids) for _ in document] for document in documents]


def build_rows(pairs: Sequence[SentencePair], tokenizer: "PreTrainedTokenizerFast") -> Rows:
    """Write pairs as rows: `[CLS]` first `[SEP]` second `[SEP]`, filled up to `CONTEXT_LENGTH`.

    Args:
        pairs: with at most `CONTEXT_LENGTH - 3` tokens each.
        tokenizer: gives the special ids.

    Returns:
        `ids` and `segments` `(N, CONTEXT_LENGTH)` and `follows` `(N,)`: 0 follows, 1 does not, -100 not asked.
    """
    start, end, pad = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id
    ids = torch.full((len(pairs), CONTEXT_LENGTH), pad, dtype=torch.int16)
    segments = torch.zeros(len(pairs), CONTEXT_LENGTH, dtype=torch.int8)
    for row, pair in enumerate(pairs):
        first = [start, *pair.first, end]
        whole = [*first, *pair.second, end] if pair.second else first
        ids[row, : len(whole)] = torch.tensor(whole, dtype=torch.int16)
        segments[row, len(first) : len(whole)] = 1
    known = {True: 0, False: 1, None: IGNORED}
    return {"ids": ids, "segments": segments, "follows": torch.tensor([known[pair.follows] for pair in pairs])}


def make_batch(
    rows: Rows,
    numbers: Sequence[int],
    generator: torch.Generator,
    tokenizer: "PreTrainedTokenizerFast",
    *,
    fraction: float = 0.15,
) -> Batch:
    """Mask some tokens of some rows.

    Args:
        rows: from `build_rows`.
        numbers: which rows.
        generator: decides the masks.
        tokenizer: gives the special ids.
        fraction: of the tokens that is asked for.

    Returns:
        What the model's `forward` takes, filler that no row needs cut off.
    """
    ids = rows["ids"][list(numbers)].long()  # (B, T)
    used = ids != tokenizer.pad_token_id
    length = int(used.sum(1).max())
    ids, used = ids[:, :length], used[:, :length]
    special = torch.tensor(tokenizer.all_special_ids)
    maskable = ~torch.isin(ids, special)
    shown, targets = mask_tokens(
        ids, maskable, tokenizer.mask_token_id, len(tokenizer), fraction=fraction, generator=generator
    )
    return {
        "input_ids": shown,
        "attention_mask": used.long(),
        "token_type_ids": rows["segments"][list(numbers)].long()[:, :length],
        "labels": targets,
        "next_sentence_label": rows["follows"][list(numbers)],
    }


def length_groups(rows: Rows, pad: int) -> list[tuple[list[int], int]]:
    """Rows of about the same length, and how many of them make a batch.

    Args:
        rows: all training rows.
        pad: id of the filler.

    Returns:
        Row numbers and batch sizes, about `ROWS_PER_BATCH * CONTEXT_LENGTH` tokens each.
    """
    lengths = (rows["ids"] != pad).sum(1)  # (N,)
    edges = [0, 16, 32, 64, 96, 112, CONTEXT_LENGTH]
    groups = []
    for low, high in zip(edges, edges[1:], strict=False):
        numbers = ((lengths > low) & (lengths <= high)).nonzero().flatten().tolist()
        groups.append((numbers, ROWS_PER_BATCH * CONTEXT_LENGTH // high))
    return groups
