"""One attention head of a real model, looking at the visitor's sentence.

Type a sentence, choose a layer and a head: each row shows which tokens that token's vector is mixed from.
Some heads look one place to the left, some at the punctuation, some at words that belong together.
"""

import typing

from demos import _figures, _host, _models, _reading, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

    from largemodels.models.bert import Bert

TITLE = {"zh": "一个真实模型的注意力头", "en": "An attention head of a real model"}
HINT = {
    "zh": "换一层、换一个头，看每个词元把目光投向哪里。",
    "en": "Change the layer and the head, and watch where each token looks.",
}
LABELS = {
    "zh": {
        "sentence": "句子（中文或英文）", "layer": "层", "head": "头",
        "map": "第 {layer} 层第 {head} 个头的权重：行是查询，列是键", "corner": "查询＼键",
        "twin": "每行的权重之和为 1。“{query}”最看重“{key}”，权重 {weight:.2f}。",
    },
    "en": {
        "sentence": "Sentence (Chinese or English)", "layer": "Layer", "head": "Head",
        "map": "Weights of layer {layer}, head {head}: rows are queries, columns are keys", "corner": "query\\key",
        "twin": "The weights of each row sum to 1. “{query}” looks most at “{key}”, weight {weight:.2f}.",
    },
}  # fmt: skip
ZH, EN = "这家店的面很好吃，可是送得太慢。", "The food was great but it came late."
EXAMPLES = {
    "zh": [(ZH, 1, 3), ("电影不长，但是很感人。", 2, 8), (EN, 4, 9)],
    "en": [(EN, 1, 3), ("A short film, yet a moving one.", 2, 8), (ZH, 4, 9)],
}
MAX_CHARS, MAX_TOKENS = 120, 24  # a wider map cannot be read


def load() -> "Bert":
    return _models.bert()


def predict(sentence: object, layer: object, head: object, lang: str = "en") -> str:
    """Return the attention map of one head as a table."""
    words, bert = LABELS[lang], load()
    sentence, pieces = _reading.read(bert, sentence, _ui.label(LABELS, "sentence"), MAX_CHARS, MAX_TOKENS)
    layer = _ui.integer(layer, _ui.label(LABELS, "layer"), 1, bert.n_layer)
    head = _ui.integer(head, _ui.label(LABELS, "head"), 1, bert.n_head)
    tokens = [token.replace("▁", "") or "␣" for token in pieces]
    weights = bert.attention_maps(sentence)[1][layer - 1, head - 1]  # (T, T)
    row = 1 + int(weights[1:-1, 1:-1].max(-1).values.argmax())
    column = int(weights[row].argmax())
    twin = words["twin"].format(query=tokens[row], key=tokens[column], weight=float(weights[row, column]))
    title = words["map"].format(layer=layer, head=head)
    return _figures.heat_table(title, tokens, tokens, weights.tolist(), twin, corner=words["corner"])


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (sentence, layer, head) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        text = gr.Textbox(sentence, label=words["sentence"], max_length=MAX_CHARS)
        with gr.Row():
            layers = gr.Slider(1, _host.BERT_LAYERS, layer, step=1, label=words["layer"])
            heads = gr.Slider(1, _host.BERT_HEADS, head, step=1, label=words["head"])
        inputs = [text, layers, heads]
        _ui.wire(predict, lang, inputs, gr.HTML(), "attention")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
