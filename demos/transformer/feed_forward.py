"""The feed-forward network on five tokens: each row of the result belongs to one token alone.

Put the tokens in another order and each row moves along unchanged; replace one token and only its row changes. Below:
how much of a Transformer block's parameters this network holds, for the width, expansion and activation chosen.
"""

import typing

import torch

from demos import _figures, _ui
from largemodels.foundations.activations import gelu, relu
from largemodels.foundations.layer import he_normal
from largemodels.transformer.feed_forward import block_parameters, feed_forward, swiglu

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "前馈网络：各算各的", "en": "The feed-forward network: each position alone"}
HINT = {
    "zh": "打乱词元的顺序，看每行跟着词元走、数字不变；换掉一个词元，只有它那行变。再看参数的份额。",
    "en": "Shuffle the tokens: rows move, numbers stay. Replace one: only its row changes. Then compare the sizes.",
}
LABELS = {
    "zh": {
        "width": "宽度 C", "expansion": "扩张倍数（隐藏宽度 / C）", "activation": "激活函数",
        "order": "词元的顺序", "changed": "换掉第几个词元（0 = 不换）",
        "rows": "每个词元的输出（前 {n} 个数，共 {C} 个）", "corner": "词元＼维度", "new": "新词",
        "same": "顺序改成 {order}：每个词元的输出和原来相比，最多相差 {gap:.1g}，只是行的位置变了。",
        "kept": "词元按原来的顺序排列。每一行只由这一个词元算出。",
        "moved": "换掉了第 {k} 个词元：它的输出最多变了 {own:.2f}，其余四个最多变了 {gap:.1g}。",
        "shares": "一个编码器块里的参数：共 {total:,} 个，各占百分之几",
        "attention": "注意力 {n:,}", "feed_forward": "前馈网络 {n:,}", "layer_norm": "层归一化 {n:,}",
        "twin": "隐藏宽度 {hidden} = {e} × {C}，前馈网络有 {m} 个大矩阵，占全块的 {share:.1%}。",
    },
    "en": {
        "width": "Width C", "expansion": "Expansion (hidden width / C)", "activation": "Activation",
        "order": "Order of the tokens", "changed": "Token to replace (0 = none)",
        "rows": "Output of each token (the first {n} of {C} numbers)", "corner": "token\\dimension", "new": "NEW",
        "same": "In the order {order} the output of each token differs from before by at most {gap:.1g}: only the rows "
        "have moved.",
        "kept": "The tokens stand in their own order. Each row is computed from its token alone.",
        "moved": "Token {k} was replaced: its output changed by up to {own:.2f}, those of the other four by at most "
        "{gap:.1g}.",
        "shares": "Parameters of one encoder block: {total:,} in all, in percent",
        "attention": "attention {n:,}", "feed_forward": "feed-forward {n:,}", "layer_norm": "layer norm {n:,}",
        "twin": "Hidden width {hidden} = {e} × {C}; the feed-forward network has {m} large matrices and holds "
        "{share:.1%} of the block.",
    },
}  # fmt: skip
TOKENS = {"zh": ("猫", "坐", "在", "垫子", "上"), "en": ("the", "cat", "sat", "on", "mats")}
ACTIVATIONS = ("relu", "gelu", "swiglu")
ORDERS = ("1 2 3 4 5", "5 4 3 2 1", "3 1 5 2 4")
SHOWN = 4  # numbers of each output that fit a narrow screen
EXAMPLES = {
    lang: [
        (512, 4, "relu", "1 2 3 4 5", 0),
        (512, 4, "gelu", "3 1 5 2 4", 0),
        (512, 4, "relu", "1 2 3 4 5", 3),
        (64, 8, "swiglu", "5 4 3 2 1", 1),
    ]
    for lang in ("zh", "en")
}


def network(x: torch.Tensor, hidden: int, activation: str) -> torch.Tensor:
    """Send `x`, shape (T, C), through a feed-forward network with random weights, always the same ones."""
    C, g = x.shape[1], torch.Generator().manual_seed(0)
    W1, W2 = he_normal(C, hidden, g).double(), he_normal(hidden, C, g).double()
    if activation == "swiglu":
        return swiglu(x, W1, he_normal(C, hidden, g).double(), W2)
    none = x.new_zeros(hidden)
    return feed_forward(x, W1, none, W2, x.new_zeros(C), relu if activation == "relu" else gelu)


def outputs(C: int, hidden: int, activation: str, order: str, k: int, lang: str) -> str:
    """Return the outputs as a table, one row for each token in the order chosen."""
    words, g = LABELS[lang], torch.Generator().manual_seed(1)
    x, new = torch.randn(5, C, generator=g).double(), torch.randn(C, generator=g).double()
    places = [int(digit) - 1 for digit in order.split()]
    changed, names = x.clone(), [f"{i} {token}" for i, token in enumerate(TOKENS[lang], 1)]
    if k:
        changed[k - 1], names[k - 1] = new, f"{k} {words['new']}"
    both = network(torch.cat([x, changed[places]]), hidden, activation)  # (10, C)
    y = both[5:]
    gaps = (y - both[:5][places]).abs().amax(1).tolist()  # each token against itself, before
    own = gaps.pop(places.index(k - 1)) if k else 0.0
    said = "moved" if k else "kept" if order == ORDERS[0] else "same"
    twin = words[said].format(order=order, k=k, own=own, gap=max(gaps))
    return _figures.heat_table(
        words["rows"].format(n=SHOWN, C=C), [names[i] for i in places], [f"y{i}" for i in range(1, SHOWN + 1)],
        y[:, :SHOWN].tolist(), twin, corner=words["corner"], diverging=True,
    )  # fmt: skip


def predict(
    width: object, expansion: object, activation: object, order: object, changed: object, lang: str = "en"
) -> str:
    """Return each token's output, and the block's parameters part by part."""
    words = LABELS[lang]
    C = _ui.integer(width, _ui.label(LABELS, "width"), 8, 512)
    e = _ui.integer(expansion, _ui.label(LABELS, "expansion"), 1, 8)
    name = _ui.choice(activation, _ui.label(LABELS, "activation"), ACTIVATIONS)
    places = _ui.choice(order, _ui.label(LABELS, "order"), ORDERS)
    k = _ui.integer(changed, _ui.label(LABELS, "changed"), 0, 5)
    counts = block_parameters(C, e * C, gated=name == "swiglu")
    total = sum(counts.values())
    bars = [(words[part].format(n=n), 100 * n / total) for part, n in counts.items()]
    matrices, share = 3 if name == "swiglu" else 2, counts["feed_forward"] / total
    twin = words["twin"].format(hidden=e * C, e=e, C=C, m=matrices, share=share)
    return _figures.result(
        outputs(C, e * C, name, places, k, lang),
        _figures.bars(words["shares"].format(total=total), bars, twin, digits=1, maximum=100),
    )


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (width, expansion, activation, order, changed) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            orders = gr.Radio(list(ORDERS), value=order, label=words["order"])
            replaced = gr.Slider(0, 5, changed, step=1, label=words["changed"])
        with gr.Row():
            widths = gr.Slider(8, 512, width, step=8, label=words["width"])
            expansions = gr.Slider(1, 8, expansion, step=1, label=words["expansion"])
            names = gr.Radio(list(ACTIVATIONS), value=activation, label=words["activation"])
        inputs = [widths, expansions, names, orders, replaced]
        _ui.wire(predict, lang, inputs, gr.HTML(), "feed_forward")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
