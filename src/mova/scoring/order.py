"""Words of a caption that say how its sentences follow each other in time.

Shape legend: K sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

OPENINGS = {
    "starts": r"first(?:ly| of all)?(?![- ]person)|at first|initially|to (?:begin|start)(?: with)?|"
    r"(?:at|in|from) the (?:very )?(?:start|beginning)",
    "ends": r"finally|lastly|at last|eventually|ultimately|to (?:end|finish)|(?:at|in|by|towards?) the (?:very )?end",
    "follows": r"then|next|after(?:wards?| that| this)|later|subsequently|thereafter|a moment later|soon|"
    r"(?:shortly|immediately) after\w*|following (?:that|this)",
}
"""Openings of sentences that say where in a caption they belong, by kind."""
COUNTS = {"starts": (20, 29, 2), "ends": (0, 31, 183), "follows": (0, 620, 353)}
"""How many first, middle and last sentences open in these ways, in the 9,764 training captions of ActivityNet Captions
(Krishna et al. 2017) with at least two sentences whose starts are in order."""
TOTALS = (9764, 16703, 9764)
"""First, middle and last sentences of these captions."""
STORY_NATS = 0.25
"""Log-odds of temporal order of each opening in an excerpt, whose positions say little. It was set, not fitted."""
LEAST_COUNT = 0.5
"""Added to each count (Krichevsky and Trofimov 1981): what was never seen is not impossible."""
OVERLAPS = re.compile(
    r"\b(?:meanwhile|at the same time|simultaneously|in the meantime|throughout|all the time|all along|"
    r"the (?:whole|entire) (?:time|video|clip)|from (?:start|beginning) to (?:end|finish))\b",
    re.IGNORECASE,
)
"""Words of sentences that overlap others in time."""

_PATTERNS = [re.compile(rf"^\W*(?:and )?(?:{words})\b", re.IGNORECASE) for words in OPENINGS.values()]


def order_prior(sentences: Sequence[str], shown: Sequence[float] | None = None, *, excerpt: bool = False) -> float:
    """Return the log-odds of temporal order, rather than of any other order, that the openings of sentences add.

    In the order of time, openings have the rates of `COUNTS` at each position; in another order, each sentence may be
    at each position. So "Then ..." in the middle of a caption speaks a little for temporal order, and as its first
    words much against it. A caption without such openings, or of one sentence, says nothing; nor does a sentence that
    the video does not show, such as one of another caption.

    Args:
        sentences: in the order of the caption.
        shown: probability that the video shows each sentence; default: it shows all.
        excerpt: the sentences may be a part of a caption, so that the first and the last may come from its middle.

    Example:
        >>> round(order_prior(["A man opens a door.", "Then he pours tea.", "Finally he drinks."]), 1)
        1.4
        >>> round(order_prior(["Finally he drinks.", "A man opens a door.", "Then he pours tea."]), 1)
        -4.5
        >>> story = ["Then he pours tea.", "Finally he drinks."]
        >>> round(order_prior(story), 1), round(order_prior(story, excerpt=True), 1)
        (-5.2, 0.8)
    """
    positions = np.array([0, *[1] * (len(sentences) - 2), 2][: len(sentences)])
    kinds = np.array([_kind(sentence) for sentence in sentences], dtype=np.int64)
    if len(sentences) < 2 or not (kinds >= 0).any():
        return 0.0
    opened = np.array([*COUNTS.values()], dtype=np.float64)
    counts = np.vstack([opened, TOTALS - opened.sum(axis=0)]) + LEAST_COUNT
    if excerpt:
        counts[:, [0, 2]] += counts[:, [1]]
    rates = np.log(counts / counts.sum(axis=0))
    anywhere = np.logaddexp.reduce(rates[:, positions], axis=1) - np.log(len(positions))
    gains = rates[kinds, positions] - anywhere[kinds] + (STORY_NATS * (kinds >= 0) if excerpt else 0.0)
    if shown is not None:
        present = np.asarray(shown, dtype=np.float64)
        gains = np.log1p(present * np.expm1(gains))
    return float(gains.sum())


def _kind(sentence: str) -> int:
    """Return the number of the first kind of opening that a sentence has; -1, the last row, if it has none."""
    return next((i for i, pattern in enumerate(_PATTERNS) if pattern.search(sentence)), -1)


def overlapping(sentences: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of sentences that by their words overlap others, such as "Meanwhile, it rains.".

    Example:
        >>> overlapping(["A man cooks.", "Music plays throughout the clip.", "Meanwhile, it rains."])
        (1, 2)
    """
    return tuple(i for i, sentence in enumerate(sentences) if OVERLAPS.search(sentence))
