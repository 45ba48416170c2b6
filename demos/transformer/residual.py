"""A deep stack of equal layers, plain and residual, from the same weights.

Make the stack deeper or the weights smaller: the plain stack's gradient falls by powers of ten on its way down, the
residual one arrives. Make the weights large, and see what the connection does not do.
"""

import math
import typing

import torch

from demos import _figures, _ui
from largemodels.transformer.residual import layer_weights, learn_sign, run_stack, run_stack_backward

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "深层网络：有没有残差连接", "en": "Deep stacks, plain and residual"}
HINT = {
    "zh": "把初始尺度拖到 0.5 再拖到 2.5，看两条梯度曲线往哪边去；再看损失降不降得下来。",
    "en": "Set the initial scale to 0.5, then to 2.5: see where the two gradients go, and which loss falls.",
}
LABELS = {
    "zh": {
        "depth": "深度 L（层数）", "width": "宽度 C", "scale": "初始尺度 s（权重的标准差是 s/√C）", "show": "显示",
        "both": "两者", "plain": "普通", "residual": "残差",
        "forward": "向前：每一层之后状态的大小", "backward": "向后：损失对每一层状态的梯度", "learn": "训练 20 步",
        "layer": "层", "size": "均方根的 log₁₀", "norm": "梯度范数的 log₁₀", "step": "步", "loss": "损失的 log₁₀",
        "forward_twin": "{name}：从 {first} 到 {last}。",
        "backward_twin": "{name}：最后一层之后是 {last}，传回输入是 {first}。",
        "learn_twin": "{name}：损失从 {first} 到 {last}。",
        "task": "任务：前两个数的乘积是正是负；总答 0 的损失是 1，对数是 0。学习率 {lr}。",
        "zero": "低于 10⁻¹⁶ 的画在 −16 处。",
    },
    "en": {
        "depth": "Depth L (layers)", "width": "Width C", "scale": "Initial scale s (weights have deviation s/√C)",
        "show": "Show", "both": "both", "plain": "plain", "residual": "residual",
        "forward": "Forward: size of the state after each layer",
        "backward": "Backward: gradient of the loss by each layer's state", "learn": "Twenty steps of training",
        "layer": "layer", "size": "log₁₀ of root mean square", "norm": "log₁₀ of gradient norm", "step": "step",
        "loss": "log₁₀ of loss", "forward_twin": "{name}: from {first} to {last}.",
        "backward_twin": "{name}: {last} after the last layer, {first} at the input.",
        "learn_twin": "{name}: loss from {first} to {last}.",
        "task": "Task: is the product of the first two numbers positive? Always answering 0 costs 1, "
        "logarithm 0. Learning rate {lr}.",
        "zero": "What is below 10⁻¹⁶ is drawn at −16.",
    },
}  # fmt: skip
NETWORKS = {"plain": False, "residual": True}
CHOICES = ("both", *NETWORKS)
LR, FLOOR = 0.01, 1e-16
EXAMPLES = {
    lang: [(24, 16, 0.5, "both"), (24, 16, 1.0, "both"), (24, 16, 1.5, "both"), (32, 16, 2.5, "both"),
           (4, 16, 1.0, "both")]
    for lang in ("zh", "en")
}  # fmt: skip


def brief(value: float) -> str:
    """Return three digits, with powers of ten for the very large and the very small."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits} × 10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def logs(values: torch.Tensor) -> list[float]:
    """Return base ten logarithms, cut at the floor."""
    return [math.log10(max(value, FLOOR)) for value in values.tolist()]


def predict(depth: object, width: object, scale: object, show: object, lang: str = "en") -> str:
    """Return size of state and gradient by layer, and the losses of a short training."""
    words = LABELS[lang]
    L = _ui.integer(depth, _ui.label(LABELS, "depth"), 2, 32)
    C = _ui.integer(width, _ui.label(LABELS, "width"), 4, 24)
    s = _ui.number(scale, _ui.label(LABELS, "scale"), 0, 3)
    chosen = _ui.choice(show, _ui.label(LABELS, "show"), CHOICES)
    weights, generator = layer_weights(L, C, s), torch.Generator().manual_seed(0)
    x, gradient = torch.randn(2, 64, C, generator=generator, dtype=torch.float64)  # (64, C) each
    gradient = gradient / gradient.norm()
    lines: dict[str, list[tuple[str, list[int], list[float]]]] = {"forward": [], "backward": [], "learn": []}
    twins: dict[str, list[str]] = {"forward": [], "backward": [], "learn": []}
    for key in NETWORKS if chosen == "both" else (chosen,):
        skip = NETWORKS[key]
        states = run_stack(x, weights, skip=skip)  # (L+1, 64, C)
        sizes = states.square().mean((1, 2)).sqrt()
        norms = run_stack_backward(states, weights, gradient, skip=skip)[0].norm(dim=(1, 2))
        losses = learn_sign(weights, skip=skip, lr=LR)
        layers = list(range(L + 1))
        lines["forward"].append((words[key], layers, logs(sizes)))
        lines["backward"].append((words[key], layers, logs(norms)))
        lines["learn"].append((words[key], list(range(len(losses))), logs(losses)))
        for figure, row in (("forward", sizes), ("backward", norms), ("learn", losses)):
            first, last = row[0].item(), row[-1].item()
            twins[figure].append(
                words[f"{figure}_twin"].format(name=words[key], first=brief(first), last=brief(last))
            )
    for figure in ("forward", "backward"):
        if min(value for _, _, ys in lines[figure] for value in ys) <= math.log10(FLOOR):
            twins[figure].append(words["zero"])
    twins["learn"].append(words["task"].format(lr=LR))
    axes = {"backward": ("layer", "norm"), "learn": ("step", "loss"), "forward": ("layer", "size")}
    gap = "" if lang == "zh" else " "
    return _figures.result(
        *(
            _figures.curves(
                words[figure], lines[figure], gap.join(twins[figure]), x_label=words[x_name], y_label=words[y_name]
            )
            for figure, (x_name, y_name) in axes.items()
        )
    )


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (depth, width, scale, show) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            depths = gr.Slider(2, 32, depth, step=1, label=words["depth"])
            widths = gr.Slider(4, 24, width, step=1, label=words["width"])
        scales = gr.Slider(0, 3, scale, step=0.1, label=words["scale"])
        shows = gr.Radio([(words[key], key) for key in CHOICES], value=show, label=words["show"])
        inputs = [depths, widths, scales, shows]
        _ui.wire(predict, lang, inputs, gr.HTML(), "residual")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
