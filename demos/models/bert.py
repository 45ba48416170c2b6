"""Is a sentence praise or blame, and which tokens tip the balance?

Type a review in Chinese or English. The bars show the probability of each label; below, each token's colour says
how far the winning label's probability falls when that token is hidden. Try "not" in front of the decisive word.
"""

import typing

from demos import _figures, _models, _reading, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

    from largemodels.models.bert import Bert

TITLE = {"zh": "这句话是褒是贬", "en": "Praise or blame"}
HINT = {
    "zh": "写一句评价，看概率；再改掉颜色最深的那个词，看判断会不会翻过来。",
    "en": "Write a review and read the probabilities; then change the darkest word and see whether the verdict flips.",
}
LABELS = {
    "zh": {
        "sentence": "一句评价（中文或英文）", "run": "判断", "probs": "各个标签的概率",
        "positive": "褒", "negative": "贬",
        "verdict": "模型判断为“{label}”，概率 {p:.1%}。", "tokens": "每个词元对“{label}”的贡献：遮住它，概率变化多少",
        "twin": "最支持这个判断的是“{best}”（{up:+.2f}），最反对的是“{worst}”（{down:+.2f}）。",
        "one": "句子里没有可遮住的词元。",
    },
    "en": {
        "sentence": "A review (Chinese or English)", "run": "Judge", "probs": "Probability of each label",
        "positive": "praise", "negative": "blame", "verdict": "The model says “{label}” with probability {p:.1%}.",
        "tokens": "What each token adds to “{label}”: how the probability changes when it is hidden",
        "twin": "“{best}” supports this verdict most ({up:+.2f}), “{worst}” opposes it most ({down:+.2f}).",
        "one": "The sentence has no token to hide.",
    },
}  # fmt: skip
ZH, EN = ("味道不错，就是送得有点慢。",), ("A slow start, but a warm and funny film.",)
EXAMPLES = {
    "zh": [ZH, ("房间又小又吵，再也不来了。",), EN],
    "en": [EN, ("The film is not bad.",), ZH],
}
MAX_CHARS, MAX_TOKENS = 300, 64  # hiding each of n tokens costs n passes over n tokens


def load() -> "Bert":
    return _models.bert(classifies=True)


def predict(sentence: object, lang: str = "en") -> str:
    """Return the labels' probabilities as bars and the tokens coloured by their part in the verdict."""
    words, bert = LABELS[lang], load()
    sentence, _ = _reading.read(bert, sentence, _ui.label(LABELS, "sentence"), MAX_CHARS, MAX_TOKENS)
    probs = bert.classify([sentence])[0]
    label = max(probs, key=lambda name: probs[name])
    shown = words.get(label, label)
    verdict = words["verdict"].format(label=shown, p=probs[label])
    bars = _figures.bars(words["probs"], [(words.get(name, name), p) for name, p in probs.items()], verdict, maximum=1)
    changes = [(token.replace("▁", "") or "␣", change) for token, change in bert.occlusion(sentence, label)]
    twin = words["one"]
    if changes:
        (best, up), (worst, down) = max(changes, key=lambda item: item[1]), min(changes, key=lambda item: item[1])
        twin = words["twin"].format(best=best, up=up, worst=worst, down=down)
    return _figures.result(bars, _figures.tokens(words["tokens"].format(label=shown), changes, twin))


def build(lang: str) -> "gr.Blocks":
    import gradio as gr

    words = LABELS[lang]
    with _ui.page(lang, TITLE, HINT) as blocks:
        text = gr.Textbox(EXAMPLES[lang][0][0], label=words["sentence"], lines=2, max_length=MAX_CHARS)
        button = gr.Button(words["run"], variant="primary")
        _ui.wire(predict, lang, [text], gr.HTML(), "bert", button=button)
        _ui.examples(lang, EXAMPLES[lang], [text])
    return blocks
