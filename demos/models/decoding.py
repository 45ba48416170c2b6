"""One tree of probabilities, and four ways to walk it: greedy, beam search, top-k and top-p.

The branches are what a shipped model really thinks may follow your text. Move the step from 1 upwards and watch beams
live and die; then choose greedy, and see at which step it missed what the beams found. Change the seed to draw again.
"""

import html
import itertools
import typing

from demos import _figures, _models, _reading, _tree, _ui, _walk

if typing.TYPE_CHECKING:
    import gradio as gr

    from largemodels.models.gpt import Gpt

TITLE = {"zh": "一棵概率树，四种走法", "en": "One tree of probabilities, four ways to walk it"}
HINT = {
    "zh": "把“走到第几步”从 1 拖起，看哪些束活着、哪些死掉；再换成“贪心”，看它在哪一步错过了更好的路。",
    "en": "Drag “step” up from 1 and watch beams live and die; then choose greedy: where did it miss the better path?",
}
LABELS = {
    "zh": {
        "model": "模型", "poem": "中文诗", "shakespeare": "莎士比亚（英文）", "text": "前文（诗先写标签，如 <五绝>）",
        "way": "策略", "greedy": "贪心", "beam": "束搜索", "top_k": "top-k", "top_p": "top-p", "step": "走到第几步",
        "width": "束数或 k", "p": "p", "temperature": "温度", "seed": "种子",
        "title": "“{text}”之后的概率树：{way}，第 {step} 步",
        "said": "“{path}”：这一步 {share}，整条路 {total}",
        "table": "第 {step} 步的候选", "prefix": "已经写出", "token": "下一个", "share": "模型的概率",
        "chance": "抽中的机会", "total": "整条路的概率", "fate": "结果",
        "best": "领先", "kept": "留下", "ended": "写完", "plain": "没选上", "cut": "剪掉", "taken": "选中",
        "key_best": "实线：{way}", "key_kept": "留下过的束（虚框已死，✕ 是死的地方）", "key_trail": "点线：{way}",
        "key_cut": "虚框：剪掉的", "key_width": "枝越粗，概率越大；+n 是其余 n 个词元；■ 是写完；末尾是整条路的概率",
        "tell_greedy": "贪心每步只取概率最大的一枝，写出“{path}”，整条路的概率是 {total}。",
        "tell_beam": "束搜索每步把所有束的后续放在一起比，只留最好的 {width} 条。眼下领先的是“{path}”，"
        "整条路的概率是 {total}。",
        "tell_top_k": "top-k 每步只在前 {width} 名里抽签，其余剪掉。种子 {seed} 抽出“{path}”，按模型算，"
        "整条路的概率是 {total}。",
        "tell_top_p": "top-p 每步只留概率合计够 {p:g} 的最少几个词元，在里面抽签。种子 {seed} 抽出“{path}”，"
        "按模型算，整条路的概率是 {total}。",
        "better": "束搜索的“{beam}”（{high}）是贪心的“{greedy}”（{low}）的 {ratio:.1f} 倍：第 {fork} 步，"
        "贪心拿了眼前最大的一枝，好路却在另一枝后面。",
        "worse": "走到这一步，束搜索的“{beam}”（{high}）还不如贪心的“{greedy}”（{low}）：贪心那条路中途被挤掉了。",
        "same": "到这一步为止，{width} 束的束搜索和贪心走的是同一条路。",
        "note_greedy": "贪心只比这一步的概率，从不回头。",
        "note_beam": "按整条路的概率从高到低排；还能往下写的，只留前 {width} 个。",
        "note_draw": "概率和机会不一样的，是被温度和剪枝改过的；剪掉的机会是 0。",
    },
    "en": {
        "model": "Model", "poem": "Chinese poetry", "shakespeare": "Shakespeare (English)",
        "text": "Text so far (a poem begins with the tag of its form)", "way": "Strategy", "greedy": "Greedy",
        "beam": "Beam search", "top_k": "top-k", "top_p": "top-p", "step": "Step",
        "width": "Beams, or k", "p": "p", "temperature": "Temperature",
        "seed": "Seed", "title": "What may follow “{text}”: {way}, step {step}",
        "said": "“{path}”: this step {share}, whole path {total}",
        "table": "The candidates of step {step}", "prefix": "written so far", "token": "next",
        "share": "model's probability", "chance": "chance to be drawn", "total": "whole path", "fate": "what happens",
        "best": "leads", "kept": "lives", "ended": "has ended", "plain": "not taken", "cut": "cut away",
        "taken": "taken", "key_best": "solid: {way}",
        "key_kept": "beams kept on the way (dashed: dead by now, ✕: died here)", "key_trail": "dots: {way}",
        "key_cut": "dashed: cut away",
        "key_width": "the wider, the more probable; +n: n other tokens; ■: end of text; behind a leaf: its whole path",
        "tell_greedy": "Greedy takes the widest branch at every step and writes “{path}”; the whole path has "
        "probability {total}.",
        "tell_beam": "Beam search compares what may follow all of its beams together, and keeps the best {width}. "
        "In the lead now: “{path}”, whole path {total}.",
        "tell_top_k": "top-k draws among the first {width} at every step and cuts the rest. Seed {seed} draws "
        "“{path}”; to the model the whole path has probability {total}.",
        "tell_top_p": "top-p keeps the fewest tokens that reach {p:g} together and draws among them. Seed {seed} draws "
        "“{path}”; to the model the whole path has probability {total}.",
        "better": "Beam search's “{beam}” ({high}) is {ratio:.1f} times as probable as greedy's “{greedy}” ({low}): at "
        "step {fork} greedy took the widest branch, but the better path lies behind another.",
        "worse": "By now beam search's “{beam}” ({high}) is behind greedy's “{greedy}” ({low}): that path had been "
        "pushed out on the way.",
        "same": "Up to this step beam search of width {width} and greedy walk the same path.",
        "note_greedy": "Greedy compares this step only and never turns back.",
        "note_beam": "Sorted by the probability of the whole path; of those that go on, only the first {width} live.",
        "note_draw": "Where chance and probability differ, temperature and cutting have changed it; cut away means 0.",
    },
}  # fmt: skip
MODELS = {"poem": "gpt-zh", "shakespeare": "gpt-en"}
WAYS = {"greedy": 1, "beam": 2, "top_k": 3, "top_p": 3}  # with the number of their colours
TAIL = (3, 0.8, 1.0, 1)  # width, p, temperature, seed
ALONE, IF_YOU = ("poem", "<五绝>独坐"), ("shakespeare", "If you ")  # greedy misses the better path
LOST = ("shakespeare", "The ", "beam", 6, *TAIL)  # and here three beams lose greedy's path, the better one
EXAMPLES = {
    "zh": [
        (*ALONE, "beam", 4, *TAIL), (*ALONE, "greedy", 4, *TAIL), ("poem", "<五绝>空山", "top_k", 4, 5, 0.8, 1.0, 3),
        ("poem", "<五绝>床前明月", "top_p", 4, 3, 0.3, 1.0, 2), (*IF_YOU, "beam", 5, *TAIL), LOST,
    ],
    "en": [
        (*IF_YOU, "beam", 5, *TAIL), (*IF_YOU, "greedy", 5, *TAIL), LOST,
        ("shakespeare", "ROMEO:\nI ", "top_k", 5, 4, 0.8, 1.0, 3),
        ("shakespeare", "My lord, ", "top_p", 5, 3, 0.6, 1.2, 2), (*ALONE, "beam", 4, *TAIL),
    ],
}  # fmt: skip
MAX_CHARS, MAX_STEP, MAX_WIDTH = 60, 6, 5
LEAST = 0.005  # a summary of others that has less is not drawn
Words = dict[str, str]


def load(kind: str) -> "Gpt":
    return _models.gpt(kind)


def grow(walk: _walk.Walk, words: Words, path: _walk.Path, branch: _tree.Branch) -> _tree.Branch:
    """Hang under a branch what may follow its path, and so on as far as anyone has gone."""
    found, rest = walk.candidates(path)
    for one in found:
        total = _walk.percent(walk.total(one.path))
        died = one.fate == "dead" and not any(other[:-1] == one.path for other in walk.kept)
        twig = _tree.Branch(
            walk.spell(one.path[-1:]), _walk.percent(one.share) + " ✕" * died, one.share, total * bool(path), one.fate,
            tuple(WAYS[way] for way in walk.best if way != walk.way and walk.passes(way, one.path)),
            words["said"].format(path=walk.spell(one.path), share=_walk.percent(one.share), total=total),
            fresh=one.fate == "best" and len(one.path) == walk.depth,
        )  # fmt: skip
        branch.children.append(grow(walk, words, one.path, twig) if walk.goes_on(one.path) else twig)
    if walk.grown(path) and found:
        for state, (count, share) in (("rest", rest[0]), ("cut", rest[1])):
            if share >= LEAST:
                branch.children.append(_tree.Branch(f"+{count}", _walk.percent(share), share, state=state))
    return branch


def legend(walk: _walk.Walk, words: Words) -> str:
    """Return the key of the tree."""
    solid = "background:var(--lm-{0})"
    dots = "background:none;height:0;border-radius:0;border-top:3px dotted var(--lm-{0})"
    named = {way: words[way].lower() for way in walk.best}
    items = [(solid.format(WAYS[walk.way]), words["key_best"].format(way=named[walk.way]))]
    items += [(solid.format(WAYS["beam"]) + ";opacity:.4", words["key_kept"])] * (walk.way == "beam")
    items += [(dots.format(WAYS[w]), words["key_trail"].format(way=named[w])) for w in walk.best if w != walk.way]
    keys = [f'<span class="lm-key" style="{css}"></span>{html.escape(name)}' for css, name in items]
    keys += [words["key_cut"]] * walk.draws + [html.escape(words["key_width"])]
    return f'<ul class="lm-legend">{"".join(f"<li>{key}</li>" for key in keys)}</ul>'


def story(walk: _walk.Walk, words: Words, settings: dict[str, typing.Any]) -> str:
    """Say in words what the tree shows."""
    totals = {way: walk.total(best) for way, best in walk.best.items()}
    texts = {way: walk.spell(best) for way, best in walk.best.items()}
    told = words[f"tell_{walk.way}"].format(path=texts[walk.way], total=_walk.percent(totals[walk.way]), **settings)
    if walk.best["beam"] == walk.best["greedy"]:
        return f"{told} {words['same'].format(**settings)}"
    pairs = itertools.zip_longest(walk.best["beam"], walk.best["greedy"])
    compared = words["better" if totals["beam"] > totals["greedy"] else "worse"].format(
        beam=texts["beam"], greedy=texts["greedy"], high=_walk.percent(totals["beam"]),
        low=_walk.percent(totals["greedy"]), ratio=totals["beam"] / max(totals["greedy"], 1e-30),
        fork=next(n for n, (ours, greedy) in enumerate(pairs, 1) if ours != greedy),
    )  # fmt: skip
    return f"{told} {compared}"


def table(walk: _walk.Walk, words: Words, settings: dict[str, typing.Any]) -> str:
    """Return the candidates of the last step, one in each row."""
    rows = []
    for one in walk.last():
        shares = [one.share, *([one.chance * (one.fate != "cut")] if walk.draws else []), walk.total(one.path)]
        ended = one.fate == "kept" and one.path[-1] in walk.ends
        fate = words["ended" if ended else "taken" if one.fate == "best" and walk.way != "beam" else one.fate]
        rows.append([walk.spell(one.path[:-1]) or "—", walk.spell(one.path[-1:]), *map(_walk.percent, shares), fate])
    header = [words[key] for key in ("prefix", "token", "share", *["chance"] * walk.draws, "total", "fate")]
    note = words["note_draw" if walk.draws else f"note_{walk.way}"].format(**settings)
    return _figures.numbers_table(words["table"].format(step=walk.depth), header, rows, note)


def predict(
    model: object, text: object, way: object, step: object, width: object, p: object, temperature: object,
    seed: object, lang: str = "en",
) -> str:  # fmt: skip
    """Return the tree up to one step, and the candidates of that step as a table."""
    words, named = LABELS[lang], {key: _ui.label(LABELS, key) for key in LABELS["en"]}
    model = _ui.choice(model, named["model"], tuple(MODELS))
    text, way = _ui.text(text, named["text"], MAX_CHARS), _ui.choice(way, named["way"], tuple(WAYS))
    step = _ui.integer(step, named["step"], 1, MAX_STEP)
    settings: dict[str, typing.Any] = {
        "width": _ui.integer(width, named["width"], 1, MAX_WIDTH), "p": _ui.number(p, named["p"], 0.05, 1),
        "temperature": _ui.number(temperature, named["temperature"], 0.2, 2),
        "seed": _ui.integer(seed, named["seed"], 0, 1000),
    }  # fmt: skip
    gpt = load(MODELS[model])
    _reading.known(gpt.unknown(text), named["text"])
    _reading.fits(len(gpt.tokens(text)), gpt.context_length - MAX_STEP, named["text"])
    walk = _walk.Walk(gpt, text, way, step, **settings)
    shown = text.replace(" ", "␣").replace("\n", "↵")
    root = grow(walk, words, (), _tree.Branch(shown if len(shown) <= 9 else "…" + shown[-8:], state="kept"))
    title = words["title"].format(text=shown, way=words[way], step=step)
    picture = _tree.draw(root, WAYS[way], title) + legend(walk, words)
    tree = _figures.figure(title, picture, story(walk, words, settings))
    return _figures.result(tree, table(walk, words, settings))


def build(lang: str) -> "gr.Blocks":
    import gradio as gr

    words, first = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            model = gr.Radio([(words[key], key) for key in MODELS], value=first[0], label=words["model"])
            text = gr.Textbox(first[1], label=words["text"], lines=1, max_lines=3, max_length=MAX_CHARS)
        with gr.Row():
            width = gr.Slider(1, MAX_WIDTH, first[4], step=1, label=words["width"], min_width=140)
            p = gr.Slider(0.05, 1, first[5], step=0.05, label=words["p"], min_width=140)
            temperature = gr.Slider(0.2, 2, first[6], step=0.1, label=words["temperature"], min_width=140)
            seed = gr.Slider(0, 50, first[7], step=1, label=words["seed"], min_width=140)
        way = gr.Radio([(words[key], key) for key in WAYS], value=first[2], label=words["way"])
        step = gr.Slider(1, MAX_STEP, first[3], step=1, label=words["step"])  # beside the tree, even on a phone
        inputs = [model, text, way, step, width, p, temperature, seed]
        _ui.wire(predict, lang, inputs, gr.HTML(), "decoding")
        names = [f"{row[1].strip()} · {words[row[2]]}" for row in EXAMPLES[lang]]
        _ui.examples(lang, EXAMPLES[lang], inputs, names=names)
    return blocks
