"""Post-processing of similarity matrices that looks at more than one query at a time. Never a headline figure.

Dual softmax uses all test queries at once: the answer to a query depends on which others are asked with it (CAMoE,
Cheng et al. 2021, arXiv 2109.04290). QB-Norm uses a bank of other queries (Bogolin et al., CVPR 2022,
arXiv 2112.12777); the bank is made of training queries, never of test queries. Reports name both
as transductive, in rows of their own beside the raw scores.

Shape legend: Q queries, N candidates, M queries of the bank.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

DUAL_SOFTMAX_SCALE = 100.0
"""Factor on cosines, CLIP's logit scale."""
QB_SCALE = 20.0
"""Inverse temperature that the public QB-Norm code uses with cosines."""


def dual_softmax(scores: Array, scale: float = DUAL_SOFTMAX_SCALE) -> npt.NDArray[np.float64]:
    """Transductive: scores times their softmax over the queries, a prior of which query each candidate belongs to.

    For text-to-video give (texts, videos), for video-to-text its transpose.

    Args:
        scores: (Q, N), cosines or alike.
        scale: factor in the exponent; that of the cosines' logits.

    Returns:
        (Q, N), scores * softmax(scale * scores, over Q).

    Raises:
        ValueError: NaN or infinite scores, or a scale that is not positive.
    """
    found = _finite(scores, "scores")
    if not scale > 0:
        raise ValueError(f"a positive scale expected, not {scale}")
    logits = scale * (found - found.max(axis=0, keepdims=True))
    prior = np.exp(logits)
    return found * prior / prior.sum(axis=0, keepdims=True)


def qb_norm(scores: Array, bank: Array, scale: float = QB_SCALE, nearest: int = 1) -> npt.NDArray[np.float64]:
    """Transductive: querybank normalisation with the dynamic inverted softmax, bank from the training split only.

    A candidate that is among the `nearest` ones of a query of the bank is active (a possible hub). Queries whose top
    candidate is active are scored by exp(scale * s) / sum over the bank of exp(scale * s'); the others keep their
    scores. What a row holds is therefore comparable within that row alone.

    Args:
        scores: (Q, N), test queries.
        bank: (M, N), training queries against the same candidates.
        scale: inverse temperature.
        nearest: candidates a query of the bank makes active.

    Returns:
        (Q, N); normalised rows hold logarithms of the ratio, which rank alike and do not overflow.

    Raises:
        ValueError: NaN or infinite scores, other candidates, or settings out of range.
    """
    found, others = _finite(scores, "scores"), _finite(bank, "the bank's scores")
    if found.shape[1] != others.shape[1]:
        raise ValueError(f"scores and bank need the same candidates, not {found.shape[1]} and {others.shape[1]}")
    if not scale > 0 or not 1 <= nearest <= found.shape[1]:
        raise ValueError(f"scale > 0 and 1 <= nearest <= {found.shape[1]} expected, not {scale} and {nearest}")
    active = np.zeros(found.shape[1], dtype=bool)
    active[np.argpartition(-others, nearest - 1, axis=1)[:, :nearest]] = True
    top = others.max(axis=0)
    weight = scale * top + np.log(np.exp(scale * (others - top)).sum(axis=0))
    normalised = active[found.argmax(axis=1)]
    return np.where(normalised[:, None], scale * found - weight, found)


def _finite(scores: Array, what: str) -> npt.NDArray[np.float64]:
    found = np.asarray(scores, dtype=np.float64)
    if found.ndim != 2 or not found.size:
        raise ValueError(f"{what}: a matrix that is not empty expected, not shape {found.shape}")
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise ValueError(f"{what} of query {bad[0]} are not finite ({len(bad)} such queries)")
    return found
