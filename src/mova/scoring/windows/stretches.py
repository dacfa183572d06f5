"""Stretches of similar frames: one vector for many, with a bound on what any score can lose.

A stretch is a run of consecutive sampled frames, none missing, whose unit vectors v all lie within a distance of one
stored vector h:

    |v - h| <= sqrt(2 novelty),    which is    cos(v, h) >= 1 - novelty    for a unit vector h.

The score of a frame for a query is the inner product with a unit vector q, so by the Cauchy-Schwarz inequality

    |q v - q h| = |q (v - h)| <= |v - h| <= sqrt(2 novelty)    for every query.

The first bound is reached by queries along v - h. If the stored score s = q h is known, the triangle inequality of
angles gives more: q v lies between cos(a + d) and cos(a - d) with a = arccos s and d = arccos(1 - novelty)
(`score_range`). Everything is checked against h as it is stored, in half precision.

Shape legend: T frames, W stretches, d width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError
from mova.scoring.spans import LONGEST_CELL

MOST_FRAMES = 256
"""Frames of a stretch at most: they are kept until it ends, so that memory is bounded."""

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]
_Bool = npt.NDArray[np.bool_]


class Stretches(NamedTuple):
    """Stretches of one video, in order of time.

    Attributes:
        vectors: float32, (W, d), unit vectors up to half precision, with values that half precision holds.
        windows: float64, (W, 2), start and end in seconds: the time of the first frame, and one step after that of the
            last.
    """

    vectors: _F32
    windows: _F64


class StretchCutter:
    """Cuts a stream of frame vectors into stretches, in one pass and constant memory.

    The vector of a stretch is the mean of its frames. A frame begins a new stretch if the mean with it would be too far
    from any frame of the stretch, if frames are missing before it, or if the caller says that it begins a shot.

    Args:
        novelty: highest cosine distance of a frame to the vector that is stored for it.
        step: seconds between sampled frames.

    Raises:
        UsageError: a novelty that is not possible.

    >>> cutter = StretchCutter(novelty=0.02, step=1.0)
    >>> vectors = np.repeat(np.eye(4, dtype=np.float32)[:2], [3, 2], axis=0)
    >>> cutter.take(np.arange(5.0), vectors).windows.tolist(), cutter.finish().windows.tolist()
    ([[0.0, 3.0]], [[3.0, 5.0]])
    """

    def __init__(self, novelty: float, step: float) -> None:
        self._most = 2 * require_novelty(novelty)
        self._step = step
        self._frames: _F32 = np.empty((0, 0), np.float32)
        self._count, self._start, self._last = 0, 0.0, 0.0
        self._sum: _F64 = np.empty(0)
        self._stored: _F32 = np.empty(0, np.float32)

    def take(self, times: _F64, vectors: _F32, begins: _Bool | None = None) -> Stretches:
        """Take the next frames; return the stretches that are complete.

        Args:
            times: (T,) seconds, ascending.
            vectors: (T, d) unit vectors.
            begins: (T,), whether a frame begins a shot.
        """
        if not len(self._frames):
            self._frames = np.empty((MOST_FRAMES, vectors.shape[1]), np.float32)
        done: list[tuple[_F32, tuple[float, float]]] = []
        for i, time in enumerate(times.tolist()):
            breaks = time - self._last > LONGEST_CELL * self._step or (begins is not None and bool(begins[i]))
            if self._count and (breaks or not self._fits(vectors[i])):
                done.append(self._ended())
            if not self._count:
                self._start, self._sum = time, np.zeros(vectors.shape[1])
                self._stored = _rounded(vectors[i].astype(np.float64))
            self._frames[self._count] = vectors[i]
            self._sum += vectors[i]
            self._count, self._last = self._count + 1, time
        return _joined(done, vectors.shape[1])

    def finish(self) -> Stretches:
        """Return the last stretch, if any frame was taken since the one before it."""
        return _joined([self._ended()] if self._count else [], self._frames.shape[1])

    def _fits(self, vector: _F32) -> bool:
        """Return whether the stretch can have one frame more; the mean with it is then the vector to store."""
        if self._count == MOST_FRAMES:
            return False
        total = self._sum + vector
        length = float(np.linalg.norm(total))
        if length < 1e-6:
            return False
        stored = _rounded(total / length)
        self._frames[self._count] = vector
        apart = self._frames[: self._count + 1] - stored
        if float(np.einsum("td,td->t", apart, apart).max()) > self._most:
            return False
        self._stored = stored
        return True

    def _ended(self) -> tuple[_F32, tuple[float, float]]:
        self._count = 0
        return self._stored, (self._start, self._last + self._step)


def require_novelty(novelty: float) -> float:
    """Return a novelty that is possible.

    Raises:
        UsageError: it is not above 0 and below 1.
    """
    if not (math.isfinite(novelty) and 0 < novelty < 1):
        raise UsageError(f"a novelty must be above 0 and below 1, not {novelty:g}; 0.02 keeps nearly every change")
    return novelty


def score_bound(novelty: float) -> float:
    """Return how much the score of a frame can differ from that of the vector that stands for it, for any query.

    >>> score_bound(0.02)
    0.2
    """
    return math.sqrt(2 * novelty)


def score_range(scores: npt.ArrayLike, novelty: float) -> tuple[_F64, _F64]:
    """Return the lowest and the highest score of a frame whose stored vector has these scores.

    >>> [round(float(bound), 3) for bound in score_range(0.3, 0.02)]
    [0.104, 0.484]
    """
    angle, apart = np.arccos(np.clip(np.asarray(scores, np.float64), -1, 1)), math.acos(1 - novelty)
    return np.cos(np.minimum(angle + apart, np.pi)), np.cos(np.maximum(angle - apart, 0))


def sampled_frames(windows: _F64, rate: float) -> tuple[_F64, npt.NDArray[np.int64]]:
    """Return the sampled frames for which stretches stand.

    Args:
        windows: (W, 2), see `Stretches`.
        rate: sampled frames per second.

    Returns:
        The times (T,) in seconds, and the stretch (T,) of each.

    Raises:
        ValueError: a stretch that `StretchCutter` cannot have made.

    >>> times, owners = sampled_frames(np.array([[0.0, 1.5], [4.0, 4.5]]), rate=2.0)
    >>> times.tolist(), owners.tolist()
    ([0.0, 0.5, 1.0, 4.0], [0, 0, 0, 1])
    """
    with np.errstate(invalid="ignore"):
        counts = np.rint((windows[:, 1] - windows[:, 0]) * rate)
    if not np.all((counts >= 1) & (counts <= MOST_FRAMES)):
        raise ValueError("stored stretches have bounds that are not possible")
    owners = np.repeat(np.arange(len(windows)), counts.astype(np.int64))
    inside = np.arange(len(owners)) - np.searchsorted(owners, owners)
    first = windows[:, 0] * rate
    whole = np.rint(first)
    first = np.where(np.abs(first - whole) < 1e-6, whole, first)  # sampling times are whole numbers divided by the rate
    return (first[owners] + inside) / rate, owners


def _rounded(vector: _F64) -> _F32:
    return vector.astype(np.float16).astype(np.float32)


def _joined(parts: list[tuple[_F32, tuple[float, float]]], width: int) -> Stretches:
    """Return single stretches as arrays."""
    vectors = np.array([vector for vector, _ in parts], np.float32).reshape(len(parts), width)
    return Stretches(vectors, np.array([window for _, window in parts], np.float64).reshape(-1, 2))
