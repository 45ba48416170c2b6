"""Cut text into words before a tokenizer looks for pieces: no piece ever reaches across the edge of a word."""

import unicodedata

import regex  # type: ignore[import-untyped]

# https://github.com/openai/gpt-2/blob/master/src/encoder.py: English endings, letters, digits, signs, spaces.
GPT2_WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
# https://github.com/google-research/bert/blob/master/tokenization.py: the blocks whose characters stand alone.
HAN = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
ASCII_SIGNS = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def gpt2_words(text: str) -> list[str]:
    """Cut a text as GPT-2 does; joined, the words are the text again.

    Args:
        text: any text.

    Returns:
        Words, most of them with the space before them.
    """
    return GPT2_WORD.findall(text)


def bert_words(text: str) -> list[str]:
    """Cut a text as BERT does: lower case, no accents, each Han character and each sign alone.

    Args:
        text: any text.

    Returns:
        Words without spaces; control characters and the exact white space are lost.
    """
    spaced = "".join(f" {char} " if _is_han(char) else char for char in map(_clean, text))
    plain = "".join(char for char in unicodedata.normalize("NFD", spaced) if unicodedata.category(char) != "Mn")
    lower = "".join(char.lower() for char in plain)
    return "".join(f" {char} " if _is_sign(char) else char for char in lower).split()


def _clean(char: str) -> str:
    """Return a space for white space, nothing for control characters, and anything else unchanged."""
    if char in "\t\n\r" or unicodedata.category(char).startswith("Z"):
        return " "
    return "" if char == "\ufffd" or unicodedata.category(char).startswith("C") else char


def _is_han(char: str) -> bool:
    return any(low <= ord(char) <= high for low, high in HAN) if char else False


def _is_sign(char: str) -> bool:
    return char in ASCII_SIGNS or unicodedata.category(char).startswith("P")
