"""What a longer sequence costs: time and memory of one training step of an RNN, an LSTM and attention.

Switch from time to memory, and compare attention as the formula has it with PyTorch's fused form.
"""

import json
import typing
from importlib import resources

from demos import _figures, _ui

if typing.TYPE_CHECKING:
    import gradio as gr

QUANTITIES = {"time": "milliseconds", "memory": "kilobytes"}
TITLE = {"zh": "序列变长，要付多少", "en": "The price of a longer sequence"}
HINT = {
    "zh": "先看时间，再换成内存；把最大长度调小，看短序列上谁快。",
    "en": "Look at time, then at memory; lower the longest length to see who is fast on short sequences.",
}
LABELS = {
    "zh": {
        "quantity": "量什么（time 时间，memory 内存）",
        "longest": "最大长度（词元）",
        "time": "一步训练（前向加反向）的毫秒数",
        "memory": "为反向传播留着的千字节数",
        "x": "长度 T（词元）",
        "ms": "毫秒",
        "kB": "kB",
        "twin": "长度从 {a} 到 {b}，{parts}。",
        "part": "{name} 变成 {ratio:.1f} 倍",
        "setting": "宽度 {width}，每批 {batch} 条，一个 CPU 线程，取几次里最快的一次；换一台机器，绝对数会变。",
    },
    "en": {
        "quantity": "What to measure",
        "longest": "Longest sequence (tokens)",
        "time": "Milliseconds of one training step, forward and backward",
        "memory": "Kilobytes kept for the backward pass",
        "x": "length T (tokens)",
        "ms": "ms",
        "kB": "kB",
        "twin": "From length {a} to {b}: {parts}.",
        "part": "{name} grows {ratio:.1f} times",
        "setting": "Width {width}, {batch} sequences, one CPU thread, the fastest of several passes; another machine "
        "gives other absolute numbers.",
    },
}
EXAMPLES = {lang: [("time", 1024), ("memory", 1024), ("time", 128)] for lang in ("zh", "en")}


def predict(quantity: object, longest: object, lang: str = "en") -> str:
    """Return the measured curves up to the chosen length."""
    words = LABELS[lang]
    chosen = _ui.choice(quantity, _ui.label(LABELS, "quantity"), tuple(QUANTITIES))
    found = json.loads(resources.files("largemodels").joinpath("measurements/step_time.json").read_text("utf-8"))
    top = _ui.integer(longest, _ui.label(LABELS, "longest"), found["lengths"][2], found["lengths"][-1])
    lengths = [length for length in found["lengths"] if length <= top]
    values = {name: list(row[: len(lengths)]) for name, row in found[QUANTITIES[chosen]].items()}
    series = [(name, lengths, row) for name, row in values.items()]
    parts = (", " if lang == "en" else "，").join(
        words["part"].format(name=name, ratio=row[-1] / row[-2]) for name, row in values.items()
    )
    twin = words["twin"].format(a=lengths[-2], b=lengths[-1], parts=parts)
    twin += (" " if lang == "en" else "") + words["setting"].format(width=found["width"], batch=found["batch"])
    unit = words["ms" if chosen == "time" else "kB"]
    return _figures.curves(words[chosen], series, twin, x_label=words["x"], y_label=unit)


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words = LABELS[lang]
    with _ui.page(lang, TITLE, HINT) as blocks:
        quantity = gr.Radio(list(QUANTITIES), value="time", label=words["quantity"])
        longest = gr.Slider(64, 1024, value=1024, step=64, label=words["longest"])
        output = gr.HTML()
        _ui.wire(predict, lang, [quantity, longest], output, "recurrent_step_time")
        _ui.examples(lang, EXAMPLES[lang], [quantity, longest])
    return blocks
