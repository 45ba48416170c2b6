"""Accuracy against distance for an RNN, an LSTM and a Transformer, as the repository's own program measured it.

Compare two of them: up to which distance does each still know the first token?
"""

import json
import statistics
import typing
from importlib import resources

from demos import _figures, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

MODELS = ("RNN", "LSTM", "Transformer")
VIEWS = ("all three", *MODELS)
TITLE = {"zh": "隔得多远还记得", "en": "How far back it remembers"}
HINT = {
    "zh": "一个一个地选，看每种网络的正确率在多远的地方掉到瞎猜的水平。",
    "en": "Choose one after another and see at which distance each falls to the level of guessing.",
}
LABELS = {
    "zh": {
        "view": "看哪一种",
        "title": "隔着干扰认出第一个词元：正确率与距离",
        "x": "距离（词元）",
        "y": "正确率",
        "chance": "瞎猜",
        "twin": "{name}（{parameters} 个参数）：{numbers}。",
        "number": "距离 {d} 时 {a:.0%}",
        "setting": "每个点从零训练 {seeds} 次取平均，每次最多 {steps} 步；瞎猜是 {chance:.1%}。",
    },
    "en": {
        "view": "Which one",
        "title": "Naming the first token past distraction: accuracy against distance",
        "x": "distance (tokens)",
        "y": "accuracy",
        "chance": "guessing",
        "twin": "{name} ({parameters} parameters): {numbers}.",
        "number": "{a:.0%} at distance {d}",
        "setting": "Each point is the mean of {seeds} trainings from scratch of at most {steps} steps; guessing "
        "gives {chance:.1%}.",
    },
}
EXAMPLES = {lang: [(view,) for view in VIEWS] for lang in ("zh", "en")}


def predict(view: object, lang: str = "en") -> str:
    """Return the measured curves of the chosen models."""
    words = LABELS[lang]
    chosen = _ui.choice(view, _ui.label(LABELS, "view"), VIEWS)
    found = json.loads(resources.files("largemodels").joinpath("measurements/recall.json").read_text("utf-8"))
    distances, chance = found["distances"], found["chance"]
    series: list[_figures.Series] = []
    twins = []
    for name in MODELS if chosen == VIEWS[0] else (chosen,):
        means = [statistics.mean(runs) for runs in found["accuracy"][name]]
        series.append((name, distances, means))
        numbers = (", " if lang == "en" else "，").join(
            words["number"].format(d=d, a=a) for d, a in zip(distances, means, strict=True)
        )
        twins.append(words["twin"].format(name=name, parameters=found["parameters"][name], numbers=numbers))
    series.append((words["chance"], [distances[0], distances[-1]], [chance, chance]))
    twins.append(words["setting"].format(seeds=found["seeds"], steps=found["steps"], chance=chance))
    glue = " " if lang == "en" else ""
    return _figures.curves(
        words["title"], series, glue.join(twins), x_label=words["x"], y_label=words["y"], y_range=(0, 1.05)
    )


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    with _ui.page(lang, TITLE, HINT) as blocks:
        view = gr.Radio(list(VIEWS), value=VIEWS[0], label=LABELS[lang]["view"])
        output = gr.HTML()
        _ui.wire(predict, lang, [view], output, "lstm_recall")
        _ui.examples(lang, EXAMPLES[lang], [view])
    return blocks
