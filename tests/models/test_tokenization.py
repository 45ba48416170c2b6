"""Tokenization against the `tokenizers` library: same merges, same vocabulary, same numbers, and nothing lost."""

import json
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from unicodedata import category

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from demos._ui import InputError
from demos.models import tokenization, tokenization_training
from largemodels._checkpoints import SHIPPED, ModelError
from largemodels.models import _words
from largemodels.models._pieces import BYTES, LETTERS, open_tokenizer, pieces
from largemodels.models._subwords import apply_merges, learn_merges, longest_match, merge
from largemodels.models.tokenization import BERT_SPECIALS, ByteBpe, WordPiece, fit, pad

ENGLISH = [
    "The miller's daughter walked to the mill, and the mill-wheel turned as she walked.",
    "Walking there she'd sung; walkers heard her singing.  They'll sing it too!",
    "In 1999 there were 12 mills; in 2024 none.\n\tNone turned.",
]
CHINESE = [
    "春天来了，燕子回来了，孩子们也回来了。",
    "他们说：“燕子回来，春天就来了。”我们不信，可春天真的来了！",
    "第 12 条路上有 1999 棵树，树上有燕子。",
]
MIXED = [*ENGLISH, *CHINESE, "GPT-2 把 café 切成 5 个词元 🐼🐼🐼，BERT 却不认识 🐼。", "aaaa aaa aa aaaaa abab ababab"]
SPACES = ["a  b", " a\n\n b ", "   "]
CORPORA = {"en": ENGLISH * 2, "zh": CHINESE, "mixed": MIXED, "spaces": SPACES, "one letter": ["a" * 9]}
UNKNOWN = "[UNK]"
SHIPPED_NAMES = ("poem-gpt-zh", "shakespeare-gpt-en", "sentiment-bert-zh-en", "bilingual-bert", "translator-en-zh")
# Two libraries agree on the class of a character only if the older one's Unicode tables know it: Latin, Greek,
# Cyrillic, signs, kana, Han, Hangul.
OLD = [range(0x20, 0x180), range(0x370, 0x460), range(0x2010, 0x2028), range(0x3001, 0x3100), range(0x4E00, 0x5000)]
OLD_CHARACTERS = [chr(code) for part in [*OLD, range(0xAC00, 0xAC80)] for code in part if category(chr(code)) != "Cn"]
usual = st.text(st.sampled_from(OLD_CHARACTERS) | st.sampled_from("  \n\t''stdlm12aA。🐼"), max_size=40)
anything = st.text(max_size=60)


def library_bpe(texts: list[str], vocab_size: int, specials: tuple[str, ...] = (), min_frequency: int = 1) -> Tokenizer:
    """Train byte-level BPE with the library."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(specials), min_frequency=min_frequency, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator(texts, trainer)
    return backend


def library_wordpiece(texts: list[str], vocab_size: int, first: list[str], min_frequency: int = 1) -> dict[str, int]:
    """Train WordPiece with the library; the pieces named first keep that order, otherwise it is chance."""
    backend = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=first, min_frequency=min_frequency, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return backend.get_vocab()


def library_words(vocab: dict[str, int]) -> Tokenizer:
    """Use a vocabulary as BERT does."""
    backend = Tokenizer(models.WordPiece(vocab, unk_token=UNKNOWN, max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    return backend


def letters(data: bytes) -> str:
    """Write bytes as the library writes them in its vocabulary."""
    return "".join(LETTERS[BYTES.index(byte)] for byte in data)


def long_corpus(seed: int) -> list[str]:
    """Make up 300 lines of English-like and Chinese-like words, some frequent and most rare."""
    draw = random.Random(seed)
    syllables = ["ka", "lo", "mi", "ne", "ru", "tion", "ing", "st", "a", "e", "xq"]
    lexicon = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(150)]
    lexicon += ["".join(draw.choices("天地玄黄宇宙洪荒日月盈昃", k=draw.randint(1, 5))) for _ in range(100)]
    weights = [1 / (place + 1) for place in range(len(lexicon))]
    return [" ".join(draw.choices(lexicon, weights, k=12)) + draw.choice(".,。!") for _ in range(300)]


@pytest.mark.parametrize("vocab_size", [256, 263, 290, 400, 5000])
@pytest.mark.parametrize("name", CORPORA)
def test_byte_bpe_learns_the_librarys_merges_in_its_order(name: str, vocab_size: int) -> None:
    texts = CORPORA[name]
    ours, theirs = ByteBpe.train(texts, vocab_size), library_bpe(texts, vocab_size)
    vocab = theirs.get_vocab()
    assert [letters(piece) for piece in ours.pieces] == sorted(vocab, key=vocab.__getitem__)
    written = [tuple(letters(ours.pieces[number]) for number in pair) for pair in ours.merges]
    assert written == merges_of(theirs)
    for text in [*texts, *MIXED, "", "zebra 斑马"]:
        assert ours.encode(text) == theirs.encode(text).ids


def merges_of(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Return the library's merges in order."""
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


@pytest.mark.parametrize("seed", range(3))
def test_byte_bpe_equals_the_library_on_long_corpora(seed: int) -> None:
    texts, specials = long_corpus(seed), ("<pad>", "<end>")
    ours = ByteBpe.train(texts, 700, specials=specials, min_frequency=3)
    theirs = library_bpe(texts, 700, specials, min_frequency=3)
    assert [tuple(letters(ours.pieces[n]) for n in pair) for pair in ours.merges] == merges_of(theirs)
    assert len(ours.merges) > 250
    for text in long_corpus(seed + 10)[:40]:
        assert ours.encode(text) == theirs.encode(text).ids


TRAINED = {name: (ByteBpe.train(CORPORA[name], 330), library_bpe(CORPORA[name], 330)) for name in ("en", "zh", "mixed")}


@given(st.sampled_from(list(TRAINED)), usual)
def test_byte_bpe_gives_the_librarys_numbers_for_any_text(name: str, text: str) -> None:
    ours, theirs = TRAINED[name]
    assert ours.encode(text) == theirs.encode(text).ids


@given(st.sampled_from(list(TRAINED)), anything)
def test_byte_bpe_gives_every_text_back(name: str, text: str) -> None:
    bpe = TRAINED[name][0]
    assert bpe.decode(bpe.encode(text)) == text
    assert "\ufffd" not in "".join(bpe.tokens(text))


@given(usual)
def test_words_are_cut_as_gpt2_cuts_them(text: str) -> None:
    theirs = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    assert [letters(word.encode()) for word in _words.gpt2_words(text)] == [word for word, _ in theirs]


@given(anything)
def test_words_of_gpt2_are_the_whole_text(text: str) -> None:
    assert "".join(_words.gpt2_words(text)) == text


@given(usual)
def test_words_are_cut_as_bert_cuts_them(text: str) -> None:
    clean = normalizers.BertNormalizer(lowercase=True).normalize_str(text)
    theirs = pre_tokenizers.BertPreTokenizer().pre_tokenize_str(clean)
    assert _words.bert_words(text) == [word for word, _ in theirs]


def test_a_real_vocabulary_cuts_alike_in_both() -> None:
    theirs = open_tokenizer("translator-en-zh")
    ids = theirs.get_vocab()
    ours = ByteBpe([(ids[left], ids[right]) for left, right in merges_of(theirs)], specials=("<pad>", "<end>"))
    assert [letters(piece) for piece in ours.pieces[2:]] == sorted(ids, key=ids.__getitem__)[2:]
    for text in ("where is the station?", "it's five o'clock, they'll come  soon.", "12 cats 猫 🐼"):
        assert [*ours.encode(" " + text), ours.specials["<end>"]] == theirs.encode(text).ids


def first_pieces(texts: list[str]) -> list[str]:
    """Special tokens, characters, characters within words: the pieces that WordPiece begins with, in our order."""
    return list(WordPiece.train(texts, 10**6, min_frequency=10**6).vocab)


@pytest.mark.parametrize("extra", [0, 1, 7, 30, 5000])
@pytest.mark.parametrize("name", CORPORA)
def test_wordpiece_learns_the_librarys_vocabulary(name: str, extra: int) -> None:
    texts = CORPORA[name]
    first = first_pieces(texts)
    vocab = library_wordpiece(texts, len(first) + extra, first)
    ours, theirs = WordPiece.train(texts, len(first) + extra), library_words(vocab)
    assert list(ours.vocab) == sorted(vocab, key=vocab.__getitem__)
    for text in [*texts, *MIXED, "", "zebra 斑马", "walk" * 26]:
        assert ours.tokens(text) == theirs.encode(text).tokens
        assert ours.encode(text) == theirs.encode(text).ids
        assert ours.decode(ours.encode(text)) == theirs.decode(ours.encode(text), skip_special_tokens=False)


@pytest.mark.parametrize("seed", range(3))
def test_wordpiece_equals_the_library_on_long_corpora(seed: int) -> None:
    texts = long_corpus(seed)
    first = first_pieces(texts)
    ours = WordPiece.train(texts, len(first) + 200, min_frequency=3)
    vocab = library_wordpiece(texts, len(first) + 200, first, min_frequency=3)
    assert list(ours.vocab) == sorted(vocab, key=vocab.__getitem__)
    assert len(ours.vocab) > len(first) + 50


def test_wordpiece_equals_the_plain_library_while_no_two_pairs_tie() -> None:
    texts = ["walked " * 40 + "walker " * 17 + "talk " * 9, "wall " * 5]
    first = first_pieces(texts)
    size = len(first)
    spelt = {word: times for text in texts for word, times in Counter(_words.bert_words(text)).items()}
    while unique_best(WordPiece.train(texts, size), spelt):
        size += 1
    assert size > len(first)
    assert set(library_wordpiece(texts, size, list(BERT_SPECIALS))) == set(WordPiece.train(texts, size).vocab)


def unique_best(tokenizer: WordPiece, words: dict[str, int]) -> bool:
    """Whether one pair is more frequent than all others, the words being cut as they are now."""
    found: Counter[tuple[str, str]] = Counter()
    for word, times in words.items():
        for pair in pairwise(tokenizer.tokens(word)):
            found[pair] += times
    best = found.most_common(2)
    return len(best) == 1 or best[0][1] > best[1][1]


def test_where_pairs_tie_the_library_leaves_wordpiece_to_chance_and_we_do_not() -> None:
    texts = [" ".join("x" + letter for letter in "abcdefghijklmnop")]  # sixteen pairs, each of them once
    size = len(first_pieces(texts)) + 6
    assert len({frozenset(library_wordpiece(texts, size, list(BERT_SPECIALS))) for _ in range(8)}) > 1
    assert len({WordPiece.train(texts, size).vocab for _ in range(8)}) == 1
    assert WordPiece.train(texts, size).vocab[-6:] == ("xa", "xb", "xc", "xd", "xe", "xf")


TRAINED_WORDS = {name: WordPiece.train(texts, 400) for name, texts in CORPORA.items()}
LIBRARY_WORDS = {
    name: library_words({piece: number for number, piece in enumerate(ours.vocab)})
    for name, ours in TRAINED_WORDS.items()
}


@given(st.sampled_from(list(TRAINED_WORDS)), usual)
def test_wordpiece_cuts_any_text_as_the_library_does(name: str, text: str) -> None:
    assert TRAINED_WORDS[name].tokens(text) == LIBRARY_WORDS[name].encode(text).tokens


def test_pairs_of_the_paper_are_learned_by_hand() -> None:
    texts = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3
    bpe = ByteBpe.train(texts, 260)
    assert [bpe.pieces[number] for number in range(256, 260)] == [b"es", b"est", b"lo", b"low"]
    assert bpe.tokens("lowest") == ["low", "est"]


def test_one_han_character_is_three_bytes_by_hand() -> None:
    assert ByteBpe(()).tokens("你") == ["<E4>", "<BD>", "<A0>"]  # U+4F60: 1110 0100, 10 111101, 10 100000


def test_merges_by_hand() -> None:
    assert merge([1, 1, 1, 1, 1], (1, 1), 9) == [9, 9, 1]
    assert apply_merges([0, 1, 2], {(1, 2): 3, (0, 1): 4}) == [0, 3]
    assert learn_merges({(1, 1, 1, 1): 1}, 2, 5) == [(1, 1), (2, 2)]
    assert longest_match("unable", {"un": 0, "una": 1, "##ble": 2, "##able": 3}) == ["una", "##ble"]
    assert longest_match("unable!", {"un": 0, "##able": 1}) is None


@pytest.mark.parametrize("count", [0, 3, 17])
def test_a_smaller_vocabulary_is_the_beginning_of_a_larger_one(count: int) -> None:
    whole = ByteBpe.train(MIXED, 400)
    assert ByteBpe.train(MIXED, 256 + count).merges == whole.merges[:count]


def test_text_never_becomes_a_special_token_of_ours() -> None:
    bpe = ByteBpe.train(MIXED, 300, specials=("<end>",))
    assert bpe.specials["<end>"] not in bpe.encode("<end>")
    assert bpe.decode([bpe.specials["<end>"], *bpe.encode("a"), bpe.specials["<end>"]]) == "a"


@given(st.lists(st.integers(0, 10**4), max_size=12), st.integers(3, 15))
def test_fit_keeps_both_ends_and_counts_what_it_cuts(ids: list[int], length: int) -> None:
    kept, cut = fit(ids, length, first=[2], last=[3])
    assert len(kept) <= length and kept[0] == 2 and kept[-1] == 3
    assert kept[1:-1] == ids[: len(ids) - cut]
    assert cut == max(0, len(ids) + 2 - length)


@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=6), min_size=1, max_size=5))
def test_pad_keeps_every_row(rows: list[list[int]]) -> None:
    for side in ("left", "right"):
        ids, mask = pad(rows, 0, side)
        assert ids.dtype == torch.long and mask.dtype == torch.bool
        assert [row[used].tolist() for row, used in zip(ids, mask, strict=True)] == rows
        assert (ids[~mask] == 0).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_fit_and_pad_equal_transformers(side: str) -> None:
    theirs = AutoTokenizer.from_pretrained(SHIPPED / "bilingual-bert", padding_side=side)
    texts = ["春天来了。", "a much longer sentence than that", "好"]
    batch = theirs(texts, truncation=True, max_length=7, padding=True, return_tensors="pt")
    own = [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
    rows = [fit(row, 7, [theirs.cls_token_id], [theirs.sep_token_id])[0] for row in own]
    ids, mask = pad(rows, theirs.pad_token_id, side)
    assert torch.equal(ids, batch["input_ids"])
    assert torch.equal(mask.long(), batch["attention_mask"])


def test_texts_without_tokens_are_padded() -> None:
    ids, mask = pad([[], [5]], 0)
    assert ids.tolist() == [[0], [5]] and mask.tolist() == [[False], [True]]
    assert pad([[]], 0)[0].shape == (1, 0)


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_shipped_tokenizers_give_what_transformers_gives(name: str) -> None:
    ours = open_tokenizer(name)
    text = "春风又绿江南岸，Hello  wörld 🐼 " * 9
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(SHIPPED / name / "tokenizer.json"))
    assert [piece.number for piece in pieces(ours, text)] == theirs(text)["input_ids"]


@pytest.mark.parametrize("name", SHIPPED_NAMES)
@pytest.mark.parametrize("text", ["你好，Wörld 🐼", " a  b\n", "مرحبا", "\ufffd", "[MASK]<unk>", "龘" * 200, "x" * 200])
def test_pieces_of_shipped_tokenizers_can_be_shown(name: str, text: str) -> None:
    found = pieces(open_tokenizer(name), text)
    assert all("\ufffd" not in piece.text for piece in found)
    assert all(piece.kind in ("text", "special", "unknown") for piece in found)
    lost = b"".join(piece.data for piece in found if piece.kind == "unknown").decode()
    assert set(lost) <= set(text)
    if name == "translator-en-zh":
        assert not lost and not any(piece.kind == "unknown" for piece in found)
    if name in ("poem-gpt-zh", "shakespeare-gpt-en") and "<" not in text:
        assert b"".join(piece.data for piece in found).decode() == text


def test_unknown_and_special_pieces_are_told_apart() -> None:
    found = pieces(open_tokenizer("bilingual-bert"), "好🐼 [MASK]")
    assert [(piece.text, piece.kind) for piece in found[1:-1]] == [
        ("好", "text"), ("[UNK]", "unknown"), ("[MASK]", "special"),
    ]  # fmt: skip
    assert found[2].data == "🐼".encode()
    fused = [piece for piece in pieces(open_tokenizer("sentiment-bert-zh-en"), "a🐼") if piece.kind == "unknown"]
    assert [(piece.text, piece.data) for piece in fused] == [("<unk>", "🐼".encode())]


def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer.json: cannot be read .*fetch the folder again"):
        open_tokenizer(tmp_path)
    with pytest.raises(ModelError, match="config.json"):
        open_tokenizer(tmp_path / "nowhere")


ARABIC, FAMILY = "مرحبا بك", "👨\u200d👩\u200d👧 e\u0301"
STRANGE = ["\ufffd", " a\u200b\u3000b\x07\x00", ARABIC, FAMILY, "🐼" * 60, "龘𠮷", "[MASK]<unk><end>", "<b>&amp;</b>"]


@pytest.mark.parametrize("text", STRANGE)
def test_the_demos_show_any_text_without_replacement_characters(text: str) -> None:
    for lang in ("zh", "en"):
        shown = [tokenization.predict(text, merges, lang=lang) for merges in (0, 200)]
        shown += [tokenization_training.predict(text, kind, 9, lang=lang) for kind in tokenization_training.KINDS]
        assert "\ufffd" not in "".join(shown)
        assert "<b>" not in "".join(shown)


@pytest.mark.parametrize("text", ["", " \n", "好" * 10_000, "a\ud83d", None, 5])
def test_the_demos_refuse_what_they_cannot_cut(text: object) -> None:
    for call in (lambda: tokenization.predict(text, 9), lambda: tokenization_training.predict(text, "bpe", 9)):
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.zh and caught.value.en


SURROGATE = "text must be valid Unicode, got half of a surrogate pair at index 1; remove it"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ByteBpe(()).encode("a\ud800"), ValueError, SURROGATE),
        (lambda: WordPiece(["[UNK]"]).encode("a\udc00"), ValueError, SURROGATE),
        (lambda: pieces(open_tokenizer("poem-gpt-zh"), "a\ud800"), ValueError, SURROGATE),
        (lambda: ByteBpe(()).encode(5), TypeError, "text must be a string, got int; give one text"),
        (lambda: ByteBpe.train(["a", "\ud800"], 300), ValueError, "texts[1] must be valid Unicode"),
        (lambda: ByteBpe.train("a", 300), TypeError, "texts must be a list of texts, got one str; write [text]"),
        (lambda: WordPiece.train("a", 300), TypeError, "texts must be a list of texts, got one str; write [text]"),
        (lambda: ByteBpe.train(["a"], 255), ValueError, "vocab_size must be at least 256, the pieces to begin"),
        (lambda: WordPiece.train(["ab"], 7), ValueError, "at least 8, the pieces to begin with, got 7; raise it"),
        (lambda: ByteBpe.train(["ab"], 300, min_frequency=0), ValueError, "min_frequency must be at least 1, got 0"),
        (lambda: ByteBpe([(0, 256)]), ValueError, "merges must join pieces that exist already, got (0, 256)"),
        (lambda: ByteBpe([(0, 1)], specials=["<end>"]), ValueError, "merges must join pieces that exist already"),
        (lambda: WordPiece(["a"]), ValueError, "vocab must hold the unknown token, got none called '[UNK]'; add it"),
        (lambda: ByteBpe(()).decode(ByteBpe(()).encode("你好")[:5]), ValueError, "got bytes <E5><A5> at byte 3"),
        (lambda: fit([1], 2, [2], [3]), ValueError, "length must leave room for the text, got 2 with 2 special tokens"),
        (lambda: pad([], 0), ValueError, "rows must hold at least one text, got none"),
        (lambda: pad([[1]], 0, "middle"), ValueError, "side must be left or right, got 'middle'"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()  # type: ignore[operator]
