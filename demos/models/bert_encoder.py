"""Follow a text through a BERT made of the parts of the Transformer chapter, layer by layer.

Write a sentence, or two. Each row is a token with its position and its text (A or B), each column a layer: the number
says how far that layer turned the token's vector. Another view compares one token in two places, a third shows the
three embeddings that go in at the bottom.
The model is the shipped bilingual-bert: four layers, vectors of 192 numbers.
"""

import functools
import typing

import torch

from demos import _figures, _models, _ui

if typing.TYPE_CHECKING:
    import gradio as gr
    from tokenizers import Encoding

    from largemodels.models.bert_encoder import BertEncoder

TITLE = {"zh": "看每一层把词元的向量转了多少", "en": "How far each layer turns each token's vector"}
HINT = {
    "zh": "先看哪一层转得最多；再点“同一个词元，两处”，看两个“行”的夹角逐层变大还是变小；把其中一句换掉再看。",
    "en": "See which layer turns most; then choose “one token, two places” and follow the two “bank” upwards.",
}
LABELS = {
    "zh": {
        "first": "第一句（A）", "second": "第二句（B，可以空着）", "view": "看什么",
        "turn": "每层转了多少度", "pair": "同一个词元，两处", "input": "三种嵌入",
        "turn_title": "每一层把向量转了多少度", "pair_title": "同一个词元在两处的向量，夹角多少度",
        "input_title": "相加之前，三种嵌入各有多长", "corner": "词元", "bottom": "嵌入", "layer": "第 {i} 层",
        "word": "词元", "place": "位置", "kind": "分段",
        "turn_twin": "{n} 个词元经过 bilingual-bert 的 {layers} 层。平均转得最多的是第 {layer} 层（{mean:.0f}°）；"
        "单个词元里是第 {at} 位的“{token}”，在第 {where} 层转了 {most:.0f}°。0° 是方向没变，90° 是和原来不相干。",
        "pair_twin": "{n} 对相同的词元。最后一层夹角最大的是“{wide}”，{wide_to:.0f}°（起初 {wide_from:.0f}°）；最小的是"
        "“{close}”，{close_to:.0f}°（起初 {close_from:.0f}°）。",
        "input_twin": "{n} 个词元。平均长度：词元嵌入 {word:.2f}，位置嵌入 {place:.2f}，分段嵌入 {kind:.2f}。三者相加，"
        "层归一化之后送进第 1 层。",
    },
    "en": {
        "first": "First text (A)", "second": "Second text (B, may be empty)", "view": "Look at",
        "turn": "how far each layer turns", "pair": "one token, two places", "input": "the three embeddings",
        "turn_title": "Degrees by which each layer turns a vector",
        "pair_title": "Degrees between the vectors of one token in two places",
        "input_title": "Length of the three embeddings before they are added",
        "corner": "token", "bottom": "embedded", "layer": "layer {i}",
        "word": "token", "place": "position", "kind": "segment",
        "turn_twin": "{n} tokens go through the {layers} layers of bilingual-bert. On average layer {layer} turns most "
        "({mean:.0f}°); of single tokens, “{token}” at position {at}, by {most:.0f}° in layer {where}. "
        "0° keeps the direction, 90° has nothing to do with the one before.",
        "pair_twin": "{n} pairs of equal tokens. In the last layer “{wide}” is widest, {wide_to:.0f}° (at the bottom "
        "{wide_from:.0f}°), and “{close}” narrowest, {close_to:.0f}° (at the bottom {close_from:.0f}°).",
        "input_twin": "{n} tokens. Mean length: token embedding {word:.2f}, position {place:.2f}, segment {kind:.2f}. "
        "The three are added, normalised, and sent into layer 1.",
    },
}  # fmt: skip
VIEWS = ("turn", "pair", "input")
ZH, EN = ("我在银行存钱。", "他沿着河岸行走。"), ("She sat on the river bank.", "He works in a bank.")
EXAMPLES = {
    "zh": [(*ZH, "turn"), (*ZH, "pair"), (*ZH, "input"), (*EN, "pair")],
    "en": [(*EN, "turn"), (*EN, "pair"), (*EN, "input"), (*ZH, "pair")],
}
MODEL, MAX_CHARS = "bilingual-bert", 80


@functools.cache
def load() -> "BertEncoder":
    from largemodels.models.bert_encoder import BertEncoder

    return _models.shipped(BertEncoder.from_pretrained, MODEL)


def read(first: object, second: object, longest: int) -> "Encoding":
    """Return both texts as tokens if each has some and they fit together."""
    tokenizer = _models.tokenizer(MODEL)
    texts = {
        key: _ui.text(value, _ui.label(LABELS, key), MAX_CHARS, allow_empty=key == "second")
        for key, value in (("first", first), ("second", second))
    }
    texts = {key: value for key, value in texts.items() if value.strip()}
    for key, value in texts.items():
        if not tokenizer.encode(value, add_special_tokens=False).ids:
            raise _ui.InputError(
                zh=f"「{LABELS['zh'][key]}」里必须有模型读得到的字，收到的一个也没有；请写一句话。",
                en=f"“{LABELS['en'][key]}” must hold characters that the model can read, got none; write a sentence.",
            )
    found = tokenizer.encode(texts["first"], texts.get("second"))
    if (extra := len(found.ids) - longest) > 0:
        raise _ui.InputError(
            zh=f"连同特殊词元，两句最多 {longest} 个词元，收到了 {len(found.ids)} 个，多了 {extra} 个；请删短一些。",
            en=f"Both texts may have at most {longest} tokens, special ones included, got {len(found.ids)}, {extra} "
            "too many; cut one.",
        )
    return found


def degrees(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the angles between vectors, one less axis."""
    return torch.cosine_similarity(a.double(), b.double(), dim=-1).clamp(-1, 1).acos().rad2deg()


def pairs(tokens: list[str]) -> list[tuple[int, int]]:
    """Return each place of a token with the next place of the same token."""
    found = [(i, tokens.index(token, i + 1)) for i, token in enumerate(tokens) if token in tokens[i + 1 :]]
    if not found:
        raise _ui.InputError(
            zh="两句里必须有一个词元出现两次，现在一次都没有；请写第二句，或者重复一个字。",
            en="A token must occur twice in the texts, got none; write a second text or repeat a word.",
        )
    return found


@torch.inference_mode()
def predict(first: object, second: object, view: object, lang: str = "en") -> str:
    """Return the chosen numbers as a heat map: tokens by layers, equal tokens by layers, or tokens by embeddings."""
    words, model = LABELS[lang], load()
    view = _ui.choice(view, _ui.label(LABELS, "view"), VIEWS)
    found = read(first, second, model.config.context_length)
    ids, segments = torch.tensor([found.ids]), torch.tensor([found.type_ids])
    rows = [f"{i} {token} {'AB'[kind]}" for i, (token, kind) in enumerate(zip(found.tokens, segments[0], strict=True))]
    columns = [words["layer"].format(i=i) for i in range(1, model.config.n_layer + 1)]
    facts: dict[str, object] = {"n": len(rows), "layers": len(columns)}
    if view == "input":
        names = ("word", "place", "kind")
        parts = model.words[ids[0]], model.positions[: len(rows)], model.kinds[segments[0]]  # each (T, C)
        values, columns = torch.stack([part.norm(dim=-1) for part in parts], dim=1), [words[name] for name in names]
        facts |= dict(zip(names, values.mean(0).tolist(), strict=True))
    elif view == "pair":
        states, places = model(ids, segments)[:, 0], pairs(found.tokens)  # (n_layer + 1, T, C)
        values = degrees(states[:, [i for i, _ in places]], states[:, [j for _, j in places]]).T  # (pairs, n_layer + 1)
        rows, columns = [f"{found.tokens[i]} {i}·{j}" for i, j in places], [words["bottom"], *columns]
        for name, at in (("wide", int(values[:, -1].argmax())), ("close", int(values[:, -1].argmin()))):
            facts |= {name: rows[at], f"{name}_from": values[at, 0].item(), f"{name}_to": values[at, -1].item()}
        facts["n"] = len(rows)
    else:
        states = model(ids, segments)[:, 0]
        values = degrees(states[1:], states[:-1]).T  # (T, n_layer)
        (at, where), means = divmod(int(values.argmax()), len(columns)), values.mean(0)
        facts |= {"layer": int(means.argmax()) + 1, "mean": means.max().item(), "most": values.max().item()}
        facts |= {"at": at, "where": where + 1, "token": found.tokens[at]}
    twin, digits = words[f"{view}_twin"].format(**facts), 2 if view == "input" else 0
    title = words[f"{view}_title"]
    return _figures.heat_table(title, rows, columns, values.tolist(), twin, digits=digits, corner=words["corner"])


def build(lang: str) -> "gr.Blocks":
    import gradio as gr

    words, (first, second, view) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            one = gr.Textbox(first, label=words["first"], max_length=MAX_CHARS)
            other = gr.Textbox(second, label=words["second"], max_length=MAX_CHARS)
        what = gr.Radio([(words[name], name) for name in VIEWS], value=view, label=words["view"])
        _ui.wire(predict, lang, [one, other, what], gr.HTML(), "bert_encoder")
        _ui.examples(lang, EXAMPLES[lang], [one, other, what])
    return blocks
