"""How far frames are from what else there is: distance to the nearest neighbors, and local outlier factor.

Frames of one video that are close in time show the same thing, and would be each other's nearest neighbors. They do not
count as neighbors, so that what goes on for a while can still be unusual.

Shape legend: N frames, d width, K neighbors.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]
_I64 = npt.NDArray[np.int64]

Method = Literal["distance", "lof"]
METHODS: tuple[Method, ...] = ("distance", "lof")
NEIGHBORS = {"distance": 5, "lof": 10}
"""Neighbors that are compared with, per method."""
APART = 5.0
"""Seconds: frames of one video that are at most this far apart are no neighbors."""
SMOOTHING = 0.3
"""Distance that is added (as its square) before the local outlier factor is computed, so that the noise of a picture
that stands still is no difference of density."""
BLOCK_ROWS = 1024

INVALID = -2.0
"""Below every cosine: marks a pair that is not compared."""


def outlier_scores(
    vectors: _F32,
    videos: _I64,
    times: _F64,
    *,
    method: Method = "distance",
    neighbors: int | None = None,
    apart: float = APART,
) -> _F64:
    """Return how untypical each frame is; higher is less typical.

    Args:
        vectors: (N, d) unit vectors, in order of video and time.
        videos: (N,) number of the video of each frame.
        times: (N,) seconds.
        method: "distance" is the mean Euclidean distance to the nearest neighbors, from 0 to 2. "lof" is the local
            outlier factor: about 1 where neighbors are as close to each other as to the frame.
        neighbors: K; None: `NEIGHBORS`. A frame with fewer is compared with those it has; for "lof", all frames are
            compared with as few as the one that has the fewest.
        apart: frames of one video at most this many seconds apart are no neighbors.

    Returns:
        (N,); NaN for a frame without neighbors.

    Raises:
        ValueError: shapes do not agree, or frames are not in order of video and time.

    Example:
        >>> vectors = np.float32([[1, 0], [1, 0], [0, 1], [1, 0]])
        >>> outlier_scores(vectors, np.arange(4), np.zeros(4), neighbors=2).round(2).tolist()
        [0.0, 0.0, 1.41, 0.0]
    """
    if not len(vectors) == len(videos) == len(times):
        raise ValueError(f"{len(vectors)} vectors, {len(videos)} videos and {len(times)} times differ in number")
    if len(vectors) == 0:
        return np.empty(0)
    first, last = _surroundings(videos, times, apart)
    counts = len(vectors) - (last - first)
    limit = min(NEIGHBORS[method] if neighbors is None else neighbors, int(counts.max()))
    scores = np.full(len(vectors), np.nan)
    if limit < 1:
        return scores
    near, distances = _nearest(vectors, first, last, limit)
    some = counts > 0
    if method == "distance":
        scores[some] = np.nanmean(distances[some], axis=1)
    else:
        scores[some] = _local_outlier_factor(near, distances, some, min(limit, int(counts[some].min())))
    return scores


def _surroundings(videos: _I64, times: _F64, apart: float) -> tuple[_I64, _I64]:
    """Return the first frame, and the one after the last, that are too close in time to each frame, itself included."""
    starts = np.flatnonzero(np.r_[True, videos[1:] != videos[:-1]])
    stops = np.r_[starts[1:], len(videos)]
    if len(np.unique(videos)) != len(starts):
        raise ValueError("the frames of a video must follow each other")
    first, last = np.empty((2, len(videos)), np.int64)
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        own = times[start:stop]
        if np.any(np.diff(own) < 0):
            raise ValueError("the frames of a video must be in order of time")
        first[start:stop] = start + np.searchsorted(own, own - apart, side="left")
        last[start:stop] = start + np.searchsorted(own, own + apart, side="right")
    return first, last


def _nearest(vectors: _F32, first: _I64, last: _I64, limit: int) -> tuple[_I64, _F64]:
    """Return the nearest neighbors (N, K), nearest first, and their distances; NaN where there are fewer."""
    near = np.empty((len(vectors), limit), np.int64)
    distances = np.empty((len(vectors), limit))
    for start in range(0, len(vectors), BLOCK_ROWS):
        cosines = vectors[start : start + BLOCK_ROWS] @ vectors.T
        for row, (begin, end) in enumerate(zip(first[start:], last[start:], strict=True)):
            if row == len(cosines):
                break
            cosines[row, begin:end] = INVALID
        best = np.argpartition(-cosines, limit - 1, axis=1)[:, :limit]
        found = np.take_along_axis(cosines, best, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        found = np.take_along_axis(found, order, axis=1).astype(np.float64)
        part = slice(start, start + len(cosines))
        near[part] = np.take_along_axis(best, order, axis=1)
        distances[part] = np.where(found == INVALID, np.nan, np.sqrt(np.clip(2 - 2 * found, 0, None)))
    return near, distances


def _local_outlier_factor(near: _I64, distances: _F64, some: npt.NDArray[np.bool_], limit: int) -> _F64:
    """Return the factor of the frames that have neighbors; those without are nobody's neighbors either."""
    from scipy.sparse import csr_matrix
    from sklearn.neighbors import LocalOutlierFactor

    count = int(some.sum())
    number = np.cumsum(some) - 1
    itself = np.arange(count)[:, None]
    columns = np.hstack([itself, number[near[some, :limit]]])
    values = np.hstack([np.zeros((count, 1)), np.sqrt(distances[some, :limit] ** 2 + SMOOTHING**2)])
    edges = np.arange(count + 1) * (limit + 1)
    graph = csr_matrix((values.ravel(), columns.ravel(), edges), shape=(count, count))
    factors: _F64 = -LocalOutlierFactor(n_neighbors=limit, metric="precomputed").fit(graph).negative_outlier_factor_
    return factors
