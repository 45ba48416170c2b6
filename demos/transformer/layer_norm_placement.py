"""The same small Transformer five times: with and without residual connections and layer normalisation, measured.

Choose a learning rate: without normalisation the residual network's gradients are hundreds of times larger and its
training goes wrong; pre-norm bears every rate. Then let the rate warm up, and see whom that helps.
"""

import json
import math
import typing
from importlib import resources

from demos import _figures, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "归一化放在哪里：量出来的梯度和损失", "en": "Where to normalise: gradients and losses, measured"}
HINT = {
    "zh": "换一个学习率，看谁还学得动；再打开预热，看它帮了谁。",
    "en": "Change the learning rate and see who still learns; then switch warm-up on and see whom it helps.",
}
LABELS = {
    "zh": {
        "lr": "学习率", "warmup": "预热", "0": "不预热", "50": "前 50 步预热（只测了后归一化和前归一化）",
        "neither": "两样都没有", "residual only": "只有残差", "norm only": "只有归一化", "post-norm": "后归一化",
        "pre-norm": "前归一化", "gradients": "训练之前：每层最后一个权重的梯度", "layer": "层",
        "norm": "梯度范数的 log₁₀", "losses": "训练 {steps} 步，学习率 {lr}", "step": "步", "loss": "损失（奈特）",
        "gradient_twin": "{name}：第 1 层 {first:.3g}，第 {layers} 层 {last:.3g}。",
        "loss_twin": "{name}：最后 {every} 步平均 {last}。", "unmeasured": "训练崩了",
        "setting": "任务：把 {length} 个符号倒着写出来，乱猜的损失是 {guessing:.2f}。"
        "每条线是 {seeds} 次训练的平均，高于 {top:g} 的不画。",
    },
    "en": {
        "lr": "Learning rate", "warmup": "Warm-up", "0": "none",
        "50": "over the first 50 steps (measured for post-norm and pre-norm)",
        "neither": "neither", "residual only": "residual only", "norm only": "norm only", "post-norm": "post-norm",
        "pre-norm": "pre-norm", "gradients": "Before training: gradient of each layer's last weight", "layer": "layer",
        "norm": "log₁₀ of gradient norm", "losses": "{steps} steps of training, learning rate {lr}", "step": "step",
        "loss": "loss (nats)",
        "gradient_twin": "{name}: {first:.3g} in layer 1, {last:.3g} in layer {layers}.",
        "loss_twin": "{name}: mean of the last {every} steps {last}.", "unmeasured": "broke down",
        "setting": "Task: write {length} symbols in reverse; guessing costs {guessing:.2f}. Each line is the mean of "
        "{seeds} trainings; what is above {top:g} is not drawn.",
    },
}  # fmt: skip
RATES, WARMUPS, TOP = ("0.001", "0.003", "0.01"), ("0", "50"), 3.0
EXAMPLES = {lang: [("0.003", "0"), ("0.01", "0"), ("0.01", "50"), ("0.001", "0")] for lang in ("zh", "en")}


def predict(lr: object, warmup: object, lang: str = "en") -> str:
    """Return gradient norms by layer and the losses at one learning rate."""
    words = LABELS[lang]
    rate = _ui.choice(lr, _ui.label(LABELS, "lr"), RATES)
    warm = _ui.choice(warmup, _ui.label(LABELS, "warmup"), WARMUPS)
    found = json.loads(resources.files("largemodels").joinpath("measurements/norm_placement.json").read_text("utf-8"))
    gradients: list[_figures.Series] = []
    losses: list[_figures.Series] = []
    said: tuple[list[str], list[str]] = ([], [])
    for name, norms in found["gradients"].items():
        layers = list(range(1, len(norms) + 1))
        gradients.append((words[name], layers, [math.log10(norm) for norm in norms]))
        said[0].append(
            words["gradient_twin"].format(name=words[name], first=norms[0], last=norms[-1], layers=len(norms))
        )
        runs = found["losses"][name].get(f"{rate}/{warm}", [])
        means = [sum(row) / len(row) for row in zip(*runs, strict=True)]
        steps = [(i + 1) * found["every"] for i in range(len(means))]
        losses.append((words[name], steps, means))  # a placement that was not measured keeps its colour
        if means:
            last = f"{means[-1]:.2f}" if math.isfinite(means[-1]) else words["unmeasured"]
            said[1].append(words["loss_twin"].format(name=words[name], every=found["every"], last=last))
    said[1].append(words["setting"].format(top=TOP, **found))
    glue = " " if lang == "en" else ""
    return _figures.result(
        _figures.curves(
            words["losses"].format(steps=found["steps"], lr=rate), losses, glue.join(said[1]),
            x_label=words["step"], y_label=words["loss"], y_range=(0, TOP),
        ),
        _figures.curves(
            words["gradients"], gradients, glue.join(said[0]), x_label=words["layer"], y_label=words["norm"]
        ),
    )  # fmt: skip


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (lr, warmup) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        rates = gr.Radio(list(RATES), value=lr, label=words["lr"])
        warmups = gr.Radio([(words[key], key) for key in WARMUPS], value=warmup, label=words["warmup"])
        inputs = [rates, warmups]
        _ui.wire(predict, lang, inputs, gr.HTML(), "layer_norm_placement")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
