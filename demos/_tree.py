"""A tree of probabilities as SVG: what may follow splits like a river, each branch as wide as it is probable."""

import html
from collections.abc import Iterator
from dataclasses import dataclass, field

ROW, HEIGHT, GAP, MARGIN = 27, 20, 54, 6  # GAP holds the note behind a leaf
NARROW, BROAD, WIDE = 7.6, 11.6, 12.5  # widths of a Latin letter, of a broad one, and of a Han character
BROADS, BOLD, PAD, APART = "%+mwMW—→↵␣✕■", 1.08, 7, 14  # APART: at least so far is a share from its token
SOFT = "fill:color-mix(in srgb, var(--lm-{0}) 16%, var(--lm-paper));stroke:var(--lm-{0})"
HALO = "paint-order:stroke;stroke:var(--lm-paper);stroke-width:3px;stroke-linejoin:round"
BOXES = {
    "best": "fill:var(--lm-{0});stroke:var(--lm-{0})",
    "kept": SOFT,
    "dead": SOFT + ";stroke-dasharray:3 3",
    "plain": "fill:var(--lm-paper);stroke:var(--lm-line)",
    "cut": "fill:none;stroke:var(--lm-line);stroke-dasharray:3 3",
    "rest": "fill:none;stroke:none",
}
BANDS = {
    "best": "stroke:var(--lm-{0});opacity:.85",
    "kept": "stroke:var(--lm-{0});opacity:.4",
    "dead": "stroke:var(--lm-{0});opacity:.4",
    "plain": "stroke:var(--lm-muted);opacity:.4",
    "cut": "stroke:var(--lm-line);opacity:.7",
    "rest": "stroke:var(--lm-line);opacity:.7",
}


@dataclass
class Branch:
    """One token in its place: its share of the parent, the product down to it, and what has become of it."""

    token: str
    share: str = ""
    weight: float = 1.0  # the same share as a number from 0 to 1
    note: str = ""  # written behind a branch without children
    state: str = "plain"  # a key of BOXES
    trails: tuple[int, ...] = ()  # colours of other paths that pass here
    said: str = ""  # shown when the pointer rests on it
    fresh: bool = False  # drawn while you watch
    children: list["Branch"] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0


def wide(text: str) -> float:
    """Return about how many pixels a text takes."""
    return sum(WIDE if ord(c) > 0x2E80 else BROAD if c in BROADS else NARROW for c in text)


def _room(branch: Branch) -> float:
    """Return how wide the branch's box must be; what is best is written bold."""
    letters = (wide(branch.token) + wide(branch.share)) * (BOLD if branch.state == "best" else 1)
    return letters + 2 * PAD + (APART if branch.share else 0)


def _levels(root: Branch) -> Iterator[list[Branch]]:
    level = [root]
    while level:
        yield level
        level = [child for branch in level for child in branch.children]


def _place(branch: Branch, depth: int, least: int, free: list[int]) -> None:
    """Put a branch and its first children on one row, as high as all those columns allow; then the other children.

    `free` holds the next free row of each column: nothing crosses, and no row is left to deeper branches alone.
    """
    chain, last = 1, branch
    while last.children:
        chain, last = chain + 1, last.children[0]
    row = max(least, *free[depth : depth + chain])
    branch.y, free[depth] = MARGIN + row * ROW + HEIGHT / 2, row + 1
    for child in branch.children:
        _place(child, depth + 1, row, free)


def _bands(branch: Branch, right: float, colour: int) -> Iterator[tuple[int, str]]:
    """Yield the branches out of one box, side by side as wide as the box is high; the kept ones lie on top."""
    top = branch.y - HEIGHT / 2
    for child in branch.children:
        width = HEIGHT * child.weight
        y, middle = top + width / 2, (right + child.x) / 2
        top += width
        curve = f"M{right:g} {y:.1f}C{middle:g} {y:.1f} {middle:g} {child.y:g} {child.x:g} {child.y:g}"
        drawn = ' class="lm-draw" pathLength="1"' if child.fresh else ""
        style = BANDS[child.state].format(colour)
        order = list(BANDS)[::-1].index(child.state)
        yield order, f'<path{drawn} fill="none" stroke-width="{max(width, 1.2):.1f}" style="{style}" d="{curve}"/>'
        for n, trail in enumerate(child.trails):
            dots = f"stroke:var(--lm-{trail});stroke-dasharray:1 5;stroke-linecap:round"
            shift = f' transform="translate(0 {3 * n})"' if n else ""
            yield 9, f'<path fill="none" stroke-width="2.6" style="{dots}" d="{curve}"{shift}/>'


def _box(branch: Branch, width: float, colour: int) -> str:
    """Return one box with token and share, and behind a leaf its note."""
    x, y, style = branch.x, branch.y + 4, BOXES[branch.state].format(colour)
    if branch.trails and branch.state not in ("best", "kept", "dead"):
        style = f"fill:var(--lm-paper);stroke:var(--lm-{branch.trails[0]});stroke-dasharray:1 3"
    css = "lm-on" if branch.state == "best" else ""
    quiet = ' style="fill:var(--lm-muted)"' if branch.state in ("cut", "rest") else ""
    parts = [f"<title>{html.escape(branch.said)}</title>"] if branch.said else []
    parts.append(
        f'<rect x="{x:g}" y="{branch.y - HEIGHT / 2:g}" width="{width:g}" height="{HEIGHT}" rx="6" style="{style}"/>'
        f'<text x="{x + PAD:g}" y="{y:g}"{quiet}>{html.escape(branch.token)}</text>'
        f'<text x="{x + width - PAD:g}" y="{y:g}" text-anchor="end"{quiet}>{html.escape(branch.share)}</text>'
    )
    tail = ""
    if branch.note and not branch.children:
        tail = f'<text class="lm-tick" style="{HALO}" x="{x + width + 6:g}" y="{y:g}">{html.escape(branch.note)}</text>'
    return f'<g class="{css}">{"".join(parts)}</g>{tail}'


def draw(root: Branch, colour: int, title: str) -> str:
    """Return the tree, time running to the right, in a box that scrolls where it is wider than the page.

    Args:
        root: the text so far; children in the order in which they are drawn, from the top.
        colour: number of the colour for what is best, kept or dead.
        title: what a screen reader says for the picture.
    """
    levels = list(_levels(root))
    widths = [max(map(_room, level)) for level in levels]
    xs = [MARGIN + sum(widths[:depth]) + GAP * depth for depth in range(len(levels))]
    free = [0] * len(levels)
    _place(root, 0, 0, free)
    for x, level in zip(xs, levels, strict=True):
        for branch in level:
            branch.x = x
    each = [(branch, width) for width, level in zip(widths, levels, strict=True) for branch in level]
    bands = [band for branch, width in each for band in _bands(branch, branch.x + width, colour)]
    boxes = [_box(branch, width, colour) for branch, width in each]
    ends = [branch.x + width + 12 + wide(branch.note) for branch, width in each]
    width, height = max(ends), 2 * MARGIN + max(free) * ROW
    picture = "".join(band for _, band in sorted(bands, key=lambda band: band[0])) + "".join(boxes)
    size = f"width:100%;min-width:{0.88 * width:.0f}px;max-width:{width:.0f}px;display:block"  # a phone scrolls
    return (
        f'<div class="lm-scroll" tabindex="0" role="region" aria-label="{html.escape(title)}">'
        f'<svg viewBox="0 0 {width:g} {height:g}" style="{size}" role="img" aria-label="{html.escape(title)}">'
        f"{picture}</svg></div>"
    )
