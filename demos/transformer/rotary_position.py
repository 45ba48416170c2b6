"""Rotary positions as clock hands, and the score of one pair of words under three kinds of positions.

Move p and q: the hands turn, the angle between them depends on q − p only. The curves show the score against the
distance: move both positions, and the rotary one stays put, while the other two change.
"""

import html
import math
import typing

import torch

from demos import _figures, _ui
from largemodels.transformer.positional_encoding import frequencies, positional_encoding
from largemodels.transformer.rotary_position import rotate

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "两根指针，三种位置", "en": "Two hands, three kinds of positions"}
HINT = {
    "zh": "拖动 p 和 q：指针跟着转，夹角只看 q − p。只动 p，旋转位置那条曲线纹丝不动，另外两条都变。",
    "en": "Drag p and q: the hands turn, their angle knows q − p only. Move p: only the rotary curve stays.",
}
LABELS = {
    "zh": {
        "p": "查询的位置 p", "q": "键的位置 q", "pair": "第 i 对维度（从 0 数起）",
        "hands": "第 {i} 对维度：每挪一个位置转 {degrees:.2f}°", "moved": "两个都往后挪 {shift}",
        "hands_twin": "p = {p} 转到 {a:.1f}°，q = {q} 转到 {b:.1f}°，"
        "夹角 {c:.1f}°；两个位置都往后挪 {shift}，夹角还是 {c:.1f}°。",
        "curves": "同一个词站在 p = {p} 和 p + 距离，注意力打多少分",
        "distance": "距离 q − p", "score": "能量 q·k / √D",
        "rotary": "旋转", "sinusoidal": "正弦", "learned": "学出来的",
        "curves_twin": "旋转只看距离，所以整条曲线与 p 无关。学出来的表（这里只有随机的初值）共 {rows} 行，"
        "到位置 {last} 为止，曲线也断在那里。",
        "table": "把两个位置一起往后挪 {shift}，分数变不变", "kind": "种类", "here": "({p}, {q})", "change": "相差",
        "none": "没有这一行", "table_twin": "只有旋转位置的相差是 0。",
    },
    "en": {
        "p": "Position p of the query", "q": "Position q of the key", "pair": "Pair i of dimensions (from 0)",
        "hands": "Pair {i}: {degrees:.2f}° for each position", "moved": "both moved on by {shift}",
        "hands_twin": "p = {p} is turned to {a:.1f}°, q = {q} to {b:.1f}°, {c:.1f}° between them; "
        "move both on by {shift} and it is still {c:.1f}°.",
        "curves": "One word at p = {p} and at p + distance: the score attention gives", "distance": "distance q − p",
        "score": "energy q·k / √D", "rotary": "rotary", "sinusoidal": "sinusoidal",
        "learned": "learned",
        "curves_twin": "Rotary knows the distance only, so its curve is the same for every p. The learned table "
        "(here random, before training) has {rows} rows; it ends at position {last}, and so does its curve.",
        "table": "Does the score change when both positions move on by {shift}?", "kind": "kind", "here": "({p}, {q})",
        "change": "difference", "none": "no such row", "table_twin": "Only the rotary difference is 0.",
    },
}  # fmt: skip
EXAMPLES = {lang: [(5, 12, 2), (25, 32, 2), (5, 40, 0), (40, 44, 6)] for lang in ("zh", "en")}
D, LAST, ROWS, SHIFT = 32, 59, 48, 7
KINDS = ("rotary", "sinusoidal", "learned")
_g = torch.Generator().manual_seed(59)
WORD = torch.randn(D, generator=_g, dtype=torch.float64)
PROJECTION = torch.randn(D, D, generator=_g, dtype=torch.float64) / D**0.5  # of queries and of keys alike
TABLES = {
    "sinusoidal": positional_encoding(2 * LAST + SHIFT + 1, D, dtype=torch.float64),
    "learned": 0.5 * torch.randn(ROWS, D, generator=_g, dtype=torch.float64),
}


def scores(kind: str, p: int, keys: torch.Tensor) -> torch.Tensor:
    """Return the energies of the word at p looking at itself at each of the positions `keys`; NaN without a row."""
    if kind == "rotary":
        word = (WORD @ PROJECTION)[None]
        query, key = rotate(word, torch.tensor([p])), rotate(word.expand(len(keys), D), keys)
        return (key @ query.T).flatten() / D**0.5  # (n,)
    table = TABLES[kind]
    known = (keys >= 0) & (keys < len(table)) & (p < len(table))
    query = (WORD + table[min(p, len(table) - 1)]) @ PROJECTION
    key = (WORD + table[keys.clamp(0, len(table) - 1)]) @ PROJECTION
    return torch.where(known, key @ query / D**0.5, torch.nan)  # (n,)


def hands(i: int, p: int, q: int, words: dict[str, str]) -> str:
    """Return the hands of one pair as SVG: at p and q, and beside it with both positions moved on."""
    theta, drawn = float(frequencies(D)[i]), ""
    for x, moved in ((105, 0), (315, SHIFT)):
        a, b = (p + moved) * theta, (q + moved) * theta
        drawn += f'<circle cx="{x}" cy="92" r="66" fill="none" class="lm-grid"/>'
        for name, angle, colour in (("p", a, 1), ("q", b, 2)):
            cos, sin = math.cos(angle), -math.sin(angle)
            drawn += (
                f'<line class="lm-line lm-stroke{colour}" x1="{x}" y1="92" x2="{x + 66 * cos:.1f}" '
                f'y2="{92 + 66 * sin:.1f}"/><circle class="lm-fill{colour}" cx="{x + 66 * cos:.1f}" '
                f'cy="{92 + 66 * sin:.1f}" r="4.5"/><text text-anchor="middle" x="{x + 80 * cos:.1f}" '
                f'y="{96 + 80 * sin:.1f}">{name}</text>'
            )
        ends = " ".join(f"{x + 26 * math.cos(t):.1f} {92 - 26 * math.sin(t):.1f}" for t in (a, b))
        start, end = ends.split()[:2], ends.split()[2:]
        large = int((b - a) % (2 * math.pi) > math.pi)
        drawn += f'<path d="M{" ".join(start)}A26 26 0 {large} 0 {" ".join(end)}" class="lm-line lm-stroke3"/>'
        label = f"p = {p + moved}, q = {q + moved}"
        drawn += f'<text text-anchor="middle" x="{x}" y="192">{label}</text>'
    title = words["hands"].format(i=i, degrees=math.degrees(theta))
    drawn += f'<text class="lm-tick" text-anchor="middle" x="315" y="207">{words["moved"].format(shift=SHIFT)}</text>'
    svg = f'<svg class="lm-chart" viewBox="0 0 420 212" role="img" aria-label="{html.escape(title)}">{drawn}</svg>'
    a, b, c = (math.degrees(m * theta) % 360 for m in (p, q, q - p))
    return _figures.figure(title, svg, words["hands_twin"].format(p=p, q=q, a=a, b=b, c=c, shift=SHIFT))


def predict(p: object, q: object, pair: object, lang: str = "en") -> str:
    """Return the two hands, the scores against the distance, and what a common shift changes."""
    words = LABELS[lang]
    p = _ui.integer(p, _ui.label(LABELS, "p"), 0, LAST)
    q = _ui.integer(q, _ui.label(LABELS, "q"), 0, LAST)
    i = _ui.integer(pair, _ui.label(LABELS, "pair"), 0, D // 2 - 1)
    names = {kind: words[kind] for kind in KINDS}
    distances, rows = torch.arange(-LAST, LAST + 1), []
    series: list[_figures.Series] = []
    for kind in KINDS:
        # The rotary formula needs no table, so its curve can be drawn for every distance.
        points = zip(distances.tolist(), scores(kind, p, p + distances).tolist(), strict=True)
        known = [(d, y) for d, y in points if math.isfinite(y)]
        series.append((names[kind], [d for d, _ in known], [y for _, y in known]))
        found = [float(scores(kind, p + m, torch.tensor([q + m]))) for m in (0, SHIFT)]
        cells = [f"{y:.4f}" if math.isfinite(y) else words["none"] for y in found]
        change = abs(found[0] - found[1])
        rows.append([names[kind], *cells, f"{change:.4f}" if math.isfinite(change) else "—"])
    here = float(scores("rotary", p, torch.tensor([q])))
    header = [words["kind"], *(words["here"].format(p=p + m, q=q + m) for m in (0, SHIFT)), words["change"]]
    return _figures.result(
        hands(i, p, q, words),
        _figures.curves(
            words["curves"].format(p=p), series, words["curves_twin"].format(last=ROWS - 1, rows=ROWS),
            x_label=words["distance"], y_label=words["score"], marks=[(q - p, here, f"{here:.2f}")], y_range=(-1, 8.5),
        ),
        _figures.numbers_table(words["table"].format(shift=SHIFT), header, rows, words["table_twin"]),
    )  # fmt: skip


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (p, q, pair) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        with gr.Row():
            inputs = [
                gr.Slider(0, LAST, p, step=1, label=words["p"]),
                gr.Slider(0, LAST, q, step=1, label=words["q"]),
                gr.Slider(0, D // 2 - 1, pair, step=1, label=words["pair"]),
            ]
        _ui.wire(predict, lang, inputs, gr.HTML(), "rotary_position")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
