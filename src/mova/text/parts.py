"""Split a sentence that is longer than a text encoder reads into parts that it reads whole."""

from __future__ import annotations

import re
from collections.abc import Callable

_CLAUSE = re.compile(r"(?<=[,;:)—–])\s+|\s+(?=[(—–])")
_GAP = re.compile(r"\s+")
NEAR_MIDDLE = 0.25
"""Share of the length, on either side of the middle, in which the end of a clause is preferred to any other gap."""


def split_to_fit(text: str, tokens: Callable[[str], int], limit: int) -> list[str]:
    """Split a text into parts of at most `limit` tokens, at the ends of clauses if there are any near the middle.

    Halves are split again as long as they are too long. No character is lost or repeated, except white space between
    parts. A word that is too long on its own, such as a sentence in a script without spaces, is split in its middle.

    Args:
        text: a sentence.
        tokens: counts the tokens of a text, special ones included.
        limit: tokens that the encoder reads.

    Returns:
        At least one part. Only a part of one character may have more than `limit` tokens.

    >>> split_to_fit("a red car stops, a man with a hat gets out", lambda text: len(text.split()), 6)
    ['a red car stops,', 'a man with a', 'hat gets out']
    """
    text = text.strip()
    if tokens(text) <= limit:
        return [text]
    cut = _middle_gap(text)
    if cut is None:
        return [text]
    return [part for half in (text[: cut[0]], text[cut[1] :]) for part in split_to_fit(half, tokens, limit)]


def _middle_gap(text: str) -> tuple[int, int] | None:
    """Return begin and end of what is left out where the text is split; None if it has one character."""
    middle = len(text) / 2

    def distance(gap: tuple[int, int]) -> float:
        return abs((gap[0] + gap[1]) / 2 - middle)

    clauses = [gap.span() for gap in _CLAUSE.finditer(text)]
    near = [gap for gap in clauses if distance(gap) <= NEAR_MIDDLE * len(text)]
    gaps = near or [gap.span() for gap in _GAP.finditer(text)]
    inside = (len(text) // 2,) * 2 if len(text) > 1 else None
    return min(gaps, key=distance, default=inside)
