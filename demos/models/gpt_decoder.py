"""The KV cache of a real GPT, step by step: which cells are computed now, which are only looked up.

Type a beginning and drag the step slider: at step 0 the whole prompt passes through the layers, and from then on one
new column a step, while without the cache the whole table is computed again each time. The logits are the same.
"""

import functools
import html
import typing

import torch

from demos import _figures, _models, _reading, _ui
from largemodels.models.gpt_decoder import Cache, GptDecoder

if typing.TYPE_CHECKING:
    import gradio as gr
    from tokenizers import Tokenizer

TITLE = {"zh": "KV 缓存：只算新的一列", "en": "The KV cache: compute only the new column"}
HINT = {
    "zh": "一步步拖动“写到第几步”：有缓存时每步只亮一列，没有缓存时整张表重算；再看下面两条总账差多少。",
    "en": "Drag the step: with the cache one column lights up, without it all of them; then compare the two totals.",
}
LABELS = {
    "zh": {
        "model": "模型", "poem": "中文诗", "shakespeare": "莎士比亚（英文）", "prompt": "开头", "steps": "写到第几步",
        "grid": "第 {n} 步：哪些键和值是现在算的", "layer": "第 {i} 层", "token": "词元",
        "with": "有缓存：算 {new} 列，取用 {old} 列", "without": "没有缓存：{all} 列全部重算",
        "memory": "●：现在算；·：从缓存里取。缓存里有 {layers} 层 × {all} 个词元，每格存一个键和一个值，各 {C} 个数："
        "2 × {layers} × {C} × {all} × 4 = {bytes} 字节。",
        "next": "“{text}”之后的词元", "chosen": "取第一名“{top}”（{p:.1%}），下一步接到文末。",
        "same": "从头重算一遍，logits 最多差 {gap:.6f}，是浮点数的舍入。",
        "work": "到这一步为止，多少个位置穿过了 {layers} 层", "cached": "有缓存", "anew": "没有缓存",
        "sums": "有缓存：{p} + {n} = {cached}。没有缓存：{terms} = {anew}，是 {ratio:.1f} 倍。",
        "ended": "写完 {n} 个词元，模型自己停了，后面没有更多步。", "space": "␣", "line": "↵", "end": "⏹（结束）",
    },
    "en": {
        "model": "Model", "poem": "Chinese poetry", "shakespeare": "Shakespeare (English)", "prompt": "Beginning",
        "steps": "Step", "grid": "Step {n}: which keys and values are computed now", "layer": "layer {i}",
        "token": "token", "with": "with the cache: compute {new}, look up {old}",
        "without": "without: compute all {all} again",
        "memory": "● computed now, · looked up. The cache holds {layers} layers × {all} tokens; each cell is a key and "
        "a value of {C} numbers: 2 × {layers} × {C} × {all} × 4 = {bytes} bytes.",
        "next": "What follows “{text}”", "chosen": "The favourite, “{top}” ({p:.1%}), is appended in the next step.",
        "same": "Computed anew from the beginning, the logits differ by at most {gap:.6f}: rounding.",
        "work": "Positions sent through {layers} layers, up to this step", "cached": "with the cache",
        "anew": "without", "ended": "After {n} tokens the model stopped by itself; there are no further steps.",
        "sums": "With the cache: {p} + {n} = {cached}. Without: {terms} = {anew}, {ratio:.1f} times as many.",
        "space": "␣", "line": "↵", "end": "⏹ (end)",
    },
}  # fmt: skip
MODELS = {"poem": "poem-gpt-zh", "shakespeare": "shakespeare-gpt-en"}
MAX_PROMPT, MAX_STEPS, SHOWN = 20, 16, 6
POEM, ROMEO = ("poem", "<五绝>床前明月", 4), ("shakespeare", "To be, or", 6)
EXAMPLES = {
    "zh": [POEM, ("poem", "<七绝>春风", 16), ROMEO],
    "en": [ROMEO, ("shakespeare", "KING", 16), POEM],
}


@functools.cache
def load(name: str) -> GptDecoder:
    torch.set_num_threads(1)  # threads of so small a model wait for each other
    return _models.shipped(GptDecoder.from_checkpoint, name)


def passed(prompt: int, new: int, use_cache: bool) -> int:
    """Count the positions that pass through the layers to choose `new` tokens after `prompt` ones."""
    return prompt + new - 1 if use_cache else new * prompt + new * (new - 1) // 2


def read(tokenizer: "Tokenizer", prompt: str) -> list[int]:
    """Return the prompt's ids; unknown characters and long prompts are errors."""
    found, lost, name = tokenizer.encode(prompt), tokenizer.token_to_id("<unk>"), _ui.label(LABELS, "prompt")
    parts = zip(found.ids, found.offsets, strict=True)
    _reading.known([prompt[start:end] for number, (start, end) in parts if number == lost], name)
    _reading.fits(len(found.ids), MAX_PROMPT, name)
    return found.ids


@torch.inference_mode()
def write(model: GptDecoder, prompt: list[int], steps: int, end: int | None) -> tuple[list[int], torch.Tensor, Cache]:
    """Return all ids after up to `steps` greedy steps, the last logits and the cache."""
    logits, cache = model(torch.tensor([prompt]))
    ids = list(prompt)
    for _ in range(steps):
        chosen = int(logits[0, -1].argmax())
        if chosen == end:
            break
        ids.append(chosen)
        logits, cache = model(torch.tensor([[chosen]]), cache)
    return ids, logits[0, -1], cache


def grid(title: str, words: dict[str, str], names: list[str], layers: int, new: int, twin: str) -> str:
    """Return layers × positions twice: with the cache only the `new` last columns are computed, without it all are."""
    pad, n = "text-align:center;padding:.3em 0!important", len(names)
    name_cell = f'<th scope="col" style="writing-mode:vertical-rl;text-orientation:upright;{pad}">'
    head, body, old = "".join(f"{name_cell}{html.escape(name)}</th>" for name in names), "", n - new
    for key, looked_up in (("with", old), ("without", 0)):
        told = words[key].format(new=new, old=old, all=n)
        body += f'<tbody><tr><th scope="colgroup" colspan="{n + 1}" style="text-align:left">{told}</th></tr>'
        cells = f'<td class="lm-warm" style="--s:25%;{pad}">·</td>' * looked_up
        cells += f'<td class="lm-cold" style="--s:100%;{pad}">●</td>' * (n - looked_up)
        for i in range(layers, 0, -1):
            body += f'<tr><th scope="row">{words["layer"].format(i=i)}</th>{cells}</tr>'
        body += "</tbody>"
    size = f"table-layout:fixed;width:100%;min-width:{5 + 1.2 * n:.0f}em;max-width:{5 + 3 * n:.0f}em"
    corner = f'<th scope="col" style="width:4.5em">{words["token"]}</th>'
    table = f'<table class="lm-heat" style="{size}"><thead><tr>{corner}{head}</tr></thead>{body}</table>'
    region = f'<div class="lm-scroll" tabindex="0" role="region" aria-label="{html.escape(title)}">'
    return _figures.figure(title, f"{region}{table}</div>", twin)


def predict(model: object, prompt: object, steps: object, lang: str = "en") -> str:
    """Return the cache as a grid, the next token's probabilities, and the work done so far."""
    words, named = LABELS[lang], {key: _ui.label(LABELS, key) for key in LABELS["en"]}
    name = MODELS[_ui.choice(model, named["model"], tuple(MODELS))]
    prompt = _ui.text(prompt, named["prompt"], 2 * MAX_PROMPT)
    wanted = _ui.integer(steps, named["steps"], 0, MAX_STEPS)
    gpt, tokenizer = load(name), _models.tokenizer(name)
    start = read(tokenizer, prompt)
    ids, logits, cache = write(gpt, start, wanted, tokenizer.token_to_id("<end>"))
    with torch.inference_mode():
        gap = (gpt(torch.tensor([ids]))[0][0, -1] - logits).abs().max().item()
    spoken = {" ": words["space"], "\n": words["line"], "<end>": words["end"]}
    names = [spoken.get(token := str(tokenizer.id_to_token(i)), token) for i in ids]
    best = logits.softmax(-1).topk(SHOWN)
    top = [str(tokenizer.id_to_token(i)) for i in best.indices.tolist()]
    bars = [(spoken.get(token, token), p) for token, p in zip(top, best.values.tolist(), strict=True)]
    n, layers = len(ids) - len(start), gpt.config.n_layer
    cached, anew = (passed(len(start), n + 1, use) for use in (True, False))
    sizes = [str(len(start) + i) for i in range(n + 1)]
    terms = " + ".join(sizes if n < 4 else [*sizes[:2], "…", sizes[-1]])
    memory = words["memory"].format(
        layers=layers, all=len(ids), C=gpt.config.n_embd, bytes=f"{sum(x.nbytes for pair in cache for x in pair):,}"
    )
    sums = words["sums"].format(p=len(start), n=n, cached=cached, terms=terms, anew=anew, ratio=anew / cached)
    chosen = words["chosen"].format(top=bars[0][0], p=bars[0][1])
    stopped = words["ended"].format(n=n) if top[0] == "<end>" else ""
    title, text = words["grid"].format(n=n), "".join(names)
    return _figures.result(
        grid(title, words, names, layers, 1 if n else len(start), memory),
        _figures.bars(words["next"].format(text=text), bars, stopped or chosen),
        _figures.bars(
            words["work"].format(layers=layers), [(words["cached"], cached), (words["anew"], anew)],
            f"{sums} {words['same'].format(gap=gap)}", digits=0,
        ),
    )  # fmt: skip


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (model, prompt, steps) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        inputs = [
            gr.Radio([(words[key], key) for key in MODELS], value=model, label=words["model"]),
            gr.Textbox(prompt, label=words["prompt"], max_length=2 * MAX_PROMPT),
            gr.Slider(0, MAX_STEPS, steps, step=1, label=words["steps"]),
        ]
        _ui.wire(predict, lang, inputs, gr.HTML(), "gpt_decoder")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
