"""Draw a digit and look into the net that reads it.

The net sees the drawing centred on 28×28 pixels; its two hidden layers of 128 neurons light up; ten bars say how sure
it is. Draw a 7 with a bar, a 1 with a long nose, or something that is no digit at all: it still has an answer.
"""

import functools
import html
import typing

import torch

from demos import _draw, _figures, _models, _ui
from largemodels.foundations.mlp import Mlp, centre

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "写一个数字，看网络怎样认", "en": "Draw a digit and watch the net read it"}
HINT = {
    "zh": "换一个数字写写看，盯住两个隐藏层：亮起来的神经元换了一批。再写一个什么都不像的东西，它照样给答案。",
    "en": "Draw another digit and watch the hidden layers: other neurons light up. Then draw something that is no "
    "digit: it still has an answer.",
}
LABELS = {
    "zh": {
        "drawing": "写一个数字", "inside": "网络看到的图，和两个隐藏层的输出", "seen": "28×28 像素",
        "layer": "隐藏层 {i}：128", "probabilities": "十个类别的概率",
        "inside_twin": "数字缩放到 20 像素，重心挪到正中。隐藏层 1 的 128 个神经元里有 {a} 个不是 0，"
        "隐藏层 2 有 {b} 个；颜色越浓，输出越大。",
        "sure": "网络认为是 {first}，概率 {p:.2%}；其次是 {second}，概率 {q:.2%}。",
    },
    "en": {
        "drawing": "Draw a digit", "inside": "What the net sees, and what its hidden layers make of it",
        "seen": "28×28 pixels", "layer": "hidden {i}: 128", "probabilities": "Probabilities of the ten classes",
        "inside_twin": "The digit is scaled to 20 pixels and balanced on the middle. Of the 128 neurons, {a} of hidden "
        "layer 1 and {b} of hidden layer 2 are not 0; the stronger the colour, the larger the output.",
        "sure": "The net says {first}, probability {p:.2%}; next comes {second}, probability {q:.2%}.",
    },
}  # fmt: skip
SHOWN = "3", "7", "8", "0"
EXAMPLES = {lang: [(_draw.sample(digit),) for digit in SHOWN] for lang in ("zh", "en")}
SHADES = 15


@functools.cache
def load() -> Mlp:
    return _models.shipped(Mlp.from_checkpoint, "digits-mlp")


def cells(values: torch.Tensor, x: float, y: float, side: float, css: str, top: float | None = None) -> str:
    """Return a framed picture of a matrix, its upper left corner at (x, y); cells of one shade share one shape."""
    height, width = values.shape
    shades = (values / (top or float(values.max()) or 1.0) * SHADES).round().int().tolist()
    shapes: dict[int, str] = {}
    for row, column in ((r, c) for r in range(height) for c in range(width)):
        shade = shades[row][column]
        shapes[shade] = shapes.get(shade, "") + f"M{column} {row}h1v1h-1z"
    paths = "".join(
        f'<path class="{css}" opacity="{shade / SHADES:.2f}" d="{d}"/>' for shade, d in sorted(shapes.items()) if shade
    )
    return (
        f'<g transform="translate({x:g} {y:g}) scale({side:g})" shape-rendering="crispEdges">{paths}'
        f'<rect class="lm-grid" fill="none" width="{width}" height="{height}" vector-effect="non-scaling-stroke"/></g>'
    )


def inside(image: torch.Tensor, hidden: list[torch.Tensor], words: dict[str, str]) -> str:
    """Return the picture of the net at work: its input, and both hidden layers as 16 rows of 8 neurons."""
    parts, names = [cells(image, 4, 26, 4.6, "lm-fill6", 1.0)], [(68.4, words["seen"])]
    for i, values in enumerate(hidden):
        x = 163 + 94 * i
        parts.append(cells(values.view(16, 8), x, 26, 8.05, f"lm-fill{i + 1}"))
        parts.append(f'<path d="M{x - 25} 90h19m-5 -4.5l5 4.5l-5 4.5" fill="none" stroke="currentColor"/>')
        names.append((x + 32.2, words["layer"].format(i=i + 1)))
    texts = "".join(f'<text x="{x:g}" y="16" text-anchor="middle">{html.escape(name)}</text>' for x, name in names)
    title = words["inside"]
    picture = f'<svg class="lm-chart" viewBox="0 0 332 160" role="img" aria-label="{html.escape(title)}">'
    fired = [int((values > 0).sum()) for values in hidden]
    twin = words["inside_twin"].format(a=fired[0], b=fired[1])
    return _figures.figure(title, f"{picture}{texts}{''.join(parts)}</svg>", twin)


def predict(drawing: object, lang: str = "en") -> str:
    """Return what the net sees, its hidden layers and its ten probabilities."""
    words = LABELS[lang]
    shades = _draw.pixels(drawing, _ui.label(LABELS, "drawing"))
    model, image = load(), centre(torch.tensor(shades).view(_draw.SIZE, _draw.SIZE))
    hidden = [h[0] for h in model.hidden(image[None])]  # (128,) each
    p = model.classify(image[None])[0]  # (10,)
    first, second = p.topk(2).indices.tolist()
    twin = words["sure"].format(first=first, p=float(p[first]), second=second, q=float(p[second]))
    bars = [(str(digit), float(share)) for digit, share in enumerate(p)]
    return _figures.result(
        inside(image, hidden, words), _figures.bars(words["probabilities"], bars, twin, maximum=1.0)
    )


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    with _ui.page(lang, TITLE, HINT) as blocks:
        canvas = _draw.canvas(lang, EXAMPLES[lang][0][0], LABELS[lang]["drawing"])
        _ui.wire(predict, lang, [canvas], gr.HTML(), "mlp")
        _ui.examples(lang, EXAMPLES[lang], [canvas], SHOWN)
    return blocks
