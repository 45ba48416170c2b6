"""The sinusoidal positional encoding as a picture.

Each column of the heat map is the vector of one position; each pair of rows is one wave. Move the position and see
that its dot product with the others depends only on how far away they are; a later pair has a longer wave.
"""

import html
import math
import typing

import torch

from demos import _figures, _ui
from largemodels.transformer.positional_encoding import frequencies, positional_encoding

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "看得见的位置编码", "en": "Positional encoding, seen"}
HINT = {
    "zh": "拖动位置 p，看点积曲线整条平移、形状不变；再换一对维度，看波长变化。",
    "en": "Drag the position p: the dot-product curve moves and keeps its shape. Then choose another pair.",
}
LABELS = {
    "zh": {
        "length": "长度 T", "width": "宽度 D（偶数）", "position": "位置 p",
        "pair": "第 i 对维度（从 0 数起）", "map": "编码表：每一列是一个位置的向量",
        "dot": "位置 p = {p} 与每个位置的点积", "wave": "第 {i} 对维度：{a} 和 {b}",
        "x": "位置", "dimension": "维度", "product": "点积", "value": "数值", "plus": "正", "minus": "负",
        "map_twin": "{T} 个位置，每个 {D} 维。维度 0 在最下面，变化最快；越往上波长越长。"
        "竖框是位置 {p}，横框是第 {i} 对维度。",
        "dot_twin": "与自己的点积最大，等于 D/2 = {peak:g}；相隔 1 个位置时是 {one:.2f}，不管 p 在哪里。",
        "wave_twin": "波长 2π·10000^({e}/{D}) ≈ {length:.1f} 个位置；在位置 {p}，两个数是 {s:.3f} 和 {c:.3f}，"
        "平方和为 1。",
        "even": "「宽度 D」必须是偶数，收到的是 {D}；正弦和余弦成对出现，请改成 {more}。",
    },
    "en": {
        "length": "Length T", "width": "Width D (even)", "position": "Position p",
        "pair": "Pair i (from 0)", "map": "The table: each column is the vector of one position",
        "dot": "Dot product of position p = {p} with every position", "wave": "Pair {i}: dimensions {a} and {b}",
        "x": "position", "dimension": "dimension", "product": "dot product", "value": "value",
        "plus": "positive", "minus": "negative",
        "map_twin": "{T} positions of {D} dimensions each. Dimension 0 is at the bottom and changes fastest; further "
        "up the waves grow longer. The upright frame is position {p}, the level one is pair {i}.",
        "dot_twin": "Largest with itself, D/2 = {peak:g}; one position away it is {one:.2f}, wherever p is.",
        "wave_twin": "Wavelength 2π·10000^({e}/{D}) ≈ {length:.1f} positions; at position {p} the two numbers are "
        "{s:.3f} and {c:.3f}, whose squares sum to 1.",
        "even": "“Width D” must be even, got {D}; sine and cosine come in pairs, choose {more}.",
    },
}  # fmt: skip
EXAMPLES = {lang: [(60, 64, 20, 6), (60, 64, 40, 6), (100, 16, 50, 2), (128, 128, 64, 20)] for lang in ("zh", "en")}
SHADES = 10
LEFT, TOP, WIDTH, HEIGHT = 44, 8, 364, 200


def heat(title: str, table: torch.Tensor, p: int, i: int, twin: str, words: dict[str, str]) -> str:
    """Return the table as a picture, positions to the right, dimensions upwards; equal neighbours share one shape."""
    T, D = table.shape
    shapes: dict[int, list[str]] = {}
    for row, values in enumerate(torch.round(table.T * SHADES).int().tolist()):
        begin = 0
        for column in range(1, T + 1):
            if column == T or values[column] != values[begin]:
                run = column - begin
                shapes.setdefault(values[begin], []).append(f"M{begin} {D - 1 - row}h{run}v1h-{run}z")
                begin = column
    cells = "".join(
        f'<path class="lm-fill{1 if shade > 0 else 2}" opacity="{abs(shade) / SHADES:g}" d="{"".join(runs)}"/>'
        for shade, runs in sorted(shapes.items())
        if shade
    )
    dx, dy, bottom, middle = WIDTH / T, HEIGHT / D, TOP + HEIGHT, TOP + HEIGHT / 2
    frames = [(LEFT + p * dx, TOP, dx, HEIGHT), (LEFT, bottom - (2 * i + 2) * dy, WIDTH, 2 * dy)]
    marks = [(LEFT + (x + 0.5) * dx, bottom + 13.0, "middle", f"{x:g}") for x in _figures.ticks(0, T - 1)]
    marks += [(LEFT - 5, bottom - (y + 0.5) * dy + 3.5, "end", f"{y:g}") for y in _figures.ticks(0, D - 1)]
    overlay = "".join(
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="none" stroke="currentColor"/>'
        for x, y, w, h in frames
    ) + "".join(
        f'<text class="lm-tick" text-anchor="{side}" x="{x:.1f}" y="{y:.1f}">{number}</text>'
        for x, y, side, number in marks
    )
    picture = (
        f'<svg class="lm-chart" viewBox="0 0 420 246" role="img" aria-label="{html.escape(title)}">'
        f'<g transform="translate({LEFT} {TOP}) scale({dx:.5f} {dy:.5f})" shape-rendering="crispEdges">{cells}</g>'
        f'{overlay}<text text-anchor="middle" x="{LEFT + WIDTH / 2}" y="{bottom + 30}">{words["x"]}</text>'
        f'<text text-anchor="middle" x="11" y="{middle}" transform="rotate(-90 11 {middle})">'
        f"{words['dimension']}</text></svg>"
    )
    return _figures.figure(title, picture + _figures.legend([words["plus"], words["minus"]]), twin)


def predict(length: object, width: object, position: object, pair: object, lang: str = "en") -> str:
    """Return the heat map, the dot products with one position, and the wave of one pair of dimensions."""
    words = LABELS[lang]
    T = _ui.integer(length, _ui.label(LABELS, "length"), 2, 128)
    D = _ui.integer(width, _ui.label(LABELS, "width"), 2, 128)
    if D % 2:
        raise _ui.InputError(*(LABELS[code]["even"].format(D=D, more=D + 1) for code in ("zh", "en")))
    p = _ui.integer(position, _ui.label(LABELS, "position"), 0, T - 1)
    i = _ui.integer(pair, _ui.label(LABELS, "pair"), 0, D // 2 - 1)
    table, omega = positional_encoding(T, D, dtype=torch.float64), float(frequencies(D)[i])
    dots = (table @ table[p]).tolist()
    xs = [x / 4 for x in range(4 * (T - 1) + 1)]
    waves = [
        (f"{name} {2 * i + k}", xs, [wave(x * omega) for x in xs])
        for k, (name, wave) in enumerate((("sin", math.sin), ("cos", math.cos)))
    ]
    s, c = table[p, 2 * i : 2 * i + 2].tolist()
    one = dots[p + 1] if p + 1 < T else dots[p - 1]
    wave_twin = words["wave_twin"].format(e=2 * i, D=D, length=2 * math.pi / omega, p=p, s=s, c=c)
    return _figures.result(
        heat(words["map"], table, p, i, words["map_twin"].format(T=T, D=D, p=p, i=i), words),
        _figures.curves(
            words["dot"].format(p=p), [(words["product"], list(range(T)), dots)],
            words["dot_twin"].format(peak=D / 2, one=one),
            x_label=words["x"], y_label=words["product"], marks=[(p, dots[p], f"p = {p}")],
        ),
        _figures.curves(
            words["wave"].format(i=i, a=2 * i, b=2 * i + 1), waves, wave_twin,
            x_label=words["x"], y_label=words["value"], marks=[(p, s, ""), (p, c, "")],
        ),
    )  # fmt: skip


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (length, width, position, pair) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            lengths = gr.Slider(8, 128, length, step=1, label=words["length"])
            widths = gr.Slider(4, 128, width, step=2, label=words["width"])
        with gr.Row():
            positions = gr.Slider(0, 127, position, step=1, label=words["position"])
            pairs = gr.Slider(0, 63, pair, step=1, label=words["pair"])
        inputs = [lengths, widths, positions, pairs]
        _ui.wire(predict, lang, inputs, gr.HTML(), "positional_encoding")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
