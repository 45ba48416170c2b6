"""How many training images does which model need? A measurement on handwritten digits, drawn.

Choose the models and what to compare. With few images the simple models keep up with the net or beat it; the cost of
answering and of training tells the rest of the story.
"""

import functools
import importlib.resources
import json
import math
import typing

from demos import _figures, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "数据多少，谁赢谁输", "en": "Who wins with how much data"}
HINT = {
    "zh": "先看准确率，盯住左端的 100 张；再换成参数和时间，看赢家付出了什么。",
    "en": "Look at the accuracy first, at 100 images; then at numbers kept and time: what did the winner pay?",
}
LABELS = {
    "zh": {
        "models": "模型", "measure": "比什么", "logistic": "逻辑回归", "svm": "支持向量机",
        "mlp": "多层感知机", "accuracy": "准确率（%）", "parameters": "模型保存的数（千个）",
        "seconds": "训练用的处理器时间（秒）", "images": "训练图片数",
        "axis": "训练图片数的常用对数：2 是 100 张，3 是 1000 张", "table": "同样的数，写成表",
        "best": "训练图片 {n} 张时：最高的是{model}，{value}；最低的是{other}，{least}。", "join": "",
        "table_twin": "每格是三次随机抽取训练图片的平均（8000 张是全部，不用抽）；准确率在同样的 2000 张"
        "没见过的图片上测。支持向量机用 RBF 核，多层感知机是 784-128-128-10。",
    },
    "en": {
        "models": "Models", "measure": "Compare", "logistic": "logistic regression", "svm": "SVM", "mlp": "MLP",
        "accuracy": "accuracy (%)", "parameters": "numbers kept by the model (thousands)",
        "seconds": "processor time of training (s)", "images": "training images",
        "axis": "log₁₀ of the training images: 2 is 100, 3 is 1,000", "table": "The same numbers as a table",
        "best": "With {n} training images, highest: {model}, {value}; lowest: {other}, {least}.", "join": " ",
        "table_twin": "Each cell is the mean of three random draws of training images (8,000 are all there are); "
        "accuracy is measured on the same 2,000 images, none of them trained on. SVM: support vector machine with the "
        "RBF kernel; MLP: the perceptron 784-128-128-10.",
    },
}  # fmt: skip
MODELS, MEASURES = ("logistic", "svm", "mlp"), ("accuracy", "parameters", "seconds")
SCALE = {"accuracy": 100.0, "parameters": 1e-3, "seconds": 1.0}
FORMAT = {"accuracy": "{:.1f}", "parameters": "{:,.1f}", "seconds": "{:.2f}"}
EXAMPLES = {
    lang: [
        (["logistic", "svm", "mlp"], "accuracy"),
        (["logistic", "svm", "mlp"], "parameters"),
        (["svm", "mlp"], "seconds"),
    ]
    for lang in ("zh", "en")
}


@functools.cache
def measured() -> list[dict[str, typing.Any]]:
    """Return the rows of the measurement that ships with the library."""
    file = importlib.resources.files("largemodels") / "measurements" / "digits_by_size.json"
    rows: list[dict[str, typing.Any]] = json.loads(file.read_text("utf-8"))["rows"]
    return rows


def chosen(value: object) -> list[str]:
    """Return the models to draw, in the order of MODELS."""
    label = _ui.label(LABELS, "models")
    if not isinstance(value, list) or not value:
        raise _ui.InputError(
            zh=f"「{label['zh']}」至少要选一个，收到的是 {_ui.shown(value)}；请勾选一个模型。",
            en=f"“{label['en']}” must name at least one, got {_ui.shown(value)}; tick a model.",
        )
    wanted = {_ui.choice(name, label, MODELS) for name in value}
    return [name for name in MODELS if name in wanted]


def predict(models: object, measure: object, lang: str = "en") -> str:
    """Return the curves of the chosen models over the number of training images, and the same as a table."""
    words, names = LABELS[lang], chosen(models)
    key = _ui.choice(measure, _ui.label(LABELS, "measure"), MEASURES)
    table = {(row["model"], row["images"]): row[key] * SCALE[key] for row in measured()}
    sizes = sorted({size for _, size in table})
    series = [(words[m], [math.log10(n) for n in sizes], [table[m, n] for n in sizes]) for m in names]
    told = []
    for n in (sizes[0], sizes[-1]):
        order = sorted(names, key=lambda name: table[name, n])
        ends = {"value": FORMAT[key].format(table[order[-1], n]), "least": FORMAT[key].format(table[order[0], n])}
        told.append(words["best"].format(n=n, model=words[order[-1]], other=words[order[0]], **ends))
    header = [words["images"], *(words[m] for m in names)]
    rows = [[f"{n:,}", *(FORMAT[key].format(table[m, n]) for m in names)] for n in sizes]
    return _figures.result(
        _figures.curves(words[key], series, words["join"].join(told), x_label=words["axis"], y_label=words[key]),
        _figures.numbers_table(words["table"], header, rows, words["table_twin"]),
    )


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (models, measure) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        boxes = gr.CheckboxGroup([(words[m], m) for m in MODELS], value=models, label=words["models"])
        radio = gr.Radio([(words[m], m) for m in MEASURES], value=measure, label=words["measure"])
        _ui.wire(predict, lang, [boxes, radio], gr.HTML(), "mlp_data_size")
        _ui.examples(lang, EXAMPLES[lang], [boxes, radio])
    return blocks
