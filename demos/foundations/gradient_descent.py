"""A walk down a loss, step by step.

Choose a surface, a rule and a learning rate and watch the path: too small crawls, too large zigzags and then flies
out of the picture. On the regression surface (stopping distances of 50 real cars) small batches make the path shake.
"""

import typing
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

import torch

from demos import _figures, _ui
from largemodels.foundations.gradient_descent import Rule, adam, adamw, descend, minibatches, momentum, sgd

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "损失曲面上的下山路", "en": "Walking down a loss"}
HINT = {
    "zh": "把学习率慢慢往右拖，看路径从爬行变成折返，再变成飞出画面；然后换一种规则。",
    "en": "Drag the learning rate to the right: the path crawls, then zigzags, then flies off. Then change the rule.",
}
LABELS = {
    "zh": {
        "surface": "损失曲面", "rule": "更新规则", "log_lr": "学习率（取 log₁₀）", "steps": "步数",
        "batch": "每步样本数（回归）",
        "ravine": "峡谷", "valley": "弯谷", "two minima": "两个最低点", "regression": "回归（50 辆车的刹车距离）",
        "sgd": "梯度下降", "momentum": "动量 μ = 0.9", "adam": "Adam", "adamw": "AdamW λ = 0.1",
        "title": "{surface}：{rule}，学习率 {lr:.3g}", "curve": "每一步之后的损失", "step": "步", "loss": "损失",
        "fell": "{steps} 步之后，损失从 {first:.3g} 变成 {last:.3g}。",
        "diverged": "发散了：停在 ({x:.3g}, {y:.3g})，比出发时还高。",
        "converged": "收敛了：停在 ({x:.3g}, {y:.3g})，几乎就是最低点 ({x0:.2f}, {y0:.2f})。",
        "underway": "还在路上：停在 ({x:.3g}, {y:.3g})，没有到最低点 ({x0:.2f}, {y0:.2f})。",
        "limit": "在最低点附近，普通梯度下降的学习率必须小于 2/λmax = {limit:.3g}。",
        "w": "斜率 w", "b": "截距 b", "x": "x", "y": "y",
    },
    "en": {
        "surface": "Loss surface", "rule": "Update rule", "log_lr": "Learning rate (log₁₀)",
        "steps": "Steps", "batch": "Batch size (regression)",
        "ravine": "Ravine", "valley": "Bent valley", "two minima": "Two minima",
        "regression": "Regression (stopping distances of 50 cars)",
        "sgd": "gradient descent", "momentum": "momentum μ = 0.9", "adam": "Adam", "adamw": "AdamW λ = 0.1",
        "title": "{surface}: {rule}, learning rate {lr:.3g}", "curve": "Loss after each step", "step": "step",
        "loss": "loss", "fell": "{steps} steps take the loss from {first:.3g} to {last:.3g}.",
        "diverged": "Diverged: the walk ends at ({x:.3g}, {y:.3g}), higher than where it began.",
        "converged": "Converged: the walk ends at ({x:.3g}, {y:.3g}), all but at the minimum ({x0:.2f}, {y0:.2f}).",
        "underway": "On its way: the walk ends at ({x:.3g}, {y:.3g}), not yet at the minimum ({x0:.2f}, {y0:.2f}).",
        "limit": " Near the minimum, plain gradient descent needs a learning rate below 2/λmax = {limit:.3g}.",
        "w": "slope w", "b": "intercept b", "x": "x", "y": "y",
    },
}  # fmt: skip
EXAMPLES = {
    lang: [
        ("ravine", "sgd", -1.05, 40, 50),
        ("ravine", "sgd", -0.95, 20, 50),
        ("valley", "momentum", -2.5, 150, 50),
        ("two minima", "momentum", -1.5, 80, 50),
        ("regression", "sgd", -0.9, 60, 1),
    ]
    for lang in ("zh", "en")
}
RULES: dict[str, Rule] = {"sgd": sgd, "momentum": momentum, "adam": adam, "adamw": partial(adamw, weight_decay=0.1)}
# Speed in mph and stopping distance in feet of 50 cars: Ezekiel, 1930, as in R's data set `cars`,
# https://stat.ethz.ch/R-manual/R-devel/library/datasets/html/cars.html
SPEED = """4 4 7 7 8 9 10 10 10 11 11 12 12 12 12 13 13 13 13 14 14 14 14 15 15 15 16 16 17 17 17 18 18 18 18 19 19
19 20 20 20 20 20 22 23 24 24 24 24 25"""
DISTANCE = """2 10 4 22 16 10 18 26 34 17 28 14 20 24 28 26 34 34 46 26 36 60 80 20 26 54 32 40 32 40 50 42 56 76 84
36 46 68 32 48 52 56 64 66 54 70 92 93 120 85"""
CARS = torch.tensor([[float(n) for n in text.split()] for text in (SPEED, DISTANCE)], dtype=torch.float64)
X, Y = (CARS - CARS.mean(1, keepdim=True)) / CARS.std(1, keepdim=True, correction=0)
R = float((X * Y).mean())  # the correlation: the best slope for standardised data


class Surface(NamedTuple):
    """A loss of two parameters and how to show it; `height` takes numbers and tensors alike."""

    height: Callable[[Any, Any], Any]
    start: tuple[float, float]
    minima: tuple[tuple[float, float], ...]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    levels: tuple[float, ...]


SURFACES = {
    "ravine": Surface(
        lambda x, y: (x * x + 20 * y * y) / 2, (-4.5, 1.2), ((0.0, 0.0),), (-5, 5), (-1.7, 1.7),
        (0.2, 1, 2.5, 5, 8, 12, 17, 23, 30),
    ),
    "valley": Surface(
        lambda x, y: (1 - x) * (1 - x) + 5 * (y - x * x) * (y - x * x), (-1.5, 1.6), ((1.0, 1.0),), (-1.9, 1.9),
        (-0.8, 2.6), (0.6, 1.5, 3, 6, 11, 18, 30),
    ),
    "two minima": Surface(
        lambda x, y: (x * x - 1) * (x * x - 1) + 0.3 * x + y * y / 2, (1.6, 1.2), ((-1.036, 0.0), (0.960, 0.0)),
        (-1.9, 1.9), (-1.6, 1.6), (-0.25, -0.1, 0.1, 0.3, 0.5, 0.75, 1, 1.3, 1.8, 2.6, 4),
    ),
    "regression": Surface(
        lambda w, b: w * w - 2 * R * w + b * b + 1, (-0.9, 0.9), ((R, 0.0),), (-1.3, 1.9), (-1.3, 1.3),
        (0.37, 0.45, 0.6, 0.85, 1.2, 1.7, 2.4, 3.2, 4.2),
    ),
}  # fmt: skip


def walk(name: str, rule: str, lr: float, steps: int, batch: int) -> torch.Tensor:
    """Return the path, shape `(steps + 1, 2)`."""
    surface, start = SURFACES[name], torch.tensor(SURFACES[name].start, dtype=torch.float64)
    if name != "regression":
        return descend(lambda p: surface.height(p[0], p[1]), start, RULES[rule], lr, steps)
    rows = minibatches(len(X), batch, torch.Generator().manual_seed(0))
    return descend(lambda p, i: ((p[0] * X[i] + p[1] - Y[i]) ** 2).mean(), start, RULES[rule], lr, steps, rows)


def verdict(name: str, path: torch.Tensor, words: dict[str, str]) -> str:
    """Return in words where the walk ended and how large a learning rate the minimum bears."""
    height, minima = SURFACES[name].height, SURFACES[name].minima
    x, y = path[-1].tolist()
    x0, y0 = min(minima, key=lambda m: abs(m[0] - x) + abs(m[1] - y))
    first, last, bottom = height(*path[0].tolist()), height(x, y), height(x0, y0)
    kind = "diverged" if not last <= first else "converged" if last - bottom < 0.01 * (first - bottom) else "underway"
    hessian = torch.autograd.functional.hessian(lambda p: height(p[0], p[1]), torch.tensor([x0, y0]))
    limit = 2 / float(torch.linalg.eigvalsh(hessian)[-1])
    return f"{words[kind].format(x=x, y=y, x0=x0, y0=y0)}{words['limit'].format(limit=limit)}"


def predict(surface: object, rule: object, log_lr: object, steps: object, batch: object, lang: str = "en") -> str:
    """Return the path on the surface and the loss after each step."""
    words = LABELS[lang]
    name = _ui.choice(surface, _ui.label(LABELS, "surface"), tuple(SURFACES))
    how = _ui.choice(rule, _ui.label(LABELS, "rule"), tuple(RULES))
    lr = 10 ** _ui.number(log_lr, _ui.label(LABELS, "log_lr"), -4, 1)
    count = _ui.integer(steps, _ui.label(LABELS, "steps"), 1, 200)
    size = _ui.integer(batch, _ui.label(LABELS, "batch"), 1, len(X))
    path, ground = walk(name, how, lr, count, size), SURFACES[name]
    losses = ground.height(path[:, 0], path[:, 1]).tolist()
    shown = [(x, y) for x, y in takewhile(lambda p: max(map(abs, p)) < 1e6, path.tolist())]
    top = max(
        1.1 * losses[0], min(10 * losses[0], max(losses[: len(shown)]))
    )  # a diverging loss is cut at ten times the first
    x_label, y_label = ("w", "b") if name == "regression" else ("x", "y")
    return _figures.result(
        _figures.contour_path(
            words["title"].format(surface=words[name], rule=words[how], lr=lr), ground.height, ground.x_range,
            ground.y_range, [(words[how], shown)], verdict(name, path, words),
            x_label=words[x_label], y_label=words[y_label], levels=ground.levels,
        ),
        _figures.curves(
            words["curve"], [(words[how], list(range(len(shown))), losses[: len(shown)])],
            words["fell"].format(steps=count, first=losses[0], last=losses[-1]),
            x_label=words["step"], y_label=words["loss"],
            y_range=(min(ground.height(*m) for m in ground.minima), top),
        ),
    )  # fmt: skip


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (surface, rule, log_lr, steps, batch) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        surfaces = gr.Radio([(words[key], key) for key in SURFACES], value=surface, label=words["surface"])
        rules = gr.Radio([(words[key], key) for key in RULES], value=rule, label=words["rule"])
        rate = gr.Slider(-4, 1, log_lr, step=0.05, label=words["log_lr"])
        with gr.Row():
            count = gr.Slider(1, 200, steps, step=1, label=words["steps"])
            size = gr.Slider(1, len(X), batch, step=1, label=words["batch"])
        inputs = [surfaces, rules, rate, count, size]
        _ui.wire(predict, lang, inputs, gr.HTML(), "gradient_descent")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
