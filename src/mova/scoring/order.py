"""Words of a caption that say how its sentences follow each other in time.

Shape legend: K sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

FOLLOWS = re.compile(
    r"^\W*(?:and )?(?:then|next|after(?:wards?| that| this)|later|subsequently|thereafter|first(?:ly)?|at first|lastly|"
    r"to begin with|at the (?:start|beginning|end)|in the (?:beginning|end)|finally|a moment later|soon|eventually|"
    r"following (?:that|this))\b",
    re.IGNORECASE,
)
"""Openings of sentences that follow the one before in time."""
OVERLAPS = re.compile(
    r"\b(?:meanwhile|at the same time|simultaneously|in the meantime|throughout|all the time|all along|"
    r"the (?:whole|entire) (?:time|video|clip)|from (?:start|beginning) to (?:end|finish))\b",
    re.IGNORECASE,
)
"""Words of sentences that overlap others in time."""
FOLLOWS_NATS = 0.25
"""Log-odds of temporal order that each sentence with such an opening adds."""


def order_prior(sentences: Sequence[str]) -> float:
    """Return the log-odds of temporal order that the words of a caption add.

    Example:
        >>> order_prior(["A man opens a door.", "Then he pours tea.", "Finally he drinks."])
        0.5
    """
    return FOLLOWS_NATS * sum(bool(FOLLOWS.search(sentence)) for sentence in sentences)


def overlapping(sentences: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of sentences that by their words overlap others, such as "Meanwhile, it rains.".

    Example:
        >>> overlapping(["A man cooks.", "Music plays throughout the clip.", "Meanwhile, it rains."])
        (1, 2)
    """
    return tuple(i for i, sentence in enumerate(sentences) if OVERLAPS.search(sentence))
