"""A model writes before your eyes, token after token, and stops when you say so.

Give the poetry model a form and the opening words, or the Shakespeare model a speaker's name. Raise the temperature
and the text gets stranger; lower top-k or top-p and it gets tamer. The same seed writes the same text again.
"""

import re
import typing
from collections.abc import Iterator

from demos import _figures, _host, _models, _reading, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

    from largemodels.models.gpt import Gpt

TITLE = {"zh": "看模型一个字一个字地写", "en": "Watch a model write"}
HINT = {
    "zh": "先用温度 0.8 写一首，再把温度拉到 1.5，看诗怎样散架；种子不变，诗就不变。",
    "en": "Write at temperature 0.8, then at 1.5, and watch the text come apart; the same seed gives the same text.",
}
LABELS = {
    "zh": {
        "model": "模型", "poem": "中文诗", "shakespeare": "莎士比亚（英文）", "form": "诗体（只用于中文诗）",
        "opening": "开头", "temperature": "温度", "top_k": "top-k（0 表示不用）", "top_p": "top-p（1 表示不用）",
        "new": "最多写多少个词元", "seed": "种子", "run": "开始写", "stop": "停",
        "title": "{model}：从“{opening}”写起", "writing": "正在写，已有 {n} 个字符……",
        "ended": "写了 {n} 个字符，自己停了下来。", "full": "写了 {n} 个字符，写到上限为止。",
    },
    "en": {
        "model": "Model", "poem": "Chinese poetry", "shakespeare": "Shakespeare (English)",
        "form": "Form (poetry only)", "opening": "Opening words", "temperature": "Temperature",
        "top_k": "top-k (0: off)", "top_p": "top-p (1: off)", "new": "Most new tokens", "seed": "Seed",
        "run": "Write", "stop": "Stop", "title": "{model}, beginning “{opening}”",
        "writing": "Writing: {n} characters so far…", "ended": "Wrote {n} characters and stopped by itself.",
        "full": "Wrote {n} characters, up to the limit.",
    },
}  # fmt: skip
MODELS = {"poem": "gpt-zh", "shakespeare": "gpt-en"}
FORMS = {"5x4": "五绝", "7x4": "七绝", "5x8": "五律", "7x8": "七律"}  # characters in a line × lines
SPRING = ("poem", "7x4", "春风", 0.8, 0, 0.95, 64, 5)
ROMEO = ("shakespeare", "5x4", "ROMEO:\n", 0.7, 20, 1.0, 100, 3)
EXAMPLES = {
    "zh": [SPRING, ("poem", "5x8", "秋夜", 1.5, 0, 1.0, 64, 2), ROMEO],
    "en": [ROMEO, ("shakespeare", "5x4", "KING:\nMy lord", 1.5, 0, 1.0, 100, 1), SPRING],
}
MAX_CHARS = 60


def load(kind: str) -> "Gpt":
    return _models.gpt(kind)


def prompt(gpt: "Gpt", form: str, opening: str) -> str:
    """Return what the model reads: poems begin with the tag of their form, if the model knows it."""
    text = f"<{form}>{opening}" if gpt.tokens(f"<{form}>") == [f"<{form}>"] else opening
    name, count = _ui.label(LABELS, "opening"), len(gpt.tokens(text))
    _reading.known(gpt.unknown(text), name)
    _reading.fits(count, gpt.context_length - 1, name)
    if not count:
        raise _ui.InputError(
            zh=f"「{name['zh']}」至少要有 1 个词元，收到了 0 个；请写几个字。",
            en=f"“{name['en']}” must have at least 1 token, got 0; write some words.",
        )
    return text


def predict(
    model: object, form: object, opening: object, temperature: object, top_k: object, top_p: object, new: object,
    seed: object, lang: str = "en",
) -> Iterator[str]:  # fmt: skip
    """Yield the text so far after each new piece."""
    words, named = LABELS[lang], {key: _ui.label(LABELS, key) for key in LABELS["en"]}
    model = _ui.choice(model, named["model"], tuple(MODELS))
    form = FORMS[_ui.choice(form, named["form"], tuple(FORMS))]
    opening = _ui.text(opening, named["opening"], MAX_CHARS, allow_empty=model == "poem")
    settings: dict[str, typing.Any] = {
        "temperature": _ui.number(temperature, named["temperature"], 0.1, 2),
        "top_k": _ui.integer(top_k, named["top_k"], 0, 50) or None,
        "top_p": _ui.number(top_p, named["top_p"], 0.05, 1),
        "seed": _ui.integer(seed, named["seed"], 0, 10**6),
    }
    wanted, gpt = _ui.integer(new, named["new"], 1, _host.MAX_NEW_TOKENS), load(MODELS[model])
    text = prompt(gpt, form if model == "poem" else "", opening)
    most = min(wanted, gpt.context_length - len(gpt.tokens(text)))
    if settings["top_k"]:
        settings["top_k"] = min(settings["top_k"], gpt.vocab_size)
    title = words["title"].format(model=words[model], opening=opening.strip())
    written, pieces = "", 0
    for piece in gpt.stream(text, max_new_tokens=most, do_sample=True, **settings):
        written, pieces = written + piece, pieces + 1
        yield page(title, model, opening + written, words["writing"].format(n=len(written)))
    end = words["full" if pieces == most else "ended"].format(n=len(written))
    yield page(title, model, opening + written, end)


def page(title: str, model: str, text: str, twin: str) -> str:
    """Return the text as a figure; a poem gets one line for each sentence."""
    return _figures.words(title, re.sub(r"([。！？])(?=.)", r"\1\n", text) if model == "poem" else text, twin)


def build(lang: str) -> "gr.Blocks":
    import gradio as gr

    words, first = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            model = gr.Radio([(words[key], key) for key in MODELS], value=first[0], label=words["model"])
            form = gr.Radio(
                [(f"{name} {key}", key) for key, name in FORMS.items()], value=first[1], label=words["form"]
            )
        opening = gr.Textbox(first[2], label=words["opening"], lines=2, max_length=MAX_CHARS)
        with gr.Row():
            temperature = gr.Slider(0.1, 2, first[3], step=0.05, label=words["temperature"])
            new = gr.Slider(1, _host.MAX_NEW_TOKENS, first[6], step=1, label=words["new"])
        with gr.Row():
            top_k = gr.Slider(0, 50, first[4], step=1, label=words["top_k"])
            top_p = gr.Slider(0.05, 1, first[5], step=0.05, label=words["top_p"])
            seed = gr.Number(first[7], label=words["seed"], precision=0)
        with gr.Row():
            run, stop = gr.Button(words["run"], variant="primary"), gr.Button(words["stop"], variant="stop")
        inputs = [model, form, opening, temperature, top_k, top_p, new, seed]
        event = _ui.wire(predict, lang, inputs, gr.HTML(), "gpt", button=run)
        stop.click(None, cancels=[event], api_name=False)
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
