"""One text, one model, several perplexities: per character, per token, per byte; and the number that stays the same.

Type a line of verse or of a play. The model says how much each character surprises it; those nats add up to what the
whole text costs. Divided among characters, byte-pair tokens or bytes they give perplexities far apart, while bits per
character stay what they are. Below stand two models that know nothing and differ in their tokenizer only.
"""

import math
import typing

from demos import _figures, _models, _reading, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

    from largemodels.models.gpt import Gpt

TITLE = {"zh": "困惑度能不能比：每个字符几比特", "en": "Can perplexities be compared? Bits per character"}
HINT = {
    "zh": "改一个字，看它和后面的字有多出人意料；再看表里：同一个模型，换个单位，困惑度就变，每字符比特数不变。",
    "en": "Change a letter, watch the surprise. In the table, another unit means another perplexity, the same bits.",
}
LABELS = {
    "zh": {
        "model": "模型", "poem": "中文诗", "shakespeare": "莎士比亚（英文）", "text": "文字",
        "nats": "每个字符让模型多意外（奈特）",
        "nats_twin": "最意外的是“{top}”，{most:.2f} 奈特；{n} 个字符一共 {total:.1f} 奈特。{given}",
        "given_poem": "体裁标记“{tag}”先给了模型，不计入。", "given_shakespeare": "前面的一个换行先给了模型，不计入。",
        "table": "同一段文字，几种报法", "who": "谁，按什么", "units": "单位数", "per": "奈特/单位",
        "perplexity": "困惑度", "bits": "比特/字符",
        "gpt_character": "GPT，按字符", "gpt_piece": "GPT，按 BPE 词元", "gpt_byte": "GPT，按字节",
        "even_character": "不懂，{v} 个字符", "even_piece": "不懂，{v} 个 BPE 词元",
        "table_twin": "GPT 的困惑度按字符是 {ppl:.4g}，按 BPE 词元是 {other:.4g}，都是每字符 {bits:.2f} 比特。"
        "两个什么都不懂、每个词元一样可能的模型：困惑度 {v} 对 {w}，每字符却是 {even:.2f} 比特对 {odd:.2f} 比特。",
        "space": "␣", "line": "↵",
    },
    "en": {
        "model": "Model", "poem": "Chinese poetry", "shakespeare": "Shakespeare (English)", "text": "Text",
        "nats": "How much each character surprises the model (nats)",
        "nats_twin": "The greatest surprise is “{top}”, {most:.2f} nats; {n} characters cost {total:.1f} nats in all. "
        "{given}",
        "given_poem": "The tag of the form, “{tag}”, was given and does not count.",
        "given_shakespeare": "The line break before was given and does not count.",
        "table": "One text, several ways to report", "who": "who, by what", "units": "units", "per": "nats/unit",
        "perplexity": "perplexity", "bits": "bits/char.",
        "gpt_character": "GPT, by character", "gpt_piece": "GPT, by BPE token", "gpt_byte": "GPT, by byte",
        "even_character": "ignorant, {v} characters", "even_piece": "ignorant, {v} BPE",
        "table_twin": "By character the GPT's perplexity is {ppl:.4g}, by BPE token {other:.4g}; both are {bits:.2f} "
        "bits per character. The two ignorant models, all tokens equally likely: perplexity {v} against {w}, but "
        "{even:.2f} against {odd:.2f} bits per character.",
        "space": "␣", "line": "↵",
    },
}  # fmt: skip
MODELS, GIVEN = {"poem": "gpt-zh", "shakespeare": "gpt-en"}, {"poem": "<五绝>", "shakespeare": "\n"}
VERSE, QUESTION = ("poem", "春眠不觉晓，处处闻啼鸟。"), ("shakespeare", "To be, or not to be: that is the question.")
DEAD, ODD = ("shakespeare", "The king is dead; long live the king!"), ("poem", "春眠不觉晓，处处闻打字。")
EXAMPLES = {"zh": [VERSE, ODD, QUESTION], "en": [QUESTION, DEAD, VERSE]}
MAX_CHARS = 60  # the poet sees 66 characters at once


def load(kind: str) -> "Gpt":
    return _models.gpt(kind)


def surprises(gpt: "Gpt", model: str, text: str) -> list[tuple[str, float]]:
    """Return what the model reads of the text, piece by piece, with the surprise of each in nats."""
    given, name = GIVEN[model], _ui.label(LABELS, "text")
    _reading.known(gpt.unknown(text), name)
    _reading.fits(len(gpt.tokens(given + text)) - 1, gpt.context_length - 1, name)
    return gpt.token_nats(given + text)


def predict(model: object, text: object, lang: str = "en") -> str:
    """Return the surprise of each character, and the table of units."""
    import torch

    from largemodels.evaluation.metrics import bits_per_character, perplexity

    words = LABELS[lang]
    model = _ui.choice(model, _ui.label(LABELS, "model"), tuple(MODELS))
    text = _ui.text(text, _ui.label(LABELS, "text"), MAX_CHARS)
    gpt, bpe = load(MODELS[model]), _models.tokenizer("translator-en-zh")
    spoken = {" ": words["space"], "\n": words["line"]}
    read = [(spoken.get(piece, piece), nats) for piece, nats in surprises(gpt, model, text)]
    top, most = max(read, key=lambda pair: pair[1])
    total = math.fsum(nats for _, nats in read)
    given = words[f"given_{model}"].format(tag=GIVEN[model])
    twin = words["nats_twin"].format(top=top, most=most, n=len(text), total=total, given=given)
    picture = _figures.tokens(words["nats"], read, twin)
    pieces, sizes = len(bpe.encode(text, add_special_tokens=False).ids), (gpt.vocab_size, bpe.get_vocab_size())
    ways = {
        "gpt_character": (len(text), total), "gpt_piece": (pieces, total), "gpt_byte": (len(text.encode()), total),
        "even_character": (len(text), len(text) * math.log(sizes[0])),
        "even_piece": (pieces, pieces * math.log(sizes[1])),
    }  # fmt: skip
    rows, reported = [], dict[str, tuple[float, float]]()
    for way, (units, nats) in ways.items():
        shared = torch.full((units,), nats / units, dtype=torch.float64)
        ppl, bits = perplexity(shared).item(), bits_per_character(shared, len(text)).item()
        reported[way] = ppl, bits
        name = words[way].format(v=sizes[way == "even_piece"])
        rows.append([name, f"{ppl:,.1f}", f"{bits:.3f}", str(units), f"{nats / units:.3f}"])
    twin = words["table_twin"].format(
        ppl=reported["gpt_character"][0], other=reported["gpt_piece"][0], bits=reported["gpt_byte"][1],
        v=sizes[0], w=sizes[1], even=reported["even_character"][1], odd=reported["even_piece"][1],
    )  # fmt: skip
    header = [words[key] for key in ("who", "perplexity", "bits", "units", "per")]
    return _figures.result(picture, _figures.numbers_table(words["table"], header, rows, twin))


def build(lang: str) -> "gr.Blocks":
    import gradio as gr

    words, first = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        model = gr.Radio([(words[key], key) for key in MODELS], value=first[0], label=words["model"])
        text = gr.Textbox(first[1], label=words["text"], lines=2, max_length=MAX_CHARS)
        _ui.wire(predict, lang, [model, text], gr.HTML(), "metrics_perplexity")
        _ui.examples(lang, EXAMPLES[lang], [model, text])
    return blocks
