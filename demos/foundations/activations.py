"""Activation functions under a moving point: value, slope, tangent, and whether the place is saturated.

Choose a function and move x: the tangent shows the slope, the second curve shows the slope everywhere, and the
text says what is left of a gradient after ten such layers. Softmax has one slope for each pair of scores.
"""

import typing

import torch

from demos import _figures, _ui
from largemodels.foundations import activations

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "激活函数和它的斜率", "en": "Activation functions and their slopes"}
HINT = {
    "zh": "选一个函数，把 x 从 0 拖到 6，看切线怎样躺平。",
    "en": "Choose a function, move x from 0 to 6, and watch the tangent lie down.",
}
LABELS = {
    "zh": {
        "name": "函数", "x": "位置 x", "curve": "x = {x:g} 处的 {name}", "value": "函数", "slope": "导数",
        "tangent": "切线", "at": "x = {x:g}：值是 {y:.4f}，斜率是 {s:.4f}。",
        "live": "斜率是最大值的 {share:.0%}；",
        "saturated": "饱和了：斜率只剩最大值的 {share:.1%}；",
        "bottom": "这里是谷底，斜率只有最大值的 {share:.1%}，再往左，函数又升回 0；",
        "off": "关着：斜率恰好是 0，梯度一点也过不去。",
        "ten": "连过十层这样的位置，梯度变成原来的 {left}。",
        "shares": "分数 x、1、0 经过 softmax 得到的份额", "share": "份额 p",
        "moved": "x = {x:g} 时，三份是 {p}，总和为 1；第一份的斜率是 {s:.4f}，最大可到 0.25。",
        "jacobian": "斜率矩阵 ∂pᵢ/∂xⱼ", "corner": "份额＼分数",
        "zero": "每行之和为 0：一份多出来的，就是别的份少掉的。",
    },
    "en": {
        "name": "Function", "x": "Position x", "curve": "{name} at x = {x:g}", "value": "function",
        "slope": "derivative", "tangent": "tangent", "at": "x = {x:g}: the value is {y:.4f}, the slope {s:.4f}.",
        "live": "That is {share:.0%} of the largest slope;",
        "saturated": "Saturated: only {share:.1%} of the largest slope is left;",
        "bottom": "The bottom of the dip: {share:.1%} of the largest slope, to the left the function rises back to 0;",
        "off": "Off: the slope is exactly 0 and no gradient passes.",
        "ten": "after ten layers at such a place a gradient is {left} of its size.",
        "shares": "Shares that softmax gives to the scores x, 1 and 0", "share": "share p",
        "moved": "At x = {x:g} the shares are {p}, which sum to 1; the first has slope {s:.4f}, at most 0.25.",
        "jacobian": "Matrix of slopes, ∂pᵢ/∂xⱼ", "corner": "share\\score",
        "zero": "Each row sums to 0: what one share gains, the others lose.",
    },
}  # fmt: skip
# Largest slope, and the range of y that shows value and slope together.
FUNCTIONS = {
    "sigmoid": (0.25, (-0.15, 1.15)),
    "tanh": (1.0, (-1.25, 1.25)),
    "relu": (1.0, (-1.0, 6.0)),
    "gelu": (1.129, (-1.0, 6.0)),
}
CHOICES = (*FUNCTIONS, "softmax")
LIMIT, SATURATED = 6.0, 0.1  # widest x; share of the largest slope below which we say "saturated"
EXAMPLES = {
    lang: [("sigmoid", 2.0), ("sigmoid", 6.0), ("tanh", -3.0), ("relu", -1.0), ("gelu", -0.8), ("softmax", 1.0)]
    for lang in ("zh", "en")
}
XS = torch.linspace(-LIMIT, LIMIT, 121, dtype=torch.float64)


def scientific(value: float) -> str:
    """Return 1.6 × 10⁻¹⁰ for 1.6e-10, and small exponents as plain numbers."""
    if 1e-3 <= value < 1e4:
        return f"{value:.3g}"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def curve(name: str, x: float, words: dict[str, str]) -> str:
    """Return the function, its derivative and its tangent at x."""
    function, derivative = getattr(activations, name), getattr(activations, f"{name}_derivative")
    largest, y_range = FUNCTIONS[name]
    here = torch.tensor(x, dtype=torch.float64)
    y, slope = float(function(here)), float(derivative(here))
    xs, ends = XS.tolist(), (max(-LIMIT, x - 2), min(LIMIT, x + 2))
    series = [
        (words["value"], xs, function(XS).tolist()),
        (words["slope"], xs, derivative(XS).tolist()),
        (words["tangent"], ends, [y + slope * (end - x) for end in ends]),
    ]
    share = abs(slope) / largest
    if slope == 0:
        state = "off"
    elif share < SATURATED:
        state = "bottom" if name == "gelu" and x > -1.5 else "saturated"
    else:
        state = "live"
    sentences = [words["at"], words[state], *([words["ten"]] if slope else [])]
    gap = " " if words is LABELS["en"] else ""
    twin = gap.join(sentences).format(x=x, y=y, s=slope, share=share, left=scientific(abs(slope) ** 10))
    title = words["curve"].format(name=name, x=x)
    marks = [(x, y, f"({x:g}, {y:.2f})")]
    return _figures.curves(title, series, twin, x_label="x", y_label="y", marks=marks, y_range=y_range)


def shares(x: float, words: dict[str, str]) -> str:
    """Return the shares of three scores, the first of which moves, and their matrix of slopes."""
    rows = torch.stack([XS, torch.ones_like(XS), torch.zeros_like(XS)], dim=-1)  # (121, 3)
    here = torch.tensor([x, 1.0, 0.0], dtype=torch.float64)
    p, jacobian = activations.softmax(here), activations.softmax_jacobian(here)
    lines = activations.softmax(rows).T.tolist()
    series = [(name, XS.tolist(), line) for name, line in zip(("p₁", "p₂", "p₃"), lines, strict=True)]
    said = ", ".join(f"{share:.3f}" for share in p.tolist())
    twin = words["moved"].format(x=x, p=said, s=float(jacobian[0, 0]))
    marks = [(x, float(p[0]), f"({x:g}, {float(p[0]):.2f})")]
    names = ["x₁", "x₂", "x₃"]
    return _figures.result(
        _figures.curves(
            words["shares"], series, twin, x_label="x", y_label=words["share"], marks=marks, y_range=(-0.05, 1.05)
        ),
        _figures.heat_table(
            words["jacobian"], ["p₁", "p₂", "p₃"], names, jacobian.tolist(), words["zero"],
            digits=3, corner=words["corner"], diverging=True,
        ),
    )  # fmt: skip


def predict(name: object, x: object, lang: str = "en") -> str:
    """Return the picture of one function at one place."""
    name = _ui.choice(name, _ui.label(LABELS, "name"), CHOICES)
    x = _ui.number(x, _ui.label(LABELS, "x"), -LIMIT, LIMIT)
    return shares(x, LABELS[lang]) if name == "softmax" else curve(name, x, LABELS[lang])


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (name, x) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        names = gr.Radio(list(CHOICES), value=name, label=words["name"])
        place = gr.Slider(-LIMIT, LIMIT, x, step=0.1, label=words["x"])
        inputs = [names, place]
        _ui.wire(predict, lang, inputs, gr.HTML(), "activations")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
