"""What a model can read of a visitor's text: nothing is cut, nothing that cannot be seen is shown as a blank."""

import typing
import unicodedata
from collections.abc import Sequence

from demos import _ui

if typing.TYPE_CHECKING:
    from largemodels.models.bert import Bert

UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # control, format, surrogate, private, unassigned, separators
JOINERS = "\u200c\u200d"  # within a word they choose its shape: a family emoji is four joined


def visible(text: str, kept: str = "\n\r\t") -> str:
    """Return a text in which characters that cannot be seen, or turn others round, are written as <U+202E>."""
    return "".join(
        f"<U+{ord(c):04X}>"
        if unicodedata.category(c) in UNSEEN and c not in kept and not (c in JOINERS and 0 < i < len(text) - 1)
        else c
        for i, c in enumerate(text)
    )


def known(strange: Sequence[str], name: _ui.Label) -> None:
    """Raise InputError if there are parts of a text for which the model has no token."""
    if strange:
        zh_name, en_name = (name, name) if isinstance(name, str) else (name["zh"], name["en"])
        told = _ui.shown(visible("".join(strange), kept=""))
        raise _ui.InputError(
            zh=f"「{zh_name}」里只能有模型认识的字，收到了它不认识的“{told}”；请换掉，或换一个模型。",
            en=f"“{en_name}” must use characters that the model knows, got unknown “{told}”; change them or choose the "
            "other model.",
        )


def fits(count: int, most: int, name: _ui.Label) -> None:
    """Raise InputError if a text has more tokens than fit, and say how many too many."""
    if count > most:
        zh_name, en_name = (name, name) if isinstance(name, str) else (name["zh"], name["en"])
        raise _ui.InputError(
            zh=f"「{zh_name}」最多 {most} 个词元，收到了 {count} 个，多了 {count - most} 个；请删短一些。",
            en=f"“{en_name}” may have at most {most} tokens, got {count}, {count - most} too many; make it shorter.",
        )


def read(bert: "Bert", value: object, name: _ui.Label, max_chars: int, most: int) -> tuple[str, list[str]]:
    """Return a text and its tokens, special ones included, if the model can read something, and all of it.

    Args:
        bert: the model.
        value: what the visitor sent.
        name: what the text is called, in both languages.
        max_chars: characters that it may have.
        most: tokens that it may have, if the model can read as many.
    """
    text = _ui.text(value, name, max_chars)
    tokens = bert.tokens(text)
    if len(tokens) <= len(bert.tokens("")):
        zh_name, en_name = (name, name) if isinstance(name, str) else (name["zh"], name["en"])
        raise _ui.InputError(
            zh=f"「{zh_name}」里必须有模型读得到的字，收到的一个也没有；请写一句话。",
            en=f"“{en_name}” must hold characters that the model can read, got none; write a sentence.",
        )
    fits(len(tokens), min(most, bert.context_length), name)
    return text, tokens
