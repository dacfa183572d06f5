"""Which sampled frames begin a shot, by their colors.

Two histograms of colors are compared by their intersection (Swain and Ballard, "Color indexing", IJCV 7, 1991). A
histogram does not depend on where things are, so that motion changes it little and a cut much.

Shape legend: T frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from mova.types import Frames

DIFFERENT = 0.5
"""Share of pixels without a counterpart of the same color, from which on a frame begins a shot."""
GRID = 64
"""Pixels of each side that are counted, about."""
LEVELS = 4
"""Levels of each color channel."""

_Bool = npt.NDArray[np.bool_]


class Shots:
    """Watches a stream of frames on its way to the model, and says which of them begin a shot.

    >>> shots = Shots()
    >>> frames = Frames(np.repeat(np.array([0, 0, 255, 255], np.uint8), 48).reshape(4, 4, 4, 3), np.arange(4.0))
    >>> sum(map(len, shots.watch([frames]))), shots.take(3).tolist(), shots.take(1).tolist()
    (4, [False, False, True], [False])
    """

    def __init__(self) -> None:
        self._last: npt.NDArray[np.float64] | None = None
        self._begins: _Bool = np.empty(0, np.bool_)

    def watch(self, chunks: Iterable[Frames]) -> Iterator[Frames]:
        """Yield consecutive frames of one video unchanged, once they were looked at."""
        for chunk in chunks:
            if len(chunk):
                histograms = color_histograms(chunk.pixels)
                last = histograms[:1] if self._last is None else self._last
                shared = np.minimum(histograms, np.concatenate([last, histograms[:-1]])).sum(axis=1)
                self._begins = np.concatenate([self._begins, 1 - shared >= DIFFERENT])
                self._last = histograms[-1:]
            yield chunk

    def take(self, count: int) -> _Bool:
        """Return which of the next frames, (count,), begin a shot; they must have been watched."""
        taken, self._begins = self._begins[:count], self._begins[count:]
        return taken


def color_histograms(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the shares of `LEVELS ** 3` colors in frames (T, h, w, 3).

    >>> color_histograms(np.zeros((2, 8, 8, 3), np.uint8))[:, 0].tolist()
    [1.0, 1.0]
    """
    rows, columns = (max(1, size // GRID) for size in pixels.shape[1:3])
    levels = pixels[:, ::rows, ::columns].astype(np.int64) * LEVELS // 256
    colors = (levels[..., 0] * LEVELS + levels[..., 1]) * LEVELS + levels[..., 2]
    counts = np.stack([np.bincount(frame.ravel(), minlength=LEVELS**3) for frame in colors])
    return counts / counts.sum(axis=1, keepdims=True)
