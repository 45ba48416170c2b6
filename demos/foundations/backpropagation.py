"""Back-propagation through a net of two layers, one number at a time.

Move "steps back" from 0 to 9: the gradient walks from the loss to the inputs, one node a step, multiplied on every edge
by the local slope. Then make w₁ large: tanh saturates, and nothing gets through to w₁.
"""

import html
import typing

from demos import _figures, _ui
from largemodels.foundations.backpropagation import Value, topological_order

if typing.TYPE_CHECKING:
    import gradio as gr

TITLE = {"zh": "一个计算图，一步步往回走", "en": "A computation graph, walked backwards"}
HINT = {
    "zh": "把“往回走几步”从 0 拖到 9，看梯度一个节点一个节点地出现；再把 w₁ 拖到 3，看还剩多少能传到 w₁。",
    "en": "Drag “steps back” from 0 to 9 and watch the gradients appear; then drag w₁ to 3: how much still reaches w₁?",
}
LABELS = {
    "zh": {
        "x": "输入 x", "w1": "权重 w₁", "w2": "权重 w₂", "y": "目标 y", "activation": "激活函数",
        "steps": "往回走几步", "graph": "计算图：往下是值，往上是梯度", "table": "每个梯度从哪里来",
        "node": "节点", "value": "值", "sum": "传来的 × 边的斜率", "gradient": "梯度", "measured": "实测（中心差分）",
        "start": "往前算完了：L = {loss}。还没有往回走，一个梯度也不知道。",
        "first": "第 1 步：从损失出发，∂L/∂L = 1。",
        "step": "第 {n} 步：∂L/∂{node} = {sum} = {g}。",
        "all": "走完了，九个梯度都有了，整张图只往回走了一遍。",
        "blocked": "{f} 在 z = {z} 处的斜率只有 {slope}，传到这里的梯度几乎全被挡住，w₁ 和 x 只得到 {w1} 和 {x}。",
        "off": "{f} 在 z = {z} 处的斜率是 0，梯度一点也过不去，w₁ 和 x 什么也学不到。",
        "check": "实测：把一个节点挪动 ±0.00001，看 L 变了多少。每个节点都要重新算两遍，反向传播一遍就够。",
        "kink": "z 正好在 ReLU 的拐点 0 上，那里没有斜率：反向传播取 0，实测取两边的平均。",
    },
    "en": {
        "x": "Input x", "w1": "Weight w₁", "w2": "Weight w₂", "y": "Target y", "activation": "Activation",
        "steps": "Steps back", "graph": "The graph: values go down, gradients come up",
        "table": "Where each gradient comes from", "node": "node", "value": "value",
        "sum": "what arrives × slope of the edge", "gradient": "gradient", "measured": "measured (central difference)",
        "start": "The way forward is done: L = {loss}. No step back yet, so no gradient is known.",
        "first": "Step 1: begin at the loss, ∂L/∂L = 1.",
        "step": "Step {n}: ∂L/∂{node} = {sum} = {g}.",
        "all": "Done: nine gradients from one walk back through the graph.",
        "blocked": "At z = {z} the slope of {f} is only {slope}: little of what arrives gets through, w₁ and x get "
        "{w1} and {x}.",
        "off": "At z = {z} the slope of {f} is 0: no gradient passes, and w₁ and x learn nothing.",
        "check": "Measured: move one node by ±0.00001 and see how L changes. That takes two runs for every node; "
        "back-propagation takes one for all.",
        "kink": "z lies exactly on the kink of ReLU at 0, where there is no slope: back-propagation takes 0, measuring "
        "takes the mean of both sides.",
    },
}  # fmt: skip
LEAVES = ("x", "w1", "w2", "y")
ACTIVATIONS = ("tanh", "relu")
SHOWN = {"w1": "w₁", "w2": "w₂"}
PLACES = {
    "x": (82, 24), "w1": (248, 24), "z": (165, 98), "h": (165, 172), "w2": (341, 172), "ŷ": (165, 246), "y": (341, 246),
    "e": (165, 320), "L": (165, 394),
}  # fmt: skip
MADE = {"z": "w₁·x", "h": "{f} z", "ŷ": "w₂·h", "e": "ŷ − y", "L": "e²"}
HALF_WIDTH, HALF_HEIGHT, MOVE = 72, 20, 1e-5
BLOCKED = 0.1  # local slope of the activation below which we say so
EXAMPLES = {
    lang: [
        (2.0, 0.55, 2.5, 1.0, "tanh", 9),
        (2.0, 0.55, 2.5, 1.0, "tanh", 4),
        (2.0, 3.0, 2.5, 1.0, "tanh", 9),
        (2.0, -1.0, 2.5, 1.0, "relu", 9),
    ]
    for lang in ("zh", "en")
}


def graph(leaves: dict[str, float], activation: str, moved: str = "", by: float = 0.0) -> dict[str, Value]:
    """Compute the nine nodes in order, one of them moved a little, and return them by name."""
    nodes: dict[str, Value] = {}

    def put(name: str, node: Value) -> Value:
        node.data += by if name == moved else 0.0
        return nodes.setdefault(name, node)

    x, w1, w2, y = (put(name, Value(leaves[name])) for name in LEAVES)
    h = put("h", getattr(put("z", w1 * x), activation)())
    put("L", put("e", put("ŷ", w2 * h) - y) ** 2)
    return nodes


def number(value: float) -> str:
    """Return three digits and a real minus sign."""
    return f"{value + 0.0:.3g}".replace("-", "−")


def picture(nodes: dict[str, Value], reached: list[str], activation: str, title: str) -> str:
    """Return the graph as SVG: boxes with values, and gradients on what has been reached."""
    names, parts = {node: name for name, node in nodes.items()}, []
    for name, node in nodes.items():
        x, y = PLACES[name]
        for parent, slope in node.parents:
            above, top, bottom = PLACES[names[parent]][0], PLACES[names[parent]][1] + HALF_HEIGHT, y - HALF_HEIGHT
            end, known = x + (above - x) * 0.22, names[parent] in reached
            css = "lm-line lm-stroke2" if known else "lm-line lm-grid"
            parts.append(f'<line class="{css}" x1="{above}" y1="{top}" x2="{end:.1f}" y2="{bottom}"/>')
            if known:
                right, down = (9, 4) if above == x else (9, -4) if above < x else (14, 13)  # beside the line, not on it
                at = f'x="{(above + end) / 2 + right:.1f}" y="{(top + bottom) / 2 + down}"'
                arrow = f'<path class="lm-fill2" d="M{above} {top} l-5 9 l10 0 z"/>'
                parts.append(f"{arrow}<text {at}>× {number(slope)}</text>")
        made = f"{SHOWN.get(name, name)} = " + (MADE[name].format(f=activation) + " = " if name in MADE else "")
        gradient = f"∂L/∂{SHOWN.get(name, name)} = " + (number(node.grad) if name in reached else "?")
        css = "lm-start lm-stroke2" if name in reached else "lm-start lm-grid"
        parts.append(
            f'<rect class="{css}" x="{x - HALF_WIDTH}" y="{y - HALF_HEIGHT}" '
            f'width="{2 * HALF_WIDTH}" height="{2 * HALF_HEIGHT}" rx="7"/>'
            f'<text x="{x}" y="{y - 4}" text-anchor="middle">{html.escape(made + number(node.data))}</text>'
            f'<text x="{x}" y="{y + 13}" text-anchor="middle">{html.escape(gradient)}</text>'
        )
    size = f'style="max-width:30rem" viewBox="0 0 420 418" role="img" aria-label="{html.escape(title)}"'
    return f'<svg class="lm-chart" {size}>{"".join(parts)}</svg>'


def predict(
    x: object, w1: object, w2: object, y: object, activation: object, steps: object, lang: str = "en"
) -> str:
    """Return the graph with the gradients of the first steps back, and where each comes from."""
    words = LABELS[lang]
    given = zip(LEAVES, (x, w1, w2, y), strict=True)
    leaves = {name: _ui.number(value, _ui.label(LABELS, name), -3, 3) for name, value in given}
    f = _ui.choice(activation, _ui.label(LABELS, "activation"), ACTIVATIONS)
    count = _ui.integer(steps, _ui.label(LABELS, "steps"), 0, len(PLACES))
    nodes = graph(leaves, f)
    nodes["L"].backward()
    names = {node: name for name, node in nodes.items()}
    order = [names[node] for node in reversed(topological_order(nodes["L"]))]
    sums = {"L": "1"}
    for node in nodes.values():
        sums |= {names[parent]: f"{number(node.grad)} × {number(slope)}" for parent, slope in node.parents}
    rows = []
    for name in order:
        moved = [graph(leaves, f, name, by)["L"].data for by in (MOVE, -MOVE)]
        known = (sums[name], number(nodes[name].grad)) if name in order[:count] else ("?", "?")
        measured = number(round((moved[0] - moved[1]) / (2 * MOVE), 6))
        rows.append([SHOWN.get(name, name), number(nodes[name].data), *known, measured])
    last = order[count - 1]
    told = ["start" if count == 0 else "first" if count == 1 else "step"]
    slope = nodes["h"].parents[0][1]
    told += ["all"] * (count == len(order))
    told += ["blocked" if slope else "off"] * (slope < BLOCKED and {"w1", "x"} <= set(order[:count]))
    twin = " ".join(words[key] for key in told).format(
        n=count, node=SHOWN.get(last, last), sum=sums[last], g=number(nodes[last].grad), f=f, slope=number(slope),
        loss=number(nodes["L"].data), z=number(nodes["z"].data), w1=number(nodes["w1"].grad), x=number(nodes["x"].grad),
    )  # fmt: skip
    header = [words[key] for key in ("node", "value", "sum", "gradient", "measured")]
    check = words["kink"] if f == "relu" and nodes["z"].data == 0 else words["check"]
    return _figures.result(
        _figures.figure(words["graph"], picture(nodes, order[:count], f, words["graph"]), twin),
        _figures.numbers_table(words["table"], header, rows, check),
    )


def build(lang: str) -> "gr.Blocks":
    """Return the demo's page in one language."""
    import gradio as gr

    words, (*numbers, activation, steps) = LABELS[lang], EXAMPLES[lang][0]
    with _ui.page(lang, TITLE, HINT) as blocks:
        back = gr.Slider(0, len(PLACES), steps, step=1, label=words["steps"])
        with gr.Row():
            sliders = [
                gr.Slider(-3, 3, value, step=0.05, label=words[name])
                for name, value in zip(LEAVES, numbers, strict=True)
            ]
        kind = gr.Radio(list(ACTIVATIONS), value=activation, label=words["activation"])
        inputs = [*sliders, kind, back]
        _ui.wire(predict, lang, inputs, gr.HTML(), "backpropagation")
        _ui.examples(lang, EXAMPLES[lang], inputs)
    return blocks
