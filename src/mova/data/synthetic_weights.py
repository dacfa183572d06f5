"""Weights of synthetic videos in the losses (SynViTA, Zanella et al. 2025, Eq. 4 and Table 4).

A generator may not show what its prompt describes. The video V^s rendered from the negative caption t^s is scored with
t^s (`own`) and with the caption t^r of the real video (`other`); the weight of V^s follows from both scores. The
scoring models and the cache of scores are in `text_to_video/score_cache.py`.

Shape legend: n videos, M models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from mova.errors import DataError, UsageError

Scores = npt.NDArray[np.float64]
"""Scores in [0, 1], of any shape."""
Strategy = Literal["fixed", "own", "product", "indicator", "difference"]
"""Rows 1 to 5 of Table 4. The paper uses `difference` for mPLUG-Owl and `product` for Video-LLaVA."""

_STRATEGIES: Mapping[Strategy, Callable[[Scores, Scores], Scores]] = {
    "fixed": lambda own, other: np.ones_like(own),
    "own": lambda own, other: own,
    "product": lambda own, other: own * (1.0 - other),
    "indicator": lambda own, other: (own > other).astype(np.float64),
    "difference": lambda own, other: np.maximum(0.0, own - other),
}


def compute_weights(own: npt.ArrayLike, other: npt.ArrayLike, strategy: Strategy = "difference") -> Scores:
    """Compute the weights of synthetic videos (Table 4).

    Args:
        own: (n,), ensemble scores of each video with the caption it was rendered from.
        other: (n,), ensemble scores with the caption of the real video.
        strategy: `fixed` 1; `own` f(t^s); `product` f(t^s) (1 - f(t^r)); `indicator` 1 if f(t^s) > f(t^r), else 0;
            `difference` max(0, f(t^s) - f(t^r)), Eq. 4.

    Returns:
        (n,), in [0, 1].

    Raises:
        UsageError: an unknown strategy.
        DataError: the shapes differ, or a score is not in [0, 1] or is NaN.

    >>> compute_weights([0.75, 0.25], [0.25, 0.5], "difference").tolist()
    [0.5, 0.0]
    """
    if strategy not in _STRATEGIES:
        raise UsageError(f"unknown weighting strategy {strategy!r}; choose from {', '.join(get_args(Strategy))}")
    pair = np.asarray(own, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if pair[0].shape != pair[1].shape:
        raise DataError(f"scores of both captions must have the same shape, not {pair[0].shape} and {pair[1].shape}")
    for scores in pair:
        require_probabilities(scores)
    return _STRATEGIES[strategy](*pair)


def ensemble(scores: npt.ArrayLike) -> Scores:
    """Average scores (M, ...) over models (first axis).

    Raises:
        DataError: there are no models, or a score is not a probability.

    >>> ensemble([[0.25, 1.0], [0.75, 0.0]]).tolist()
    [0.5, 0.5]
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim == 0 or not len(array):
        raise DataError("an ensemble needs the scores of at least one model")
    require_probabilities(array)
    return array.mean(axis=0)


def require_probabilities(scores: Scores) -> None:
    """Raise unless all scores are probabilities.

    Raises:
        DataError: a score is outside [0, 1] or NaN; the message has the first index.
    """
    wrong = np.argwhere(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        index = tuple(wrong[0].tolist())
        raise DataError(
            f"score {scores[index]} at index {index} is not a probability in [0, 1]; {len(wrong)} of {scores.size} "
            "scores are invalid"
        )
