"""One neuron with two inputs, seen on the whole plane of inputs.

Turn the weights and the line on which the sum is 0 turns with them; the bias moves it; weights and bias doubled
together leave the line where it is and make the edge twice as steep. The activation decides what lies on either side.
"""

import html
import typing

import torch

from demos import _figures, _ui
from largemodels.foundations import activations
from largemodels.foundations.layer import affine, dense

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "一个神经元眼里的平面", "en": "The plane as one neuron sees it"}
HINT = {
    "zh": "拖动 w₁、w₂，分界线跟着转；拖动 b，它平移；权重和 b 一起加倍，线不动，边界变陡。",
    "en": "Drag w₁ and w₂ to turn the line, b to move it; double all three: the line stays, the edge gets steeper.",
}
LABELS = {
    "zh": {
        "w1": "权重 w₁", "w2": "权重 w₂", "b": "偏置 b", "x1": "输入 x₁", "x2": "输入 x₂", "f": "激活函数 f",
        "map": "输出 y = f(w₁x₁ + w₂x₂ + b)，f 是 {f}", "up": "z > 0 的一侧", "down": "z < 0 的一侧",
        "at": "圆点是输入 ({x1:g}, {x2:g})：z = {z:.4g}，y = {y:.6g}。",
        "line": "直线上 z = 0，圆点离它 {d:.2f}；箭头是权重的方向，顺着它走，z 增大。",
        "outside": "z = 0 的线在画面之外，离原点 {d:.2f}：画面里 z 的正负处处相同。",
        "flat": "两个权重都是 0，没有分界线：不管输入什么，z 都等于 b。",
        "sum": "加权求和，一项一项", "term": "项", "input": "输入", "weight": "权重", "product": "乘积",
        "total": "{terms} = {z:.4g}，再过 {f}，得 {y:.6g}。",
    },
    "en": {
        "w1": "Weight w₁", "w2": "Weight w₂", "b": "Bias b", "x1": "Input x₁", "x2": "Input x₂", "f": "Activation f",
        "map": "Output y = f(w₁x₁ + w₂x₂ + b), f is {f}", "up": "side with z > 0", "down": "side with z < 0",
        "at": "The dot is the input ({x1:g}, {x2:g}): z = {z:.4g}, y = {y:.6g}. ",
        "line": "On the line z = 0; the dot is {d:.2f} away from it. The arrow is the direction of the weights: "
        "that way z grows.",
        "outside": "The line z = 0 lies outside the picture, {d:.2f} from the origin: z has one sign all over it.",
        "flat": "Both weights are 0, so there is no line: z is b whatever the input.",
        "sum": "The weighted sum, term by term", "term": "term", "input": "input", "weight": "weight",
        "product": "product", "total": "{terms} = {z:.4g}, and {f} makes {y:.6g} of it.",
    },
}  # fmt: skip
FUNCTIONS = {
    "none": lambda z: z, "sigmoid": activations.sigmoid, "tanh": activations.tanh,
    "relu": activations.relu, "gelu": activations.gelu,
}  # fmt: skip
LIMITS = {"w1": 5, "w2": 5, "b": 5, "x1": 5, "x2": 3}
EXAMPLES = {
    lang: [
        (1.0, 2.0, -0.5, 1.0, 1.0, "sigmoid"),
        (2.0, 4.0, -1.0, 1.0, 1.0, "sigmoid"),
        (2.0, -3.0, 0.0, -1.0, 2.0, "tanh"),
        (-1.0, 1.0, 1.0, -2.0, 0.5, "relu"),
        (0.0, 0.0, 1.5, 2.0, -1.0, "none"),
    ]
    for lang in ("zh", "en")
}
SHADES, COLUMNS, ROWS = 12, 75, 45  # square cells
LEFT, TOP, UNIT = 40, 8, 37.0  # pixels; one unit of input is as long across as it is upwards


def heat(values: torch.Tensor) -> str:
    """Return cells coloured by their value from −1 to 1; equal neighbours of a row share one shape."""
    shapes: dict[int, list[str]] = {}
    for row, shades in enumerate(torch.round(values.flip(0) * SHADES).int().tolist()):
        begin = 0
        for column in range(1, COLUMNS + 1):
            if column == COLUMNS or shades[column] != shades[begin]:
                shapes.setdefault(shades[begin], []).append(f"M{begin} {row}h{column - begin}v1H{begin}z")
                begin = column
    return "".join(
        f'<path class="lm-fill{1 if shade > 0 else 2}" opacity="{0.6 * abs(shade) / SHADES:.2f}" d="{"".join(runs)}"/>'
        for shade, runs in sorted(shapes.items())
        if shade
    )


def axes() -> str:
    """Return the numbers and names along both axes."""
    bottom = TOP + 6 * UNIT
    marks = [(LEFT + (x + 5) * UNIT, bottom + 13, "middle", x) for x in range(-5, 6)]
    marks += [(LEFT - 5, TOP + (3 - y) * UNIT + 3.5, "end", y) for y in range(-3, 4)]
    numbers = "".join(
        f'<text class="lm-tick" text-anchor="{side}" x="{x:g}" y="{y:g}">{n}</text>' for x, y, side, n in marks
    )
    names = ((LEFT + 5 * UNIT, bottom + 28, "x₁"), (12, TOP + 3 * UNIT + 4, "x₂"))
    return numbers + "".join(f'<text text-anchor="middle" x="{x:g}" y="{y:g}">{name}</text>' for x, y, name in names)


def plane(title: str, colours: torch.Tensor, w: list[float], b: float, x: list[float], mark: str) -> str:
    """Return the picture: coloured cells, the line z = 0 with the direction of the weights, and the input."""
    overlay, norm2 = "", w[0] ** 2 + w[1] ** 2
    if norm2:
        foot, unit = [-b * v / norm2 for v in w], [v / norm2**0.5 for v in w]  # the line's point nearest the origin
        at = [(foot[0] + 5) * UNIT, (3 - foot[1]) * UNIT]
        px, py = unit[1] * 20 * UNIT, unit[0] * 20 * UNIT  # along the line; upwards is minus in a picture
        ax, ay = unit[0] * UNIT, -unit[1] * UNIT
        tip = [at[0] + ax, at[1] + ay]
        wings = [f"{tip[0] - 0.25 * ax + s * 0.12 * ay:.1f},{tip[1] - 0.25 * ay - s * 0.12 * ax:.1f}" for s in (1, -1)]
        overlay = (
            '<g class="lm-decision" stroke="currentColor" stroke-width="2" fill="none">'
            f'<path d="M{at[0] - px:.1f} {at[1] - py:.1f}L{at[0] + px:.1f} {at[1] + py:.1f}"/>'
            f'<path stroke-width="1.5" d="M{at[0]:.1f} {at[1]:.1f}L{tip[0]:.1f} {tip[1]:.1f}"/>'
            f'<polygon fill="currentColor" points="{tip[0]:.1f},{tip[1]:.1f} {" ".join(wings)}"/></g>'
        )
    cx, cy = LEFT + (x[0] + 5) * UNIT, TOP + (3 - x[1]) * UNIT
    anchor, dx = ("end", -9) if x[0] > 1 else ("start", 9)
    above = -9 if x[1] < 2.5 else 18
    size = f'width="{10 * UNIT:g}" height="{6 * UNIT:g}"'
    return (
        f'<svg class="lm-chart" viewBox="0 0 420 262" role="img" aria-label="{html.escape(title)}">'
        f'<svg x="{LEFT}" y="{TOP}" {size} viewBox="0 0 {10 * UNIT:g} {6 * UNIT:g}">'
        f'<g transform="scale({10 * UNIT / COLUMNS:.5f})" shape-rendering="crispEdges">{heat(colours)}</g>'
        f'{overlay}</svg><rect class="lm-grid" fill="none" x="{LEFT}" y="{TOP}" {size}/>{axes()}'
        f'<circle class="lm-mark" cx="{cx:.1f}" cy="{cy:.1f}" r="5"/>'
        f'<text text-anchor="{anchor}" font-weight="600" x="{cx + dx:.1f}" y="{cy + above:.1f}">{mark}</text></svg>'
    )


def predict(w1: object, w2: object, b: object, x1: object, x2: object, f: object, lang: str = "en") -> str:
    """Return the neuron's output over the plane, and its sum term by term."""
    words, given = LABELS[lang], (w1, w2, b, x1, x2)
    checked = [
        _ui.number(value, _ui.label(LABELS, key), -limit, limit)
        for value, (key, limit) in zip(given, LIMITS.items(), strict=True)
    ]
    name = _ui.choice(f, _ui.label(LABELS, "f"), tuple(FUNCTIONS))
    bend, (*w, bias), x = FUNCTIONS[name], checked[:3], checked[3:]
    W, offset = torch.tensor([w], dtype=torch.float64), torch.tensor([bias], dtype=torch.float64)
    point = torch.tensor(x, dtype=torch.float64)
    z, y = float(affine(point, W, offset)), float(dense(point, W, offset, bend))
    across = (torch.arange(COLUMNS, dtype=torch.float64) + 0.5) / COLUMNS * 10 - 5
    upwards = (torch.arange(ROWS, dtype=torch.float64) + 0.5) / ROWS * 6 - 3
    grid = torch.stack(torch.meshgrid(across, upwards, indexing="xy"), -1)  # (ROWS, COLUMNS, 2)
    outputs = dense(grid, W, offset, bend).squeeze(-1)  # (ROWS, COLUMNS)
    colours = outputs - bend(torch.zeros((), dtype=torch.float64))  # blank where z = 0
    top = {"sigmoid": 0.5, "tanh": 1.0}.get(name) or float(colours.abs().max()) or 1.0
    norm = (w[0] ** 2 + w[1] ** 2) ** 0.5
    crossed = abs(bias) <= 5 * abs(w[0]) + 3 * abs(w[1])  # the sum changes its sign within the picture
    state = "flat" if not norm else "line" if crossed else "outside"
    distance = abs(z if crossed else bias) / norm if norm else 0.0
    twin = words["at"].format(x1=x[0], x2=x[1], z=z, y=y) + words[state].format(d=distance)
    title, key = words["map"].format(f=name), _figures.legend([words["up"], words["down"]])
    picture = plane(title, colours / top, w, bias, x, f"y = {y:.3f}") + key
    products = [w[0] * x[0] + 0.0, w[1] * x[1] + 0.0, bias]  # never −0
    columns = zip(("x₁ · w₁", "x₂ · w₂", "1 · b"), (*x, 1.0), (*w, bias), products, strict=True)
    rows = [[term, *(f"{value:.4g}" for value in values)] for term, *values in columns]
    header = [words[key] for key in ("term", "input", "weight", "product")]
    terms = " + ".join(f"({p:.4g})" if p < 0 else f"{p:.4g}" for p in products)
    total = words["total"].format(terms=terms, z=z, f="f(z) = z" if name == "none" else name, y=y)
    table = _figures.numbers_table(words["sum"], header, rows, total)
    return _figures.result(_figures.figure(title, picture, twin), table)


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (*values, name) = LABELS[lang], EXAMPLES[lang][0]
    sliders: list[gr.Slider] = []
    with _ui.page(lang, TITLE, HINT) as blocks:
        for keys in (("w1", "w2", "b"), ("x1", "x2")):
            with gr.Row():
                for key in keys:
                    limit, value = LIMITS[key], values[len(sliders)]
                    sliders.append(gr.Slider(-limit, limit, value, step=0.1, label=words[key]))
        names = gr.Radio(list(FUNCTIONS), value=name, label=words["f"])
        inputs = [*sliders, names]
        _ui.wire(predict, lang, inputs, gr.HTML(), "layer")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
