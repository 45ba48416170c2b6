"""What every demo shares: checks of a visitor's input, the error box, the frame of a page, the wiring.

A visitor's input is checked here, on the server, before the library sees it. Gradio's own checks are
switched off for our events (`preprocess=False`): they speak English only and let NaN through.
"""

import contextlib
import functools
import html
import inspect
import logging
import math
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from demos import _credit, _host

if typing.TYPE_CHECKING:
    import gradio as gr
    from gradio.components import Component
    from gradio.events import Dependency

Label = str | Mapping[str, str]
LANGUAGES = ("zh", "en")
FAILED = {
    "zh": "演示出了故障，原因已经记在服务器日志里；输入没有丢，请换一个值再试，或者刷新页面。",
    "en": "The demo failed and the server has logged why; your input is kept: try another value, or reload the page.",
}
log = logging.getLogger("demos")


class InputError(ValueError):
    """An input that cannot be used, told in both languages: what must hold, what came, what to do."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(en)
        self.zh, self.en = zh, en


def label(labels: Mapping[str, Mapping[str, str]], key: str) -> dict[str, str]:
    """Return one entry of a demo's LABELS as a pair of both languages."""
    return {lang: labels[lang][key] for lang in LANGUAGES}


def shown(value: object, limit: int = 40) -> str:
    """Return a short, harmless spelling of whatever came in."""
    text = repr(value) if not isinstance(value, str) else value
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _name(name: Label, lang: str) -> str:
    return name if isinstance(name, str) else name[lang]


def number(value: object, name: Label, low: float, high: float) -> float:
    """Return `value` as a float in [low, high], or raise InputError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError(
            zh=f"「{_name(name, 'zh')}」必须是 {low:g} 到 {high:g} 之间的数，收到的是 {shown(value)}；"
            "请改成这个范围内的数。",
            en=f"“{_name(name, 'en')}” must be a number from {low:g} to {high:g}, got {shown(value)}; "
            "choose a number in that range.",
        )
    return float(value)


def integer(value: object, name: Label, low: int, high: int) -> int:
    """Return `value` as an int in [low, high], or raise InputError; 3.0 counts as 3."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(
            zh=f"「{_name(name, 'zh')}」必须是 {low} 到 {high} 之间的整数，收到的是 {shown(value)}；"
            "请改成这个范围内的整数。",
            en=f"“{_name(name, 'en')}” must be a whole number from {low} to {high}, got {shown(value)}; "
            "choose a whole number in that range.",
        )
    return value


def choice(value: object, name: Label, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`, or raise InputError."""
    for option in choices:
        if isinstance(value, str) and value == option:
            return option
    options = ", ".join(choices)
    raise InputError(
        zh=f"「{_name(name, 'zh')}」只能选 {options}，收到的是 {shown(value)}；请从中选一个。",
        en=f"“{_name(name, 'en')}” must be one of {options}, got {shown(value)}; choose one of them.",
    )


def text(value: object, name: Label, max_chars: int, *, allow_empty: bool = False) -> str:
    """Return `value` if it is text of at most `max_chars` characters and valid Unicode, or raise InputError."""
    zh_name, en_name = _name(name, "zh"), _name(name, "en")
    if not isinstance(value, str):
        raise InputError(
            zh=f"「{zh_name}」必须是一段文字，收到的是 {shown(value)}；请输入文字。",
            en=f"“{en_name}” must be text, got {shown(value)}; type some text.",
        )
    if not value.strip() and not allow_empty:
        raise InputError(
            zh=f"「{zh_name}」不能是空的，收到的是空白；请输入至少一个字。",
            en=f"“{en_name}” must not be empty, got blank text; type at least one character.",
        )
    if len(value) > max_chars:
        raise InputError(
            zh=f"「{zh_name}」最多 {max_chars} 个字符，收到了 {len(value)} 个；请删短一些。",
            en=f"“{en_name}” may have at most {max_chars} characters, got {len(value)}; make it shorter.",
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            zh=f"「{zh_name}」必须是有效的 Unicode 文字，第 {error.start + 1} 个字符是半个代理对；请删掉它或重新粘贴。",
            en=f"“{en_name}” must be valid Unicode, character {error.start + 1} is half of a surrogate pair; "
            "delete it or paste the text again.",
        ) from None
    return value


def numbers(value: object, name: Label, low: float, high: float, max_count: int) -> list[float]:
    """Return the numbers written in a text such as "1, 2.5 -3", or raise InputError."""
    parts = re.split(r"[\s,，、;；]+", text(value, name, 400).strip(" \t\n,，、;；"))
    if len(parts) > max_count:
        raise InputError(
            zh=f"「{_name(name, 'zh')}」最多写 {max_count} 个数，收到了 {len(parts)} 个；请删掉一些。",
            en=f"“{_name(name, 'en')}” may hold at most {max_count} numbers, got {len(parts)}; remove some.",
        )
    found: list[float] = []
    for part in parts:
        try:
            found.append(number(float(part), name, low, high))
        except InputError:
            raise
        except ValueError:
            raise InputError(
                zh=f"「{_name(name, 'zh')}」必须是用逗号隔开的数，收到的是 {shown(part)}；请写成 1, 2.5, -3 这样。",
                en=f"“{_name(name, 'en')}” must be numbers separated by commas, got {shown(part)}; "
                "write them like 1, 2.5, -3.",
            ) from None
    return found


def error_box(error: InputError, lang: str) -> str:
    """Return the message as HTML, the page's language first."""
    order = (lang, "en" if lang == "zh" else "zh")
    lines = "".join(f'<p lang="{code}">{html.escape(getattr(error, code))}</p>' for code in order)
    return f'<div class="lm-error" role="alert">{lines}</div>'


def _message(error: Exception, name: str, lang: str) -> str:
    if isinstance(error, InputError):
        return error_box(error, lang)
    log.error("demo %s failed", name, exc_info=error)
    return error_box(InputError(FAILED["zh"], FAILED["en"]), lang)


def guarded(predict: Callable[..., Any], lang: str) -> Callable[..., Any]:
    """Return `predict` for one language, signed, and with every exception turned into an error box."""
    name = predict.__module__

    if inspect.isgeneratorfunction(predict):

        @functools.wraps(predict)
        def stream(*values: object) -> Iterator[str]:
            seen: set[str] = set()
            try:
                steps = predict(*values, lang=lang)
                with contextlib.closing(steps), contextlib.suppress(StopIteration):
                    while True:
                        yield _credit.signed(lambda: next(steps), seen, lang)
            except Exception as error:  # a visitor never sees a traceback
                yield _message(error, name, lang)

        del stream.__wrapped__  # else Gradio would count `lang` as a missing input
        return stream

    @functools.wraps(predict)
    def once(*values: object) -> str:
        try:
            return _credit.signed(lambda: predict(*values, lang=lang), set(), lang)
        except Exception as error:  # a visitor never sees a traceback
            return _message(error, name, lang)

    del once.__wrapped__
    return once


@contextmanager
def page(lang: str, title: Mapping[str, str], hint: Mapping[str, str]) -> "Iterator[gr.Blocks]":
    """Open the Blocks of one demo in one language, with its heading and the line that says what to try."""
    import gradio as gr

    with gr.Blocks(title=title[lang], analytics_enabled=False) as blocks:
        gr.HTML(f'<h1 class="lm-title">{html.escape(title[lang])}</h1><p class="lm-hint">{html.escape(hint[lang])}</p>')
        yield blocks


def examples(
    lang: str, rows: Sequence[Sequence[Any]], inputs: "Sequence[Component]", names: Sequence[str] | None = None
) -> None:
    """Add a row of buttons, each of which fills in one of EXAMPLES; `names` are shown instead of the values."""
    import gradio as gr

    # gr.Examples answers past the queue, by an address that is shut here.
    title, samples = {"zh": "例子", "en": "Examples"}[lang], [list(row) for row in rows]
    shown_as = list(names) if names else None
    choices = gr.Dataset(
        components=list(inputs), samples=samples, sample_labels=shown_as, label=title, type="index"
    )

    def fill(index: object) -> Any:
        row = samples[integer(index, title, 0, len(samples) - 1)]
        return row if len(row) > 1 else row[0]  # Gradio takes the list for the value where there is one widget

    choices.click(fill, choices, list(inputs), show_progress="hidden", api_visibility="private")


def wire(
    predict: Callable[..., Any],
    lang: str,
    inputs: "Sequence[Component]",
    output: "Component",
    api_name: str,
    *,
    button: "Component | None" = None,
    concurrency_id: str | None = None,
) -> "Dependency":
    """Connect a demo's `predict` to its widgets.

    Without a button the demo is live: it answers when the page opens and after every change. With one, it
    answers to a click (and to Enter in a text box) and shows progress.

    Args:
        predict: takes the inputs' values in order and `lang`; returns or yields HTML.
        lang: zh or en.
        inputs: the widgets whose values go in.
        output: the widget that shows the HTML.
        api_name: name of the end point: the concept's name.
        button: the widget to click.
        concurrency_id: events with the same id share one place in the queue.

    Returns:
        The event, so that a Stop button can say `cancels=[event]`.
    """
    import gradio as gr

    checked = guarded(predict, lang)
    if hasattr(sys.modules[predict.__module__], "load"):
        checked = _host.gpu(checked)
    if button is None:
        page = gr.context.Context.root_block
        triggers = [widget.change for widget in inputs] + ([page.load] if page else [])
        return gr.on(
            triggers, checked, list(inputs), output, api_name=api_name, preprocess=False, show_progress="hidden",
            trigger_mode="always_last", concurrency_id=concurrency_id,
        )  # fmt: skip
    triggers = [button.click] + [widget.submit for widget in inputs if isinstance(widget, gr.Textbox)]
    return gr.on(
        triggers, checked, list(inputs), output, api_name=api_name, preprocess=False, show_progress="minimal",
        trigger_mode="once", concurrency_id=concurrency_id,
    )  # fmt: skip
