"""BLEU of two translations, cut by character and by word: edit them, and watch the order of the two turn round.

Chinese has no spaces between words, so the spaces typed here are the cut into words; take one out or put one in and
the score by word changes, though the sentence is the same. Coloured tokens are in a run that the reference has, too.
"""

import html
import typing
from collections import Counter

from demos import _figures, _reading, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

    from largemodels.evaluation.metrics import Bleu

TITLE = {"zh": "BLEU：按字算，按词算", "en": "BLEU by character and by word"}
HINT = {
    "zh": "空格就是词的边界。按字算乙领先，按词算甲领先；给乙的“一本书”中间加一个空格，再看名次。",
    "en": "Spaces are the cut into words. By character B leads, by word A does. Change a word, or take a space out.",
}
LABELS = {
    "zh": {
        "reference": "参考译文（词与词之间用空格隔开）", "first": "译文甲", "second": "译文乙", "a": "甲", "b": "乙",
        "n": "给多长的片段上色", "character": "按字", "word": "按词",
        "cut": "{cut}切：参考译文里也有的 {n} 个词元的片段",
        "cut_twin": "甲有 {a} 处相符（共 {a_all} 处），乙有 {b} 处（共 {b_all} 处）；一个片段最多算参考译文里的次数。",
        "bars": "BLEU（0–100，平滑方式同 sacrebleu）", "bars_twin": "按字：{character}。按词：{word}。{turn}",
        "ahead": "{name}领先 {gap:.1f} 分", "level": "不分高下", "turned": "换一种切法，名次就换了。",
        "kept": "两种切法，名次相同。",
        "table": "分数从哪里来", "penalty": "过短惩罚", "row": "{name}，{cut}",
        "table_twin": "pₙ 是 n 个词元的片段有多少与参考译文相符；没有相符的，按平滑后的值写。"
        "BLEU 是四个 p 的几何平均乘以惩罚。",
    },
    "en": {
        "reference": "Reference (spaces between words)", "first": "Translation A", "second": "Translation B", "a": "A",
        "b": "B", "n": "Colour runs of this length", "character": "by character", "word": "by word",
        "cut": "Cut {cut}: runs of {n} that the reference has, too",
        "cut_twin": "A has {a} matches of {a_all}, B has {b} of {b_all}; a run counts at most as often as the "
        "reference has it.",
        "bars": "BLEU (0–100, smoothed as sacrebleu does)",
        "bars_twin": "By character: {character}. By word: {word}. {turn}",
        "ahead": "{name} leads by {gap:.1f}", "level": "a draw", "turned": "The other cut turns the order round.",
        "kept": "Both cuts give the same order.",
        "table": "What the scores are made of", "penalty": "brevity", "row": "{name}, {cut}",
        "table_twin": "pₙ: share of the runs of n tokens that match; where none does, the smoothed value. BLEU is the "
        "geometric mean of the four times the brevity penalty.",
    },
}  # fmt: skip
LIBRARY = (
    "我 昨天 在 图书馆 借 了 一本 书 。", "昨天 我 在 图书馆 借 了 书 。", "我 昨天 在 图书室 借到 了 一本书 。", 2,
)  # fmt: skip
FILM = ("我 不 认为 这 部 电影 很 无聊 。", "我 认为 这 部 电影 很 无聊 。", "在 我 看来 ， 这 片子 挺 有意思 。", 2)
BOOK = (
    "She borrowed an interesting book from the library yesterday .", "Yesterday she borrowed an interesting book .",
    "She borrows interesting books from the libraries .", 2,
)  # fmt: skip
EXAMPLES = {"zh": [LIBRARY, FILM, BOOK], "en": [BOOK, LIBRARY, FILM]}
MAX_CHARS, ORDERS = 160, 4
Cut = typing.Callable[[str], list[str]]


def by_character(text: str) -> list[str]:
    return [letter for letter in text if not letter.isspace()]


CUTS: dict[str, Cut] = {"character": by_character, "word": str.split}


def matched(tokens: list[str], reference: list[str], n: int) -> list[bool]:
    """Say of each token whether it is in a run of `n` that counts as a match."""
    from largemodels.evaluation.metrics import ngrams

    left, hit = Counter(ngrams(reference, n)), [False] * len(tokens)
    for start in range(len(tokens) - n + 1):
        run = tuple(tokens[start : start + n])
        if left[run] > 0:  # clipped: each run of the reference pays for one
            left[run] -= 1
            hit[start : start + n] = [True] * n
    return hit


def coloured(name: str, tokens: list[str], hit: list[bool]) -> str:
    """Return one translation as a row of tokens."""
    spans = "".join(
        f'<span class="lm-token lm-warm" style="--s:{80 * on}%">{html.escape(_reading.visible(token))}</span>'
        for token, on in zip(tokens, hit, strict=True)
    )
    row = '<div class="lm-tokens" style="align-items: center; margin-bottom: .6rem">'
    return f"{row}<strong>{html.escape(name)}</strong>{spans}</div>"


def predict(reference: object, first: object, second: object, n: object, lang: str = "en") -> str:
    """Return both cuts with their matches, the four scores, and what they are made of."""
    from largemodels.evaluation.metrics import bleu, clipped_matches

    words = LABELS[lang]
    texts = {
        key: _ui.text(value, _ui.label(LABELS, name), MAX_CHARS)
        for key, name, value in (("r", "reference", reference), ("a", "first", first), ("b", "second", second))
    }
    n = _ui.integer(n, _ui.label(LABELS, "n"), 1, ORDERS)
    pictures: list[str] = []
    found: dict[tuple[str, str], Bleu] = {}
    for cut, split in CUTS.items():
        tokens, rows, counts = {key: split(text) for key, text in texts.items()}, "", dict[str, int]()
        for key in "ab":
            found[key, cut] = bleu([tokens[key]], [[tokens["r"]]])
            rows += coloured(words[key], tokens[key], matched(tokens[key], tokens["r"], n))
            counts[key] = clipped_matches(tokens[key], [tokens["r"]], n)
            counts[f"{key}_all"] = max(len(tokens[key]) - n + 1, 0)
        title = words["cut"].format(cut=words[cut], n=n)
        pictures.append(_figures.figure(title, rows, words["cut_twin"].format(**counts)))
    return _figures.result(*pictures, *scores(found, words))


def scores(found: "dict[tuple[str, str], Bleu]", words: dict[str, str]) -> list[str]:
    """Return the bars of BLEU and the table of its parts."""
    gaps = {cut: found["a", cut].score - found["b", cut].score for cut in CUTS}
    said = {
        cut: words["ahead"].format(name=words["a" if gap > 0 else "b"], gap=abs(gap)) if gap else words["level"]
        for cut, gap in gaps.items()
    }
    twin = words["bars_twin"].format(**said, turn=words["turned" if gaps["character"] * gaps["word"] < 0 else "kept"])
    named = {at: words["row"].format(name=words[at[0]], cut=words[at[1]]) for at in found}
    bars = _figures.bars(
        words["bars"], [(named[at], score.score) for at, score in found.items()], twin, digits=1, maximum=100
    )
    header = ["", *(f"p{'₁₂₃₄'[i]}" for i in range(ORDERS)), words["penalty"], "BLEU"]
    rows = [
        [named[at], *(f"{p:.3f}" for p in score.precisions), f"{score.brevity_penalty:.3f}", f"{score.score:.1f}"]
        for at, score in found.items()
    ]
    return [bars, _figures.numbers_table(words["table"], header, rows, words["table_twin"])]


def build(lang: str) -> "gr.Blocks":
    import gradio as gr

    words, row = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        boxes = [
            gr.Textbox(value, label=words[name], max_length=MAX_CHARS)
            for name, value in zip(("reference", "first", "second"), row[:3], strict=True)
        ]
        n = gr.Slider(1, ORDERS, row[3], step=1, label=words["n"])
        _ui.wire(predict, lang, [*boxes, n], gr.HTML(), "metrics_bleu")
        _ui.examples(lang, EXAMPLES[lang], [*boxes, n])
    return blocks
