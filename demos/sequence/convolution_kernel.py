"""A kernel of nine numbers laid on a small picture.

Type the numbers, or take an example: an edge finder, a blur, a sharpener. One kernel gives one new picture; stride and
padding decide its size.
"""

import functools
import html
import typing

import torch

from demos import _draw, _figures, _ui
from largemodels.sequence.convolution import conv2d

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "九个数的卷积核", "en": "A kernel of nine numbers"}
HINT = {
    "zh": "改一个数，看右边的图；点一个例子：竖边、横边、模糊、锐化、平移。",
    "en": "Change a number and watch the right picture; take an example: edges, blur, sharpen, shift.",
}
LABELS = {
    "zh": {
        "weight": "第 {row} 行第 {column} 列", "picture": "图片", "stride": "步幅", "padding": "填充",
        "title": "左：输入 {n}×{n}。右：输出 {m}×{m}（蓝正橙负）",
        "twin": "输出从 {low:.2f} 到 {high:.2f}，平均 {mean:.2f}；输入的平均是 {before:.2f}。"
        "九个权重之和是 {total:.2f}：颜色均匀的地方，输出就是颜色乘以这个和。",
        "largest": "最大值在第 {y} 行、第 {x} 列，那里的窗口和卷积核最合拍。",
        "names": "竖边, 横边, 模糊, 锐化, 左移一格",
    },
    "en": {
        "weight": "Row {row}, column {column}", "picture": "Picture", "stride": "Stride", "padding": "Padding",
        "title": "Left: the input, {n}×{n}. Right: the output, {m}×{m} (blue positive, orange negative)",
        "twin": "The output runs from {low:.2f} to {high:.2f}, mean {mean:.2f}; the input's mean is {before:.2f}. "
        "The nine weights sum to {total:.2f}: where the picture is even, the output is its shade times that sum.",
        "largest": " It is largest on row {y}, column {x}, where the window fits the kernel best.",
        "names": "vertical edges, horizontal edges, blur, sharpen, one to the left",
    },
}  # fmt: skip
PICTURES, STRIDES, PADDINGS = ("house", "3", "dot"), ("1", "2"), ("0", "1")
KERNELS = [
    (-1.0, 0.0, 1.0, -2.0, 0.0, 2.0, -1.0, 0.0, 1.0),  # vertical edges: Sobel
    (-1.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0),  # horizontal edges
    (0.11, 0.11, 0.11, 0.11, 0.12, 0.11, 0.11, 0.11, 0.11),  # blur: the mean, weights sum to 1
    (0.0, -1.0, 0.0, -1.0, 5.0, -1.0, 0.0, -1.0, 0.0),  # sharpen
    (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0),  # shift to the left
]
CHOSEN = [("house", "1", "0"), ("house", "1", "0"), ("3", "1", "1"), ("3", "1", "1"), ("dot", "1", "1")]
EXAMPLES = {lang: [(*k, *rest) for k, rest in zip(KERNELS, CHOSEN, strict=True)] for lang in ("zh", "en")}
LIMIT, SHADES, SIDE = 10, 12, 190


@functools.cache
def picture(name: str) -> torch.Tensor:
    """Return a picture of our own, shape `(28, 28)`, 0 paper to 1 ink."""
    if name == "3":
        return torch.tensor(_draw.pixels(_draw.sample("3"), name)).view(28, 28)
    image = torch.zeros(28, 28)
    if name == "dot":
        image[10:13, 15:18] = 1.0
        return image
    for row in range(4, 13):
        image[row, 13 - (row - 3) : 15 + (row - 3)] = 1.0  # a roof
    image[13:25, 7:21] = 0.5  # walls
    image[16:20, 9:13] = 0.0  # a window
    image[18:25, 15:19] = 0.9  # a door
    return image


def cells(grid: torch.Tensor, x: float) -> str:
    """Return a square picture at `x`, blue above zero and orange below; neighbours of one shade share a stroke."""
    shades = (grid / (float(grid.abs().max()) or 1.0) * SHADES).round().int().tolist()
    strokes: dict[int, str] = {}
    for row, line in enumerate(shades):
        begin = 0
        for column in range(1, len(line) + 1):
            if column == len(line) or line[column] != line[begin]:
                strokes[line[begin]] = strokes.get(line[begin], "") + f"M{begin} {row}h{column - begin}"
                begin = column
    paths = "".join(
        f'<path class="lm-stroke{1 if shade > 0 else 2}" opacity="{abs(shade) / SHADES:.2f}" d="{path}"/>'
        for shade, path in strokes.items()
        if shade
    )
    n = len(grid)
    return (
        f'<g transform="translate({x:g} 4) scale({SIDE / n:.4f})"><g fill="none" shape-rendering="crispEdges" '
        f'transform="translate(0 .5)">{paths}</g><rect fill="none" stroke="var(--lm-line)" '
        f'stroke-width="{n / SIDE:.3f}" width="{n}" height="{n}"/></g>'
    )


def predict(*values: object, lang: str = "en") -> str:
    """Return the picture before and after the kernel: nine weights, picture, stride, padding."""
    words, (*weights, name, stride, padding) = LABELS[lang], values
    labels = [
        {code: LABELS[code]["weight"].format(row=i // 3 + 1, column=i % 3 + 1) for code in ("zh", "en")}
        for i in range(9)
    ]
    numbers = [_ui.number(w, label, -LIMIT, LIMIT) for w, label in zip(weights, labels, strict=True)]
    image = picture(_ui.choice(name, _ui.label(LABELS, "picture"), PICTURES))
    step = int(_ui.choice(stride, _ui.label(LABELS, "stride"), STRIDES))
    margin = int(_ui.choice(padding, _ui.label(LABELS, "padding"), PADDINGS))
    output = conv2d(image[None, None], torch.tensor(numbers).view(1, 1, 3, 3), None, step, margin)[0, 0]  # (m, m)
    m, highest = len(output), float(output.max())
    title = words["title"].format(n=28, m=m)
    figures = (float(output.min()), highest, float(output.mean()), float(image.mean()), sum(numbers))
    low, high, mean, before, total = (round(value, 2) + 0.0 for value in figures)  # never −0
    twin = words["twin"].format(low=low, high=high, mean=mean, before=before, total=total)
    if highest > float(output.min()):
        at = int(output.argmax())
        twin += words["largest"].format(y=at // m + 1, x=at % m + 1)
    svg = (
        f'<svg class="lm-chart" viewBox="0 0 420 198" role="img" aria-label="{html.escape(title)}">'
        f'{cells(image, 4)}<text text-anchor="middle" x="210" y="103">→</text>{cells(output, 226)}</svg>'
    )
    return _figures.figure(title, svg, twin)


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (*kernel, name, stride, padding) = LABELS[lang], EXAMPLES[lang][0]
    weights: list[gr.Number] = []
    with _ui.page(lang, TITLE, HINT) as blocks:
        for row in (1, 2, 3):
            with gr.Row():
                for column in (1, 2, 3):
                    label = words["weight"].format(row=row, column=column)
                    weights.append(gr.Number(kernel[len(weights)], label=label, step=0.5, min_width=80))
        with gr.Row():
            choices = [
                gr.Radio(list(options), value=value, label=words[key])
                for key, options, value in (
                    ("picture", PICTURES, name), ("stride", STRIDES, stride), ("padding", PADDINGS, padding)
                )
            ]  # fmt: skip
        inputs = [*weights, *choices]
        _ui.wire(predict, lang, inputs, gr.HTML(), "convolution_kernel")
        _ui.examples(lang, EXAMPLES[lang], inputs, words["names"].split(", "))
    return blocks
