"""How close are two sentences in meaning, even across languages?

Each sentence becomes one vector; the number is the cosine of the angle between two of them. Your pair is placed among
reference pairs: a translation, a shared topic, two unrelated sentences, and a pair that differs by one "not".
"""

import typing

import torch

from demos import _figures, _models, _reading, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

    from largemodels.models.bert import Bert

TITLE = {"zh": "两句话有多像", "en": "How alike are two sentences"}
HINT = {
    "zh": "一句写中文，一句写它的英文译文；再在其中一句里加个“不”，看数字动多少。",
    "en": "Write a sentence and its Chinese translation; then put a “not” into one of them and see how little changes.",
}
LABELS = {
    "zh": {
        "one": "第一句", "other": "第二句", "run": "比较", "yours": "▶ 你的两句",
        "title": "余弦相似度：1 是同向，0 是不相干",
        "twin": "你的两句相似度是 {mine:.2f}；{n} 对参照里有 {above} 对比它更像，参照里最像的是“{top}”（{high:.2f}）。",
    },
    "en": {
        "one": "First sentence", "other": "Second sentence", "run": "Compare", "yours": "▶ your pair",
        "title": "Cosine similarity: 1 is the same direction, 0 is unrelated",
        "twin": "Your pair scores {mine:.2f}; {above} of {n} reference pairs score higher. The highest of them is "
        "“{top}” ({high:.2f}).",
    },
}  # fmt: skip
PAIRS = (
    ("我喜欢猫。", "I like cats."),
    ("猫在睡觉。", "A cat sat on the mat."),
    ("这部电影很好看。", "这部电影不好看。"),
    ("今天天气真好。", "I lost my keys."),
)
BIKE, SWIM = "他每天骑车上班。", "She is learning to swim."
EXAMPLES = {
    "zh": [(BIKE, "He rides a bike to work every day."), (BIKE, "我从来不吃辣。"), ("我想喝水。", "我渴了。")],
    "en": [(SWIM, "她在学游泳。"), (SWIM, "The train was late."), ("I am thirsty.", "我想喝水。")],
}
MAX_CHARS = 300


def load() -> "Bert":
    return _models.bert()


def sentence(value: object, key: str, bert: "Bert") -> str:
    """Return the text if the model can read it whole, behind the prefix that some models want."""
    most = bert.context_length - len(bert.tokens(bert.prefix)) + len(bert.tokens(""))
    return _reading.read(bert, value, _ui.label(LABELS, key), MAX_CHARS, most)[0]


def predict(one: object, other: object, lang: str = "en") -> str:
    """Return the cosine similarity of two sentences among that of reference pairs."""
    words, bert = LABELS[lang], load()
    mine = (sentence(one, "one", bert), sentence(other, "other", bert))
    vectors = bert.encode([text for pair in (mine, *PAIRS) for text in pair]).view(-1, 2, bert.n_embd)
    scores = torch.cosine_similarity(vectors[:, 0], vectors[:, 1], dim=-1).tolist()
    names = [words["yours"], *(f"{a} ⇄ {b}" for a, b in PAIRS)]
    ordered = sorted(zip(names, scores, strict=True), key=lambda item: -item[1])
    above = sum(score > scores[0] for score in scores[1:])
    top, high = max(zip(names[1:], scores[1:], strict=True), key=lambda item: item[1])
    twin = words["twin"].format(mine=scores[0], n=len(PAIRS), above=above, top=top, high=high)
    return _figures.bars(words["title"], ordered, twin, digits=2, maximum=1)


def build(lang: str) -> "gr.Blocks":
    import gradio as gr

    words = LABELS[lang]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            first, second = EXAMPLES[lang][0]
            one = gr.Textbox(first, label=words["one"], max_length=MAX_CHARS)
            other = gr.Textbox(second, label=words["other"], max_length=MAX_CHARS)
        button = gr.Button(words["run"], variant="primary")
        _ui.wire(predict, lang, [one, other], gr.HTML(), "bert_similarity", button=button)
        _ui.examples(lang, EXAMPLES[lang], [one, other])
    return blocks
