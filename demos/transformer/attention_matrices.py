"""Attention on matrices small enough to check by hand.

Change a number of Q, K or V and watch the energies, the weights and the output follow; choose the causal mask
and see the upper triangle go to exactly 0; switch the division by √d off and see the weights harden.
"""

import typing

import torch

from demos import _figures, _ui
from largemodels.transformer.attention import attention_energies, attention_weights, causal_mask

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "三行矩阵上的注意力", "en": "Attention on three-row matrices"}
HINT = {
    "zh": "改 Q 里的一个数，看它那一行的权重怎么变；再把遮罩换成 causal。",
    "en": "Change one number in Q and watch its row of weights; then switch the mask to causal.",
}
LABELS = {
    "zh": {
        "q": "Q：三行，每行两个数", "k": "K：三行，每行两个数", "v": "V：三行，每行两个数",
        "mask": "遮罩（mask）", "scale": "除以 √d",
        "energies": "能量 e = q·k / √d", "raw": "没有除以 √d 的能量 e = q·k",
        "weights": "权重 a = softmax(e)：每行和为 1", "output": "输出 = 权重 × V",
        "twin": "查询 {i} 最看重键 {j}，权重 {w:.2f}。", "sums": "各行输出之和是 {s}：没有理由等于 1。",
        "corner": "q＼k",
        "largest": "最大的能量是 {e:.2f}，在查询 {i} 和键 {j} 之间。",
    },
    "en": {
        "q": "Q: three rows of two numbers", "k": "K: three rows of two numbers", "v": "V: three rows of two numbers",
        "mask": "Mask", "scale": "Divide by √d",
        "energies": "Energies e = q·k / √d", "raw": "Energies without the division, e = q·k",
        "weights": "Weights a = softmax(e): each row sums to 1", "output": "Output = weights × V",
        "twin": "Query {i} looks most at key {j}, weight {w:.2f}.",
        "sums": "The output rows sum to {s}: no reason to be 1.",
        "corner": "q\\k", "largest": "The largest energy is {e:.2f}, between query {i} and key {j}.",
    },
}  # fmt: skip
MASKS = ("none", "causal", "padding")
SWITCH = ("yes", "no")
EXAMPLES = {
    lang: [
        ("1, 0; 0, 1; 1, 1", "2, 0; 0, 2; 1, 1", "10, 0; 0, 10; 5, 5", "none", "yes"),
        ("1, 0; 0, 1; 1, 1", "2, 0; 0, 2; 1, 1", "10, 0; 0, 10; 5, 5", "causal", "yes"),
        ("9, 0; 0, 9; 9, 9", "9, 0; 0, 9; 9, 9", "1, 2; 3, 4; 5, 6", "none", "no"),
    ]
    for lang in ("zh", "en")
}


def matrix(written: object, name: str) -> torch.Tensor:
    """Return the 3 × 2 matrix written as six numbers."""
    values = _ui.numbers(written, _ui.label(LABELS, name), -100, 100, 6)
    if len(values) != 6:
        raise _ui.InputError(
            zh=f"{name.upper()} 必须是 3 行 2 列共 6 个数，收到了 {len(values)} 个；请写成 1, 0; 0, 1; 1, 1 这样。",
            en=f"{name.upper()} must hold 3 rows of 2, six numbers, got {len(values)}; write it like 1, 0; 0, 1; 1, 1.",
        )
    return torch.tensor(values, dtype=torch.float64).view(3, 2)


def predict(q: object, k: object, v: object, mask: object, scale: object, lang: str = "en") -> str:
    """Return energies, weights and output of attention as tables."""
    words = LABELS[lang]
    queries, keys, values = matrix(q, "q"), matrix(k, "k"), matrix(v, "v")
    which = _ui.choice(mask, _ui.label(LABELS, "mask"), MASKS)
    scaled = _ui.choice(scale, _ui.label(LABELS, "scale"), SWITCH) == "yes"
    allowed = {"none": None, "causal": causal_mask(3), "padding": torch.tensor([True, True, False])}[which]
    energies = attention_energies(queries, keys) if scaled else queries @ keys.mT
    weights = attention_weights(energies, allowed)
    output = weights @ values
    q_names, k_names = [f"q{i}" for i in (1, 2, 3)], [f"k{j}" for j in (1, 2, 3)]
    twin = " ".join(
        words["twin"].format(i=i + 1, j=int(row.argmax()) + 1, w=float(row.max())) for i, row in enumerate(weights)
    )
    best = int(energies.argmax())
    largest = words["largest"].format(e=float(energies.max()), i=best // 3 + 1, j=best % 3 + 1)
    sums = ", ".join(f"{total:.2f}" for total in output.sum(-1).tolist())
    title = words["energies"] if scaled else words["raw"]
    return _figures.result(
        _figures.heat_table(
            title, q_names, k_names, energies.tolist(), largest, corner=words["corner"], diverging=True
        ),
        _figures.heat_table(words["weights"], q_names, k_names, weights.tolist(), twin, corner=words["corner"]),
        _figures.heat_table(
            words["output"], q_names, ["v·1", "v·2"], output.tolist(), words["sums"].format(s=sums), diverging=True
        ),
    )


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words = LABELS[lang]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            texts = [
                gr.Textbox(value, label=words[name])
                for name, value in zip("qkv", EXAMPLES[lang][0][:3], strict=True)
            ]
        with gr.Row():
            mask = gr.Radio(list(MASKS), value="none", label=words["mask"])
            scale = gr.Radio(list(SWITCH), value="yes", label=words["scale"])
        output = gr.HTML()
        inputs = [*texts, mask, scale]
        _ui.wire(predict, lang, inputs, output, "attention_matrices")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
