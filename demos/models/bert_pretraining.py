"""What BERT is asked: some tokens are hidden, some replaced, some kept, and only these have an answer to give.

Type a sentence and move the seed: each seed asks something else of the same text. Choose whole words, and the tokens
of a word share their fate of being chosen; in Chinese, put spaces between the words, because nothing else marks them.
"""

import bisect
import html
import re
import typing
from collections import Counter

import torch

from demos import _figures, _models, _ui
from largemodels.models.bert_pretraining import IGNORED, mask_tokens

if typing.TYPE_CHECKING:
    import gradio as gr
    from tokenizers import Encoding, Tokenizer
    from torch import Tensor

TITLE = {"zh": "BERT 的填空题是怎样出的", "en": "What BERT is asked"}
HINT = {
    "zh": "拖动种子，看同一句话变出不同的题；再选“整词”，看空格隔开的词怎样一起选中、一起落选。",
    "en": "Move the seed and watch one sentence become other questions; choose whole words, and pieces stay together.",
}
LABELS = {
    "zh": {
        "sentence": "一句话（中文或英文；选“整词”时，中文的词用空格隔开）",
        "unit": "按什么选", "token": "词元", "word": "整词", "fraction": "选中多少", "seed": "种子",
        "shown": "模型看到的句子（箭头后面是它要答的词元）", "hidden": "换成 [MASK]", "replaced": "换成随机词元",
        "kept": "原样不动，照样要答", "counts": "选中多少，各落得怎样", "outcome": "词元", "once": "这一次",
        "often": "抽一千次", "expected": "应是", "chosen": "选中", "of_hidden": "其中遮住", "of_replaced": "其中替换",
        "of_kept": "其中保留",
        "none": "这一次一个也没选中，模型从这句话里什么也学不到；换一个种子再试。",
        "twin": "{n} 个词元里选中 {k} 个：{what}。其余的不计损失。", "as_hidden": "“{x}”遮住", "join": "，",
        "as_replaced": "“{x}”换成“{y}”", "as_kept": "“{x}”没动",
        "law": "这一次选中 {k} 个，平均应是 {mean:.1f} 个；抽一千次，选中的有 {hidden:.1%} 换成 [MASK]，应是 80%。",
    },
    "en": {
        "sentence": "A sentence (Chinese or English; for whole words, put spaces between Chinese words)",
        "unit": "Choose by", "token": "tokens", "word": "whole words", "fraction": "Share to choose", "seed": "Seed",
        "shown": "What the model reads (after the arrow: the token it must name)", "hidden": "becomes [MASK]",
        "replaced": "becomes a random token", "kept": "stays, but is asked all the same",
        "counts": "How many are chosen, and what becomes of them", "outcome": "tokens", "once": "now",
        "often": "1,000 draws", "expected": "rule", "chosen": "chosen", "of_hidden": "hidden",
        "of_replaced": "replaced", "of_kept": "kept",
        "none": "Nothing is chosen this time, so the model learns nothing from this sentence; try another seed.",
        "twin": "Of {n} tokens {k} are chosen: {what}. The others count for nothing.", "as_hidden": "“{x}” is hidden",
        "as_replaced": "“{x}” becomes “{y}”", "as_kept": "“{x}” stays", "join": ", ",
        "law": "{k} chosen this time, {mean:.1f} expected; over 1,000 draws {hidden:.1%} of the chosen become [MASK], "
        "80% expected.",
    },
}  # fmt: skip
ZH = ("我们 星期天 去 动物园 看 熊猫 ， 可是 熊猫 正在 睡觉 。", "token", 0.15, 25)
EN = ("We walked to the zoo on Sunday, but the pandas were sleeping peacefully in the afternoon.", "token", 0.15, 25)
EXAMPLES = {
    "zh": [ZH, (ZH[0], "word", 0.15, 32), (ZH[0], "token", 0.4, 8), EN],
    "en": [EN, (EN[0], "word", 0.15, 37), (EN[0], "token", 0.4, 8), ZH],
}
SHARES = {"hidden": 0.8, "replaced": 0.1, "kept": 0.1}
COLOURS = {"hidden": "--lm-1", "replaced": "--lm-2", "kept": "--lm-3"}
MAX_CHARS, MAX_TOKENS, DRAWS = 300, 64, 1_000


def read(sentence: str, tokenizer: "Tokenizer") -> "Encoding":
    """Return the sentence's tokens, or say that there are too many."""
    encoding = tokenizer.encode(sentence)
    if not 2 < len(encoding.ids) <= MAX_TOKENS:
        raise _ui.InputError(
            zh=f"句子必须有 3 到 {MAX_TOKENS} 个词元（含首尾两个特殊词元），收到了 {len(encoding.ids)} 个；"
            "请改一改长度。",
            en=f"The sentence must have 3 to {MAX_TOKENS} tokens, the two special ones included, got "
            f"{len(encoding.ids)}; change its length.",
        )
    return encoding


def word_numbers(sentence: str, offsets: "list[tuple[int, int]]") -> "Tensor":
    """Return for each token the number of its word: what spaces and punctuation leave together, shape `(1, T)`."""
    starts = [match.start() for match in re.finditer(r"\w+|[^\w\s]", sentence)]
    found: dict[tuple[str, int], int] = {}
    keys = [("word", bisect.bisect(starts, a)) if b > a else ("special", i) for i, (a, b) in enumerate(offsets)]
    return torch.tensor([[found.setdefault(key, len(found)) for key in keys]])


def outcome(shown: int, target: int, mask_id: int) -> str:
    """Say what became of a chosen token, by what is seen."""
    return "hidden" if shown == mask_id else "kept" if shown == target else "replaced"


def predict(sentence: object, unit: object, fraction: object, seed: object, lang: str = "en") -> str:
    """Return the sentence as the model reads it, and the count of every outcome."""
    words, named = LABELS[lang], {key: _ui.label(LABELS, key) for key in LABELS["en"]}
    sentence = _ui.text(sentence, named["sentence"], MAX_CHARS)
    whole = _ui.choice(unit, named["unit"], ("token", "word")) == "word"
    share = _ui.number(fraction, named["fraction"], 0.05, 1)
    start = _ui.integer(seed, named["seed"], 0, 1_000)
    tokenizer = _models.tokenizer("bilingual-bert")
    encoding = read(sentence, tokenizer)
    special = {token.content: i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    ids, mask_id = torch.tensor([encoding.ids]), special["[MASK]"]
    maskable = ~torch.isin(ids, torch.tensor([*special.values()]))
    groups = word_numbers(sentence, encoding.offsets) if whole else None

    def draw(rows: int, number: int) -> "tuple[Tensor, Tensor]":
        return mask_tokens(
            ids.expand(rows, -1), maskable.expand(rows, -1), mask_id, tokenizer.get_vocab_size(), fraction=share,
            words=None if groups is None else groups.expand(rows, -1), generator=torch.Generator().manual_seed(number),
        )  # fmt: skip

    def count(shown: "Tensor", targets: "Tensor") -> "Counter[str]":
        chosen = targets != IGNORED
        pairs = zip(shown[chosen].tolist(), targets[chosen].tolist(), strict=True)
        return Counter(outcome(new, old, mask_id) for new, old in pairs)

    shown, targets = draw(1, start)
    picture = sentence_figure(words, encoding.tokens, shown[0].tolist(), targets[0].tolist(), tokenizer, mask_id)
    table = counts_figure(words, count(shown, targets), count(*draw(DRAWS, start)), int(maskable.sum()), share)
    return _figures.result(picture, table)


def sentence_figure(
    words: dict[str, str], tokens: list[str], shown: list[int], targets: list[int], tokenizer: "Tokenizer", mask_id: int
) -> str:
    """Return the tokens, the chosen ones coloured and with their answer."""
    spans, told = [], []
    for true, new, target in zip(tokens, shown, targets, strict=True):
        seen = tokenizer.id_to_token(new) or ""
        if target == IGNORED:
            spans.append(f'<span class="lm-token">{html.escape(true)}</span>')
            continue
        kind = outcome(new, target, mask_id)
        colour = f"background: color-mix(in srgb, var({COLOURS[kind]}) 38%, var(--lm-paper))"
        asked = f"{html.escape(seen)}<small>→ {html.escape(true)}</small>"
        spans.append(f'<span class="lm-token" style="{colour}">{asked}</span>')
        told.append(words[f"as_{kind}"].format(x=true, y=seen))
    twin = words["twin"].format(n=len(tokens), k=len(told), what=words["join"].join(told)) if told else words["none"]
    key = _figures.legend([words[kind] for kind in SHARES])
    return _figures.figure(words["shown"], f'<div class="lm-tokens">{"".join(spans)}</div>{key}', twin)


def counts_figure(
    words: dict[str, str], once: "Counter[str]", often: "Counter[str]", places: int, share: float
) -> str:
    """Return how many tokens met each outcome, this time, over many seeds, and on average by the rule."""
    total = often.total() or 1
    rows = [[words["chosen"], str(once.total()), f"{often.total() / DRAWS / (places or 1):.1%}", f"{share:.0%}"]]
    for kind, part in SHARES.items():
        rows.append([words[f"of_{kind}"], str(once[kind]), f"{often[kind] / total:.1%}", f"{part:.0%}"])
    header = [words["outcome"], words["once"], words["often"], words["expected"]]
    twin = words["law"].format(k=once.total(), mean=share * places, hidden=often["hidden"] / total)
    return _figures.numbers_table(words["counts"], header, rows, twin)


def build(lang: str) -> "gr.Blocks":
    import gradio as gr

    words, (sentence, unit, fraction, seed) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        text = gr.Textbox(sentence, label=words["sentence"], lines=2, max_length=MAX_CHARS)
        with gr.Row():
            units = gr.Radio([(words[key], key) for key in ("token", "word")], value=unit, label=words["unit"])
            fractions = gr.Slider(0.05, 1, fraction, step=0.05, label=words["fraction"])
            seeds = gr.Slider(0, 50, seed, step=1, label=words["seed"])
        inputs = [text, units, fractions, seeds]
        _ui.wire(predict, lang, inputs, gr.HTML(), "bert_pretraining")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
