"""What comes next? The ten likeliest tokens and their probabilities, before any of them is chosen.

Type the beginning of a poem or of a line of Shakespeare and move the temperature: the order never changes, the
distances do. Generation is nothing but choosing one of these bars, writing it down and asking again.
"""

import typing

from demos import _figures, _models, _reading, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

    from largemodels.models.gpt import Gpt

TITLE = {"zh": "下一个词元的十个候选", "en": "Ten candidates for the next token"}
HINT = {
    "zh": "把温度从 1 拉到 0.2，第一名几乎独占；拉到 2，差距抹平，名次却不变。",
    "en": "Move the temperature from 1 to 0.2: the first takes nearly all; at 2 the gaps shrink, yet the order stays.",
}
LABELS = {
    "zh": {
        "model": "模型", "poem": "中文诗", "shakespeare": "莎士比亚（英文）", "text": "前文", "temperature": "温度",
        "title": "“{text}”之后的词元，温度 {t:g}", "space": "␣（空格）", "line": "↵（换行）", "end": "⏹（结束）",
        "twin": "最可能的是“{top}”，概率 {p:.1%}；前十名合计 {total:.1%}。",
    },
    "en": {
        "model": "Model", "poem": "Chinese poetry", "shakespeare": "Shakespeare (English)", "text": "Text so far",
        "temperature": "Temperature", "title": "What follows “{text}”, temperature {t:g}", "space": "␣ (space)",
        "line": "↵ (new line)", "end": "⏹ (end)",
        "twin": "The likeliest is “{top}” with {p:.1%}; the first ten have {total:.1%} together.",
    },
}  # fmt: skip
MODELS = {"poem": "gpt-zh", "shakespeare": "gpt-en"}
EXAMPLES = {
    "zh": [("poem", "<五绝>床前明月", 1.0), ("poem", "<七绝>春风", 0.5), ("shakespeare", "To be, or not to b", 1.0)],
    "en": [("shakespeare", "To be, or not to ", 1.0), ("shakespeare", "ROMEO", 1.0), ("poem", "<五绝>床前明月", 0.5)],
}
MAX_CHARS = 120


def load(kind: str) -> "Gpt":
    return _models.gpt(kind)


def predict(model: object, text: object, temperature: object, lang: str = "en") -> str:
    """Return the ten likeliest next tokens as bars."""
    words, named = LABELS[lang], {key: _ui.label(LABELS, key) for key in LABELS["en"]}
    model = _ui.choice(model, named["model"], tuple(MODELS))
    text = _ui.text(text, named["text"], MAX_CHARS)
    t = _ui.number(temperature, named["temperature"], 0.1, 2)
    gpt = load(MODELS[model])
    _reading.known(gpt.unknown(text), named["text"])
    _reading.fits(len(gpt.tokens(text)), gpt.context_length, named["text"])
    spoken = {" ": words["space"], "\n": words["line"], "<end>": words["end"]}
    top = [(spoken.get(token, token), p) for token, p in gpt.next_token_probabilities(text, temperature=t)]
    twin = words["twin"].format(top=top[0][0], p=top[0][1], total=sum(p for _, p in top))
    return _figures.bars(words["title"].format(text=text, t=t), top, twin)


def build(lang: str) -> "gr.Blocks":
    import gradio as gr

    words, first = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        model = gr.Radio([(words[key], key) for key in MODELS], value=first[0], label=words["model"])
        text = gr.Textbox(first[1], label=words["text"], lines=2, max_length=MAX_CHARS)
        temperature = gr.Slider(0.1, 2, first[2], step=0.05, label=words["temperature"])
        _ui.wire(predict, lang, [model, text, temperature], gr.HTML(), "gpt_next_token")
        _ui.examples(lang, EXAMPLES[lang], [model, text, temperature])
    return blocks
