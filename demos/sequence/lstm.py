"""One LSTM cell that reads your numbers, and how far its gradient reaches beside that of a plain recurrent network.

The cell's weights are fixed so that you can follow it: a positive number opens the input gate and is written, 0 is
kept, a negative number shuts the forget gate and erases. The sliders open and shut the gates for good. The last picture
measures 24 units with PyTorch's first weights and the same three biases.
"""

import functools
import typing

import torch

from demos import _figures, _ui
from largemodels.sequence.lstm import lstm, lstm_gates, lstm_jacobians, with_forget_bias
from largemodels.sequence.recurrent import norms_over_distance, recurrent, recurrent_jacobians

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "一个记忆单元和它的三道门", "en": "One memory cell and its three gates"}
HINT = {
    "zh": "输入：正数写入，0 保持，负数擦除。把遗忘门的偏置从 3 拖到 0，看记忆怎样漏光。",
    "en": "Positive numbers write, 0 keeps, negative ones erase. Drag the forget bias from 3 to 0: memory leaks away.",
}
LABELS = {
    "zh": {
        "numbers": "依次读入的数", "input": "输入门的偏置 b_i", "forget": "遗忘门的偏置 b_f",
        "output": "输出门的偏置 b_o", "cell": "读进去的、记着的、说出来的", "x": "输入 x", "c": "单元 c",
        "h": "状态 h", "step": "步", "value": "数值",
        "cell_twin": "第 {t} 步的单元最满，c = {top:.2f}；到最后剩 c = {last:.2f}，状态 h = {h:.2f}。",
        "gates": "每一步的门：0 是关，1 是开", "corner": "门＼x",
        "gates_twin": "读到 0 时，遗忘门是 σ({b:g}) = {f:.3f}：每一步留下这么多，十步之后留下 {ten:.3g}。",
        "norms": "24 个单元：梯度的大小，随距离 k 变化", "distance": "距离 k（步）", "norm": "范数",
        "rnn": "RNN（W_hh 正交，半径 1）",
        "norms_twin": "相隔 {T} 步，LSTM 的梯度是原来的 {ours:.2g}，RNN 的是 {theirs:.2g}。",
    },
    "en": {
        "numbers": "Numbers, read one by one", "input": "Input gate bias b_i", "forget": "Forget gate bias b_f",
        "output": "Output gate bias b_o", "cell": "Read, remembered, shown", "x": "input x", "c": "cell c",
        "h": "state h", "step": "step", "value": "value",
        "cell_twin": "The cell is fullest at step {t}, c = {top:.2f}; at the end c = {last:.2f} is left, and the state "
        "is h = {h:.2f}.",
        "gates": "The gates at each step: 0 is shut, 1 is open", "corner": "gate\\x",
        "gates_twin": "Reading 0, the forget gate is σ({b:g}) = {f:.3f}: so much is kept at each step, and {ten:.3g} "
        "over ten steps.",
        "norms": "24 units: size of the gradient over the distance k", "distance": "distance k (steps)",
        "norm": "norm", "rnn": "RNN (orthogonal W_hh, radius 1)",
        "norms_twin": "Over {T} steps the gradient of the LSTM becomes {ours:.2g} times as large, that of the RNN "
        "{theirs:.2g} times.",
    },
}  # fmt: skip
D, T, MOST = 24, 100, 16
EXAMPLES = {
    lang: [
        ("1, 0, 0, 0, 0, 0, -1, 0, 0.5, 0, 0", -2.0, 3.0, 1.0),
        ("1, 0, 0, 0, 0, 0, -1, 0, 0.5, 0, 0", -2.0, 0.0, 1.0),
        ("1, 0, 0, 0, 0, 0, -1, 0, 0.5, 0, 0", -2.0, 3.0, -6.0),
        ("1, 1, 1, 1, 1, 1, 1, 1", 6.0, 6.0, 6.0),
    ]
    for lang in ("zh", "en")
}


def drawn(*shape: int, seed: int) -> torch.Tensor:
    """Return numbers between −1/√D and 1/√D, as PyTorch draws its first weights."""
    uniform = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * uniform - 1) / D**0.5


@functools.cache
def noise() -> torch.Tensor:
    """Return the input of the measurement, shape (1, T, 1)."""
    return torch.randn(1, T, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


@functools.cache
def rnn_norms() -> list[float]:
    """Return the norms over distance of the plain network."""
    w_hh, bias = torch.linalg.qr(drawn(D, D, seed=1)).Q, torch.zeros(D, dtype=torch.float64)
    states = recurrent(noise(), drawn(D, 1, seed=0), w_hh, bias, bias)[0]
    return norms_over_distance(recurrent_jacobians(states, w_hh)).tolist()


def lstm_norms(input_bias: float, forget_bias: float, output_bias: float) -> list[float]:
    """Return the norms over distance of an LSTM with these biases."""
    bias = torch.tensor([input_bias, 0.0, 0.0, output_bias], dtype=torch.float64).repeat_interleave(D)
    params = drawn(4 * D, 1, seed=2), drawn(4 * D, D, seed=3), with_forget_bias(bias, forget_bias), bias * 0
    states, cells = lstm(noise(), *params)
    return norms_over_distance(lstm_jacobians(noise()[0], states[0], cells[0], *params)).tolist()


def predict(written: object, input_bias: object, forget_bias: object, output_bias: object, lang: str = "en") -> str:
    """Return the cell over time, its gates, and the gradient over the distance."""
    words = LABELS[lang]
    xs = _ui.numbers(written, _ui.label(LABELS, "numbers"), -5, 5, MOST)
    named = (("input", input_bias), ("forget", forget_bias), ("output", output_bias))
    b_i, b_f, b_o = (_ui.number(value, _ui.label(LABELS, key), -6, 6) for key, value in named)
    x = torch.tensor(xs, dtype=torch.float64)[None, :, None]  # (1, T, 1)
    w_ih = torch.tensor([[4.0], [4.0], [2.0], [0.0]], dtype=torch.float64)
    w_hh, bias = torch.zeros(4, 1, dtype=torch.float64), torch.tensor([b_i, b_f, 0.0, b_o], dtype=torch.float64)
    states, cells = (t[0, :, 0] for t in lstm(x, w_ih, w_hh, bias, bias * 0))
    gates = lstm_gates(x[0], states[:, None], w_ih, w_hh, bias, bias * 0)  # any h will do: w_hh is 0
    steps, top = list(range(1, len(xs) + 1)), int(cells.abs().argmax())
    lines = (("x", xs), ("c", cells.tolist()), ("h", states.tolist()))
    ours, theirs, keep = lstm_norms(b_i, b_f, b_o), rnn_norms(), float(torch.tensor(b_f).sigmoid())
    ks = list(range(T + 1))
    return _figures.result(
        _figures.curves(
            words["cell"], [(words[name], steps, values) for name, values in lines],
            words["cell_twin"].format(t=top + 1, top=cells[top], last=cells[-1], h=states[-1]),
            x_label=words["step"], y_label=words["value"],
        ),
        _figures.heat_table(
            words["gates"], ["i", "f", "g", "o"], [f"{value:g}" for value in xs], [t[:, 0].tolist() for t in gates],
            words["gates_twin"].format(b=b_f, f=keep, ten=keep**10), corner=words["corner"], diverging=True,
        ),
        _figures.log_curves(
            words["norms"], [("LSTM", ks, ours), (words["rnn"], ks, theirs)],
            words["norms_twin"].format(T=T, ours=ours[-1], theirs=theirs[-1]),
            x_label=words["distance"], y_label=words["norm"],
        ),
    )  # fmt: skip


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (written, *biases) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        text = gr.Textbox(written, label=words["numbers"])
        with gr.Row():
            sliders = [
                gr.Slider(-6, 6, value, step=0.5, label=words[name])
                for name, value in zip(("input", "forget", "output"), biases, strict=True)
            ]
        inputs = [text, *sliders]
        _ui.wire(predict, lang, inputs, gr.HTML(), "lstm")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
