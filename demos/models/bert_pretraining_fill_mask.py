"""What stands behind the mask? A small BERT of our own guesses, in Chinese and in English.

Write a sentence with one or more [MASK]; in Chinese a mask hides one character, in English one piece of a word. Change
what stands to the right of a mask: the guess changes too, because BERT reads both sides.
"""

import re
import typing

from demos import _figures, _models, _reading, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

    from largemodels.models.bert import Bert

TITLE = {"zh": "填空：遮住的是什么", "en": "Fill the mask"}
HINT = {
    "zh": "在句子里写一个或几个 [MASK]；再改掉它右边的字，看猜测怎样跟着变。",
    "en": "Write one or more [MASK] into a sentence; then change what stands to the right of it and watch the guesses.",
}
LABELS = {
    "zh": {
        "sentence": "带 [MASK] 的句子（中文或英文）", "k": "每处看前几名", "run": "填空", "filled": "每处填上第一名",
        "place": "第 {i} 处 [MASK] 的猜测和概率", "read": "各处各猜各的：猜这一处时，别处也还遮着。",
        "twin": "第一名是“{top}”，概率 {p:.1%}；前 {k} 名合计 {total:.1%}。",
    },
    "en": {
        "sentence": "A sentence with [MASK] (Chinese or English)", "k": "Guesses for each", "run": "Fill",
        "filled": "Each mask filled with its first guess", "place": "Guesses for mask {i}, with probabilities",
        "read": "Each mask is guessed by itself, while the others stay hidden.",
        "twin": "First comes “{top}” with {p:.1%}; the first {k} have {total:.1%} together.",
    },
}  # fmt: skip
ZH, EN = "今天的天[MASK]很好，我们去公[MASK]玩。", "Thank you very [MASK] for your help."
EXAMPLES = {
    "zh": [(ZH, 5), ("这家店的菜很好[MASK]。", 5), ("这家店的衣服很好[MASK]。", 5), (EN, 5)],
    "en": [(EN, 5), ("I have [MASK] seen such a bad movie.", 5), ("Do you [MASK] who wrote the [MASK]?", 5), (ZH, 5)],
}
MAX_CHARS, MAX_MASKS, MASK = 300, 4, "[MASK]"
SPELT = re.compile(r"[\[［【]\s*mask\s*[\]］】]", re.IGNORECASE)  # as people type it


def load() -> "Bert":
    return _models.pretrained_bert("masked")


def checked(value: object, bert: "Bert") -> str:
    """Return the sentence if it has masks, not too many, and is short enough."""
    name = _ui.label(LABELS, "sentence")
    text = SPELT.sub(MASK, _ui.text(value, name, MAX_CHARS))
    tokens = bert.tokens(text)
    masks = tokens.count(MASK)
    if not 1 <= masks <= MAX_MASKS:
        raise _ui.InputError(
            zh=f"句子里必须有 1 到 {MAX_MASKS} 个 [MASK]，收到了 {masks} 个；请把想遮住的字换成 [MASK]。",
            en=f"The sentence must have 1 to {MAX_MASKS} [MASK], got {masks}; write [MASK] for what is to be guessed.",
        )
    _reading.fits(len(tokens), bert.context_length, name)
    return text


def filled(text: str, tops: list[str]) -> str:
    """Return the text with each mask replaced; a piece that goes on with a word loses the space before it."""
    for top in tops:
        before, _, after = text.partition(MASK)
        text = (before.rstrip() + top[2:] if top.startswith("##") else before + top) + after
    return text


def predict(sentence: object, k: object, lang: str = "en") -> str:
    """Return the sentence with every mask filled, and the guesses for each as bars."""
    words, bert = LABELS[lang], load()
    text = checked(sentence, bert)
    guesses = bert.fill_mask(text, _ui.integer(k, _ui.label(LABELS, "k"), 1, 20))
    whole = filled(text, [found[0][0] for found in guesses])
    figures = [_figures.words(words["filled"], whole, words["read"])]
    for i, found in enumerate(guesses, 1):
        (top, p), total = found[0], sum(p for _, p in found)
        twin = words["twin"].format(top=top, p=p, k=len(found), total=total)
        figures.append(_figures.bars(words["place"].format(i=i), found, twin, maximum=1))
    return _figures.result(*figures)


def build(lang: str) -> "gr.Blocks":
    import gradio as gr

    words, (sentence, k) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        text = gr.Textbox(sentence, label=words["sentence"], lines=2, max_length=MAX_CHARS)
        count = gr.Slider(1, 20, k, step=1, label=words["k"])
        button = gr.Button(words["run"], variant="primary")
        _ui.wire(predict, lang, [text, count], gr.HTML(), "bert_pretraining_fill_mask", button=button)
        _ui.examples(lang, EXAMPLES[lang], [text, count])
    return blocks
