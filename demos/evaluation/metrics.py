"""A thousand examples, few of them “yes”: what accuracy says of a classifier, and what it hides.

It opens with a classifier that always says no: 95% accuracy, nothing found. Raise the share of yes that it finds and
the share of no that it takes for yes: accuracy falls although the classifier has become useful. Then move the class
share: recall stays, precision falls with the share of yes.
"""

import typing

from demos import _figures, _ui

if typing.TYPE_CHECKING:
    import gradio as gr
    from torch import Tensor

TITLE = {"zh": "准确率 95%，却什么也没找到", "en": "95% accuracy, and nothing found"}
HINT = {
    "zh": "现在它对谁都说“否”。把召回率拉到 80、误报率拉到 8：分类器有用了，准确率反而降了。",
    "en": "It always says no. Set the share found to 80, the false alarms to 8: now it is useful, and less accurate.",
}
LABELS = {
    "zh": {
        "share": "真正是“是”的占多少（%）", "found": "“是”当中找到多少（召回率，%）",
        "alarms": "“否”当中误报多少（%）",
        "table": "混淆矩阵：1000 个样本", "yes": "是", "no": "否", "corner": "真实 → 判为",
        "table_twin": "真正的“是”有 {yes} 个，找到 {tp} 个，漏掉 {fn} 个；{no} 个“否”里误报了 {fp} 个。",
        "bars": "同一张矩阵，几个分数", "accuracy": "准确率", "lazy": "只猜多数类",
        "precision": "精确率（是）", "recall": "召回率（是）", "f1": "F1（是）",
        "macro": "宏平均 F1", "micro": "微平均 F1",
        "bars_twin": "准确率 {accuracy:.1%}，只猜多数类也有 {lazy:.1%}。宏平均 F1 是 {macro:.3f}；"
        "微平均 F1 就是准确率。",
        "never": "一个“是”也没判过，精确率按 0 算。",
        "curves": "召回率和误报率不变，只改“是”的占比", "x": "“是”的占比（%）", "y": "分数",
        "curves_twin": "“是”占 {share}% 时，精确率 {now:.3f}，各占一半时 {half:.3f}。召回率不随占比变，精确率会变。",
        "curves_nothing": "一个也没找到，精确率、召回率、F1 始终是 0；“是”越少，准确率越高。",
    },
    "en": {
        "share": "Share of yes among all (%)", "found": "Share of yes that is found (recall, %)",
        "alarms": "Share of no taken for yes (false alarms, %)",
        "table": "Confusion matrix of 1000 examples", "yes": "yes", "no": "no", "corner": "true → said",
        "table_twin": "Of {yes} true yes, {tp} are found and {fn} missed; of {no} no, {fp} are false alarms.",
        "bars": "One matrix, several scores", "accuracy": "accuracy", "lazy": "baseline",
        "precision": "precision (yes)", "recall": "recall (yes)", "f1": "F1 (yes)", "macro": "macro F1",
        "micro": "micro F1",
        "bars_twin": "Accuracy {accuracy:.1%}; the baseline, always the larger class, has {lazy:.1%}. "
        "Macro F1 {macro:.3f}; micro F1 is accuracy itself.",
        "never": "It never said yes; its precision counts as 0.",
        "curves": "Recall and false alarms held, only the share of yes changes", "x": "share of yes (%)", "y": "score",
        "curves_twin": "At {share}% yes the precision is {now:.3f}, at one half {half:.3f}. Recall does not move with "
        "the share, precision does.",
        "curves_nothing": "Nothing is found: precision, recall and F1 stay 0. The rarer yes, the higher accuracy.",
    },
}  # fmt: skip
EXAMPLES = {lang: [(5, 0, 0), (5, 80, 8), (50, 80, 8), (1, 99, 1)] for lang in ("zh", "en")}
SHOWN, FINE = 1000, 10**6  # examples in the table, and in the curves, where rounding must show no steps


def matrix(share: float, found: float, alarms: float, examples: int) -> "Tensor":
    """Return the confusion matrix that shares in per cent lead to."""
    import torch

    yes = round(examples * share / 100)
    hits, false = round(yes * found / 100), round((examples - yes) * alarms / 100)
    return torch.tensor([[examples - yes - false, false], [yes - hits, hits]])


def scores(cells: "Tensor") -> dict[str, float]:
    """Return every score of a confusion matrix by name."""
    from largemodels.evaluation.metrics import accuracy, precision_recall_f1

    values = {"accuracy": accuracy(cells).item(), "lazy": cells.sum(1).max().item() / cells.sum().item()}
    for name, of_class in zip(("precision", "recall", "f1"), precision_recall_f1(cells), strict=True):
        values[name] = of_class[1].item()
    return values | {how: precision_recall_f1(cells, how)[2].item() for how in ("macro", "micro")}


def predict(share: object, found: object, alarms: object, lang: str = "en") -> str:
    """Return the confusion matrix, its scores, and the scores over the class share."""
    words = LABELS[lang]
    share = _ui.integer(share, _ui.label(LABELS, "share"), 1, 99)
    found = _ui.integer(found, _ui.label(LABELS, "found"), 0, 100)
    alarms = _ui.integer(alarms, _ui.label(LABELS, "alarms"), 0, 100)
    cells = matrix(share, found, alarms, SHOWN)
    (tn, fp), (fn, tp) = cells.tolist()
    names = [words["no"], words["yes"]]
    twin = words["table_twin"].format(yes=fn + tp, no=tn + fp, tp=tp, fn=fn, fp=fp)
    table = _figures.heat_table(words["table"], names, names, cells.tolist(), twin, digits=0, corner=words["corner"])
    now = scores(cells)
    twin = words["bars_twin"].format(**now) + ("" if tp + fp else " " * (lang == "en") + words["never"])
    bars = _figures.bars(words["bars"], [(words[name], value) for name, value in now.items()], twin, maximum=1)
    shares = [1, *range(4, 99, 4), 99]
    over = [scores(matrix(s, found, alarms, FINE)) for s in shares]
    lines = [
        (words[name], shares, [at[name] for at in over]) for name in ("accuracy", "precision", "recall", "f1", "macro")
    ]
    half = scores(matrix(50, found, alarms, FINE))["precision"]
    twin = words["curves_twin" if found else "curves_nothing"].format(share=share, now=now["precision"], half=half)
    curves = _figures.curves(
        words["curves"], lines, twin,
        x_label=words["x"], y_label=words["y"], marks=[(share, now["accuracy"], words["accuracy"])],
        y_range=(-0.03, 1.06),
    )  # fmt: skip
    return _figures.result(table, bars, curves)


def build(lang: str) -> "gr.Blocks":
    import gradio as gr

    words, first = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        share = gr.Slider(1, 99, first[0], step=1, label=words["share"])
        with gr.Row():
            found = gr.Slider(0, 100, first[1], step=1, label=words["found"])
            alarms = gr.Slider(0, 100, first[2], step=1, label=words["alarms"])
        _ui.wire(predict, lang, [share, found, alarms], gr.HTML(), "metrics")
        _ui.examples(lang, EXAMPLES[lang], [share, found, alarms])
    return blocks
