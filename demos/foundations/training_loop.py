"""Train a small net while you watch, and see it learn too much.

Twelve noisy points and a hundred hidden neurons: the training loss keeps falling, the validation loss turns and climbs,
and the curve bends to catch every point. With a hundred points the climb is gone; with one neuron nothing is learnt.
"""

import math
import typing
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from demos import _figures, _ui
from largemodels.foundations.backpropagation import TwoLayer, two_layer_forward
from largemodels.foundations.gradient_descent import adam
from largemodels.foundations.training_loop import Epoch, train

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "现场训练：从学会到背下来", "en": "Training live: from learning to memorising"}
HINT = {
    "zh": "点“训练”，看验证损失在哪里掉头往上；把训练点加到 100 个再训练一次，然后只留 1 个神经元再训练一次。",
    "en": "Press Train and see where the validation loss turns; train again with 100 points, and again with 1 neuron.",
}
LABELS = {
    "zh": {
        "width": "隐藏神经元", "points": "训练点", "noise": "噪声（标准差）", "seed": "种子",
        "run": "训练", "stop": "停",
        "losses": "每一轮的损失（{count} 个参数，{points} 个训练点）", "fit": "学到的曲线", "training": "训练损失",
        "validation": "验证损失", "epoch": "轮次", "loss": "均方误差", "truth": "真正的曲线",
        "best": "验证损失最低的第 {n} 轮",
        "last": "第 {n} 轮", "x": "x", "y": "y",
        "running": "正在训练：第 {n} 轮，训练损失 {train:.3f}，验证损失 {validation:.3f}……",
        "over": "过拟合：训练损失降到了 {train:.3f}，验证损失却在第 {best} 轮降到 {lowest:.3f} 之后掉头，"
        "涨到了 {validation:.3f}。",
        "under": "欠拟合：{n} 轮之后，训练损失还有 {train:.3f}，验证损失 {validation:.3f}；模型太小，或者没有训练够。",
        "good": "没有过拟合：训练损失 {train:.3f}，验证损失 {validation:.3f}，最低时 {lowest:.3f}，一直没有明显回升。",
        "floor": "圆圈是训练点。噪声的方差是 {floor:.3f}，再好的模型，验证损失也大约就到这里。",
    },
    "en": {
        "width": "Hidden neurons", "points": "Training points", "noise": "Noise (standard deviation)", "seed": "Seed",
        "run": "Train", "stop": "Stop",
        "losses": "Loss after each epoch ({count} parameters, {points} training points)",
        "fit": "The curve that was learnt", "training": "training loss", "validation": "validation loss",
        "epoch": "epoch", "loss": "mean squared error", "truth": "true curve",
        "best": "epoch {n}, lowest validation loss",
        "last": "epoch {n}", "x": "x", "y": "y",
        "running": "Training: epoch {n}, training loss {train:.3f}, validation loss {validation:.3f}…",
        "over": "Overfitting: the training loss fell to {train:.3f}, but after {lowest:.3f} at epoch {best} the "
        "validation loss turned and climbed to {validation:.3f}.",
        "under": "Underfitting: after {n} epochs the training loss is still {train:.3f}, the validation loss "
        "{validation:.3f}; the model is too small or was not trained enough.",
        "good": "No overfitting: training loss {train:.3f}, validation loss {validation:.3f}, at its lowest "
        "{lowest:.3f}; it never climbed much.",
        "floor": "The circles are the training points. The noise has variance {floor:.3f}; no model gets its "
        "validation loss far below that.",
    },
}  # fmt: skip
EPOCHS, EVERY, LR = 300, 15, 0.003  # counted in epochs, not in seconds: the same picture on every machine
EXAMPLES = {lang: [(100, 12, 0.3, 1), (100, 100, 0.3, 1), (1, 100, 0.3, 1), (3, 12, 0.3, 1)] for lang in ("zh", "en")}
GRID = torch.linspace(-1, 1, 101)[:, None]


def draw(n: int, noise: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return n points on one wave of a sine, with noise."""
    x = 2 * torch.rand(n, 1, generator=generator) - 1
    return x, torch.sin(math.pi * x) + noise * torch.randn(n, 1, generator=generator)


def start(width: int, generator: torch.Generator) -> list[Tensor]:
    """Return the parameters to start from: steep neurons with their bends spread over the picture."""
    W1, centre = torch.randn(width, 1, generator=generator) * 8, 2 * torch.rand(width, generator=generator) - 1
    W2 = torch.randn(1, width, generator=generator) * 0.5 / width**0.5
    return [W1, -W1[:, 0] * centre, W2, torch.zeros(1)]


def net(params: Sequence[Tensor], x: Tensor) -> Tensor:
    return two_layer_forward(TwoLayer(*params), x)[1]


def pictures(history: list[Epoch], points: tuple[Tensor, Tensor], noise: float, ended: bool, lang: str) -> str:
    """Return the curves of both losses, and the learnt curves among the training points."""
    words, last = LABELS[lang], history[-1]
    best = min(history, key=lambda epoch: epoch.validation_loss)
    if not ended:
        kind = "running"
    elif last.validation_loss > 1.2 * best.validation_loss + 0.005:
        kind = "over"
    else:
        kind = "under" if last.train_loss > 1.4 * noise**2 + 0.01 else "good"
    told = words[kind].format(
        n=last.number, train=last.train_loss, validation=last.validation_loss, best=best.number,
        lowest=best.validation_loss,
    )  # fmt: skip
    numbers = [epoch.number for epoch in history]
    count = sum(p.numel() for p in last.params)
    xs, truth = GRID[:, 0].tolist(), torch.sin(math.pi * GRID)[:, 0].tolist()
    learnt = [
        (words[key].format(n=epoch.number), xs, net(epoch.params, GRID)[:, 0].tolist())
        for key, epoch in (("best", best), ("last", last))
    ]
    return _figures.result(
        _figures.curves(
            words["losses"].format(count=count, points=len(points[0])),
            [
                (words["training"], numbers, [epoch.train_loss for epoch in history]),
                (words["validation"], numbers, [epoch.validation_loss for epoch in history]),
            ],
            told, x_label=words["epoch"], y_label=words["loss"], y_range=(0.0, max(0.6, 1.1 * last.validation_loss)),
            marks=[(best.number, best.validation_loss, "")],
        ),
        _figures.curves(
            words["fit"], [(words["truth"], xs, truth), *learnt], words["floor"].format(floor=noise**2),
            x_label=words["x"], y_label=words["y"], y_range=(-2.0, 2.0),
            marks=[(x, y, "") for x, y in torch.cat(points, dim=1).tolist()],
        ),
    )  # fmt: skip


def predict(width: object, points: object, noise: object, seed: object, lang: str = "en") -> Iterator[str]:
    """Train and yield the pictures every few epochs."""
    neurons = _ui.integer(width, _ui.label(LABELS, "width"), 1, 200)
    n = _ui.integer(points, _ui.label(LABELS, "points"), 4, 100)
    spread = _ui.number(noise, _ui.label(LABELS, "noise"), 0, 1)
    generator = torch.Generator().manual_seed(_ui.integer(seed, _ui.label(LABELS, "seed"), 0, 10**6))
    validation, given = draw(200, spread, generator), draw(n, spread, generator)
    params, history = start(neurons, generator), []
    for epoch in islice(train(net, params, [given], validation, LR, adam), EPOCHS):
        history.append(epoch)
        if epoch.number % EVERY == 0 and epoch.number < EPOCHS:
            yield pictures(history, given, spread, False, lang)
    yield pictures(history, given, spread, True, lang)


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (width, points, noise, seed) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            neurons = gr.Slider(1, 200, width, step=1, label=words["width"])
            count = gr.Slider(4, 100, points, step=1, label=words["points"])
        with gr.Row():
            spread = gr.Slider(0, 1, noise, step=0.05, label=words["noise"])
            draws = gr.Number(seed, label=words["seed"], precision=0)
        with gr.Row():
            run, stop = gr.Button(words["run"], variant="primary"), gr.Button(words["stop"], variant="stop")
        inputs = [neurons, count, spread, draws]
        event = _ui.wire(predict, lang, inputs, gr.HTML(), "training_loop", button=run)
        stop.click(None, cancels=[event], api_name=False)
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
