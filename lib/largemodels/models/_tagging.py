"""Named entities as tags of tokens (BIO), and back from tags to stretches of the text.

Source: Ramshaw and Marcus, "Text Chunking using Transformation-Based Learning", 1995,
https://aclanthology.org/W95-0107, section 4.1; today's B at every beginning is the IOB2 of Tjong Kim Sang and
Veenstra, 1999, https://aclanthology.org/E99-1023.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"


class Entity(NamedTuple):
    """A stretch of a text and what it is.

    Attributes:
        start: first character.
        end: the character after the last one.
        kind: such as "name".
        prob: mean probability of the tags that it was read from, a fraction 0-1; 1 in annotated text.
    """

    start: int
    end: int
    kind: str
    prob: float = 1.0


def tag_names(kinds: Iterable[str]) -> list[str]:
    """Name the classes of a tagger: outside, and beginning and inside of each kind.

    Args:
        kinds: of entities, each once.

    Returns:
        "O", then "B-…" and "I-…" for each.
    """
    return [OUTSIDE, *(f"{place}-{kind}" for kind in kinds for place in "BI")]


def tags_of(offsets: Sequence[tuple[int, int]], entities: Iterable[Entity]) -> list[str]:
    """Tag tokens with the entities that they lie in.

    Args:
        offsets: first character of each token and the one after its last; both equal for special tokens.
        entities: that do not overlap.

    Returns:
        One tag for each token; a special token is outside.
    """
    tags = [OUTSIDE] * len(offsets)
    for entity in entities:
        place = "B"
        for number, (start, end) in enumerate(offsets):
            if entity.start <= start < end <= entity.end:
                tags[number] = f"{place}-{entity.kind}"
                place = "I"
    return tags


def entities_of(
    offsets: Sequence[tuple[int, int]], tags: Sequence[str], probs: Sequence[float] | None = None
) -> list[Entity]:
    """Read entities from tags; an I that continues nothing of its kind begins an entity.

    Args:
        offsets: as in `tags_of`; tokens without characters are skipped.
        tags: one for each token.
        probs: of the tags; all 1 if left out.

    Returns:
        Entities in the order of the text.
    """
    found: list[Entity] = []
    shares: list[list[float]] = []
    before = OUTSIDE  # kind of the entity that the token before belongs to
    for (start, end), tag, prob in zip(offsets, tags, probs or [1.0] * len(tags), strict=True):
        if start == end:
            continue
        place, _, kind = tag.partition("-")
        if not kind:
            before = OUTSIDE
            continue
        if place == "I" and kind == before:
            found[-1] = found[-1]._replace(end=end)
            shares[-1].append(prob)
        else:
            found.append(Entity(start, end, kind))
            shares.append([prob])
        before = kind
    return [e._replace(prob=sum(p) / len(p)) for e, p in zip(found, shares, strict=True)]


def entity_scores(wanted: Sequence[Iterable[Entity]], got: Sequence[Iterable[Entity]]) -> dict[str, float]:
    """Precision, recall and F1 over whole entities: limits and kind must both be right.

    Source: Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 Shared Task", 2003,
    https://aclanthology.org/W03-0419, section 2.3.

    Args:
        wanted: for each text its annotated entities.
        got: for each text the entities found.

    Returns:
        Fractions 0-1 under "precision", "recall" and "f1"; 0 where nothing was found or wanted.
    """
    truth, found = (
        {(row, e.start, e.end, e.kind) for row, entities in enumerate(rows) for e in entities} for rows in (wanted, got)
    )
    right = len(truth & found)
    precision, recall = right / max(len(found), 1), right / max(len(truth), 1)
    return {"precision": precision, "recall": recall, "f1": 2 * right / max(len(truth) + len(found), 1)}
