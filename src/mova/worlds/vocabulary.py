"""The words of Worlds that exclude each other, for counterfactuals of a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from mova.data.negatives.interchange import Interchangeable
from mova.worlds.captions import COLOUR_WORDS, MOTION_PHRASES, NOUNS, PLACE_PHRASES, RELATION_PHRASES, SIZE_WORDS

COUNTS = (("two",), ("three",))
"""Counts whose nouns and verbs agree; "a" needs other forms, so it is not interchanged."""


def _by_form(table: Mapping[str, Sequence[Sequence[str]]]) -> list[list[list[str]]]:
    """Return one group per grammatical form: `table` lists phrases, each in all forms."""
    forms = len(next(iter(table.values()))[0])
    return [[[phrase[form] for phrase in phrases] for phrases in table.values()] for form in range(forms)]


@cache
def interchangeable_words() -> Interchangeable:
    """Return shapes, motions, colors, sizes, counts, places and relations, by kind of hard negative.

    >>> from mova.data.negatives.interchange import interchange
    >>> [found.text for found in interchange("Two large discs.", interchangeable_words()) if found.kind == "count"]
    ['Three large discs.']
    """
    return {
        "action": _by_form(MOTION_PHRASES),
        "attribute": [list(map(list, COLOUR_WORDS.values())), list(map(list, SIZE_WORDS.values()))],
        "count": [list(map(list, COUNTS))],
        "object": [*_by_form(NOUNS), list(map(list, PLACE_PHRASES.values()))],
        "relation": [list(map(list, RELATION_PHRASES.values()))],
    }
