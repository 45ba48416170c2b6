"""Two losses and their gradients, number by number.

Write predictions and targets: both conventions of the squared error stand side by side, and the second is always half
of the first. Move the logits of three classes: the gradient of the cross-entropy is the probabilities, minus 1 at the
right class.
"""

import typing

import torch

from demos import _figures, _ui
from largemodels.foundations import losses
from largemodels.foundations.activations import softmax

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "损失和它的梯度", "en": "Losses and their gradients"}
HINT = {
    "zh": "改一个预测，看均方误差的两种写法；再拖动正确类别的 logit，看概率、损失和梯度一起变。",
    "en": "Change a prediction and compare both squared errors; then drag the right class's logit and watch all move.",
}
LABELS = {
    "zh": {
        "predictions": "预测 ŷ（用逗号隔开）", "targets": "目标 y（同样多的数）", "logit": "logit z{i}",
        "right": "正确的类别", "mse": "均方误差的两种写法", "each": "逐个看：误差和梯度",
        "mse_twin": "同样的误差，1/m 给出 {mean:.4g}，1/2m 给出 {half:.4g}：永远是一半，梯度也是一半。",
        "each_twin": "误差最大的是第 {i} 个，{error:+.3g}；梯度和误差同号，所以逆着梯度走，预测就朝目标挪。",
        "header": "第几个", "error": "误差 ŷ − y", "grad_mean": "梯度（1/m）", "grad_half": "梯度（1/2m）",
        "probabilities": "三个类别的概率 p = softmax(z)",
        "ce_twin": "正确的类别 {k} 得到概率 {p:.3g}，交叉熵 −ln {p:.3g} = {loss:.3f} 奈特；均匀瞎猜是 {blind:.3f}。",
        "gradient": "交叉熵对每个 logit 的梯度 = 概率 − one-hot", "corner": "类别", "slope": "梯度",
        "gradient_twin": "只有正确的类别 {k} 是负的：{g:+.3f}。逆着梯度走，z{k} 上升，其余下降；三个数之和为 0。",
    },
    "en": {
        "predictions": "Predictions ŷ (separated by commas)", "targets": "Targets y (as many)", "logit": "Logit z{i}",
        "right": "Right class", "mse": "The squared error in both conventions", "each": "Each error and gradient",
        "mse_twin": "From the same errors, 1/m makes {mean:.4g} and 1/2m makes {half:.4g}: always half, and so is the "
        "gradient.",
        "each_twin": "The largest error is number {i}, {error:+.3g}. Gradient and error share their sign, so a step "
        "against the gradient moves each prediction towards its target.",
        "header": "number", "error": "error ŷ − y", "grad_mean": "gradient (1/m)", "grad_half": "gradient (1/2m)",
        "probabilities": "Probabilities of three classes, p = softmax(z)",
        "ce_twin": "The right class {k} gets probability {p:.3g}, so the cross-entropy is −ln {p:.3g} = {loss:.3f} "
        "nats; a blind guess costs {blind:.3f}.",
        "gradient": "Gradient of the cross-entropy for each logit = probability − one-hot", "corner": "class",
        "slope": "gradient",
        "gradient_twin": "Only the right class {k} is negative: {g:+.3f}. A step against the gradient raises z{k} and "
        "lowers the others; the three sum to 0.",
    },
}  # fmt: skip
MAX_COUNT, LIMIT, CLASSES = 8, 1000.0, ("1", "2", "3")
EXAMPLES = {
    lang: [
        ("1, 2, 6", "1, 4, 5", 2.0, 1.0, -1.0, "2"),
        ("1, 2, 60", "1, 4, 5", 8.0, 0.0, 0.0, "1"),
        ("0.5, 0.5", "0, 1", 8.0, 0.0, 0.0, "2"),
    ]
    for lang in ("zh", "en")
}


def squared(y_hat: torch.Tensor, y: torch.Tensor, words: dict[str, str]) -> list[str]:
    """Return both squared errors as bars, and errors and gradients as a table."""
    mean, half = (float(losses.mean_squared_error(y_hat, y, name)) for name in ("mean", "half"))
    errors = y_hat - y
    columns = [y_hat, y, errors, *(losses.mean_squared_error_gradient(y_hat, y, name) for name in ("mean", "half"))]
    header = [words["header"], "ŷ", "y", words["error"], words["grad_mean"], words["grad_half"]]
    rows = [[str(i), *(f"{v:.4g}" for v in row)] for i, row in enumerate(torch.stack(columns, 1).tolist(), 1)]
    worst = int(errors.abs().argmax())
    twin = words["each_twin"].format(i=worst + 1, error=float(errors[worst]))
    two = [("1/m", mean), ("1/2m", half)]
    return [
        _figures.bars(words["mse"], two, words["mse_twin"].format(mean=mean, half=half)),
        _figures.numbers_table(words["each"], header, rows, twin),
    ]


def entropy(logits: torch.Tensor, right: int, words: dict[str, str]) -> list[str]:
    """Return the probabilities as bars and the gradient as coloured cells."""
    targets, p = torch.tensor([right]), softmax(logits)[0]
    loss, blind = (float(losses.cross_entropy(z, targets)) for z in (logits, torch.zeros_like(logits)))
    gradient = losses.cross_entropy_gradient(logits, targets)
    names = [f"{name} ✓" if i == right else name for i, name in enumerate(CLASSES)]
    twin = words["ce_twin"].format(k=right + 1, p=float(p[right]), loss=loss, blind=blind)
    push = words["gradient_twin"].format(k=right + 1, g=float(gradient[0, right]))
    return [
        _figures.bars(words["probabilities"], list(zip(names, p.tolist(), strict=True)), twin, maximum=1.0),
        _figures.heat_table(
            words["gradient"], [words["slope"]], names, gradient.tolist(), push,
            digits=3, corner=words["corner"], diverging=True,
        ),
    ]  # fmt: skip


def predict(
    predictions: object, targets: object, z1: object, z2: object, z3: object, right: object, lang: str = "en"
) -> str:
    """Return both losses, their numbers and their gradients."""
    texts = (("predictions", predictions), ("targets", targets))
    y_hat, y = (_ui.numbers(text, _ui.label(LABELS, key), -LIMIT, LIMIT, MAX_COUNT) for key, text in texts)
    if len(y_hat) != len(y):
        raise _ui.InputError(
            zh=f"预测和目标必须一样多，收到了 {len(y_hat)} 个和 {len(y)} 个；请补上或删掉几个。",
            en=f"There must be as many targets as predictions, got {len(y)} and {len(y_hat)}; add or remove some.",
        )
    labels = [{lang: LABELS[lang]["logit"].format(i=i) for lang in LABELS} for i in CLASSES]
    z = [_ui.number(value, label, -10, 10) for value, label in zip((z1, z2, z3), labels, strict=True)]
    k = CLASSES.index(_ui.choice(right, _ui.label(LABELS, "right"), CLASSES))
    made, wanted, logits = (torch.tensor(values, dtype=torch.float64) for values in (y_hat, y, [z]))
    return _figures.result(*squared(made, wanted, LABELS[lang]), *entropy(logits, k, LABELS[lang]))


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (predictions, targets, *logits, right) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            texts = [
                gr.Textbox(predictions, label=words["predictions"]), gr.Textbox(targets, label=words["targets"])
            ]  # fmt: skip
        with gr.Row():
            sliders = [
                gr.Slider(-10, 10, z, step=0.1, label=words["logit"].format(i=i))
                for i, z in zip(CLASSES, logits, strict=True)
            ]
        classes = gr.Radio(list(CLASSES), value=right, label=words["right"])
        inputs = [*texts, *sliders, classes]
        _ui.wire(predict, lang, inputs, gr.HTML(), "losses")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
