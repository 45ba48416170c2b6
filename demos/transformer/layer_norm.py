"""One vector before and after layer normalisation.

Type a vector, then drag a and b, which stretch and shift it: the upper picture moves, the lower one stays as it is.
A negative a turns it over. Scale gamma and shift beta are learnt in a network; here you set them.
"""

import html
import math
import typing
from collections.abc import Sequence

import torch

from demos import _figures, _ui
from largemodels.transformer.layer_norm import layer_norm, rms_norm

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "一个向量的层归一化", "en": "Layer normalisation of one vector"}
HINT = {
    "zh": "拖动 a 和 b，上面的输入跟着伸缩、平移，下面的结果一动不动。",
    "en": "Drag a and b: the input above stretches and shifts, the result below does not move.",
}
LABELS = {
    "zh": {
        "vector": "向量 x（2 到 12 个数）", "gamma": "缩放 γ（一个数，或每维一个）",
        "beta": "平移 β（一个数，或每维一个）", "eps": "ε", "a": "伸缩 a", "b": "平移 b",
        "before": "输入 a·x + b", "after": "层归一化之后",
        "dimension": "维度",
        "twin": "均值（实线）{mean}，方差 {variance}，标准差（色带是均值 ± 标准差）{deviation}。",
        "undefined": "没有定义：方差是 0，ε 也是 0，要算 0/0。", "table": "每一步的数", "step": "步骤",
        "normal": "(x − μ) / √(σ² + ε)", "scaled": "再乘 γ，加 β", "rms": "对照：RMSNorm，只乘 γ",
        "mean": "均值", "variance": "方差",
        "table_twin": "b 一变，RMSNorm 那一行就变，层归一化不变；b 是 0 时拖动 a（不变号），两行都不变，只要 ε 够小。",
        "two": "「向量」至少要有 2 个数，收到的是 1 个；再写一个。",
        "count": "「{name}」必须是 1 个数，或与向量一样是 {want} 个，收到的是 {got} 个；请改成其中一种。",
    },
    "en": {
        "vector": "Vector x (2 to 12 numbers)", "gamma": "Scale γ (one number, or one for each)",
        "beta": "Shift β (one number, or one for each)", "eps": "ε", "a": "Stretch a", "b": "Shift b",
        "before": "Input a·x + b", "after": "After layer normalisation", "dimension": "dimension",
        "twin": "Mean (line) {mean}, variance {variance}, standard deviation (band: mean ± deviation) {deviation}.",
        "undefined": "undefined: the variance is 0 and so is ε, which makes 0/0.", "table": "The numbers of each step",
        "step": "step", "normal": "(x − μ) / √(σ² + ε)", "scaled": "then times γ, plus β",
        "rms": "for comparison: RMSNorm, times γ", "mean": "mean", "variance": "variance",
        "table_twin": "Change b and the RMSNorm row changes, layer normalisation does not; with b = 0, "
        "change a (not its sign) and neither does, as long as ε is small.",
        "two": "“Vector” must hold at least 2 numbers, got 1; add another.",
        "count": "“{name}” must be 1 number or, like the vector, {want}, got {got}; write one or the other.",
    },
}  # fmt: skip
EPSILONS = ("1e-5", "0", "0.1", "1")
EXAMPLES = {
    lang: [
        ("1, 2, 3, 6", "1", "0", "1e-5", 1.0, 0.0),
        ("1, 2, 3, 6", "1", "0", "1e-5", 3.0, 10.0),
        ("1, 2, 3, 6", "1", "0", "1e-5", -1.0, 0.0),
        ("0.5 -1 2 0 -0.5 40", "1 1 1 1 1 0.1", "0", "1e-5", 1.0, 0.0),
        ("4, 4, 4", "1", "0.5", "1e-5", 1.0, 0.0),
        ("0.01, 0.02, 0.03", "1", "0", "1e-5", 1.0, 0.0),
    ]
    for lang in ("zh", "en")
}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 420, 190, 44, 16, 34


def columns(title: str, values: Sequence[float], twin: str, x_label: str, colour: int) -> str:
    """Return one upright bar for each number, up or down from zero, with the mean and the band of one deviation."""
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    low, high = min(0.0, *values, mean - spread), max(0.0, *values, mean + spread)
    high = high if high > low else 1.0

    def y(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    step = (WIDTH - LEFT - 12) / len(values)
    parts = [
        f'<rect class="lm-fill6" opacity="0.16" x="{LEFT}" width="{WIDTH - LEFT - 12}" y="{y(mean + spread)}" '
        f'height="{round(y(mean - spread) - y(mean + spread), 1)}"/>'
    ]
    for tick in _figures.ticks(low, high, 4):
        parts.append(f'<line class="lm-grid" x1="{LEFT}" x2="{WIDTH - 12}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<text class="lm-tick" x="{LEFT - 5}" y="{y(tick) + 3.5}" text-anchor="end">{tick:g}</text>')
    for i, value in enumerate(values):
        x, top, bottom = LEFT + (i + 0.2) * step, min(y(value), y(0)), max(y(value), y(0))
        parts.append(
            f'<rect class="lm-fill{colour}" x="{x:.1f}" width="{0.6 * step:.1f}" y="{top}" '
            f'height="{max(bottom - top, 0.8):.1f}" rx="2"/>'
            f'<text class="lm-tick" x="{x + 0.3 * step:.1f}" y="{HEIGHT - 21}" text-anchor="middle">{i}</text>'
        )
    parts.append(f'<line class="lm-line lm-stroke6" x1="{LEFT}" x2="{WIDTH - 12}" y1="{y(mean)}" y2="{y(mean)}"/>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{html.escape(x_label)}</text>')
    svg = f'<svg class="lm-chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
    return _figures.figure(title, f"{svg}{''.join(parts)}</svg>", twin)


def parameter(value: object, key: str, C: int) -> torch.Tensor:
    """Return gamma or beta with one number for each dimension."""
    found = _ui.numbers(value, _ui.label(LABELS, key), -100, 100, 12)
    if len(found) not in (1, C):
        raise _ui.InputError(
            *(LABELS[lang]["count"].format(name=LABELS[lang][key], want=C, got=len(found)) for lang in ("zh", "en"))
        )
    return torch.tensor(found, dtype=torch.float64).expand(C)


def predict(
    vector: object, gamma: object, beta: object, eps: object, a: object, b: object, lang: str = "en"
) -> str:
    """Return the vector before and after, and the numbers of every step."""
    words = LABELS[lang]
    numbers = _ui.numbers(vector, _ui.label(LABELS, "vector"), -1000, 1000, 12)
    if len(numbers) < 2:
        raise _ui.InputError(LABELS["zh"]["two"], LABELS["en"]["two"])
    scale, shift = (parameter(value, key, len(numbers)) for value, key in ((gamma, "gamma"), (beta, "beta")))
    epsilon = float(_ui.choice(eps, _ui.label(LABELS, "eps"), EPSILONS))
    stretch = _ui.number(a, _ui.label(LABELS, "a"), -3, 3)
    move = _ui.number(b, _ui.label(LABELS, "b"), -10, 10)
    x = stretch * torch.tensor(numbers, dtype=torch.float64) + move  # (C,)
    rows = {
        "before": x, "normal": layer_norm(x, eps=epsilon), "scaled": layer_norm(x, scale, shift, eps=epsilon),
        "rms": rms_norm(x, scale, eps=epsilon),
    }  # fmt: skip
    pictures = []
    for key, row, colour in (("before", x, 2), ("after", rows["scaled"], 1)):
        if row.isnan().any():
            pictures.append(_figures.figure(words[key], "", words["undefined"]))
            continue
        mean, variance = round(row.mean().item(), 9) + 0.0, row.var(correction=0).item()
        said = words["twin"].format(mean=f"{mean:.4g}", variance=f"{variance:.4g}", deviation=f"{variance**0.5:.4g}")
        pictures.append(columns(words[key], row.tolist(), said, words["dimension"], colour))
    header = [words["step"], *map(str, range(len(numbers))), words["mean"], words["variance"]]
    table = [
        [words[key], *(f"{round(float(value), 9) + 0.0:.3f}" for value in (*row, row.mean(), row.var(correction=0)))]
        for key, row in rows.items()
    ]
    return _figures.result(*pictures, _figures.numbers_table(words["table"], header, table, words["table_twin"]))


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (vector, gamma, beta, eps, a, b) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        vectors = gr.Textbox(vector, label=words["vector"], max_lines=1)
        with gr.Row():
            stretch = gr.Slider(-3, 3, a, step=0.1, label=words["a"])
            move = gr.Slider(-10, 10, b, step=0.5, label=words["b"])
        with gr.Row():
            scales = gr.Textbox(gamma, label=words["gamma"], max_lines=1)
            shifts = gr.Textbox(beta, label=words["beta"], max_lines=1)
        epsilons = gr.Radio(list(EPSILONS), value=eps, label=words["eps"])
        inputs = [vectors, scales, shifts, epsilons, stretch, move]
        _ui.wire(predict, lang, inputs, gr.HTML(), "layer_norm")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
