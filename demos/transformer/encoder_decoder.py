"""The paper's figure 1, stage by stage, inside a trained translator.

Type an English sentence and the beginning of a Chinese one; choose a stage and see what it holds: vectors with
positions, who looks at whom, the encoder's memory, the probabilities of the next character. The list beside it gives
the shape of every stage: a longer sentence makes the memory longer, not fuller.
"""

import functools
import typing

from demos import _figures, _models, _reading, _ui

if typing.TYPE_CHECKING:
    import gradio as gr
    from torch import Tensor

    from largemodels.transformer.translation import Translator

TITLE = {"zh": "走一遍编码器与解码器", "en": "Through encoder and decoder, stage by stage"}
HINT = {
    "zh": "一级一级往下选；再把英文加长一个词，看 memory 多出一行，下一个字的概率也跟着变。",
    "en": "Choose one stage after the other; then add a word and watch the memory gain a row.",
}
STAGES = ("source", "encoder", "memory", "target", "self", "cross", "next")
LABELS = {
    "zh": {
        "english": "英文句子", "chinese": "中文开头（可以空着）", "stage": "看哪一级", "layer": "第几块（注意力用）",
        "shapes": "每一级的形状", "name": "级", "shape": "形状", "mask": "遮罩",
        "shapes_twin": "原文 {ts} 个词元，译文开头 {tt} 个（含 <start>）。▶ 是上面画出来的那一级。",
        "source": "1 原文：嵌入 + 位置", "encoder": "2 编码器的自注意力", "memory": "3 编码器的输出 memory",
        "target": "4 译文：嵌入 + 位置", "self": "5 解码器的因果自注意力", "cross": "6 交叉注意力",
        "next": "7 下一个字的概率",
        "all": "都可以看", "past": "只看自己和前面", "none": "—", "columns": "前 {n} 维，共 {c} 维",
        "corner": "行 → 列",
        "vectors_twin": "一行一个词元，共 {t} 行；颜色深浅是数的大小，两种颜色分正负。",
        "weights_twin": "{h} 个头的平均，每行之和为 1。“{row}”最看重“{column}”，权重 {w:.2f}。",
        "next_twin": "{v} 个词元里最可能的 8 个；第一名“{token}”占 {p:.0%}。",
    },
    "en": {
        "english": "English sentence", "chinese": "Chinese beginning (may be empty)", "stage": "Stage",
        "layer": "Block (for attention)", "shapes": "The shape of every stage", "name": "stage", "shape": "shape",
        "mask": "mask",
        "shapes_twin": "{ts} source tokens, {tt} target tokens, <start> counted. ▶ is the stage shown above.",
        "source": "1 source: embedding + position", "encoder": "2 encoder self-attention", "memory": "3 the memory",
        "target": "4 target: embedding + position", "self": "5 causal self-attention", "cross": "6 cross-attention",
        "next": "7 the next character", "all": "everything allowed", "past": "itself and before", "none": "—",
        "columns": "the first {n} of {c} dimensions", "corner": "row → column",
        "vectors_twin": "One row for each of {t} tokens; the colour is the number's size, its hue the sign.",
        "weights_twin": "Mean of {h} heads; each row sums to 1. “{row}” looks most at “{column}”, weight {w:.2f}.",
        "next_twin": "The 8 most probable of {v} tokens; “{token}” leads with {p:.0%}.",
    },
}  # fmt: skip
SENTENCE = ("I went to school yesterday.", "我昨天", "cross", 3)
EXAMPLES = {
    lang: [SENTENCE, ("I went to school yesterday.", "昨天", "next", 1), ("Where is my red book?", "我的", "self", 1)]
    for lang in ("zh", "en")
}
MAX_CHARS, MAX_TOKENS, SHOWN = 80, 16, 10


@functools.cache
def load() -> "Translator":
    from largemodels.transformer.translation import Translator

    return _models.shipped(Translator.from_checkpoint, "translator-en-zh")


def target_ids(translator: "Translator", text: str) -> list[int]:
    """Return the start token and the ids of a Chinese beginning."""
    if strange := "".join(char for char in text if char not in translator.target_tokens):
        told = _ui.shown(_reading.visible(strange, kept=""))
        raise _ui.InputError(
            zh=f"中文开头里只能有模型认识的字，收到了它不认识的“{told}”；请删掉或换掉。",
            en=f"The Chinese beginning must use characters that the model knows, got unknown “{told}”; delete or "
            "change them.",
        )
    _reading.fits(len(text), MAX_TOKENS - 1, _ui.label(LABELS, "chinese"))
    return [translator.start, *(translator.target_tokens.index(char) for char in text)]


def trace(translator: "Translator", source: "Tensor", target: "Tensor", layer: int) -> "dict[str, Tensor]":
    """Return what every stage holds, for one sentence; attention of the block number `layer`."""
    import torch

    model, found = translator.model, {}
    with torch.no_grad():
        x = found["source"] = model.embed(source, model.source_embedding)
        for i, block in enumerate(model.encoder, 1):
            x, weights = block(x)
            if i == layer:
                found["encoder"] = weights
        memory = found["memory"] = model.encoder_norm(x)
        x = found["target"] = model.embed(target, model.target_embedding)
        for i, block in enumerate(model.decoder, 1):
            x, itself, cross = block(x, memory)
            if i == layer:
                found["self"], found["cross"] = itself, cross
        found["next"] = (model.decoder_norm(x) @ model.target_embedding.mT).softmax(-1)
    return found


def predict(english: object, chinese: object, stage: object, layer: object, lang: str = "en") -> str:
    """Return the shapes of all stages, and a picture of one."""
    import torch

    words, translator = LABELS[lang], load()
    english = _ui.text(english, _ui.label(LABELS, "english"), MAX_CHARS)
    chinese = _ui.text(chinese, _ui.label(LABELS, "chinese"), MAX_CHARS, allow_empty=True).strip()
    stage = _ui.choice(stage, _ui.label(LABELS, "stage"), STAGES)
    layer = _ui.integer(layer, _ui.label(LABELS, "layer"), 1, translator.model.config.n_layer)
    sources = [_reading.visible(piece) for piece in translator.source_tokens(english)]
    _reading.fits(len(sources), MAX_TOKENS, _ui.label(LABELS, "english"))
    ids = target_ids(translator, chinese)
    targets = [translator.target_tokens[i] for i in ids]
    found = trace(translator, translator.source_ids(english), torch.tensor([ids]), layer)
    masks = {"encoder": "all", "cross": "all", "self": "past"}
    rows = [
        (f"{'▶ ' if name == stage else ''}{words[name]}", str(tuple(found[name].shape)), words[masks.get(name, "none")])
        for name in STAGES
    ]
    counts = words["shapes_twin"].format(ts=len(sources), tt=len(targets))
    table = _figures.numbers_table(words["shapes"], [words["name"], words["shape"], words["mask"]], rows, counts)
    return _figures.result(picture(stage, found[stage][0], sources, targets, translator, lang), table)


def picture(
    stage: str, held: "Tensor", sources: list[str], targets: list[str], translator: "Translator", lang: str
) -> str:
    """Return one stage as a figure."""
    words = LABELS[lang]
    if stage == "next":
        best = held[-1].topk(8)
        tokens = [translator.target_tokens[i] for i in best.indices.tolist()]
        items = list(zip(tokens, best.values.tolist(), strict=True))
        twin = words["next_twin"].format(v=held.shape[1], token=items[0][0], p=items[0][1])
        return _figures.bars(words[stage], items, twin, maximum=1.0)
    rows = sources if stage in ("source", "memory", "encoder") else targets
    if held.ndim == 2:
        names = [str(i) for i in range(SHOWN)]
        corner = words["columns"].format(n=SHOWN, c=held.shape[1])
        twin = words["vectors_twin"].format(t=len(rows))
        values = held[:, :SHOWN].tolist()
        return _figures.heat_table(words[stage], rows, names, values, twin, digits=1, corner=corner, diverging=True)
    columns, mean = targets if stage == "self" else sources, held.mean(0)  # (Tq, Tk)
    twin = words["weights_twin"].format(
        h=len(held), row=rows[-1], column=columns[int(mean[-1].argmax())], w=float(mean[-1].max())
    )
    return _figures.heat_table(words[stage], rows, columns, mean.tolist(), twin, corner=words["corner"])


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (english, chinese, stage, layer) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            texts = [
                gr.Textbox(english, label=words["english"], max_length=MAX_CHARS),
                gr.Textbox(chinese, label=words["chinese"], max_length=MAX_CHARS),
            ]
        stages = gr.Radio([(words[name], name) for name in STAGES], value=stage, label=words["stage"])
        layers = gr.Slider(1, 3, layer, step=1, label=words["layer"])
        inputs = [*texts, stages, layers]
        _ui.wire(predict, lang, inputs, gr.HTML(), "encoder_decoder")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
