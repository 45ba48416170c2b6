"""Multi-head attention on small matrices: where keys and values come from, and what one head can change.

Switch the source of K and V between the same sequence (self) and another one (cross); change the number of heads;
silence a head and see that only its slice goes before the output projection, but every number behind it.
"""

import typing

import torch

from demos import _figures, _ui
from largemodels.transformer.multi_head_attention import Projections, attention_heads, merge_heads

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "Q、K、V 从哪里来", "en": "Where Q, K and V come from"}
HINT = {
    "zh": "把 K、V 的来源从 self 换成 cross，看权重表的列换成了谁；再让一个头不出声，看哪几个数变了。",
    "en": "Switch the source of K and V from self to cross and watch the columns; then silence a head.",
}
LABELS = {
    "zh": {
        "x": "X：三行，每行四个数", "y": "Y：两行，每行四个数", "source": "K、V 的来源", "heads": "头数 H",
        "silent": "不出声的头", "weights": "头 {head} 的权重（维度 {a}–{b}）", "corner": "查询＼键",
        "twin": "{q} 最看重 {k}，权重 {w:.2f}。", "even": "{q} 一视同仁。", "concat": "拼接 Concat：每个头占 {D} 列",
        "slices": "头 {head} 占第 {a} 到 {b} 列，已经归零；其余各列一个数也没变。",
        "whole": "没有头被关掉；每个头只写自己的 {D} 列。",
        "output": "输出 = Concat × Wᴼ", "mixed": "与所有头都出声时相比，{total} 个输出里有 {n} 个变了。",
        "shape": "查询来自 X，所以输出总有 {rows} 行；键和值来自 {source}，所以每行有 {keys} 个权重。",
    },
    "en": {
        "x": "X: three rows of four numbers", "y": "Y: two rows of four numbers", "source": "Source of K and V",
        "heads": "Heads H", "silent": "Silent head", "weights": "Weights of head {head} (dimensions {a}–{b})",
        "corner": "query\\key", "twin": "{q} looks most at {k}, weight {w:.2f}.", "even": "{q} looks at all alike.",
        "concat": "Concat: {D} columns for each head",
        "slices": "Head {head} owns columns {a} to {b}, now zero; no number outside them has changed.",
        "whole": "No head is silent; each writes only its own columns, {D} of them.", "output": "Output = Concat × Wᴼ",
        "mixed": "Compared with all heads speaking, {n} of {total} outputs have changed.",
        "shape": "Queries come from X, so the output always has {rows} rows; keys and values come from {source}, "
        "so each row has {keys} weights.",
    },
}  # fmt: skip
C, SOURCES, HEADS, SILENT = 4, ("self", "cross"), ("1", "2", "4"), ("0", "1", "2", "3", "4")
X, Y = "2, 0, 0, 1; 0, 2, 1, 0; 1, 1, 2, 0", "3, 0, 0, 3; 0, 3, 3, 0"
EXAMPLES = {
    lang: [(X, Y, "self", "2", "0"), (X, Y, "cross", "2", "0"), (X, Y, "cross", "2", "1"), (X, Y, "cross", "4", "3")]
    for lang in ("zh", "en")
}
# Q, K and V are the numbers themselves; the output projection, a Hadamard matrix halved, mixes all columns.
ONE, NONE = torch.eye(C, dtype=torch.float64), torch.zeros(C, dtype=torch.float64)
MIX = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64) / 2
PARAMS = Projections(ONE, NONE, ONE, NONE, ONE, NONE, MIX, NONE)


def matrix(written: object, name: str, rows: int) -> torch.Tensor:
    """Return the matrix of `rows` × 4 that was written as numbers."""
    values = _ui.numbers(written, _ui.label(LABELS, name), -100, 100, rows * C)
    if len(values) != rows * C:
        raise _ui.InputError(
            zh=f"{name.upper()} 必须是 {rows} 行 {C} 列共 {rows * C} 个数，收到了 {len(values)} 个；请补齐。",
            en=f"{name.upper()} must hold {rows} rows of {C}, {rows * C} numbers, got {len(values)}; complete it.",
        )
    return torch.tensor(values, dtype=torch.float64).view(rows, C)


def silent_head(value: object, H: int) -> int:
    """Return the head to silence, 0 for none, or raise InputError if there is no such head."""
    head = int(_ui.choice(value, _ui.label(LABELS, "silent"), SILENT))
    if head > H:
        raise _ui.InputError(
            zh=f"「不出声的头」必须是 0（都出声）到 {H}，因为只有 {H} 个头，收到的是 {head}；请改小，或增加头数。",
            en=f"“Silent head” must be 0 (none) to {H}, as there are {H} heads, got {head}; lower it, or add heads.",
        )
    return head


def predict(x: object, y: object, source: object, heads: object, silent: object, lang: str = "en") -> str:
    """Return the weights of each head, the heads end to end, and the output."""
    words = LABELS[lang]
    query, other = matrix(x, "x", 3), matrix(y, "y", 2)
    name = "X" if _ui.choice(source, _ui.label(LABELS, "source"), SOURCES) == "self" else "Y"
    H = int(_ui.choice(heads, _ui.label(LABELS, "heads"), HEADS))
    off, D, memory = silent_head(silent, H), C // H, query if name == "X" else other
    found, weights = attention_heads(query, memory, PARAMS, H)  # (H, 3, D), (H, 3, Tk)
    speaking = torch.arange(1, H + 1) != off  # (H,)
    before, concat = merge_heads(found), merge_heads(found * speaking[:, None, None])  # (3, C)
    output = concat @ PARAMS.w_o.T
    rows, keys = [f"x{i}" for i in (1, 2, 3)], [f"{name.lower()}{j}" for j in range(1, len(memory) + 1)]
    maps = [
        _figures.heat_table(
            words["weights"].format(head=h + 1, a=h * D + 1, b=(h + 1) * D), rows, keys, weights[h].tolist(),
            " ".join(words["even" if row.max() - row.min() < 0.005 else "twin"].format(
                q=q, k=keys[int(row.argmax())], w=float(row.max()),
            ) for q, row in zip(rows, weights[h], strict=True)), corner=words["corner"],
        )
        for h in range(H)
    ]  # fmt: skip
    changed = int((~torch.isclose(output, before @ PARAMS.w_o.T)).sum())
    part = words["slices"].format(head=off, a=(off - 1) * D + 1, b=off * D) if off else words["whole"].format(D=D)
    after = words["mixed"].format(n=changed, total=output.numel())
    columns, owners = [str(c) for c in range(1, C + 1)], [f"{c + 1} · h{c // D + 1}" for c in range(C)]
    shape = words["shape"].format(rows=len(query), source=name, keys=len(memory)) + (f" {after}" if off else "")
    boxes = "".join(f'<div style="flex:1 1 13rem">{box}</div>' for box in maps)
    return _figures.result(
        f'<div style="display:flex;flex-wrap:wrap;gap:1rem">{boxes}</div>',
        _figures.heat_table(words["concat"].format(D=D), rows, owners, concat.tolist(), part, diverging=True),
        _figures.heat_table(words["output"], rows, columns, output.tolist(), shape, diverging=True),
    )


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (x, y, source, heads, silent) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            texts = [gr.Textbox(x, label=words["x"]), gr.Textbox(y, label=words["y"])]
        with gr.Row():
            radios = [
                gr.Radio(list(SOURCES), value=source, label=words["source"]),
                gr.Radio(list(HEADS), value=heads, label=words["heads"]),
                gr.Radio(list(SILENT), value=silent, label=words["silent"]),
            ]
        inputs = [*texts, *radios]
        _ui.wire(predict, lang, inputs, gr.HTML(), "multi_head_attention_cross")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
