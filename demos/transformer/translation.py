"""A small English–Chinese translator at work, with everything it considered and where it looked.

Type a short English sentence and translate it. Below the Chinese stand the other sentences that the beam ended with,
with their log-probabilities, and a map of the cross-attention: for each character, which English words were read.
One beam is greedy search. The model knows only what 20,000 short sentences taught it; long ones go wrong.
"""

import functools
import math
import typing

from demos import _figures, _models, _reading, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

    from largemodels.transformer.translation import Translator

TITLE = {"zh": "英译中，看它怎么挑、往哪儿看", "en": "English into Chinese: what it weighs, where it looks"}
HINT = {
    "zh": "先译一句短的，看交叉注意力图里每个字在看哪个词；再换一句长的，看它怎样出错。",
    "en": "Translate a short sentence and see which word each character reads; then a long one, and see it go wrong.",
}
LABELS = {
    "zh": {
        "english": "英文句子", "beams": "束宽（1 就是贪心）", "alpha": "长度修正 α", "layer": "看第几块的交叉注意力",
        "run": "翻译", "title": "译文", "known": "读成 {n} 个词元，每个词都认识。",
        "broken": "读成 {n} 个词元。词表里没有 {words}，只好拆成碎片来猜。",
        "beam": "束搜索留到最后的句子：对数概率（奈特）", "greedy": "贪心找到的句子：对数概率（奈特）",
        "sentence": "句子", "nats": "对数概率",
        "beam_twin": "按长度修正后的得分排列。第一名的概率是 {p:.2g}；这里列出 {n} 句，概率共 {all:.2g}。",
        "map": "第 {layer} 块的交叉注意力：行是写出的字，列是读到的词", "corner": "字 → 词",
        "map_twin": "{h} 个头的平均，每行之和为 1。写“{row}”时最看重“{column}”，权重 {w:.2f}。",
    },
    "en": {
        "english": "English sentence", "beams": "Beams (1: greedy)", "alpha": "Length penalty α",
        "layer": "Cross-attention of block", "run": "Translate", "title": "Translation",
        "known": "Read as {n} tokens; every word is known.",
        "broken": "Read as {n} tokens. The vocabulary lacks {words}: guessed from pieces.",
        "beam": "Where the beam ended: log-probability in nats", "greedy": "What greedy found: log-probability in nats",
        "sentence": "sentence", "nats": "log-probability",
        "beam_twin": "Ordered by the score after the length penalty. Probability of the first: {p:.2g}; of the {n} "
        "listed: {all:.2g}.",
        "map": "Cross-attention of block {layer}: rows are characters written, columns words read",
        "corner": "written → read",
        "map_twin": "Mean of {h} heads; each row sums to 1. For “{row}” it looks most at “{column}”, weight {w:.2f}.",
    },
}  # fmt: skip
EXAMPLES = {
    lang: [
        ("I do not like cats.", 5, 0.6, 3),
        ("My father is reading a newspaper.", 5, 0.6, 3),
        ("Where did you buy that red umbrella?", 5, 0.6, 2),
        ("The old professor said Zugzwang is the most beautiful word in chess.", 1, 0.0, 3),
    ]
    for lang in ("zh", "en")
}
MAX_CHARS, MAX_TOKENS, MAX_BEAMS, LAYERS = 120, 24, 10, 3


@functools.cache
def load() -> "Translator":
    from largemodels.transformer.translation import Translator

    return _models.shipped(Translator.from_checkpoint, "translator-en-zh")


def broken_words(english: str, pieces: list[str]) -> list[str]:
    """Return the words of a sentence that no token spells whole, in order."""
    words = (word.strip(".,!?;:()\"'“”‘’") for word in english.replace("’", "'").split())
    return list(dict.fromkeys(word for word in words if word and "'" not in word and word not in pieces))


def predict(english: object, beams: object, alpha: object, layer: object, lang: str = "en") -> str:
    """Return the translation, its alternatives and the cross-attention map."""
    words = LABELS[lang]
    english = _ui.text(english, _ui.label(LABELS, "english"), MAX_CHARS).strip()
    beams = _ui.integer(beams, _ui.label(LABELS, "beams"), 1, MAX_BEAMS)
    alpha = _ui.number(alpha, _ui.label(LABELS, "alpha"), 0, 2)
    layer = _ui.integer(layer, _ui.label(LABELS, "layer"), 1, LAYERS)
    translator = load()
    pieces = [_reading.visible(piece) for piece in translator.source_tokens(english)]
    _reading.fits(len(pieces), MAX_TOKENS, _ui.label(LABELS, "english"))
    found = translator.translate(english, beams=beams, alpha=alpha)
    strange = broken_words(_reading.visible(english), pieces)
    note = words["broken" if strange else "known"].format(n=len(pieces), words=_ui.shown(", ".join(strange)))
    chances = [math.exp(nats) for _, nats in found.alternatives]
    twin = words["beam_twin"].format(p=chances[0], n=len(chances), all=sum(chances))
    rows = [(text or "…", f"{nats:.2f}") for text, nats in found.alternatives]
    weights = found.weights[layer - 1].mean(0)  # (Tt, Ts)
    place = int(weights[:, :-1].max(-1).values.argmax())  # the row that is surest of a word
    column = int(weights[place].argmax())
    looked = words["map_twin"].format(
        h=found.weights.shape[1], row=found.tokens[place], column=pieces[column], w=float(weights[place, column])
    )
    title, header = words["map"].format(layer=layer), [words["sentence"], words["nats"]]
    return _figures.result(
        _figures.words(words["title"], found.text, note),
        _figures.numbers_table(words["beam" if beams > 1 else "greedy"], header, rows, twin),
        _figures.heat_table(title, found.tokens, pieces, weights.tolist(), looked, corner=words["corner"]),
    )


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (english, beams, alpha, layer) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        text = gr.Textbox(english, label=words["english"], max_length=MAX_CHARS)
        with gr.Row():
            width = gr.Slider(1, MAX_BEAMS, beams, step=1, label=words["beams"])
            penalty = gr.Slider(0, 2, alpha, step=0.1, label=words["alpha"])
            layers = gr.Slider(1, LAYERS, layer, step=1, label=words["layer"])
        run = gr.Button(words["run"], variant="primary")
        inputs = [text, width, penalty, layers]
        _ui.wire(predict, lang, inputs, gr.HTML(), "translation", button=run)
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
