"""Did the second text follow the first? BERT's other question, put to a small BERT of our own.

Write two sentences that belong together, then replace the second by one about something else. Swap them, too: the
model was asked about an order, and a question rarely follows its answer.
"""

import typing

from demos import _figures, _models, _reading, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

    from largemodels.models.bert import Bert

TITLE = {"zh": "下一句是不是它", "en": "Is it the next sentence?"}
HINT = {
    "zh": "先看两句连得上的，再把第二句换成毫不相干的；顺便看看两句对调之后是多少。",
    "en": "Begin with two sentences that belong together, then change the second to something else; look at the swap.",
}
LABELS = {
    "zh": {
        "first": "第一句", "second": "第二句", "run": "判断", "title": "第二句是接着第一句写的吗",
        "next": "是下一句", "random": "是从别处拿来的", "swapped": "两句对调以后",
        "twin": "模型认为第二句{verdict}，概率 {p:.1%}；瞎猜是 50%。",
        "turned": "对调以后，“是下一句”的概率是 {p:.1%}。",
    },
    "en": {
        "first": "First text", "second": "Second text", "run": "Judge", "title": "Did the second follow the first?",
        "next": "is the next sentence", "random": "is taken from elsewhere", "swapped": "The two swapped",
        "twin": "The model says that the second {verdict}, with probability {p:.1%}; guessing gives 50%.",
        "turned": "Swapped, “is the next sentence” has {p:.1%}.",
    },
}  # fmt: skip
HOTEL = "我们在这家酒店住了两个晚上。"
FILM = "I watched this film with my sister last night."
ZH, EN = (HOTEL, "房间很干净，早餐也不错。"), (FILM, "The acting was terrible and the story made no sense.")
EXAMPLES = {
    "zh": [ZH, (HOTEL, "本文提出了一种求解非线性方程的新算法。"), EN],
    "en": [EN, (FILM, "The battery of my laptop lasts about four hours."), ZH],
}
MAX_CHARS = 300


def load() -> "Bert":
    return _models.pretrained_bert("next")


def checked(values: dict[str, object], bert: "Bert") -> list[str]:
    """Return both texts if they have tokens and fit together."""
    texts = [_ui.text(value, _ui.label(LABELS, key), MAX_CHARS) for key, value in values.items()]
    counts = [len(bert.tokens(text)) - 2 for text in texts]  # special tokens aside
    for key, count in zip(values, counts, strict=True):
        if not count:
            raise _ui.InputError(
                zh=f"「{LABELS['zh'][key]}」里必须有模型读得到的字，收到的一个也没有；请写一句话。",
                en=f"“{LABELS['en'][key]}” must hold characters that the model can read, got none; write a sentence.",
            )
    _reading.fits(sum(counts), bert.context_length - 3, {"zh": "两句合起来", "en": "Both texts together"})
    return texts


def predict(first: object, second: object, lang: str = "en") -> str:
    """Return both probabilities as bars, for the texts as they stand and for the two swapped."""
    words, bert = LABELS[lang], load()
    one, other = checked({"first": first, "second": second}, bert)
    p, turned = bert.next_sentence(one, other), bert.next_sentence(other, one)
    verdict = "next" if p >= 0.5 else "random"
    twin = words["twin"].format(verdict=words[verdict], p=max(p, 1 - p))

    def bars(title: str, value: float, twin: str) -> str:
        return _figures.bars(title, [(words["next"], value), (words["random"], 1 - value)], twin, maximum=1)

    return _figures.result(
        bars(words["title"], p, twin), bars(words["swapped"], turned, words["turned"].format(p=turned))
    )


def build(lang: str) -> "gr.Blocks":
    import gradio as gr

    words, (one, other) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        first = gr.Textbox(one, label=words["first"], lines=2, max_length=MAX_CHARS)
        second = gr.Textbox(other, label=words["second"], lines=2, max_length=MAX_CHARS)
        button = gr.Button(words["run"], variant="primary")
        _ui.wire(predict, lang, [first, second], gr.HTML(), "bert_pretraining_next_sentence", button=button)
        _ui.examples(lang, EXAMPLES[lang], [first, second])
    return blocks
