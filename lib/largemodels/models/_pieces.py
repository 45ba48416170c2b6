"""Tokens as they are shown: of our own tokenizers and of those that ship with a model."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from largemodels import _checkpoints
from largemodels.models import _loading

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# GPT-2 numbers the bytes so: those that print come first. It writes them as these letters, so that all can be seen.
BYTES = bytes([*range(33, 127), *range(161, 173), *range(174, 256), *range(33), *range(127, 161), 173])
LETTERS = "".join(map(chr, [*BYTES[:188], *range(256, 324)]))


class Piece(NamedTuple):
    """One token.

    Attributes:
        number: its place in the vocabulary.
        text: how it is written; bytes that are no whole character as `<E4>`.
        data: the bytes that it stands for; none for special tokens.
        kind: "text"; "special"; or "unknown", where the tokenizer has no token for this part of the text.
    """

    number: int
    text: str
    data: bytes
    kind: str


def spell(data: bytes) -> str:
    """Write bytes as text, those that are no whole character as `<E4>`.

    Args:
        data: any bytes.

    Returns:
        Text without U+FFFD, which stands for "something was here".
    """
    shown = ""
    while data:
        try:
            shown, data = shown + data.decode(), b""
        except UnicodeDecodeError as error:
            shown += data[: error.start].decode() + f"<{data[error.start]:02X}>"
            data = data[error.start + 1 :]
    return shown.replace("\ufffd", "<EF><BF><BD>")


def open_tokenizer(source: str | Path) -> "Tokenizer":
    """Open the tokenizer of a model whose files lie here, its weights checked but not loaded.

    Args:
        source: name of a shipped model, or a checkpoint folder.

    Returns:
        The tokenizer, of the `tokenizers` library. What its file says about cutting and filling is switched off:
        `sentiment-bert-zh-en`'s would cut each text after 64 tokens and not say so.

    Raises:
        ModelError: an OSError that names the file which is missing or damaged.
    """
    from tokenizers import Tokenizer

    folder = Path(_checkpoints.locate(source))
    _checkpoints.verify(folder)
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises bare Exception
        problem = f"cannot be read ({_checkpoints.first_line(error)}); fetch the folder again"
        raise _checkpoints.ModelError(folder, "tokenizer.json", problem) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def pieces(tokenizer: "Tokenizer", text: str) -> list[Piece]:
    """Cut a text and tell of each token what it stands for.

    Args:
        tokenizer: from `open_tokenizer`, or any of the `tokenizers` library.
        text: any text.

    Returns:
        The tokens, special ones included.

    Raises:
        TypeError: if `text` is no string.
        ValueError: if it is not valid Unicode.
    """
    _loading.check_text(text, "text")
    encoding, added = tokenizer.encode(text), tokenizer.get_added_tokens_decoder()
    kind = type(tokenizer.decoder).__name__
    found = []
    for number, token, (start, end) in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True):
        if number in added:
            name = added[number].content
            lost = text[start:end] if text[start:end] != name else ""  # a special token that stands for text
            found.append(Piece(number, name, lost.encode(), "unknown" if lost else "special"))
        else:
            data = _data(token, kind)
            found.append(Piece(number, spell(data) if kind == "ByteLevel" else token, data, "text"))
    return found


def _data(token: str, kind: str) -> bytes:
    """Return the bytes that a token of a vocabulary stands for."""
    if kind == "ByteLevel":
        return bytes(BYTES[LETTERS.index(letter)] for letter in token)
    if kind == "WordPiece":
        return token.removeprefix("##").encode()
    return token.replace("▁", " ").encode() if kind == "Metaspace" else token.encode()
