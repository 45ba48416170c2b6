"""Draw the course from its pages: the path on the home page, the map and the list of stops on a chapter's front page.

A concept's front matter says what it needs; its first paragraph is the question it answers. Nothing is listed twice.
"""

from __future__ import annotations

import html
import logging
import math
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocs.utils.meta import get_data

log = logging.getLogger("mkdocs.hooks.course_map")
PATH, MAP = '<div class="course-path"></div>', '<div class="chapter-map"></div>'
WORDS = {
    "zh": {
        "map": "《{title}》各站的先后：{edges}。", "first": "{name} 不需要前面的站", "needs": "{name} 要先读 {others}",
        "and": "、", "then": "；", "head": "| 站 | 它回答的问题 | 约读 |\n|---|---|--:|\n", "minutes": "{n}\u00a0分钟",
        "total": "全章约 {n} 分钟：正文每分钟 300 字，一行代码 4 秒，一个公式 20 秒，不算演示和练习。",
    },
    "en": {
        "map": "What comes before what in “{title}”: {edges}.", "first": "{name} needs no stop before it",
        "needs": "{name} needs {others}", "and": " and ", "then": "; ",
        "head": "| Stop | The question it answers | To read |\n|---|---|--:|\n", "minutes": "{n}\u00a0min",
        "total": "The chapter takes about {n} minutes: 200 words a minute, 4 seconds for a line of code, 20 for a "
        "formula; demos and exercises come on top.",
    },
}  # fmt: skip
Opening = tuple[int, float]  # the row and where in it
WIDE, TALL, GAP_X, GAP_Y = 340, 40, 10, 24  # of the picture and of one stop in it, in its own units


@dataclass(frozen=True)
class Stop:
    """A concept's page: where it is, what it is called, what it asks, needs, and costs to read."""

    uri: str
    title: str
    order: float
    question: str
    needs: tuple[str, ...]
    minutes: int

    @property
    def name(self) -> str:
        """Name of the concept."""
        return Path(self.uri).stem


def without_answers(text: str) -> str:
    """The text without its folded boxes."""
    kept: list[str] = []
    fold: int | None = None  # how far the box is indented that we are in
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        if line.lstrip().startswith("???"):
            fold = depth
        elif fold is not None and line.strip() and depth <= fold:
            fold = None
        if fold is None:
            kept.append(line)
    return "\n".join(kept)


def minutes(text: str, language: str) -> int:
    """Estimated minutes to read a page: its words, its lines of code, its formulas; no folded answers, no API."""
    text = without_answers(text)
    code = re.findall(r"^```.*?\n(.*?)^```", text, re.M | re.S)
    prose = re.sub(r"^```.*?^```|<figure.*?</figure>|^\$\$.*?^\$\$", "", text, flags=re.M | re.S)
    words = len(re.findall(r"[\u3400-\u9fff]", prose)) / 300 if language == "zh" else len(prose.split()) / 200
    lines, formulas = sum(block.count("\n") for block in code), len(re.findall(r"^\$\$$", text, re.M)) / 2
    return max(1, math.ceil(words + (4 * lines + 20 * formulas) / 60))


def chapters(files: Files, language: str) -> dict[str, list[Stop]]:
    """The concepts of each chapter, in reading order."""
    found: dict[str, list[Stop]] = {}
    for file in files.documentation_pages():
        chapter, _, name = file.src_uri.rpartition("/")
        text, meta = get_data(Path(str(file.abs_src_path)).read_text("utf-8"))
        if not chapter or meta.get("kind") == "essay":
            continue
        if "needs" not in meta:
            log.warning("%s: the front matter has no `needs`: name the concepts to be read before", file.src_uri)
        question = re.search(r"^# .*\n+((?:.+\n)+)", text, re.M)
        asked = (question[1] if question else "").strip().replace("\n", "" if language == "zh" else " ")
        stop = Stop(
            file.src_uri, str(meta["title"]), float(meta["order"]), asked,
            tuple(meta.get("needs") or ()), minutes(text, language),
        )  # fmt: skip
        found.setdefault(chapter, []).append(stop)
    return {chapter: sorted(stops, key=lambda stop: stop.order) for chapter, stops in found.items()}


def check_needs(courses: dict[str, list[Stop]]) -> None:
    """Warn of a need that is no concept's name; a strict build then fails."""
    names = {stop.name for stops in courses.values() for stop in stops}
    for stop in (stop for stops in courses.values() for stop in stops):
        for need in set(stop.needs) - names:
            log.warning("%s: needs %s, which is no concept: correct the name", stop.uri, need)


def rows(stops: list[Stop]) -> list[list[Stop]]:
    """The stops of a chapter in rows: each below all that it needs."""
    depth: dict[str, int] = {}
    for stop in stops:
        depth[stop.name] = 1 + max((depth.get(need, -1) for need in stop.needs), default=-1)
    levels = [[stop for stop in stops if depth[stop.name] == level] for level in range(max(depth.values()) + 1)]
    return [level[i : i + 3] for level in levels for i in range(0, len(level), 3)]


def width(text: str) -> float:
    """About how wide a text is, in units of its font size."""
    return sum(1.0 if ord(letter) > 0x2E80 else 0.64 for letter in text)


def lettering(text: str, x: float, y: float, room: float) -> str:
    """A text centred at a point, in one line or in two, as large as fits."""
    words = text.split(" ")
    cuts = [[text], *([" ".join(words[:i]), " ".join(words[i:])] for i in range(2, len(words)))]
    lines = min(cuts, key=lambda lines: (max(0.0, max(map(width, lines)) * 11 - room), len(lines)))
    size = min(13.0, room / max(map(width, lines)))
    first = y - (len(lines) - 1) * size * 0.6 + size * 0.36
    spans = "".join(
        f'<tspan x="{x:.0f}" y="{first + i * size * 1.2:.1f}">{html.escape(line)}</tspan>'
        for i, line in enumerate(lines)
    )
    return f'<text font-size="{size:.1f}">{spans}</text>'


def openings(boxes: list[tuple[float, float]]) -> list[float]:
    """Where a line may pass through a row: between two boxes, or beside them where there is room."""
    spans = sorted((x, x + wide) for x, wide in boxes)
    found = [(right + left) / 2 for (_, right), (left, _) in pairwise(spans)]
    found += [spans[0][0] - GAP_X] * (spans[0][0] > 2 * GAP_X)
    return found + [spans[-1][1] + GAP_X] * (WIDE - spans[-1][1] > 2 * GAP_X)


def route(start: float, row: int, end: float, last: int, open_at: list[list[float]], used: Counter[Opening]) -> str:
    """A line from below one row's box to above another's, past all boxes between them; `used` keeps lines apart."""
    x, y = start, row * (TALL + GAP_Y) + 1 + TALL
    parts = [f"M{x:.0f} {y}"]
    for passed in range(row + 1, last + 1):
        to = end
        if passed < last:
            straight = x + (end - x) / (last - passed + 1)
            to = min(open_at[passed], key=lambda at: (round(abs(at - x) + abs(at - end)), abs(at - straight)))
            here = passed, to
            to += (0, 3, -3)[used[here] % 3]
            used[here] += 1
        below, bend = y + GAP_Y, y + GAP_Y / 2
        parts.append(f"C{x:.0f} {bend:.0f} {to:.0f} {bend:.0f} {to:.0f} {below}")
        if passed < last:
            parts.append(f"V{below + TALL}")
        x, y = to, below + TALL
    return f'<path d="{" ".join(parts)}"/>'


def drawing(title: str, stops: list[Stop], language: str) -> str:
    """The map as SVG: each stop a link, each need a line from above."""
    words, places, parts, known = WORDS[language], {}, [], {stop.name: stop for stop in stops}
    layout, used = rows(stops), Counter[Opening]()
    for row, level in enumerate(layout):
        wide = (WIDE - GAP_X * (len(level) - 1)) / len(level) if len(level) > 1 else WIDE * 0.62
        left = (WIDE - wide * len(level) - GAP_X * (len(level) - 1)) / 2
        for column, stop in enumerate(level):
            places[stop.name] = (left + column * (wide + GAP_X), row * (TALL + GAP_Y) + 1, wide)
    open_at = [openings([(places[stop.name][0], places[stop.name][2]) for stop in level]) for level in layout]
    at = {stop.name: row for row, level in enumerate(layout) for stop in level}
    middle = {name: x + wide / 2 for name, (x, _, wide) in places.items()}
    for stop in stops:
        for need in (need for need in stop.needs if need in places):
            parts.append(route(middle[need], at[need], middle[stop.name], at[stop.name], open_at, used))
    for number, stop in enumerate(stops, 1):
        x, y, wide = places[stop.name]
        parts.append(
            f'<a href="{stop.name}/"><rect x="{x:.0f}" y="{y}" width="{wide:.0f}" height="{TALL}" rx="8"/>'
            f"{lettering(f'{number} {stop.title}', x + wide / 2, y + TALL / 2, wide - 8)}</a>"
        )
    said = []
    for stop in stops:
        others = words["and"].join(known[need].title for need in stop.needs if need in known)
        said.append(words["needs" if others else "first"].format(name=stop.title, others=others))
    label = html.escape(words["map"].format(title=title, edges=words["then"].join(said)))
    height = len(layout) * (TALL + GAP_Y) - GAP_Y + 2
    return (
        f'<figure class="chapter-map"><svg viewBox="0 0 {WIDE} {height}" role="group" aria-label="{label}">'
        f"{''.join(parts)}</svg></figure>"
    )


def table(stops: list[Stop], language: str) -> str:
    """The stops as a Markdown table with their questions and reading times."""
    words = WORDS[language]
    lines = [
        f"| [{stop.title}]({stop.name}.md) | {stop.question.replace('|', '&#124;')} "
        f"| {words['minutes'].format(n=stop.minutes)} |"
        for stop in stops
    ]
    total = words["total"].format(n=sum(stop.minutes for stop in stops))
    return f"{words['head']}{chr(10).join(lines)}\n\n{total}\n{{ .chapter-total }}"


def path(files: Files, courses: dict[str, list[Stop]]) -> str:
    """The whole course as Markdown: a box for each chapter, its stops numbered through."""
    fronts = []
    for file in files.documentation_pages():
        chapter, _, name = file.src_uri.rpartition("/")
        if chapter in courses and name == "index.md":
            fronts.append((get_data(Path(str(file.abs_src_path)).read_text("utf-8"))[1], chapter))
    parts, number = [], 1
    for meta, chapter in sorted(fronts, key=lambda front: front[0]["order"]):
        stops = courses[chapter]
        lines = [f"{i}. [{stop.title}]({stop.uri}) {stop.question}" for i, stop in enumerate(stops, number)]
        number += len(stops)
        parts.append(
            '<div class="home-chapter" markdown>\n\n'
            f"### [{meta['title']}]({chapter}/index.md) {{ #path-{chapter} }}\n\n"
            f"{meta['tagline']}\n\n{chr(10).join(lines)}\n\n</div>"
        )
    return '<div class="home-path" markdown>\n' + "\n".join(parts) + "\n</div>"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put map, list and path where a page asks for them."""
    if PATH not in markdown and MAP not in markdown:
        return markdown
    language = str(config.theme["language"])
    courses = chapters(files, language)
    if PATH in markdown:
        check_needs(courses)
        return markdown.replace(PATH, path(files, courses))
    stops = courses[page.file.src_uri.rpartition("/")[0]]
    return markdown.replace(MAP, f"{drawing(str(page.title), stops, language)}\n\n{table(stops, language)}")
