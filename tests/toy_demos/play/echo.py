"""Works: shows a number, streams on a button, and raises with a secret when asked to."""

import html
import time

TITLE = {"zh": "回声", "en": "Echo"}
HINT = {"zh": "改数字。", "en": "Change the number."}


def predict(number, lang="en"):
    if number == 13:
        raise RuntimeError("hunter2 lives in /etc/passwd")
    return f"<p>{lang} {html.escape(str(number))}</p>"


def stream(number, lang="en"):
    for step in range(200):
        time.sleep(0.05)
        yield f"<p>{step}</p>"


def build(lang):
    import gradio as gr

    with gr.Blocks(title=TITLE[lang], analytics_enabled=False) as blocks:
        gr.HTML(f"<h1>{TITLE[lang]}</h1><p>{HINT[lang]}</p>")
        number = gr.Slider(0, 20, value=3, step=1, label={"zh": "数", "en": "Number"}[lang])
        output = gr.HTML()
        go, stop = gr.Button("Go"), gr.Button("Stop")
        gr.on(
            [number.change, blocks.load], lambda n: predict(n, lang), number, output, api_name="echo", preprocess=False
        )
        event = go.click(stream, number, output, api_name="stream")
        stop.click(None, cancels=[event], api_name=False)
    return blocks
