"""Accuracy against the number of labels, with pretraining and without, as the repository's own program measured it.

Choose the methods: which one answers best with 50 labels, and which with 1,000?
"""

import functools
import importlib.resources
import json
import math
import typing

from demos import _figures, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "要标注多少条才够", "en": "How many labels it takes"}
HINT = {
    "zh": "勾选几种方法，看它们在 50 条和 1000 条标注时谁高谁低。",
    "en": "Tick some methods and see which is ahead at 50 labels, and which at 1,000.",
}
LABELS = {
    "zh": {
        "methods": "方法", "tfidf": "TF-IDF + 逻辑回归", "frozen": "冻结编码器 + 逻辑回归", "fine_tuned": "微调",
        "no_pretraining": "不预训练", "title": "中文新闻标题分十类：准确率（%）", "y": "准确率（%）",
        "x": "标注条数的常用对数：1.7 是 50 条，3 是 1000 条", "labels": "方法 / 标注条数", "join": "",
        "best": "标注 {n} 条时：最高的是{model}，{value:.1f}%；最低的是{other}，{least:.1f}%。",
        "draws": "随机抽取标注 {n} 次，在 {test} 条没见过的标题上测：平均，括号里是最低和最高。",
    },
    "en": {
        "methods": "Methods", "tfidf": "TF-IDF + logistic regression", "frozen": "frozen encoder + logistic regression",
        "fine_tuned": "fine-tuned", "no_pretraining": "without pretraining", "y": "accuracy (%)",
        "title": "Chinese headlines, ten classes: accuracy (%)", "labels": "method / labels", "join": " ",
        "x": "log₁₀ of the number of labels: 1.7 is 50, 3 is 1,000",
        "best": "With {n} labels, highest: {model}, {value:.1f}%; lowest: {other}, {least:.1f}%.",
        "draws": "Random draws of labels: {n}, measured on {test} headlines not trained on: the mean, with the lowest "
        "and the highest in brackets.",
    },
}  # fmt: skip
METHODS = ("tfidf", "frozen", "fine_tuned", "no_pretraining")
EXAMPLES = {lang: [(list(METHODS),), (["fine_tuned", "no_pretraining"],), (["tfidf", "frozen"],)] for lang in LABELS}


@functools.cache
def measured() -> dict[str, typing.Any]:
    """Return the measurement that ships with the library."""
    file = importlib.resources.files("largemodels") / "measurements" / "labels_needed.json"
    found: dict[str, typing.Any] = json.loads(file.read_text("utf-8"))
    return found


def predict(methods: object, lang: str = "en") -> str:
    """Return the curves of the chosen methods, and the same as a table."""
    words, label = LABELS[lang], _ui.label(LABELS, "methods")
    if not isinstance(methods, list) or not methods:
        raise _ui.InputError(
            zh=f"「{label['zh']}」至少要选一个，收到的是 {_ui.shown(methods)}；请勾选一种方法。",
            en=f"“{label['en']}” must name at least one, got {_ui.shown(methods)}; tick a method.",
        )
    wanted = {_ui.choice(name, label, METHODS) for name in methods}
    names = [name for name in METHODS if name in wanted]
    found = measured()
    table = {(row["method"], row["labels"]): 100 * row["accuracy"] for row in found["rows"]}
    sizes = sorted({size for _, size in table})
    told = []
    for n in (sizes[0], sizes[-1]):
        order = sorted(names, key=lambda name: table[name, n])
        low, high = order[0], order[-1]
        ends = {"model": words[high], "value": table[high, n], "other": words[low], "least": table[low, n]}
        told.append(words["best"].format(n=n, **ends))
    about = words["draws"].format(n=len(found["about"]["seeds"]), test=found["about"]["test_headlines"])
    series = [(words[m], [math.log10(n) for n in sizes], [table[m, n] for n in sizes]) for m in names]
    draws = {(row["method"], row["labels"]): [100 * a for a in row["accuracies"]] for row in found["rows"]}
    cells = {at: f"{table[at]:.1f} ({min(a):.0f}–{max(a):.0f})" for at, a in draws.items()}
    rows = [[words[m], *(cells[m, n] for n in sizes)] for m in names]
    twin = words["join"].join(told)
    return _figures.result(
        _figures.curves(words["title"], series, twin, x_label=words["x"], y_label=words["y"]),
        _figures.numbers_table(words["title"], [words["labels"], *(f"{n:,}" for n in sizes)], rows, about),
    )


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words = LABELS[lang]
    with _ui.page(lang, TITLE, HINT) as blocks:
        boxes = gr.CheckboxGroup([(words[m], m) for m in METHODS], value=list(METHODS), label=words["methods"])
        _ui.wire(predict, lang, [boxes], gr.HTML(), "fine_tuning")
        _ui.examples(lang, EXAMPLES[lang], [boxes])
    return blocks
