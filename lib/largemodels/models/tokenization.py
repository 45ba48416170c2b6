"""Tokenization: text becomes numbers, by WordPiece or by byte pair encoding (BPE).

Two vocabularies learned from scratch, and what a batch needs: cutting and filling.

Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016,
https://arxiv.org/abs/1508.07909, algorithm 1.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from largemodels.models import _loading, _words
from largemodels.models._pieces import BYTES, spell
from largemodels.models._subwords import Pair, apply_merges, learn_merges, longest_match

BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 100  # characters; BERT reads a longer word as unknown


class ByteBpe:
    """A byte-level BPE: it begins with all 256 bytes, so it writes any text and gives it back.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.2,
    https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf.

    Attributes:
        merges: the learned pairs, in order.
        pieces: the bytes that each number stands for; none for special tokens.
        specials: special tokens and their numbers; no text ever becomes one of them.
    """

    def __init__(self, merges: Sequence[Pair], specials: Sequence[str] = ()) -> None:
        self.merges, self.specials = tuple(merges), {name: number for number, name in enumerate(specials)}
        self.pieces: list[bytes] = [b""] * len(specials) + [bytes([byte]) for byte in BYTES]
        self._byte = {byte: len(specials) + place for place, byte in enumerate(BYTES)}
        self._new = {pair: len(self.pieces) + place for place, pair in enumerate(self.merges)}
        for left, right in self.merges:
            if not len(specials) <= min(left, right) <= max(left, right) < len(self.pieces):
                raise ValueError(f"merges must join pieces that exist already, got {(left, right)}; keep their order")
            self.pieces.append(self.pieces[left] + self.pieces[right])

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, *, specials: Sequence[str] = (), min_frequency: int = 1
    ) -> "ByteBpe":
        """Learn the pieces from texts.

        Args:
            texts: the training corpus.
            vocab_size: how many pieces in all, special tokens and the 256 bytes included: these at least.
            specials: special tokens; they take the first numbers.
            min_frequency: stop when no pair of neighbours occurs so often, at least 1.

        Returns:
            The tokenizer; it has fewer pieces if the corpus has no more pairs.

        Raises:
            TypeError: if `texts` is one string or holds something else than strings.
            ValueError: if `vocab_size` or `min_frequency` is too small, or a text is not valid Unicode.

        Examples:
            >>> ByteBpe.train(["low low lower"], 260).tokens("lowest 低")
            ['low', 'e', 's', 't', ' ', '<E4>', '<BD>', '<8E>']
        """
        base = cls((), specials)
        words = Counter(word for text in _checked(texts) for word in _words.gpt2_words(text))
        spelt = {tuple(base._byte[byte] for byte in word.encode()): times for word, times in words.items()}
        first = len(base.pieces)
        return cls(learn_merges(spelt, first, _room(vocab_size, first, min_frequency), min_frequency), specials)

    def encode(self, text: str) -> list[int]:
        """Turn a text into numbers.

        Args:
            text: any text.

        Returns:
            The numbers of its pieces; none for the empty text.

        Raises:
            TypeError: if `text` is no string.
            ValueError: if it is not valid Unicode.
        """
        _loading.check_text(text, "text")
        words = ([self._byte[byte] for byte in word.encode()] for word in _words.gpt2_words(text))
        return [number for word in words for number in apply_merges(word, self._new)]

    def tokens(self, text: str) -> list[str]:
        """Cut a text into pieces and spell each one out.

        Args:
            text: any text.

        Returns:
            The pieces as text; bytes that are no whole character as `<E4>`.

        Raises:
            TypeError: if `text` is no string.
            ValueError: if it is not valid Unicode.
        """
        return [spell(self.pieces[number]) for number in self.encode(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Turn numbers back into the text; special tokens stand for none.

        Args:
            ids: numbers of pieces.

        Returns:
            The text: `decode(encode(text)) == text`, whatever the text.

        Raises:
            ValueError: if the bytes are no valid text, as when the last character is not complete.
        """
        data = b"".join(self.pieces[number] for number in ids)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"ids must spell whole characters, got bytes {spell(data[error.start :])} at byte {error.start}; "
                "add the missing ones, or look at .pieces"
            ) from None


class WordPiece:
    """BERT's tokenizer: whole words where it can, else a beginning and pieces marked `##`.

    Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018,
    https://arxiv.org/abs/1810.04805, section 3.
    Differs from the paper: how BERT's pieces were learned was never published. Here the most frequent pair is joined,
    as in the `tokenizers` library; Schuster and Nakajima, 2012, https://doi.org/10.1109/ICASSP.2012.6289079, join
    the pair that raises the likelihood of the corpus most.

    Attributes:
        vocab: the pieces; a piece's number is its place.
        unknown: what a word becomes that the pieces cannot spell.
    """

    def __init__(self, vocab: Sequence[str], unknown: str = "[UNK]") -> None:
        self.vocab, self.unknown = tuple(vocab), unknown
        self._ids = {piece: number for number, piece in enumerate(self.vocab)}
        if unknown not in self._ids:
            raise ValueError(f"vocab must hold the unknown token, got none called {unknown!r}; add it")

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, *, specials: Sequence[str] = BERT_SPECIALS, min_frequency: int = 1
    ) -> "WordPiece":
        """Learn the pieces from texts.

        Args:
            texts: the training corpus.
            vocab_size: how many pieces in all, special tokens and single characters included: these at least.
            specials: special tokens, `[UNK]` among them; they take the first numbers.
            min_frequency: stop when no pair of neighbours occurs so often, at least 1.

        Returns:
            The tokenizer; it has fewer pieces if the corpus has no more pairs.

        Raises:
            TypeError: if `texts` is one string or holds something else than strings.
            ValueError: if `vocab_size` or `min_frequency` is too small, or a text is not valid Unicode.

        Examples:
            >>> WordPiece.train(["low low lower 低"], 19).tokens("Slow LOWER 低低")
            ['[UNK]', 'lower', '低', '低']
        """
        words = Counter(word for text in _checked(texts) for word in _words.bert_words(text))
        inside = {"##" + char for word in words for char in word[1:]}
        vocab = [*specials, *sorted({char for word in words for char in word}), *sorted(inside)]
        ids = {piece: number for number, piece in enumerate(vocab)}
        spelt = {(ids[w[0]], *(ids["##" + char] for char in w[1:])): times for w, times in words.items()}
        room = _room(vocab_size, len(vocab), min_frequency)
        for left, right in learn_merges(spelt, len(vocab), room, min_frequency):
            vocab.append(vocab[left] + vocab[right].removeprefix("##"))
        return cls(vocab)

    def tokens(self, text: str) -> list[str]:
        """Cut a text into pieces.

        Args:
            text: any text; case, accents and the exact white space are lost.

        Returns:
            The pieces. A word that they cannot spell, or one above 100 characters, becomes `unknown` as a whole.

        Raises:
            TypeError: if `text` is no string.
            ValueError: if it is not valid Unicode.
        """
        _loading.check_text(text, "text")
        cut = (longest_match(w, self._ids) if len(w) <= LONGEST_WORD else None for w in _words.bert_words(text))
        return [piece for pieces in cut for piece in pieces or [self.unknown]]

    def encode(self, text: str) -> list[int]:
        """Turn a text into numbers.

        Args:
            text: any text.

        Returns:
            The numbers of its pieces, without special tokens around them.

        Raises:
            TypeError: if `text` is no string.
            ValueError: if it is not valid Unicode.
        """
        return [self._ids[piece] for piece in self.tokens(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Join pieces to a text, a space before each that has no `##`: not always what was read.

        Args:
            ids: numbers of pieces.

        Returns:
            The text in lower case.
        """
        return " ".join(self.vocab[number] for number in ids).replace(" ##", "")


def fit(ids: Sequence[int], length: int, first: Sequence[int] = (), last: Sequence[int] = ()) -> tuple[list[int], int]:
    """Put special tokens around a text; where there is no room, cut its end and say how much.

    Args:
        ids: the text's numbers.
        length: how many tokens the model takes, the special ones included.
        first: special tokens before the text, such as `[CLS]`.
        last: special tokens behind it, such as `[SEP]`.

    Returns:
        The numbers, at most `length`, and how many of the text's were cut off.

    Raises:
        ValueError: if the special tokens leave no room for the text.

    Examples:
        >>> fit([11, 12, 13, 14, 15], 5, first=[2], last=[3])
        ([2, 11, 12, 13, 3], 2)
    """
    room = length - len(first) - len(last)
    if room < 1:
        raise ValueError(
            f"length must leave room for the text, got {length} with {len(first) + len(last)} special tokens; raise it"
        )
    return [*first, *ids[:room], *last], max(0, len(ids) - room)


def pad(rows: Sequence[Sequence[int]], pad_id: int, side: str = "right") -> tuple[Tensor, Tensor]:
    """Fill shorter texts up to the longest one, so that they make one tensor.

    Args:
        rows: the numbers of `B` texts, the longest of `T` tokens.
        pad_id: number of the filler.
        side: "right", as encoders are used; "left" for a decoder that is to write on at the end.

    Returns:
        Numbers, shape `(B, T)`, and a boolean mask, shape `(B, T)`, False on the filler.

    Raises:
        ValueError: if there is no text, or `side` is unknown.

    Examples:
        >>> ids, mask = pad([[7, 8, 9], [5]], pad_id=0, side="left")
        >>> ids.tolist(), mask.sum(1).tolist()
        ([[7, 8, 9], [0, 0, 5]], [3, 1])
    """
    if not rows:
        raise ValueError("rows must hold at least one text, got none; give a list of lists of numbers")
    if side not in ("left", "right"):
        raise ValueError(f"side must be left or right, got {side!r}; encoders take right, decoders left")
    longest = max(map(len, rows))
    fill = [[pad_id] * (longest - len(row)) for row in rows]
    full = [[*f, *row] if side == "left" else [*row, *f] for f, row in zip(fill, rows, strict=True)]
    used = [[False] * len(f) + [True] * len(row) for f, row in zip(fill, rows, strict=True)]
    mask = torch.tensor(used, dtype=torch.bool).reshape(len(rows), longest)  # (B, T)
    return torch.tensor(full, dtype=torch.long).reshape(len(rows), longest), mask if side == "left" else mask.flip(1)


def _checked(texts: Iterable[str]) -> Iterable[str]:
    """Yield the texts of a corpus, each one checked."""
    if isinstance(texts, str):
        raise TypeError("texts must be a list of texts, got one str; write [text]")
    for number, text in enumerate(texts):
        _loading.check_text(text, f"texts[{number}]")
        yield text


def _room(vocab_size: int, base: int, min_frequency: int) -> int:
    """Return how many pieces can be learned."""
    if min_frequency < 1:
        raise ValueError(f"min_frequency must be at least 1, got {min_frequency}; 1 joins all that ever meet")
    if vocab_size < base:
        raise ValueError(f"vocab_size must be at least {base}, the pieces to begin with, got {vocab_size}; raise it")
    return vocab_size - base
