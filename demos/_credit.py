"""Which model answered: noted when a demo takes one, told under its answer."""

import html
from collections.abc import Callable
from contextvars import ContextVar

WORDS = {"zh": "回答的模型：{names}", "en": "Answered by: {names}"}
_NOTED: ContextVar[set[str] | None] = ContextVar("noted", default=None)


def note(name: str) -> None:
    """Remember that a model takes part in the answer that is being made."""
    noted = _NOTED.get()
    if noted is not None:
        noted.add(name)


def signed(answer: Callable[[], str], seen: set[str], lang: str) -> str:
    """Return an answer with the models' names under it, if there are any.

    Args:
        answer: makes the answer; a streaming demo's next one.
        seen: models of the earlier answers of the same stream; new ones are added.
        lang: zh or en.
    """
    # Gradio may take each step of a stream in another thread, so nothing is kept in the variable between two.
    token = _NOTED.set(seen)
    try:
        text = answer()
    finally:
        _NOTED.reset(token)
    names = html.escape(", ".join(sorted(seen)))
    return f'{text}<p class="lm-model">{WORDS[lang].format(names=names)}</p>' if names else text
