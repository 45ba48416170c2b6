"""What a small convolutional net sees in a digit: its kernels, the maps of both layers, and its answer.

Draw a digit, then shift it: the maps of the first layer move along by the same number of pixels, because every place
is looked at with the same weights. The answer does not always survive: the dense layers behind know places apart.
"""

import functools
import html
import typing
from collections.abc import Sequence

import torch

from demos import _draw, _figures, _models, _ui
from largemodels.foundations.mlp import centre
from largemodels.sequence.convolution import LeNet

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "卷积网络看见了什么", "en": "What a convolutional net sees"}
HINT = {
    "zh": "写一个数字，再拖动平移：特征图跟着移动同样的像素；移得太远，答案却会错。",
    "en": "Draw a digit, then shift it: the maps move by as many pixels; shift it too far, and the answer goes wrong.",
}
LABELS = {
    "zh": {
        "digit": "手写数字", "names": "3, 右上方的 3, 右边的 0, 8", "right": "右移（像素）", "down": "下移（像素）",
        "probs": "十个数字的概率", "best": "最像 {digit}，概率 {p:.3f}；其次是 {second}，概率 {q:.3f}。",
        "first": "第一层：x 是输入；六张特征图 28×28，各自的卷积核画在上方（蓝正橙负）",
        "first_twin": "输入的重心在第 {y:.1f} 行、第 {x:.1f} 列。第 {k} 个卷积核的响应最强，最大值 {top:.2f}；"
        "它的特征图的重心在第 {my:.1f} 行、第 {mx:.1f} 列。",
        "second": "第二层：16 张特征图 10×10，每一张都看过第一层的全部六张",
        "second_twin": "最强的是第 {k} 张，最大值 {top:.2f}。",
        "quiet": "有 {quiet} 张全是 0：这个数字里没有它们要找的形状。",
    },
    "en": {
        "digit": "Handwritten digit", "names": "3, 3 at the top right, 0 at the right edge, 8",
        "right": "Shift right (pixels)", "down": "Shift down (pixels)",
        "probs": "Probabilities of the ten digits",
        "best": "Most like {digit}, probability {p:.3f}; next is {second}, probability {q:.3f}.",
        "first": "First layer: the input x, and six maps of 28×28, each below its kernel (blue plus, orange minus)",
        "first_twin": "The ink balances on row {y:.1f}, column {x:.1f}. Kernel {k} answers most, up to {top:.2f}; "
        "its map balances on row {my:.1f}, column {mx:.1f}.",
        "second": "Second layer: 16 maps of 10×10, each of which looks at all six maps of the first",
        "second_twin": "Map {k} is the strongest, up to {top:.2f}.",
        "quiet": " Maps that are 0 all over, because the digit does not hold their shape: {quiet}.",
    },
}  # fmt: skip
FARTHEST, SHADES = 6, 5
EXAMPLES = {
    lang: [(_draw.sample("3"), 0, 0), (_draw.sample("3"), 4, -2), (_draw.sample("0"), 6, 0), (_draw.sample("8"), 0, 0)]
    for lang in ("zh", "en")
}


@functools.cache
def load() -> LeNet:
    return _models.shipped(LeNet.from_checkpoint, "digits-lenet")


def pixels(grid: torch.Tensor, top: float) -> str:
    """Return a grid as strokes, blue above zero and orange below; neighbours of one shade share a stroke."""
    height, width = grid.shape
    shades = (grid / (top or 1.0) * SHADES).round().clamp(-SHADES, SHADES).int().tolist()
    strokes: dict[int, str] = {}
    for row in range(height):
        begin = 0
        for column in range(1, width + 1):
            if column == width or shades[row][column] != shades[row][begin]:
                shade = shades[row][begin]
                strokes[shade] = strokes.get(shade, "") + f"M{begin} {row}h{column - begin}"
                begin = column
    return "".join(
        f'<path class="lm-stroke{1 if shade > 0 else 2}" opacity="{abs(shade) / SHADES:g}" d="{path}"/>'
        for shade, path in strokes.items()
        if shade
    )


def tile(grid: torch.Tensor, top: float, x: float, y: float, side: float, name: str = "") -> str:
    """Return one map in a frame, placed in a larger picture, with its name below."""
    scale = side / len(grid)
    return (
        f'<g transform="translate({x:g} {y:g}) scale({scale:.4f})"><g fill="none" shape-rendering="crispEdges" '
        f'transform="translate(0 .5)">{pixels(grid, top)}</g><rect fill="none" stroke="var(--lm-line)" '
        f'stroke-width="{1 / scale:.3f}" width="{len(grid)}" height="{len(grid)}"/></g>'
        f'<text class="lm-tick" text-anchor="middle" x="{x + side / 2:g}" y="{y + side + 12:g}">{name}</text>'
    )


def svg(title: str, height: int, tiles: Sequence[str]) -> str:
    """Return the picture that holds the tiles."""
    return (
        f'<svg class="lm-chart" viewBox="0 0 420 {height}" role="img" aria-label="{html.escape(title)}">'
        f"{''.join(tiles)}</svg>"
    )


def balance(grid: torch.Tensor) -> tuple[float, float]:
    """Row and column of the centre of mass, counted from 1."""
    total, count = float(grid.sum()) or 1.0, torch.arange(1.0, len(grid) + 1)
    return float(grid.sum(1) @ count) / total, float(grid.sum(0) @ count) / total


def predict(digit: object, right: object, down: object, lang: str = "en") -> str:
    """Return the net's answer and what its two convolutional layers see."""
    words, net = LABELS[lang], load()
    drawn = torch.tensor(_draw.pixels(digit, _ui.label(LABELS, "digit"))).view(28, 28)
    steps = [
        _ui.integer(value, _ui.label(LABELS, name), -FARTHEST, FARTHEST)
        for value, name in ((down, "down"), (right, "right"))
    ]
    field = torch.nn.functional.pad(centre(drawn), [FARTHEST] * 4)  # what leaves the 28×28 is lost
    top, left = (FARTHEST - step for step in steps)
    image = field[top : top + 28, left : left + 28]
    (first,), (second,) = net.feature_maps(image[None])  # (6, 28, 28), (16, 10, 10)
    probs = net.classify(image[None])[0]
    (p, q), (best, other) = (t.tolist() for t in probs.topk(2))
    kernels = net.weights[0].detach()[:, 0]  # (6, 5, 5)
    tiles = [tile(image, 1.0, 4, 38, 96, "x")]
    for k in range(6):
        x, y = 4 + (k + 1) % 4 * 105, 38 + (k + 1) // 4 * 152  # four in a row, so that a phone can show them
        tiles.append(tile(kernels[k], float(kernels.abs().max()), x + 32, y - 36, 32))
        tiles.append(tile(first[k], float(first.max()), x, y, 96, str(k + 1)))
    small = [
        tile(grid, float(second.max()), 3 + 52 * (k % 8), 2 + 66 * (k // 8), 48, str(k + 1))
        for k, grid in enumerate(second)
    ]
    (row, column), loud, louder = balance(image), int(first.amax((1, 2)).argmax()), int(second.amax((1, 2)).argmax())
    my, mx = balance(first[loud])
    twin = words["first_twin"].format(x=column, y=row, k=loud + 1, top=float(first.max()), mx=mx, my=my)
    quiet = int((second.amax((1, 2)) == 0).sum())
    silence = words["quiet"].format(quiet=quiet) if quiet else ""
    return _figures.result(
        _figures.figure(words["first"], svg(words["first"], 306, tiles), twin),
        _figures.figure(
            words["second"], svg(words["second"], 132, small),
            words["second_twin"].format(k=louder + 1, top=float(second.max())) + silence,
        ),
        _figures.bars(
            words["probs"], [(str(d), float(v)) for d, v in enumerate(probs)],
            words["best"].format(digit=best, p=p, second=other, q=q), maximum=1.0,
        ),
    )  # fmt: skip


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (digit, right, down) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        drawing = _draw.canvas(lang, digit, words["digit"])
        with gr.Row():
            shifts = [
                gr.Slider(-FARTHEST, FARTHEST, value, step=1, label=words[name])
                for value, name in ((right, "right"), (down, "down"))
            ]
        inputs = [drawing, *shifts]
        _ui.wire(predict, lang, inputs, gr.HTML(), "convolution")
        _ui.examples(lang, EXAMPLES[lang], inputs, words["names"].split(", "))
    return blocks
