"""The programs that made the shipped checkpoints and measurements: `largemodels train NAME --data FOLDER …`."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path


def names() -> dict[str, str]:
    """Every recipe with the first line of its docstring.

    Returns:
        Name as on the command line, such as "bilingual-bert", to what it makes.
    """
    texts = {path.stem: path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))}
    return {
        name.replace("_", "-"): text.split("\n", 1)[0].strip('"')
        for name, text in texts.items()
        if "\ndef main(" in text
    }


def run(name: str, arguments: Sequence[str]) -> None:
    """Run one recipe.

    Args:
        name: as `names` gives it.
        arguments: what follows it on the command line.

    Raises:
        ValueError: if there is no such recipe.
    """
    known = names()
    if name not in known:
        lines = "\n".join(f"  {recipe}: {what}" for recipe, what in known.items())
        raise ValueError(f"the recipe must be one of those below, got {name!r}; choose one\n{lines}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    before, sys.argv = sys.argv, [f"largemodels train {name}", *arguments]
    try:
        module.main()
    finally:
        sys.argv = before
