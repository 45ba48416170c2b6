"""What the house rules look at in a lesson page: front matter, headings, fences, formulas, links."""

import functools
import io
import re
import textwrap
import tokenize
from dataclasses import dataclass
from pathlib import Path

import yaml

FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.S)
FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,}) *(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=ticks) *$", re.M | re.S
)
HEADING = re.compile(r"^(#{1,6}) +(.*?)(?: +\{ *#([\w-]+) *\})?[ ]*$", re.M)
CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.S)
INLINE = re.compile(r"(?<![\\$])\$(?![\s$])((?:\\.|[^\\$])+?)(?<!\s)\$(?!\$)")
LINK = re.compile(r"\]\(([^)\s]+\.md(?:#[\w-]*)?)")
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)")
DRAWING = re.compile(r"<svg\b.*?</svg>", re.S)
FIGURE = re.compile(r"<figure\b.*?</figure>", re.S)
WORDS_IN_DRAWING = re.compile(r' aria-label="[^"]*"|<(title|desc)\b.*?</\1>', re.S)


@dataclass(frozen=True)
class Fence:
    """A fenced block of code."""

    line: int
    info: str
    body: str
    before: str  # the last line with text above it

    @property
    def language(self) -> str:
        """The first word of the info string, without dot and braces: python, text, bash."""
        words = re.findall(r"[\w+-]+", self.info)
        return words[0] if words else ""

    @property
    def is_output(self) -> bool:
        """Whether it shows what the code above it prints."""
        return ".output" in self.info

    @property
    def code(self) -> str:
        """The body without comments and blank lines: what both languages must share."""
        if self.language == "python" and not self.body.startswith("# source:"):
            return without_comments(self.body)
        return self.body


@dataclass(frozen=True)
class Page:
    """One Markdown file, taken apart."""

    text: str

    @functools.cached_property
    def front(self) -> dict[str, object]:
        """Front matter, keys in order."""
        match = FRONT.match(self.text)
        return yaml.safe_load(match[1]) if match else {}

    @functools.cached_property
    def fences(self) -> list[Fence]:
        """Fenced blocks in order; those inside a folded answer are dedented."""
        found = []
        for match in FENCE.finditer(self.text):
            above = [line.strip() for line in self.text[: match.start()].splitlines() if line.strip()]
            body = textwrap.dedent(match["body"]).rstrip("\n")
            line = self.text.count("\n", 0, match.start()) + 1
            found.append(Fence(line, match["info"].strip(), body, above[-1] if above else ""))
        return found

    @functools.cached_property
    def prose(self) -> str:
        """The text without front matter, fences and code spans."""
        return CODE_SPAN.sub("", FENCE.sub("", FRONT.sub("", self.text)))

    @functools.cached_property
    def headings(self) -> list[tuple[int, str, str]]:
        """Level, title and id of each heading; the id is empty where the page gives none."""
        bare = FENCE.sub("", FRONT.sub("", self.text))
        return [(len(marks), title, name or "") for marks, title, name in HEADING.findall(bare)]

    @property
    def display_formulas(self) -> list[str]:
        """Formulas on a line of their own, in order."""
        return [formula.strip() for formula in DISPLAY.findall(self.prose)]

    @property
    def inline_formulas(self) -> list[str]:
        """Formulas in running text, sorted: languages order their sentences differently."""
        return sorted(INLINE.findall(DISPLAY.sub("", self.prose)))

    @property
    def api_blocks(self) -> list[str]:
        """Names whose API the page shows."""
        return re.findall(r"^::: *([\w.]+)", self.prose, re.M)

    @property
    def demos(self) -> list[str]:
        """Names of the demos that the page embeds."""
        return re.findall(r'data-demo="(\w+)"', self.prose)

    @property
    def figures(self) -> list[str]:
        """Drawings without the words for screen readers, and addresses of images."""
        return [WORDS_IN_DRAWING.sub("", drawing) for drawing in DRAWING.findall(self.text)] + IMAGE.findall(self.prose)

    @property
    def links(self) -> list[str]:
        """Links to other pages, sorted."""
        return sorted(LINK.findall(self.prose))

    @property
    def folded(self) -> int:
        """How many folded boxes there are, such as answers to exercises."""
        return len(re.findall(r"^ *\?\?\?", self.prose, re.M))

    def section(self, name: str) -> str:
        """Text below the second-level heading with this id, up to the next of its level."""
        match = re.search(rf"^## .*\{{ *#{name} *\}} *\n(.*?)(?=^## |\Z)", FENCE.sub("", self.text), re.M | re.S)
        return match[1] if match else ""


def read(path: Path) -> Page:
    """Take one file apart."""
    return Page(path.read_text("utf-8"))


def without_comments(code: str) -> str:
    """Python code without comments, trailing spaces and blank lines."""
    lines = code.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())
