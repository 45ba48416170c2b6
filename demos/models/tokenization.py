"""One text, cut by six tokenizers: those of the models on this site, and a byte-level BPE of our own.

Type Chinese or English. Each block is a token: how it is written, its number, its bytes. Then add an emoji, a rare
character or a second space, and see who loses it; at 0 merges our BPE shows the bare bytes.
"""

import functools
import html
import itertools
import typing

from demos import _figures, _models, _ui
from largemodels.models._pieces import Piece, open_tokenizer, pieces, spell
from largemodels.models.tokenization import ByteBpe

if typing.TYPE_CHECKING:
    import gradio as gr
    from tokenizers import Tokenizer

TITLE = {"zh": "同一段文字，六种切法", "en": "One text, cut in six ways"}
HINT = {
    "zh": "输入一句话，比一比各切成几块；加一个表情或生僻字，看谁丢了它；再把合并次数拖到 0，看字节。",
    "en": "Type a sentence and compare; add an emoji and see who loses it; drag the merges to 0 and see bare bytes.",
}
LABELS = {
    "zh": {
        "text": "文字（中文或英文）", "merges": "我们的 BPE 合并几次", "table": "切成多少个词元",
        "tokenizer": "分词器", "tokens": "词元数", "per": "每词元字符数", "lost": "不认识的",
        "poem-gpt-zh": "poem-gpt-zh：按字", "shakespeare-gpt-en": "shakespeare-gpt-en：按字母",
        "sentiment-bert-zh-en": "sentiment-bert-zh-en：Unigram", "bilingual-bert": "bilingual-bert：WordPiece",
        "translator-en-zh": "translator-en-zh：字节级 BPE", "ours": "我们从零训练的：字节级 BPE",
        "twin": "最少 {low} 个（{best}），最多 {high} 个（{worst}）。这段文字有 {chars} 个字符、{size} 个字节。",
        "all": "{n} 个词元，都认识。", "some": "{n} 个词元，不认识：{lost}", "none": "无", "more": "……另有 {n} 块",
        "special": "另加 {n} 个特殊词元，不计在内。",
        "learned": "在 {chars} 个字符的语料上学了 {n} 次合并。",
    },
    "en": {
        "text": "Text (Chinese or English)", "merges": "Merges of our BPE", "table": "How many tokens it takes",
        "tokenizer": "tokenizer", "tokens": "tokens", "per": "chars/token", "lost": "unknown",
        "poem-gpt-zh": "poem-gpt-zh: characters", "shakespeare-gpt-en": "shakespeare-gpt-en: characters",
        "sentiment-bert-zh-en": "sentiment-bert-zh-en: Unigram", "bilingual-bert": "bilingual-bert: WordPiece",
        "translator-en-zh": "translator-en-zh: byte-level BPE", "ours": "ours, from scratch: byte-level BPE",
        "twin": "Fewest: {low} ({best}); most: {high} ({worst}). The text has {chars} characters, {size} bytes.",
        "all": "{n} tokens, nothing unknown.", "some": "{n} tokens, unknown: {lost}", "none": "none",
        "more": "… and {n} more blocks", "special": "Special tokens, not counted: {n}.",
        "learned": "It learned {n} merges from a corpus of {chars} characters.",
    },
}  # fmt: skip
SHIPPED = ("poem-gpt-zh", "shakespeare-gpt-en", "sentiment-bert-zh-en", "bilingual-bert", "translator-en-zh")
CORPUS = """
The rain came down on the town, and the children in the town ran down to the river.
They were talking and walking and singing, and the singing was louder than the rain.
"Where are the others?" asked the teacher. "They are waiting there, under the bridge," the children answered.
The teacher was a patient woman: she waited for the rain, she waited for the children, she waited for the others.
There is nothing better than reading in the evening when the rain is falling and the street is empty.
Learning to read is learning to guess what comes next; a machine learns it in the same way, one token at a time.
春天的雨下在小城里，孩子们跑到河边去看雨。老师说，雨停了我们就回学校，孩子们说，雨不停我们就不回去！
今天的天气不好，明天的天气会好吗？今天下雨，我们不去公园，明天天气好了，我们再去公园散步吧！
河边的桥下站着很多人，他们在等雨停，也在说话。有人说今天的雨真大，有人说春天的雨真好，大家都说雨停了就回家。
老师在学校里教孩子们读书写字，读书就是学着猜下一个字，机器学习也是这样，一个词元一个词元地猜。
我们的语言里有很多常用的字，常用的字连在一起就是常用的词。模型看见的不是字，也不是词，是一个一个的编号。
雨真的停了，孩子们真的回家了，老师也回家了。小城里真安静，公园里没有人，只有河水在说话。
"""
MAX_CHARS, MAX_MERGES, MAX_BLOCKS = 120, 200, 60
VISIBLE = {" ": "␣", "▁": "␣", "\n": "⏎", "\t": "⇥"}
ZH = ("今天的天气真好，我们去公园散步吧！", 200)
EN = ("They weren't talking: the unbelievable singing was louder!", 200)
EXAMPLES = {
    "zh": [ZH, ("我爱 café ☕，饕餮也爱 🐼", 100), EN, ("你好", 0)],
    "en": [EN, ("I love café ☕, 你好 🐼", 100), ZH, ("Hi 你", 0)],
}


@functools.cache
def load(name: str) -> "Tokenizer":
    return _models.shipped(open_tokenizer, name)


@functools.cache
def trained() -> ByteBpe:
    """Train our own once: with fewer merges it is the beginning of the same list."""
    return ByteBpe.train(CORPUS.splitlines(), 256 + MAX_MERGES, min_frequency=2)


def visible(text: str) -> str:
    """Write what cannot be seen so that it can."""
    text = spell(text.encode())
    return "".join(VISIBLE.get(c, c if c.isprintable() else f"<U+{ord(c):04X}>") for c in text)


def block(run: list[Piece], place: int) -> str:
    """Return one token as a coloured block: text, number, bytes; a run of unknown ones as one block."""
    first, times = run[0], f" × {len(run)}" if len(run) > 1 else ""
    strength = {"text": 22 + 33 * (place % 2), "special": 0, "unknown": 100}[first.kind]
    css = "lm-warm" if first.kind == "unknown" else "lm-cold"
    data = first.data.hex(" ").upper() + (" …" if times else "")
    return (
        f'<span class="lm-token {css}" style="--s:{strength}%"><bdi>{html.escape(visible(first.text) + times)}</bdi>'
        f"<small>{first.number}</small><small>{data or '–'}</small></span>"
    )


def picture(title: str, found: list[Piece], words: dict[str, str], extra: str = "") -> str:
    """Return the tokens of one tokenizer as a figure."""
    runs: list[list[Piece]] = []
    for unknown, group in itertools.groupby(found, lambda piece: piece.kind == "unknown"):
        run = list(group)
        runs += [run] if unknown else [[piece] for piece in run]
    blocks = "".join(block(run, place) for place, run in enumerate(runs[:MAX_BLOCKS]))
    rest = words["more"].format(n=len(runs) - MAX_BLOCKS) if len(runs) > MAX_BLOCKS else ""
    lost = " ".join(dict.fromkeys(visible(piece.data.decode()) for piece in found if piece.kind == "unknown"))
    special = sum(piece.kind == "special" for piece in found)
    told = [words["some" if lost else "all"].format(lost=lost, n=len(found) - special)]
    told += [words["special"].format(n=special)] if special else []
    return _figures.figure(title, f'<div class="lm-tokens">{blocks}{rest}</div>', " ".join([*told, extra]).strip())


def predict(text: object, merges: object, lang: str = "en") -> str:
    """Return how many tokens each tokenizer needs, and the tokens of each."""
    words = LABELS[lang]
    text = _ui.text(text, _ui.label(LABELS, "text"), MAX_CHARS)
    count = _ui.integer(merges, _ui.label(LABELS, "merges"), 0, MAX_MERGES)
    ours = ByteBpe(trained().merges[:count])
    found = {name: pieces(load(name), text) for name in SHIPPED}
    found["ours"] = [Piece(n, spell(ours.pieces[n]), ours.pieces[n], "text") for n in ours.encode(text)]
    sizes = {name: sum(piece.kind != "special" for piece in row) for name, row in found.items()}
    unknown = {name: [piece for piece in row if piece.kind == "unknown"] for name, row in found.items()}
    rows = [
        [words[name], str(size), f"{len(text) / size:.1f}" if size else "–", str(len(unknown[name]) or words["none"])]
        for name, size in sizes.items()
    ]
    best, worst = min(sizes, key=lambda name: sizes[name]), max(sizes, key=lambda name: sizes[name])
    twin = words["twin"].format(
        low=sizes[best], best=words[best], high=sizes[worst], worst=words[worst], chars=len(text),
        size=len(text.encode()),
    )  # fmt: skip
    header = [words[key] for key in ("tokenizer", "tokens", "per", "lost")]
    learned = words["learned"].format(chars=len(CORPUS), n=count)
    return _figures.result(
        _figures.numbers_table(words["table"], header, rows, twin),
        *(picture(words[name], row, words, learned if name == "ours" else "") for name, row in found.items()),
    )


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (text, merges) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        inputs = [
            gr.Textbox(text, label=words["text"], lines=2, max_length=MAX_CHARS),
            gr.Slider(0, MAX_MERGES, merges, step=1, label=words["merges"]),
        ]
        _ui.wire(predict, lang, inputs, gr.HTML(), "tokenization")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
