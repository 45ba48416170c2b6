"""All heads of one layer of a real model, side by side.

Type a sentence and choose a layer: each small square is one head, each row of a square one token that looks. The
table says where each head looks on average: at itself, one place to either side, at the first or the last token.
"""

import html
import typing

import torch

from demos import _figures, _host, _models, _reading, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

    from largemodels.models.bert import Bert

TITLE = {"zh": "同一层的十二个头", "en": "Twelve heads of one layer"}
HINT = {
    "zh": "换一层，看十二个头各看各的；再换一句话，看哪些头的习惯没变。",
    "en": "Change the layer: twelve heads look twelve ways. Then change the sentence and see whose habits stay.",
}
LABELS = {
    "zh": {
        "sentence": "句子（中文或英文）", "layer": "层",
        "map": "第 {layer} 层的每个头：行是查询，列是键，颜色越浓权重越大", "head": "头 {head}", "corner": "头＼看哪里",
        "self": "自己", "left": "左邻", "right": "右邻", "first": "首词元", "last": "末词元", "spread": "分散",
        "twin": "行和列都是这 {count} 个词元，依次是：{tokens}。", "most": "{place}：头 {heads}",
        "groups": "按主要看哪里来分，{groups}。",
        "none": "各头都没有固定的去处。", "table": "各头平均把多少份额给了谁",
        "sums": "份额最大的是头 {head}：{share:.0%} 给了{place}。各列可以重叠：第二个词元的左邻就是首词元。",
        "separator": "、", "and": "；",
    },
    "en": {
        "sentence": "Sentence (Chinese or English)", "layer": "Layer",
        "map": "Every head of layer {layer}: rows are queries, columns are keys, stronger colour is more",
        "head": "Head {head}",
        "corner": "head\\where", "self": "itself", "left": "left", "right": "right", "first": "first",
        "last": "last", "spread": "spread",
        "twin": "Rows and columns are these {count} tokens: {tokens}.", "most": "{place}: {heads}",
        "groups": "Heads by where they mostly look: {groups}.",
        "none": "No head has one favourite place.", "table": "What share each head gives to whom, on average",
        "sums": "The largest share is head {head}'s: {share:.0%} goes to “{place}”. Columns may overlap: the second "
        "token's left neighbour is the first token.", "separator": ", ", "and": "; ",
    },
}  # fmt: skip
PLACES = ("self", "left", "right", "first", "last")
ZH, EN = "这家店的面很好吃，可是送得太慢。", "The food was great but it came late."
EXAMPLES = {
    "zh": [(ZH, 2), (ZH, 1), ("电影不长，但是很感人。", 2), (EN, 4)],
    "en": [(EN, 2), (EN, 1), ("A short film, yet a moving one.", 2), (ZH, 4)],
}
MAX_CHARS, MAX_TOKENS, SHADES = 120, 24, 8
MOSTLY = 0.4  # a head has a favourite place if it gives it this share


def load() -> "Bert":
    return _models.bert()


def shares(maps: torch.Tensor) -> torch.Tensor:
    """Return the mean weight that each head, `(H, T, T)`, gives to each of PLACES, `(H, 5)`."""
    sides = [maps.diagonal(offset, -2, -1).mean(-1) for offset in (0, -1, 1)]
    return torch.stack([*sides, maps[..., 0].mean(-1), maps[..., -1].mean(-1)], dim=-1)


def square(weights: torch.Tensor, title: str, caption: str) -> str:
    """Return one head's map as a small picture; equal neighbours share one shape."""
    T, shapes = len(weights), dict[int, list[str]]()
    for y, row in enumerate(torch.round(weights * SHADES).int().tolist()):
        begin = 0
        for x in range(1, T + 1):
            if x == T or row[x] != row[begin]:
                shapes.setdefault(row[begin], []).append(f"M{begin} {y}h{x - begin}v1H{begin}z")
                begin = x
    cells = "".join(
        f'<path class="lm-fill1" opacity="{shade / SHADES:g}" d="{"".join(runs)}"/>'
        for shade, runs in sorted(shapes.items()) if shade
    )  # fmt: skip
    return (
        f'<div><svg viewBox="0 0 {T} {T}" role="img" aria-label="{html.escape(title)}" shape-rendering="crispEdges" '
        f'style="display:block;width:100%;outline:1px solid var(--lm-line)">{cells}</svg>'
        f'<div style="font-size:.8125em;line-height:1.35;margin-top:.2rem"><b>{html.escape(title)}</b> '
        f"{html.escape(caption)}</div></div>"
    )


def predict(sentence: object, layer: object, lang: str = "en") -> str:
    """Return all heads of one layer as small pictures, and a table of where they look."""
    words, bert = LABELS[lang], load()
    sentence, pieces = _reading.read(bert, sentence, _ui.label(LABELS, "sentence"), MAX_CHARS, MAX_TOKENS)
    layer = _ui.integer(layer, _ui.label(LABELS, "layer"), 1, bert.n_layer)
    tokens = [token.replace("▁", "") or "␣" for token in pieces]
    maps = bert.attention_maps(sentence)[1][layer - 1]  # (H, T, T)
    table = shares(maps)  # (H, 5)
    names, squares, fans = [words[place] for place in PLACES], "", dict[str, list[str]]()
    for head, (weights, row) in enumerate(zip(maps, table, strict=True), 1):
        best = int(row.argmax())
        favourite = names[best] if row[best] >= MOSTLY else ""
        fans.setdefault(favourite, []).append(str(head))
        caption = f"{favourite} {float(row[best]):.2f}" if favourite else words["spread"]
        squares += square(weights, words["head"].format(head=head), caption)
    grid = '<div style="display:grid;grid-template-columns:repeat(auto-fill,minmax(max(88px,21%),1fr));gap:.7rem">'
    most = [
        words["most"].format(place=name, heads=words["separator"].join(fans[name])) for name in names if name in fans
    ]
    habits = words["groups"].format(groups=words["and"].join(most)) if most else words["none"]
    twin = words["twin"].format(count=len(tokens), tokens=" ".join(tokens)) + " " + habits
    top, place = divmod(int(table.argmax()), len(PLACES))
    return _figures.result(
        _figures.figure(words["map"].format(layer=layer), f"{grid}{squares}</div>", twin),
        _figures.heat_table(
            words["table"], [str(head) for head in range(1, bert.n_head + 1)], names, table.tolist(),
            words["sums"].format(head=top + 1, share=float(table.max()), place=names[place]), corner=words["corner"],
        ),
    )  # fmt: skip


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (sentence, layer) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        text = gr.Textbox(sentence, label=words["sentence"], max_length=MAX_CHARS)
        layers = gr.Slider(1, _host.BERT_LAYERS, layer, step=1, label=words["layer"])
        inputs = [text, layers]
        _ui.wire(predict, lang, inputs, gr.HTML(), "multi_head_attention")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
