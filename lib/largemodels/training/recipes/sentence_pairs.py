"""English–Chinese sentence pairs of Tatoeba, and the tokens that the translator reads and writes."""

import gzip
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from largemodels.training.recipes.character_gpt import count_vocabulary
from largemodels.training.recipes.corpora import SPLITS, split_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIALS = PAD, START, END, UNKNOWN = ("<pad>", "<start>", "<end>", "<unk>")
PAD_ID, START_ID, END_ID, UNKNOWN_ID = range(len(SPECIALS))
TOKENS_PER_STEP = 2560  # filler counted in
_WIDE = str.maketrans(",?!:;()", "，？！：；（）")
Pair = tuple[str, str]
Row = tuple[list[int], list[int]]


def plain_english(text: str) -> str:
    """Letters, digits and apostrophes only, in lower case: two spellings of one sentence become equal.

    Args:
        text: An English sentence.

    Returns:
        Words with one space between them.

    Example:
        >>> plain_english("“Don’t go,” said Tom.")
        "don't go said tom"
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text))


def tidy_chinese(text: str) -> str:
    """Full-width punctuation, no spaces except between Latin words.

    Args:
        text: A Chinese sentence.

    Returns:
        The same sentence, spelt one way.

    Example:
        >>> tidy_chinese("你好, Tom Smith 在家吗?")
        '你好，Tom Smith在家吗？'
    """
    text = re.sub(r"(?<![A-Za-z])\s+|\s+(?![A-Za-z])", "", text.strip())
    return re.sub(r"\.$", "。", text.translate(_WIDE))


def read_pairs(data: Path) -> dict[str, list[Pair]]:
    """Pairs in three splits that share no English sentence: 96 % train, 2 % validation, 2 % test.

    Args:
        data: Data root; `tatoeba-eng-cmn/eng-cmn-simplified.tsv.gz` is read.

    Returns:
        Split name to pairs (English, Chinese). The split is decided by a hash of the plain English, so all the
        translations of a sentence, and its other spellings, stay together.
    """
    with gzip.open(data / "tatoeba-eng-cmn" / "eng-cmn-simplified.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    splits: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    for english, chinese in rows:
        splits[split_of(plain_english(english), held_out_percent=4)].append((english, tidy_chinese(chinese)))
    return splits


def build_source_tokenizer(sentences: Iterable[str], vocab_size: int) -> "Tokenizer":
    """Byte pair encoding of lower-cased English; what it never saw falls apart into bytes, so nothing is unknown.

    Args:
        sentences: English training sentences.
        vocab_size: Most entries, the 256 bytes and two special tokens included.

    Returns:
        A tokenizer that ends every sentence with `<end>`.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    quotes = [normalizers.Replace(old, new) for old, new in (("’", "'"), ("“", '"'), ("”", '"'))]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), *quotes])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    return tokenizer


def target_tokens(sentences: Iterable[str]) -> list[str]:
    """One token for each character seen at least twice, the special ones first.

    Args:
        sentences: Chinese training sentences.

    Returns:
        Tokens; a token's place is its id.
    """
    return [*SPECIALS, *count_vocabulary(sentences, min_count=2)]


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows filled up to one length.

    Args:
        rows: Token ids of each sentence.

    Returns:
        `(B, T)` token ids; 0 is `<pad>` on both sides.
    """
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD_ID] * (longest - len(row))] for row in rows])


def bucketed_batches(rows: Sequence[Row], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of sentences of similar length, each epoch cut anew.

    Args:
        rows: Source and target ids of each pair.
        seed: Decides the cuts and the order.

    Yields:
        Source ids `(B, Ts)` and target ids `(B, Tt)`, with `B * (Ts + Tt)` at most `TOKENS_PER_STEP`.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        noise = torch.rand(len(rows), generator=generator).mul(3).tolist()
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]) + noise[i])
        batches: list[list[int]] = [[]]
        ts = tt = 0
        for i in order:
            ts, tt = max(ts, len(rows[i][0])), max(tt, len(rows[i][1]))
            if batches[-1] and (len(batches[-1]) + 1) * (ts + tt) > TOKENS_PER_STEP:
                batches.append([])
                ts, tt = len(rows[i][0]), len(rows[i][1])
            batches[-1].append(i)
        for j in torch.randperm(len(batches), generator=generator).tolist():
            yield padded([rows[i][0] for i in batches[j]]), padded([rows[i][1] for i in batches[j]])


def numbered(pairs: Sequence[Pair], tokenizer: "Tokenizer", tokens: Sequence[str]) -> list[Row]:
    """Token ids of pairs.

    Args:
        pairs: English and Chinese.
        tokenizer: Of the source.
        tokens: Of the target.

    Returns:
        Source ids, and target ids from `<start>` to `<end>`.
    """
    ids = {token: i for i, token in enumerate(tokens)}
    return [
        (tokenizer.encode(english).ids, [START_ID, *(ids.get(char, UNKNOWN_ID) for char in chinese), END_ID])
        for english, chinese in pairs
    ]
