"""How much of a nudge is left, k steps later, in a recurrent network that you set up yourself.

Start with an orthogonal matrix of radius 1 and no input: the line lies on the bound, nothing is lost. Turn the radius a
little below or above 1; then turn the input up and see tanh saturate: the gradient vanishes though the matrix is large.
"""

import typing

import torch

from demos import _figures, _ui
from largemodels.sequence.recurrent import norms_over_distance, recurrent, recurrent_jacobians, with_spectral_radius

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "梯度能往回走多远", "en": "How far back the gradient reaches"}
HINT = {
    "zh": "谱半径从 0.9 拖到 1.3，曲线由降转升；再把输入调大，tanh 一饱和，它又掉了下来。",
    "en": "Drag the radius from 0.9 to 1.3: the line turns upwards. Raise the input: tanh saturates, it falls.",
}
LABELS = {
    "zh": {
        "radius": "W_hh 的谱半径 ρ", "length": "序列长度 T（步）", "strength": "输入的大小（标准差）",
        "activation": "激活函数", "matrix": "W_hh 怎么取（random 随机，orthogonal 正交）",
        "title": "梯度的大小，随距离 k 变化", "x": "距离 k（步）", "y": "范数",
        "measured": "实测 ‖∂h_T/∂h_(T−k)‖", "bound": "上界 ‖W_hh‖ᵏ", "linear": "ρᵏ",
        "lost": "相隔 {T} 步，梯度只剩 {end:.2g}，平均每步乘以 {rate:.3f}。",
        "grown": "相隔 {T} 步，梯度涨到 {end:.2g}，平均每步乘以 {rate:.3f}。",
        "kept": "相隔 {T} 步，梯度不增不减，还是 {end:.3g}。",
        "random": "{what}上界每步乘以 ‖W_hh‖ = {norm:.3f}：是最大的奇异值，不是谱半径 {radius:.2f}。",
        "orthogonal": "{what}上界每步乘以 ‖W_hh‖ = {norm:.3f}；矩阵正交，最大的奇异值就等于谱半径。",
        "slopes": "激活函数的斜率：每一步的平均值", "step": "步", "slope": "平均斜率",
        "slopes_twin": "所有步的平均斜率是 {mean:.3f}。每往回一步，梯度除了乘 W_hh，还要乘一次这个斜率，它从不超过 1。",
    },
    "en": {
        "radius": "Spectral radius ρ of W_hh", "length": "Length T (steps)", "strength": "Size of the input (std)",
        "activation": "Activation", "matrix": "Kind of W_hh",
        "title": "Size of the gradient over the distance k", "x": "distance k (steps)", "y": "norm",
        "measured": "measured ‖∂h_T/∂h_(T−k)‖", "bound": "bound ‖W_hh‖ᵏ", "linear": "ρᵏ",
        "lost": "Over {T} steps the gradient shrinks to {end:.2g}, by a factor of {rate:.3f} a step on average. ",
        "grown": "Over {T} steps the gradient grows to {end:.2g}, by a factor of {rate:.3f} a step on average. ",
        "kept": "Over {T} steps the gradient keeps its size, {end:.3g}. ",
        "random": "{what}The bound takes the factor ‖W_hh‖ = {norm:.3f}, the largest singular value, not the radius "
        "{radius:.2f}.",
        "orthogonal": "{what}The bound takes the factor ‖W_hh‖ = {norm:.3f}: in an orthogonal matrix the largest "
        "singular value equals the radius.",
        "slopes": "Slope of the activation, averaged at each step", "step": "step", "slope": "mean slope",
        "slopes_twin": "Over all steps the slope is {mean:.3f} on average. On its way back the gradient meets it at "
        "every step, beside W_hh; it is never above 1.",
    },
}  # fmt: skip
ACTIVATIONS, MATRICES, D = ("tanh", "relu"), ("random", "orthogonal"), 24
EXAMPLES = {
    lang: [
        (0.9, 100, 0.1, "tanh", "orthogonal"),
        (1.3, 100, 0.1, "tanh", "orthogonal"),
        (1.3, 100, 2.0, "tanh", "orthogonal"),
        (1.6, 60, 1.0, "relu", "random"),
    ]
    for lang in ("zh", "en")
}


def predict(
    radius: object, length: object, strength: object, activation: object, matrix: object, lang: str = "en"
) -> str:
    """Return the norm of the gradient over the distance, with its bound, and the slopes on the way."""
    words = LABELS[lang]
    rho = _ui.number(radius, _ui.label(LABELS, "radius"), 0.05, 2)
    T = _ui.integer(length, _ui.label(LABELS, "length"), 2, 150)
    size = _ui.number(strength, _ui.label(LABELS, "strength"), 0, 5)
    bend = _ui.choice(activation, _ui.label(LABELS, "activation"), ACTIVATIONS)
    kind = _ui.choice(matrix, _ui.label(LABELS, "matrix"), MATRICES)
    g = torch.Generator().manual_seed(0)
    w = torch.randn(D, D, generator=g, dtype=torch.float64)
    w_hh = with_spectral_radius(torch.linalg.qr(w).Q if kind == "orthogonal" else w, rho)
    w_ih, x = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((D, 1), (1, T, 1)))
    zeros = torch.zeros(D, dtype=torch.float64)
    states = recurrent(size * x, w_ih, w_hh, zeros, zeros, activation=bend)[0]
    jacobians = recurrent_jacobians(states, w_hh, bend)
    norms, norm = norms_over_distance(jacobians).tolist(), float(torch.linalg.matrix_norm(w_hh, ord=2))
    ks = list(range(T + 1))
    series = [(words["measured"], ks, norms), (words["bound"], ks, [norm**k for k in ks])]
    if kind == "random":
        series.append((words["linear"], ks, [rho**k for k in ks]))
    change = "kept" if abs(norms[T] - 1) < 0.01 else "lost" if norms[T] < 1 else "grown"
    what = words[change].format(T=T, end=norms[T], rate=norms[T] ** (1 / T))
    slopes = recurrent_jacobians(states, torch.ones_like(w_hh), bend)[..., 0].mean(-1).tolist()
    return _figures.result(
        _figures.log_curves(
            words["title"], series, words[kind].format(what=what, norm=norm, radius=rho),
            x_label=words["x"], y_label=words["y"],
        ),
        _figures.curves(
            words["slopes"], [(words["slope"], list(range(1, T + 1)), slopes)],
            words["slopes_twin"].format(mean=sum(slopes) / T), x_label=words["step"], y_label=words["slope"],
            y_range=(0, 1.05),
        ),
    )  # fmt: skip


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (radius, length, strength, activation, matrix) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            inputs: list[gr.components.Component] = [
                gr.Slider(0.05, 2, radius, step=0.05, label=words["radius"]),
                gr.Slider(2, 150, length, step=1, label=words["length"]),
                gr.Slider(0, 5, strength, step=0.1, label=words["strength"]),
            ]
        with gr.Row():
            inputs += [
                gr.Radio(list(ACTIVATIONS), value=activation, label=words["activation"]),
                gr.Radio(list(MATRICES), value=matrix, label=words["matrix"]),
            ]
        _ui.wire(predict, lang, inputs, gr.HTML(), "recurrent")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
