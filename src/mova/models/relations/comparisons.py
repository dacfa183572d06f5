"""Captions that compare two moments: "a heart of the same color", "a dog in another place".

No single frame shows a comparison. It is read from the caption, and its words are left out of the sentence that frames
are compared with.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mova.models.relations.concepts import ALIASES, concept_name

AMBIGUOUS = ("time",)
"""Names of concepts that mean something else in a comparison: "at the same time"."""
SAME, OTHER = ("the same", "the very same"), ("another", "a different", "some other")
"""Words that say that a moment shares a value with an earlier one, or does not."""


@dataclass(frozen=True)
class Comparison:
    """One unit of a caption is said to share a concept's value with an earlier unit, or to have another.

    Attributes:
        unit, earlier: indices of the units.
        concept: common name.
        same: False for "another".
    """

    unit: int
    earlier: int
    concept: str
    same: bool


def read_comparisons(units: Sequence[str], known: Collection[str]) -> tuple[list[str], list[Comparison]]:
    """Return a caption's units without the words of comparisons, and the comparisons with the unit before.

    Args:
        units: of one caption, in order.
        known: names of the concepts that a model can compare (`DualEncoder.respects`); others are left as they are.

    >>> read_comparisons(["A red star.", "A heart appears in the same place."], ["place"])
    (['A red star.', 'A heart appears.'], [Comparison(unit=1, earlier=0, concept='place', same=True)])
    """
    pattern = _pattern(tuple(sorted(known)))
    rest, found = list(units[:1]), []
    for unit, text in enumerate(units[1:], start=1):
        if pattern is None:
            rest.append(text)
            continue
        for match in pattern.finditer(text):
            same = " ".join(match["words"].lower().split()) in SAME
            found.append(Comparison(unit, unit - 1, concept_name(match["concept"]), same))
        left = re.sub(r"\s+([.,;:!?])", r"\1", " ".join(pattern.sub(" ", text).split()))
        rest.append(left if re.search(r"\w", left) else text)
    return rest, found


@lru_cache(maxsize=32)
def _pattern(known: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return the pattern of a comparison in one of the concepts; None if there are none."""
    names = {other for name in known for other in (name, *ALIASES.get(name, ()))} - {*AMBIGUOUS}
    if not names:
        return None
    concepts = "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))
    words = "|".join(re.sub(r" ", r"\\s+", phrase) for phrase in (*SAME, *OTHER))
    return re.compile(
        rf"(?:\b(?:of|in|at|on|with|from|by)\s+)?\b(?P<words>{words})\s+(?P<concept>{concepts})\b", re.IGNORECASE
    )
