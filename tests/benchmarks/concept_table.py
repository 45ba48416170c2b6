"""Print a row for each concept: largest difference to its reference, slowest demo answer, lines of the module.

Differences are those that the concept's tests note with `record_differences`; times are the fastest of three answers
to the demo's slowest example, models loaded, on one thread.
"""

import importlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import torch

from concepts import ROOT, Concept, belongs, concepts, demos


def differences() -> dict[str, tuple[float, float]]:
    """Run the tests that compare with a reference; return the largest differences in value and in gradient."""
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        folders = [str(ROOT / "tests" / chapter) for chapter in {concept.chapter for concept in concepts()}]
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", "-k", "equal or largest", *folders]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        for case in ET.parse(report).iter("testcase"):  # noqa: S314 - written by our own run
            noted = {str(p.get("name")): float(str(p.get("value"))) for p in case.iter("property")}
            if noted:
                name = str(case.get("classname")).rsplit(".test_", 1)[1]
                before = found.get(name, (0.0, 0.0))
                found[name] = (max(before[0], noted["value"]), max(before[1], noted["gradient"]))
    return found


def seconds(demo: ModuleType, row: tuple[object, ...]) -> float:
    """Return the fastest of three answers to one example; of a stream, until its last item."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        answer = demo.predict(*row, lang="en")
        if not isinstance(answer, str):
            list(answer)
        times.append(time.perf_counter() - began)
    return min(times)


def slowest(concept: Concept) -> str:
    """Return the slowest example's milliseconds for each demo of a concept."""
    found = []
    for path in demos():
        if path.parent.name == concept.chapter and belongs(path.stem, {concept.name}):
            demo = importlib.import_module(f"demos.{concept.chapter}.{path.stem}")
            top = max(seconds(demo, row) for row in demo.EXAMPLES["en"])
            found.append(f"{path.stem} {1000 * top:.0f}")
    return ", ".join(found)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    noted = differences()
    print(f"{'concept':36} {'value':>8} {'gradient':>8} {'lines':>5}  ms of the slowest example")
    for concept in concepts():
        gaps = [f"{gap:8.1e}" for gap in noted[concept.name]] if concept.name in noted else [f"{'-':>8}"] * 2
        lines = len(concept.places["library"].read_text("utf-8").splitlines())
        print(f"{concept!s:36} {gaps[0]} {gaps[1]} {lines:5}  {slowest(concept)}", flush=True)


if __name__ == "__main__":
    main()
