"""Hubness correction of similarity matrices, which uses more than one query at a time; never a headline figure.

Dual softmax uses all test queries at once: the answer to a query depends on the other queries (CAMoE, Cheng et al.
2021, arXiv 2109.04290). QB-Norm uses a bank of other queries (Bogolin et al., CVPR 2022, arXiv 2112.12777), which must
be training queries, never test queries. Reports call both transductive and keep them apart from the raw scores.

Shape legend: Q queries, N candidates, M queries of the bank.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

DUAL_SOFTMAX_SCALE = 100.0
"""Factor on cosines: CLIP's logit scale."""
QB_SCALE = 20.0
"""Inverse temperature of the public QB-Norm code for cosines."""


def dual_softmax(scores: Array, scale: float = DUAL_SOFTMAX_SCALE) -> npt.NDArray[np.float64]:
    """Return scores times their softmax over the queries, a prior for the query of each candidate. Transductive.

    Pass (texts, videos) for text-to-video, and the transpose for video-to-text.

    >>> dual_softmax(np.array([[0.9, 0.8], [0.1, 0.7]]), scale=1.0).round(3)
    array([[0.621, 0.42 ],
           [0.031, 0.333]])

    Args:
        scores: (Q, N), cosines or similar.
        scale: factor in the exponent. Default: CLIP's logit scale.

    Returns:
        (Q, N), scores * softmax(scale * scores, over Q).

    Raises:
        ValueError: NaN or infinite scores, or a scale that is not positive.
    """
    values = _finite(scores, "scores")
    if not scale > 0:
        raise ValueError(f"scale must be positive, not {scale}")
    logits = scale * (values - values.max(axis=0, keepdims=True))
    prior = np.exp(logits)
    return values * prior / prior.sum(axis=0, keepdims=True)


def qb_norm(scores: Array, bank: Array, scale: float = QB_SCALE, nearest: int = 1) -> npt.NDArray[np.float64]:
    """Return scores after querybank normalization with the dynamic inverted softmax. Transductive.

    A candidate is active (a possible hub) if it is among the `nearest` ones of a query of the bank. Queries whose top
    candidate is active are scored by exp(scale * s) / sum over the bank of exp(scale * s'); the others keep their
    scores. Scores are therefore comparable only within a row.

    >>> hub = np.array([[0.9, 0.0], [0.8, 0.1]])  # every query of the bank prefers candidate 0
    >>> qb_norm(np.array([[0.6, 0.5], [0.2, 0.4]]), hub).argmax(axis=1)
    array([1, 1])

    Args:
        scores: (Q, N), test queries.
        bank: (M, N), training queries against the same candidates.
        scale: inverse temperature.
        nearest: candidates that each query of the bank makes active.

    Returns:
        (Q, N); normalized rows contain logarithms of the ratio, which rank the same and do not overflow.

    Raises:
        ValueError: NaN or infinite scores, other candidates, or settings out of range.
    """
    values, others = _finite(scores, "scores"), _finite(bank, "the bank's scores")
    if values.shape[1] != others.shape[1]:
        raise ValueError(f"scores and bank need the same candidates, not {values.shape[1]} and {others.shape[1]}")
    if not scale > 0 or not 1 <= nearest <= values.shape[1]:
        raise ValueError(f"scale > 0 and 1 <= nearest <= {values.shape[1]} expected, not {scale} and {nearest}")
    active = np.zeros(values.shape[1], dtype=bool)
    active[np.argpartition(-others, nearest - 1, axis=1)[:, :nearest]] = True
    top = others.max(axis=0)
    weight = scale * top + np.log(np.exp(scale * (others - top)).sum(axis=0))
    normalized = active[values.argmax(axis=1)]
    return np.where(normalized[:, None], scale * values - weight, values)


def _finite(scores: Array, name: str) -> npt.NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"{name}: must be a non-empty matrix, not of shape {values.shape}")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ValueError(f"{name} of query {bad[0]} are not finite ({len(bad)} such queries)")
    return values
