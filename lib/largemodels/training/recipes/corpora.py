"""Text corpora of the recipes, read from a data folder and split the same way every time."""

import gzip
import hashlib
import json
import re
from pathlib import Path

SPLITS = ("train", "validation", "test")
POEM_FORMS = {(4, 5): "五绝", (4, 7): "七绝", (8, 5): "五律", (8, 7): "七律"}
_LINE = re.compile("([\u3400-\u9fff\U00020000-\U0003ffff]+)[，。！？；：、]")


def require(data: Path, *names: str) -> None:
    """Refuse a data folder that lacks a file or holds an empty one, before any time is spent.

    Args:
        data: Data root.
        *names: Files below it.

    Raises:
        FileNotFoundError: naming every file that is missing or empty.
    """
    missing = [name for name in names if not (data / name).is_file() or not (data / name).stat().st_size]
    if missing:
        raise FileNotFoundError(
            f"{data} must hold {', '.join(missing)}, missing or empty now; the model card names the sources"
        )


def poem_lines(text: str) -> list[str]:
    """Lines of a poem without their punctuation; empty if anything else is in the text.

    Args:
        text: Han characters, each line closed by one full-width punctuation mark.

    Returns:
        The lines, in order.

    Example:
        >>> poem_lines("白日依山尽，黄河入海流。")
        ['白日依山尽', '黄河入海流']
    """
    lines = _LINE.findall(text)
    return lines if sum(map(len, lines)) + len(lines) == len(text) else []


def poem_form(text: str) -> str | None:
    """Name of the regular form a poem keeps.

    Args:
        text: A poem with punctuation.

    Returns:
        五绝 (4 lines of 5 characters), 七绝 (4 of 7), 五律 (8 of 5), 七律 (8 of 7), or None for any other shape.

    Example:
        >>> poem_form("白日依山尽，黄河入海流。欲穷千里目，更上一层楼。")
        '五绝'
    """
    lines = poem_lines(text)
    widths = {len(line) for line in lines}
    return POEM_FORMS.get((len(lines), widths.pop())) if len(widths) == 1 else None


def split_of(text: str, held_out_percent: int = 2) -> str:
    """Split a text belongs to, decided by its hash: the same on every machine and in any order.

    Args:
        text: The whole text; equal texts land in the same split.
        held_out_percent: Even number; half of it goes to validation, half to test.

    Returns:
        One of `SPLITS`.
    """
    bucket = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % 100
    if bucket >= held_out_percent:
        return "train"
    return "validation" if bucket < held_out_percent // 2 else "test"


def read_poems(data: Path) -> dict[str, list[str]]:
    """Regular poems, deduplicated, in three splits that do not share poems.

    Args:
        data: Data root; `chinese-poetry/shi-regular-simplified.jsonl.gz` is read.

    Returns:
        Split name to poems. A held-out poem with half or more of its lines in the training split is another
        edition of a training poem and is dropped.
    """
    require(data, "chinese-poetry/shi-regular-simplified.jsonl.gz")
    with gzip.open(data / "chinese-poetry" / "shi-regular-simplified.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = dict.fromkeys(json.loads(row)["text"] for row in file)
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for text in texts:
        if poem_form(text):
            splits[split_of(text)].append(text)
    known = {line for text in splits["train"] for line in poem_lines(text)}
    for split in SPLITS[1:]:
        splits[split] = [text for text in splits[split] if _share(poem_lines(text), known) < 0.5]
    return splits


def _share(lines: list[str], known: set[str]) -> float:
    """Fraction of lines that are known."""
    return sum(line in known for line in lines) / len(lines)


def read_shakespeare(data: Path) -> dict[str, str]:
    """Tiny Shakespeare, cut at speech boundaries: first 90 % train, then 5 % validation, 5 % test.

    Args:
        data: Data root; `tinyshakespeare/input.txt.gz` is read.

    Returns:
        Split name to one contiguous text.
    """
    require(data, "tinyshakespeare/input.txt.gz")
    with gzip.open(data / "tinyshakespeare" / "input.txt.gz", "rt", encoding="utf-8") as file:
        text = file.read()
    first, second = (text.index("\n\n", len(text) * percent // 100) + 2 for percent in (90, 95))
    return dict(zip(SPLITS, (text[:first], text[first:second], text[second:]), strict=True))
