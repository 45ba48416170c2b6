"""Every widget that the demos use, through the shared frame: what the style sheet is checked on."""

from demos import _figures, _ui

TITLE = {"zh": "控件", "en": "Widgets"}
HINT = {"zh": "拖动滑块，看图。", "en": "Move the slider, watch the picture."}


def predict(number, text, kind, pick, tick, lang="en"):
    number = _ui.number(number, {"zh": "数", "en": "Number"}, -5, 5)
    xs = [x / 4 for x in range(-20, 21)]
    return _figures.result(
        _figures.bars("p", [("a", 0.7), ("b", 0.3)], "a 0.7, b 0.3"),
        _figures.tokens("t", [("good", number), ("bad", -1.0)], "good, bad"),
        _figures.heat_table("w", ["a", "b"], ["c", "d"], [[0.1, 0.9], [0.6, 0.4]], "a looks at d", corner="q"),
        _figures.words("s", str(text), "text"),
        _figures.curves("y", [("y", xs, [x * x for x in xs])], "a parabola", x_label="x", y_label="y"),
    )


def build(lang):
    import gradio as gr

    zh = lang == "zh"
    with _ui.page(lang, TITLE, HINT) as blocks:
        number = gr.Slider(-5, 5, value=1, step=0.5, label="数" if zh else "Number", info="−5 … 5")
        with gr.Row():
            text = gr.Textbox("春风", label="文字" if zh else "Text", placeholder="…")
            kind = gr.Radio(["relu", "tanh"], value="relu", label="函数" if zh else "Function")
        with gr.Row():
            pick = gr.Dropdown(["a", "b"], value="a", label="选择" if zh else "Choice")
            tick = gr.Checkbox(True, label="因果" if zh else "Causal")
        with gr.Row():
            go = gr.Button("开始" if zh else "Go", variant="primary")
            stop = gr.Button("停止" if zh else "Stop", variant="stop")
            gr.Button("换一个" if zh else "Another", interactive=False)
        inputs = [number, text, kind, pick, tick]
        output = gr.HTML()
        _ui.wire(predict, lang, inputs, output, "widgets")
        event = _ui.wire(predict, lang, inputs, output, "widgets_click", button=go)
        stop.click(None, cancels=[event], api_name=False)
        _ui.examples(lang, [[2, "a", "relu", "a", True], [-2, "b", "tanh", "b", False]], inputs)
    return blocks
