"""How far to trust a synthetic video: the arithmetic of SynViTA's weights (papers/synvita.txt, Eq. 4 and Table 4).

A generator may not show what it was asked for. The video V^s rendered from the negative caption t^s is scored with
t^s (`own`) and with the caption t^r of the real video (`other`); the weight of V^s in the losses follows from both.
Who scores, and where scores are kept: `text_to_video/score_cache.py`.

Shape legend: n videos, M models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from mova.errors import DataError, UsageError

Array = npt.NDArray[np.float64]
Strategy = Literal["fixed", "own", "product", "indicator", "difference"]
"""Rows 1 to 5 of Table 4. The paper uses `difference` for mPLUG-Owl and `product` for Video-LLaVA."""

_STRATEGIES: Mapping[Strategy, Callable[[Array, Array], Array]] = {
    "fixed": lambda own, other: np.ones_like(own),
    "own": lambda own, other: own,
    "product": lambda own, other: own * (1.0 - other),
    "indicator": lambda own, other: (own > other).astype(np.float64),
    "difference": lambda own, other: np.maximum(0.0, own - other),
}


def weights_of(own: npt.ArrayLike, other: npt.ArrayLike, strategy: Strategy = "difference") -> Array:
    """The weights of synthetic videos, Table 4.

    Args:
        own: (n,), ensemble scores of each video with the caption it was made from.
        other: (n,), with the caption of the real video.
        strategy: `fixed` 1; `own` f(t^s); `product` f(t^s) (1 - f(t^r)); `indicator` 1 where f(t^s) > f(t^r), a tie
            being 0; `difference` max(0, f(t^s) - f(t^r)), Eq. 4.

    Returns:
        (n,), in [0, 1].

    Raises:
        UsageError: no such strategy.
        DataError: shapes differ, or scores that are no probabilities (NaN included), with the first such place.
    """
    if strategy not in _STRATEGIES:
        raise UsageError(f"{strategy!r} is no weighting strategy; there are {', '.join(get_args(Strategy))}")
    pair = np.asarray(own, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if pair[0].shape != pair[1].shape:
        raise DataError(f"scores of both captions must agree in shape, not {pair[0].shape} and {pair[1].shape}")
    for scores in pair:
        require_probabilities(scores)
    return _STRATEGIES[strategy](*pair)


def ensemble(scores: npt.ArrayLike) -> Array:
    """Mean over models (first axis) of scores (M, ...).

    Raises:
        DataError: no model, or scores that are no probabilities.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim == 0 or not len(array):
        raise DataError("an ensemble needs the scores of at least one model")
    require_probabilities(array)
    return array.mean(axis=0)


def require_probabilities(scores: Array) -> None:
    """Refuse what is no probability.

    Raises:
        DataError: a score outside of [0, 1] or NaN, with its place.
    """
    wrong = np.argwhere(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        place = tuple(wrong[0].tolist())
        raise DataError(f"score {scores[place]} at {place} is no probability; {len(wrong)} of {scores.size} are not")
