"""Pictures as HTML: charts, heat tables and bars that follow the page's colours and carry a text twin.

Every function returns a string that stands alone: no script, no address of another host, every text escaped.
The same string is shown live by Gradio and, before anything is clicked, on the lesson page.
Colours come from `docs/_theme/figures.css`, so one string serves light and dark.
"""

import html
import math
import typing
from collections.abc import Callable, Sequence

if typing.TYPE_CHECKING:
    from numpy import ndarray

Series = tuple[str, Sequence[float], Sequence[float]]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 250, 44, 12, 12, 34
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def figure(title: str, picture: str, twin: str) -> str:
    """Return `picture` with its title above and the text that says the same below it."""
    return (
        f'<figure class="lm-figure"><figcaption>{html.escape(title)}</figcaption>{picture}'
        f'<p class="lm-twin">{html.escape(twin)}</p></figure>'
    )


def result(*figures: str) -> str:
    """Return several figures as the one result of a demo."""
    return f'<div class="lm-result">{"".join(figures)}</div>'


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers between `low` and `high`, about `count` of them."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


class _Frame:
    """Maps data to picture coordinates and draws the axes."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self.x_range, self.y_range = x_range, y_range
        self.y_words: Callable[[float], str] = "{:g}".format

    def at(self, x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        px = LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        py = HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
        # Far points are cut at a distance that no picture shows, so that huge numbers stay legal SVG.
        return round(min(max(px, -1e4), 1e4), 1), round(min(max(py, -1e4), 1e4), 1)

    def line(self, xs: Sequence[float], ys: Sequence[float], css: str) -> str:
        points = " ".join(f"{px},{py}" for px, py in (self.at(x, y) for x, y in zip(xs, ys, strict=True)))
        return f'<polyline class="{css}" points="{points}" pathLength="1"/>'

    def dot(self, x: float, y: float, css: str, radius: float = 4) -> str:
        px, py = self.at(x, y)
        return f'<circle class="{css}" cx="{px}" cy="{py}" r="{radius}"/>'

    def text(self, x: float, y: float, words: str) -> str:
        px, py = self.at(x, y)
        anchor, dx = ("end", -8) if px > WIDTH * 0.62 else ("start", 8)
        return f'<text x="{px + dx}" y="{max(py - 8, 20)}" text-anchor="{anchor}">{html.escape(words)}</text>'

    def axes(self, x_label: str, y_label: str) -> str:
        bottom, parts = HEIGHT - BOTTOM, []
        for x in ticks(*self.x_range):
            px, _ = self.at(x, 0)
            parts.append(f'<line class="lm-grid" x1="{px}" x2="{px}" y1="{TOP}" y2="{bottom}"/>')
            parts.append(f'<text class="lm-tick" x="{px}" y="{bottom + 13}" text-anchor="middle">{x:g}</text>')
        for y in ticks(*self.y_range):
            _, py = self.at(0, y)
            parts.append(f'<line class="lm-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py}" y2="{py}"/>')
            words = self.y_words(y)
            parts.append(f'<text class="lm-tick" x="{LEFT - 5}" y="{py + 3.5}" text-anchor="end">{words}</text>')
        parts.append(
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">'
            f"{html.escape(x_label)}</text>"
        )
        middle = (TOP + bottom) / 2
        parts.append(
            f'<text x="11" y="{middle}" text-anchor="middle" transform="rotate(-90 11 {middle})">'
            f"{html.escape(y_label)}</text>"
        )
        return "".join(parts)

    def svg(self, title: str, body: str) -> str:
        inner = f'<svg x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}" '
        inner += f'viewBox="{LEFT} {TOP} {WIDTH - LEFT - RIGHT} {HEIGHT - TOP - BOTTOM}">'
        return (
            f'<svg class="lm-chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
            + body.replace("<!--plot-->", inner).replace("<!--/plot-->", "</svg>")
            + "</svg>"
        )


def _span(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    finite = [v for v in values if math.isfinite(v)] or [0.0]
    low, high = min(finite), max(finite)
    extra = (high - low) * margin or 1.0
    return low - extra, high + extra


def legend(names: Sequence[str]) -> str:
    """Return the key of a chart: one coloured stroke and one name for each series."""
    items = "".join(f'<li><span class="lm-key lm-key{i}"></span>{html.escape(n)}</li>' for i, n in enumerate(names, 1))
    return f'<ul class="lm-legend">{items}</ul>'


def curves(
    title: str,
    series: Sequence[Series],
    twin: str,
    *,
    x_label: str,
    y_label: str,
    marks: Sequence[tuple[float, float, str]] = (),
    y_range: tuple[float, float] | None = None,
) -> str:
    """Return a line chart.

    Args:
        title: what the chart shows.
        series: name, x values and y values of each line; lines take the colours 1, 2, 3 … in order.
        twin: the text that says in words what the picture says.
        x_label: name and unit of the horizontal axis.
        y_label: name and unit of the vertical axis.
        marks: points to point out, each with x, y and a short label.
        y_range: lowest and highest y to show; taken from the data when None.
    """
    xs = [x for _, series_x, _ in series for x in series_x] + [x for x, _, _ in marks]
    ys = [y for _, _, series_y in series for y in series_y] + [y for _, y, _ in marks]
    frame = _Frame((min(xs), max(xs)) if max(xs) > min(xs) else _span(xs), y_range or _span(ys))
    lines = "".join(frame.line(x, y, f"lm-line lm-stroke{i}") for i, (_, x, y) in enumerate(series, 1))
    points = "".join(frame.dot(x, y, "lm-mark") + frame.text(x, y, words) for x, y, words in marks)
    picture = frame.svg(title, frame.axes(x_label, y_label) + f"<!--plot-->{lines}<!--/plot-->{points}")
    return figure(title, picture + legend([name for name, _, _ in series]), twin)


def log_curves(
    title: str,
    series: Sequence[Series],
    twin: str,
    *,
    x_label: str,
    y_label: str,
    decades: tuple[int, int] = (-12, 12),
) -> str:
    """Return a line chart whose vertical axis counts powers of ten.

    The arguments are those of `curves`; y is not negative, and lines are cut at the ends of `decades`.
    """
    powers = [(x, [math.log10(max(y, 1e-300)) for y in ys]) for _, x, ys in series]
    low, high = (extreme(v for _, vs in powers for v in vs) for extreme in (min, max))
    low, high = max(math.floor(low), decades[0]), min(math.ceil(high), decades[1])
    xs = [x for values, _ in powers for x in values]
    frame = _Frame((min(xs), max(xs)), (low - 0.3, max(high, low + 2) + 0.3))
    frame.y_words = lambda y: "10" + str(int(y)).translate(_RAISED) if y == int(y) else ""
    lines = "".join(frame.line(x, ys, f"lm-line lm-stroke{i}") for i, (x, ys) in enumerate(powers, 1))
    picture = frame.svg(title, frame.axes(x_label, y_label) + f"<!--plot-->{lines}<!--/plot-->")
    return figure(title, picture + legend([name for name, _, _ in series]), twin)


def contour_path(
    title: str,
    surface: Callable[[float, float], float],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    paths: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    twin: str,
    *,
    x_label: str,
    y_label: str,
    levels: Sequence[float],
) -> str:
    """Return the level lines of `surface(x, y)` with one or more paths walked on it, drawn step by step.

    Args:
        title: what the picture shows.
        surface: height at a point.
        x_range: lowest and highest x.
        y_range: lowest and highest y.
        paths: name and points of each path; the first point is marked as the start, the last as the end.
        twin: the text that says in words what the picture says.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        levels: heights at which a level line is drawn.
    """
    from contourpy import contour_generator

    n = 48
    xs = [x_range[0] + (x_range[1] - x_range[0]) * i / (n - 1) for i in range(n)]
    ys = [y_range[0] + (y_range[1] - y_range[0]) * j / (n - 1) for j in range(n)]
    generator = contour_generator(x=xs, y=ys, z=[[surface(x, y) for x in xs] for y in ys])
    frame, lines = _Frame(x_range, y_range), []
    for level in levels:
        rings = typing.cast("list[ndarray]", generator.lines(level))  # each of shape (n, 2)
        lines += [frame.line(ring[:, 0].tolist(), ring[:, 1].tolist(), "lm-level") for ring in rings]
    for i, (_, points) in enumerate(paths, 1):
        lines.append(frame.line([p[0] for p in points], [p[1] for p in points], f"lm-line lm-draw lm-stroke{i}"))
        lines += [frame.dot(x, y, f"lm-step lm-fill{i}", 2.2) for x, y in points]
        lines += [frame.dot(*points[0], f"lm-start lm-stroke{i}", 5), frame.dot(*points[-1], f"lm-end lm-fill{i}", 5)]
    picture = frame.svg(title, frame.axes(x_label, y_label) + f"<!--plot-->{''.join(lines)}<!--/plot-->")
    return figure(title, picture + legend([name for name, _ in paths]), twin)


def heat_table(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    twin: str,
    *,
    digits: int = 2,
    corner: str = "",
    diverging: bool = False,
) -> str:
    """Return a matrix as a table whose cells are coloured by their value: readable by eye and by ear.

    Args:
        title: what the table shows.
        rows: one label for each row.
        columns: one label for each column.
        values: one list for each row.
        twin: the text that says in words what to see.
        digits: digits after the point; 0 with `diverging` still colours by the full value.
        corner: what rows and columns are, written in the upper left cell.
        diverging: colour negative and positive values differently, with zero blank.
    """
    top = max((abs(v) for row in values for v in row if math.isfinite(v)), default=1.0) or 1.0
    head = "".join(f'<th scope="col">{html.escape(c)}</th>' for c in columns)
    body = ""
    for label, row in zip(rows, values, strict=True):
        body += f'<tr><th scope="row">{html.escape(label)}</th>'
        for value in row:
            share = abs(value) / top if math.isfinite(value) else 0.0
            colour = "lm-cold" if diverging and value < 0 else "lm-warm"
            body += f'<td class="{colour}" style="--s:{share * 100:.0f}%">{value:.{digits}f}</td>'
        body += "</tr>"
    table = (
        f'<div class="lm-scroll" tabindex="0" role="region" aria-label="{html.escape(title)}"><table class="lm-heat">'
        f'<thead><tr><th scope="col">{html.escape(corner)}</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    return figure(title, table, twin)


def bars(
    title: str, items: Sequence[tuple[str, float]], twin: str, *, digits: int = 3, maximum: float | None = None
) -> str:
    """Return horizontal bars, one row for each label: a table with the number written out.

    Args:
        title: what the bars show.
        items: label and value (not negative) of each bar.
        twin: the text that says in words what to see.
        digits: digits after the point.
        maximum: the value of a full bar; the largest value when None.
    """
    top = maximum or max((value for _, value in items), default=1.0) or 1.0
    rows = "".join(
        f'<tr><th scope="row">{html.escape(label)}</th><td><span class="lm-bar" style="--w:{value / top * 100:.1f}%">'
        f'</span></td><td class="lm-number">{value:.{digits}f}</td></tr>'
        for label, value in items
    )
    return figure(title, f'<table class="lm-bars"><tbody>{rows}</tbody></table>', twin)


def numbers_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], twin: str) -> str:
    """Return a plain table of `header` and `rows` of ready-made text."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    table = f'<table class="lm-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    region = f'<div class="lm-scroll" tabindex="0" role="region" aria-label="{html.escape(title)}">'
    return figure(title, f"{region}{table}</div>", twin)


def tokens(title: str, weighted: Sequence[tuple[str, float]], twin: str) -> str:
    """Return a sentence whose tokens are coloured by a weight: above zero warm, below zero cold."""
    top = max((abs(weight) for _, weight in weighted), default=1.0) or 1.0
    spans = "".join(
        f'<span class="lm-token {"lm-cold" if weight < 0 else "lm-warm"}" style="--s:{abs(weight) / top * 100:.0f}%">'
        f"{html.escape(token)}<small>{weight:+.2f}</small></span>"
        for token, weight in weighted
    )
    return figure(title, f'<div class="lm-tokens">{spans}</div>', twin)


def words(title: str, text: str, twin: str) -> str:
    """Return running text, line breaks kept: what a model wrote."""
    return figure(title, f'<div class="lm-words">{html.escape(text)}</div>', twin)
