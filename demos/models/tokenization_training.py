"""A vocabulary grows, one merge at a time: count the neighbours, join the most frequent pair, count again.

Drag the number of merges. Byte-level BPE first glues the bytes of a Chinese character together, then characters to
words; WordPiece never joins two Chinese characters, because it cuts between them beforehand.
"""

import html
import typing
from collections import Counter
from itertools import pairwise

from demos import _figures, _ui
from largemodels.models import _words
from largemodels.models._pieces import spell
from largemodels.models.tokenization import ByteBpe, WordPiece

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "看一个词表长出来", "en": "Watch a vocabulary grow"}
HINT = {
    "zh": "把“合并次数”从 0 往右拖，看表里的第一名怎样变成一块；再换成 WordPiece。",
    "en": "Drag “merges” up from 0 and watch the first row of the table become one piece; then choose WordPiece.",
}
LABELS = {
    "zh": {
        "corpus": "训练语料", "kind": "算法", "bpe": "字节级 BPE", "wordpiece": "WordPiece", "merges": "合并次数",
        "words": "合并 {n} 次之后，语料里的词", "pairs": "接下来合并哪一对？", "pair": "相邻的一对", "count": "次数",
        "next": "下一次合并“{left}”和“{right}”：它们相邻 {count} 次，次数最多（一样多时，编号小的先）。",
        "end": "没有可合并的了：每个词都已经是一整块。", "last": "刚学会的一块是“{piece}”。", "start": "还没有合并。",
        "size": "词表现有 {size} 块，语料共 {total} 个词元。", "none": "——",
        "more": "……另有 {n} 个词",
    },
    "en": {
        "corpus": "Training corpus", "kind": "Algorithm", "bpe": "byte-level BPE", "wordpiece": "WordPiece",
        "merges": "Merges", "words": "The words of the corpus after {n} merges", "pairs": "Which pair is next?",
        "pair": "neighbours", "count": "times",
        "next": "Next, “{left}” and “{right}” are joined: {count} times side by side, the most (in a tie, smaller "
        "numbers first).",
        "end": "Nothing is left to join: each word is one piece.", "last": "The piece just learned is “{piece}”.",
        "start": "No merge yet.", "size": "The vocabulary has {size} pieces, the corpus {total} tokens.", "none": "—",
        "more": "… and {n} more words",
    },
}  # fmt: skip
KINDS = ("bpe", "wordpiece")
LOW = "low low low low low lower lower newest newest newest newest newest newest widest widest widest"
RAIN = "下雨了，雨下得很大。雨大，风也大，大风大雨。"
EXAMPLES = {
    "zh": [(RAIN, "bpe", 12), (LOW, "bpe", 4), (LOW, "wordpiece", 4), (RAIN, "wordpiece", 6)],
    "en": [(LOW, "bpe", 4), (RAIN, "bpe", 12), (LOW, "wordpiece", 4), (RAIN, "wordpiece", 6)],
}
MAX_CHARS, MAX_MERGES, SHOWN_WORDS, SHOWN_PAIRS = 400, 80, 16, 6


Cut = list[tuple[list[int], int]]  # the words of a corpus, as numbers, and how often each occurs


def train(corpus: str, kind: str, merges: int) -> tuple[list[str], int, Cut]:
    """Return the pieces as they are shown, how many there were before any merge, and the words cut into pieces."""
    trained: ByteBpe | WordPiece
    if kind == "bpe":
        trained, base = ByteBpe.train([corpus], 256 + merges), 256
        names, words = [spell(piece) for piece in trained.pieces], _words.gpt2_words(corpus)
    else:
        base = len(WordPiece.train([corpus], 10**6, min_frequency=10**6).vocab)
        trained = WordPiece.train([corpus], base + merges)
        names, words = list(trained.vocab), _words.bert_words(corpus)
    return [visible(name) for name in names], base, [(trained.encode(w), n) for w, n in Counter(words).items()]


def visible(text: str) -> str:
    """Write spaces and line ends so that they can be seen."""
    shown = spell(text.encode()).replace(" ", "␣").replace("\n", "⏎")
    return "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in shown)


def predict(corpus: object, kind: object, merges: object, lang: str = "en") -> str:
    """Return the words of the corpus as they are cut now, and the most frequent pairs of neighbours."""
    words = LABELS[lang]
    corpus = _ui.text(corpus, _ui.label(LABELS, "corpus"), MAX_CHARS)
    kind = _ui.choice(kind, _ui.label(LABELS, "kind"), KINDS)
    names, base, cut = train(corpus, kind, _ui.integer(merges, _ui.label(LABELS, "merges"), 0, MAX_MERGES))
    learned = len(names) - base
    found: Counter[tuple[int, int]] = Counter()
    for ids, times in cut:
        for pair in pairwise(ids):
            found[pair] += times
    best = sorted(found, key=lambda pair: (-found[pair], pair))[:SHOWN_PAIRS]
    told = [words["last"].format(piece=names[-1]) if learned else words["start"]]
    told.append(words["size"].format(size=len(names), total=sum(times * len(ids) for ids, times in cut)))
    left, right = (names[number] for number in best[0]) if best else ("", "")
    after = words["next"].format(left=left, right=right, count=found[best[0]]) if best else words["end"]
    rows = [[f"{names[a]} + {names[b]}", str(found[a, b])] for a, b in best] or [[words["none"], words["none"]]]
    title, shown = words["words"].format(n=learned), cut[:SHOWN_WORDS]
    more = words["more"].format(n=len(cut) - SHOWN_WORDS) if len(cut) > SHOWN_WORDS else ""
    table = "".join(row([names[number] for number in ids], times) for ids, times in shown)
    return _figures.result(
        _figures.figure(title, f'<table class="lm-table"><tbody>{table}</tbody></table>{more}', " ".join(told)),
        _figures.numbers_table(words["pairs"], [words["pair"], words["count"]], rows, after),
    )


def row(pieces: list[str], times: int) -> str:
    """Return one word as a row of coloured blocks, and how often it occurs."""
    blocks = "".join(
        f'<span class="lm-token lm-cold" style="--s:{22 + 33 * (place % 2)}%"><bdi>{html.escape(piece)}</bdi></span>'
        for place, piece in enumerate(pieces)
    )
    return f'<tr><th scope="row">{times} ×</th><td><div class="lm-tokens">{blocks}</div></td></tr>'


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (corpus, kind, merges) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        inputs = [
            gr.Textbox(corpus, label=words["corpus"], lines=2, max_length=MAX_CHARS),
            gr.Radio([(words[key], key) for key in KINDS], value=kind, label=words["kind"]),
            gr.Slider(0, MAX_MERGES, merges, step=1, label=words["merges"]),
        ]
        _ui.wire(predict, lang, inputs, gr.HTML(), "tokenization_training")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
