"""A canvas of 28×28 pixels to draw a digit on, with a pointer or with the keyboard, and the check of what was drawn.

The picture travels as text: 784 hexadecimal digits, row by row, 0 for paper and f for ink. Gradio's own sketch pad
would need its upload address, which stays shut here, and cannot be used with the keyboard.
"""

import functools
import math
import typing
from pathlib import Path

from demos import _ui

if typing.TYPE_CHECKING:
    import gradio as gr

SIZE = 28
BRUSH = 1.6  # ink falls from full to none between 0.6 and 1.6 pixels from the stroke's middle
FULLEST = 0.5  # share of ink above which a picture is no digit; a bold 8 has about 0.2
WORDS = {
    "zh": {
        "name": "画布，28×28 像素。方向键移动，空格落笔或提笔，Delete 清空。",
        "help": "用鼠标或手指写；也可以用键盘：方向键移动，空格落笔、提笔，Delete 清空。",
        "clear": "清空画布",
    },
    "en": {
        "name": "Canvas of 28×28 pixels. Arrow keys move, Space lowers or lifts the pen, Delete clears.",
        "help": "Draw with mouse or finger, or with the keyboard: arrows move, Space lowers or lifts the pen, "
        "Delete clears.",
        "clear": "Clear the canvas",
    },
}
STROKES = {
    "0": [[(14, 4), (9, 7), (8, 14), (9, 20), (14, 24), (19, 20), (20, 14), (18, 7), (14, 4)]],
    "1": [[(11, 8), (15, 4), (15, 24)]],
    "2": [[(8, 9), (10, 5), (15, 4), (19, 7), (18, 12), (8, 23), (20, 23)]],
    "3": [[(8, 6), (13, 4), (18, 6), (18, 10), (13, 13), (19, 16), (19, 21), (14, 24), (8, 22)]],
    "4": [[(11, 4), (8, 14), (20, 14)], [(17, 5), (16, 24)]],
    "5": [[(19, 4), (10, 4), (9, 12), (15, 11), (19, 15), (18, 21), (13, 24), (8, 22)]],
    "6": [[(17, 4), (11, 9), (8, 17), (10, 23), (16, 24), (19, 19), (16, 15), (9, 18)]],
    "7": [[(8, 5), (20, 5), (14, 14), (12, 24)]],
    "8": [[(14, 13), (9, 9), (11, 5), (16, 4), (19, 8), (14, 13), (8, 18), (10, 23), (16, 24), (20, 19), (14, 13)]],
    "9": [[(19, 8), (15, 4), (10, 6), (9, 11), (13, 14), (18, 12), (19, 8), (18, 16), (15, 24)]],
}


def _distance(x: float, y: float, a: tuple[float, float], b: tuple[float, float]) -> float:
    """Distance of a point from the segment between `a` and `b`, in pixels."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    share = ((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy)
    share = min(max(share, 0.0), 1.0)
    return math.hypot(x - a[0] - share * dx, y - a[1] - share * dy)


@functools.cache
def sample(digit: str) -> str:
    """Return a digit from "0" to "9" as the project drew it, in the form that the canvas sends."""
    lines = [pair for stroke in STROKES[digit] for pair in zip(stroke[:-1], stroke[1:], strict=True)]
    text = ""
    for place in range(SIZE * SIZE):
        y, x = divmod(place, SIZE)
        near = min(_distance(x + 0.5, y + 0.5, a, b) for a, b in lines)
        text += f"{round(15 * min(max(BRUSH - near, 0.0), 1.0)):x}"
    return text


def pixels(value: object, name: _ui.Label) -> list[float]:
    """Return the 784 shades of a drawing, 0 for paper to 1 for ink, or raise InputError."""
    zh_name, en_name = (name, name) if isinstance(name, str) else (name["zh"], name["en"])
    wanted = SIZE * SIZE
    if not isinstance(value, str) or len(value) != wanted or set(value) - set("0123456789abcdef"):
        came = len(value) if isinstance(value, str) else _ui.shown(value)
        raise _ui.InputError(
            zh=f"「{zh_name}」必须是 {SIZE}×{SIZE} 像素的图，也就是 {wanted} 个十六进制数字，收到的是 {came}；"
            "请在画布上写。",
            en=f"“{en_name}” must be a picture of {SIZE}×{SIZE} pixels, {wanted} hexadecimal digits, got {came}; "
            "draw on the canvas.",
        )
    shades = [int(digit, 16) / 15 for digit in value]
    if max(shades) < 0.5:
        raise _ui.InputError(
            zh=f"「{zh_name}」上必须有笔画，收到的是一张空白的图；请先写一个数字。",
            en=f"“{en_name}” must show a stroke, got an empty picture; draw a digit first.",
        )
    if sum(shades) > FULLEST * wanted:
        raise _ui.InputError(
            zh=f"「{zh_name}」最多涂满 {FULLEST:.0%}，收到的图涂了 {sum(shades) / wanted:.0%}；"
            "请清空后用细线写一个数字。",
            en=f"“{en_name}” may be at most {FULLEST:.0%} ink, got {sum(shades) / wanted:.0%}; "
            "clear it and draw one digit in thin lines.",
        )
    return shades


def canvas(lang: str, value: str, label: str) -> "gr.HTML":
    """Return the canvas as a widget whose value is what was drawn."""
    import gradio as gr

    words = WORDS[lang]
    template = (
        f'<div class="lm-draw"><canvas width="{SIZE}" height="{SIZE}" tabindex="0" role="application" '
        f'aria-label="{label}: {words["name"]}"></canvas>'
        f'<div><p>{words["help"]}</p><button type="button">{words["clear"]}</button></div></div>'
    )
    script = Path(__file__).with_name("_draw.js").read_text("utf-8")
    return gr.HTML(value, html_template=template, js_on_load=script, label=label, apply_default_css=False)
