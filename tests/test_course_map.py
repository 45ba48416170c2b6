"""The map of a chapter: every need is a line from box to box, and no line passes behind a third box."""

import importlib.util
import itertools
import re
import sys
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts import ROOT

NUMBER = r"(-?[\d.]+)"
BOX = re.compile(rf'<rect x="{NUMBER}" y="{NUMBER}" width="{NUMBER}" height="{NUMBER}"')
STEP = re.compile(r"([MCV])([^MCV]*)")


def course_map() -> ModuleType:
    """Import the hook that draws."""
    spec = importlib.util.spec_from_file_location("course_map", ROOT / "docs" / "_hooks" / "course_map.py")
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOK = course_map()


def stops(needs: list[list[int]]) -> list[object]:
    """Make a chapter whose stop number i needs the stops named."""
    names = [f"stop{i}" for i in range(len(needs))]
    return [
        HOOK.Stop(f"models/{name}.md", name, float(i), "Why?", tuple(names[n] for n in needs[i]), 1)
        for i, name in enumerate(names)
    ]


def points(path: str) -> list[tuple[float, float]]:
    """Return points along a path of moves, curves and vertical lines."""
    found: list[tuple[float, float]] = []
    for kind, rest in STEP.findall(path):
        values = [float(value) for value in rest.split()]
        if kind == "M":
            found.append((values[0], values[1]))
        elif kind == "V":
            (x, y), ts = found[-1], [i / 8 for i in range(1, 9)]
            found += [(x, y + t * (values[0] - y)) for t in ts]
        else:
            corners = [found[-1], *zip(values[::2], values[1::2], strict=True)]
            for i in range(1, 17):
                t = i / 16
                shares = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
                x, y = (sum(s * corner[axis] for s, corner in zip(shares, corners, strict=True)) for axis in (0, 1))
                found.append((x, y))
    return found


@st.composite
def chapters(draw: st.DrawFn) -> list[list[int]]:
    count = draw(st.integers(1, 12))
    return [sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else [] for i in range(count)]


@settings(max_examples=60)
@given(chapters())
def test_no_line_passes_behind_a_box(needs: list[list[int]]) -> None:
    svg = HOOK.drawing("Models", stops(needs), "en")
    boxes = [tuple(map(float, box)) for box in BOX.findall(svg)]
    paths = re.findall(r'<path d="([^"]*)"', svg)
    assert len(boxes) == len(needs) and len(paths) == sum(map(len, needs))
    for path, (x, y, wide, tall) in itertools.product(paths, boxes):
        for px, py in points(path):
            assert not (x + 0.5 < px < x + wide - 0.5 and y + 0.5 < py < y + tall - 0.5), (path, (x, y))
            assert 0 <= px <= HOOK.WIDE


@given(chapters().filter(lambda needs: any(needs)))
def test_each_line_goes_from_the_box_above_to_the_box_that_needs_it(needs: list[list[int]]) -> None:
    svg = HOOK.drawing("Models", stops(needs), "zh")
    boxes = [tuple(map(float, box)) for box in BOX.findall(svg)]
    ends = []
    for path in re.findall(r'<path d="([^"]*)"', svg):
        along = points(path)
        ends.append((along[0], along[-1]))
    wanted = [(n, i) for i, row in enumerate(needs) for n in row]
    for ((x0, y0), (x1, y1)), (above, below) in zip(ends, wanted, strict=True):
        assert x0 == pytest.approx(boxes[above][0] + boxes[above][2] / 2, abs=1.6)
        assert x1 == pytest.approx(boxes[below][0] + boxes[below][2] / 2, abs=1.6)
        assert y0 == boxes[above][1] + boxes[above][3] and y1 == boxes[below][1]
