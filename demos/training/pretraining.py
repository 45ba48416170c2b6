"""Watch a tiny GPT learn to write, from random letters to sentences, and see it begin to recite.

The text in the box is all it ever reads; the last eighth is kept back to examine it. With fifty simple lines it learns
words and lines; with a few hundred rare characters it recites, and the loss on the unseen part climbs.
"""

import html
import math
import typing
from collections.abc import Iterator

from demos import _figures, _reading, _texts, _ui
from largemodels.training._live import TEMPERATURE, Moment, parameters, split, watch
from largemodels.training.pretraining import Settings

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "现场预训练一个 GPT", "en": "Pretrain a GPT live"}
HINT = {
    "zh": "点“训练”，看它从乱写到成句；再选第二个例子，看没读过的那部分损失怎样掉头往上；也可以贴上自己的文字。",
    "en": "Press Train and watch letters become sentences; the second example makes it recite; or paste your own text.",
}
LABELS = {
    "zh": {
        "text": "它要读的文字（200 到 5,000 个字符）", "steps": "步数", "lr": "学习率", "seed": "种子",
        "run": "训练", "stop": "停",
        "losses": "每个字符的损失（{parameters:,} 个参数，读 {read} 个字符，{unseen} 个留着不读）",
        "training": "读过的", "held_out": "没读过的", "guess": "乱猜", "step": "步", "loss": "奈特每字符",
        "best": "第 {n} 步", "samples": "它写的", "at": "步数", "writes": "写出来的",
        "copied": "最长照抄", "characters": "{n} 个字",
        "start": "还没有训练：读过的 {loss:.2f}，没读过的 {held_out:.2f}，和乱猜差不多。",
        "running": "走到第 {step} 步：{seconds:.0f} 秒，每秒 {speed:,.0f} 个字符；读过的 {loss:.2f}，"
        "没读过的 {held_out:.2f}。",
        "time": "时间到了：只走完 {step} 步。",
        "over": "过拟合：读过的降到 {loss:.2f}，没读过的在第 {best} 步降到 {lowest:.2f} 之后，回升到 {held_out:.2f}；"
        "它在背书。",
        "worse": "过拟合：读过的降到 {loss:.2f}；没读过的是 {held_out:.2f}，比乱猜的 {guess:.2f} 还差。它只是在背书。",
        "good": "还没有过拟合：读过的 {loss:.2f}，没读过的 {held_out:.2f}，乱猜是 {guess:.2f}。",
        "failed": "损失在第 {step} 步变得不是数了：学习率太大，请调小。",
        "twin": "同一个种子，同一个开头（换行之后），温度 {temperature}。开始时是“{first}”，现在是“{last}”。",
    },
    "en": {
        "text": "The text it reads (200 to 5,000 characters)", "steps": "Steps", "lr": "Learning rate",
        "seed": "Seed", "run": "Train", "stop": "Stop",
        "losses": "Loss per character ({parameters:,} parameters, {read} characters read, {unseen} kept back)",
        "training": "text it reads", "held_out": "text kept back", "guess": "guessing", "step": "step",
        "loss": "nats per character", "best": "step {n}", "samples": "What it writes", "at": "Step",
        "writes": "It writes", "copied": "Longest stretch copied", "characters": "{n} characters",
        "start": "Before any training: {loss:.2f} on the text it reads, {held_out:.2f} on the text kept back, about "
        "as good as guessing.",
        "running": "Step {step} after {seconds:.0f} s, {speed:,.0f} characters a second: {loss:.2f} on the text it "
        "reads, {held_out:.2f} on the text kept back.",
        "time": "Time is up after {step} steps. ",
        "over": "Overfitting: {loss:.2f} on the text it reads; on the text kept back the loss fell to {lowest:.2f} at "
        "step {best} and is back at {held_out:.2f}. It has begun to recite.",
        "worse": "Overfitting: {loss:.2f} on the text it reads, {held_out:.2f} on the text kept back, worse than "
        "guessing ({guess:.2f}). It only recites.",
        "good": "No overfitting yet: {loss:.2f} on the text it reads, {held_out:.2f} on the text kept back; guessing "
        "scores {guess:.2f}.",
        "failed": "At step {step} the loss stopped being a number: the learning rate is too high, lower it.",
        "twin": "The same seed and the same beginning (after a line’s end), temperature {temperature}. First: "
        "“{first}”. Now: “{last}”.",
    },
}  # fmt: skip
SECONDS, LOOKS = 40.0, 12  # at most; how often the pictures are drawn
MOST_STEPS = 2_000
EXAMPLES = {
    "zh": [(_texts.ANIMALS_ZH, 120, 0.01, 1), (_texts.QUATRAINS, 120, 0.01, 1)],
    "en": [(_texts.ANIMALS_EN, 180, 0.01, 1), (_texts.SNOW, 120, 0.01, 1)],
}
NAMES = {"zh": ["小动物", "唐人绝句（会背下来）"], "en": ["Animals", "Snow (few lines: it recites)"]}


def told(history: list[Moment], steps: int, guess: float, ended: bool, lang: str) -> str:
    """Return what the curves say, in words."""
    words, last = LABELS[lang], history[-1]
    best = min(history, key=lambda moment: moment.held_out)
    if not math.isfinite(last.loss):
        kind = "failed"
    elif not ended:
        kind = "running" if last.step else "start"
    elif last.held_out > 1.03 * best.held_out + 0.02:
        kind = "worse" if last.held_out > guess else "over"
    else:
        kind = "good"
    sentences = words["time"] + words[kind] if ended and kind != "failed" and last.step < steps else words[kind]
    return sentences.format(
        step=last.step, loss=last.loss, held_out=last.held_out, best=best.step, lowest=best.held_out, guess=guess,
        seconds=last.seconds, speed=last.tokens / max(last.seconds, 1e-9),
    )  # fmt: skip


def pictures(history: list[Moment], sizes: dict[str, int], steps: int, ended: bool, lang: str) -> str:
    """Return the curves, and what the model wrote at some of the moments."""
    words, seen = LABELS[lang], [moment for moment in history if math.isfinite(moment.loss)]
    guess, numbers = math.log(sizes["characters"]), [moment.step for moment in seen]
    best = min(seen, key=lambda moment: moment.held_out)
    curves = _figures.curves(
        words["losses"].format(**sizes),
        [
            (words["training"], numbers, [moment.loss for moment in seen]),
            (words["held_out"], numbers, [moment.held_out for moment in seen]),
            (words["guess"], [0, max(history[-1].step, 1)], [guess, guess]),
        ],
        told(history, steps, guess, ended, lang), x_label=words["step"], y_label=words["loss"],
        y_range=(0.0, 1.1 * max(guess, *(moment.held_out for moment in seen))),
        marks=[(best.step, best.held_out, words["best"].format(n=best.step))],
    )  # fmt: skip
    shown = sorted({0, len(seen) // 4, len(seen) // 2, len(seen) - 1})
    return _figures.result(curves, samples([seen[i] for i in shown], lang))


def samples(shown: list[Moment], lang: str) -> str:
    """Return what the model wrote, line by line, and how much of it stands in the text."""
    words, left = LABELS[lang], 'style="text-align: left; white-space: pre-line"'
    rows = "".join(
        f'<tr><th scope="row">{moment.step}</th><td {left}>{html.escape(_reading.visible(moment.sample).strip())}</td>'
        f"<td>{html.escape(words['characters'].format(n=moment.copied))}</td></tr>"
        for moment in shown
    )
    head = f'<th scope="col">{words["at"]}</th><th scope="col" {left}>{words["writes"]}</th>'
    head += f'<th scope="col" style="white-space: normal; word-break: keep-all">{words["copied"]}</th>'
    table = f'<table class="lm-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    said = [" / ".join(_reading.visible(moment.sample).split("\n")).strip(" /") for moment in (shown[0], shown[-1])]
    twin = words["twin"].format(temperature=TEMPERATURE, first=said[0][:24], last=said[1])
    return _figures.figure(words["samples"], table, twin)


def predict(text: object, steps: object, lr: object, seed: object, lang: str = "en") -> Iterator[str]:
    """Train and yield the pictures a dozen times."""
    named = {key: _ui.label(LABELS, key) for key in LABELS["en"]}
    given = _ui.text(text, named["text"], 5_000).strip()
    if len(given) < 200 or len(set(given)) < 2:
        raise _ui.InputError(
            zh=f"要读的文字至少要有 200 个字符，不能全都一样，收到了 {len(given)} 个；请再贴一些，太短学不到什么。",
            en=f"The text must have at least 200 characters, not all alike, got {len(given)}; paste some more, from "
            "less there is nothing to learn.",
        )
    wanted = _ui.integer(steps, named["steps"], 20, MOST_STEPS)
    settings = Settings(
        steps=wanted, lr=_ui.number(lr, named["lr"], 0.0001, 0.1), warmup=wanted // 10,
        log_every=max(1, wanted // LOOKS), seed=_ui.integer(seed, named["seed"], 0, 10**6),
    )  # fmt: skip
    read, unseen = map(len, split(given))
    characters = len(set(given))
    sizes = {"parameters": parameters(characters), "characters": characters, "read": read, "unseen": unseen}
    history: list[Moment] = []
    for moment in watch(given, settings, SECONDS):
        history.append(moment)
        yield pictures(history, sizes, wanted, False, lang)
    yield pictures(history, sizes, wanted, True, lang)


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, first = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        text = gr.Textbox(first[0], label=words["text"], lines=6, max_lines=10, max_length=5_000)
        with gr.Row():
            steps = gr.Slider(20, MOST_STEPS, first[1], step=20, label=words["steps"])
            lr = gr.Slider(0.001, 0.05, first[2], step=0.001, label=words["lr"])
            seed = gr.Number(first[3], label=words["seed"], precision=0)
        with gr.Row():
            run, stop = gr.Button(words["run"], variant="primary"), gr.Button(words["stop"], variant="stop")
        inputs = [text, steps, lr, seed]
        event = _ui.wire(predict, lang, inputs, gr.HTML(), "pretraining", button=run)
        stop.click(None, cancels=[event], api_name=False)
        _ui.examples(lang, EXAMPLES[lang], inputs, NAMES[lang])
    return blocks
