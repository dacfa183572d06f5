"""Uniformly subsample frame features from a stream in bounded memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.video.sampling import linspace


class FrameReservoir:
    """Features of evenly spaced frames of a stream whose length is unknown before its end.

    Every s-th frame is kept; when 2 x `most` frames are kept, every other one is dropped and s doubles. Up to
    2 x `most` frames nothing is lost, so `evenly` equals `linspace`. Beyond, each frame is the last kept one up to the
    frame of `linspace`, earlier by less than 1 / `most` of the video.

    Args:
        most: maximum number of frames that will be requested.

    >>> reservoir = FrameReservoir(most=2)
    >>> reservoir.add(torch.arange(9.0)[:, None])
    >>> reservoir.evenly(2).flatten().tolist(), reservoir.chosen(2)
    ([0.0, 8.0], [0, 8])
    """

    def __init__(self, most: int) -> None:
        self.most, self.step, self.seen = most, 1, 0
        self._kept: list[Tensor] = []

    def add(self, features: Tensor) -> None:
        """Add the next frames, (n, ...)."""
        for row in features:
            if self.seen % self.step == 0:
                if len(self._kept) == 2 * self.most:
                    self._kept, self.step = self._kept[::2], 2 * self.step
                self._kept.append(row.clone())
            self.seen += 1

    def chosen(self, count: int) -> list[int]:
        """Return the indices in the stream of the frames that `evenly` returns."""
        return [int(i) * self.step for i in self._grid(count)]

    def evenly(self, count: int) -> Tensor:
        """Return features of at most `count` evenly spaced frames, `count` being at most `most`: (count, ...)."""
        return torch.stack([self._kept[int(i)] for i in self._grid(count)])

    def _grid(self, count: int) -> npt.NDArray[np.int64]:
        return linspace(self.seen, min(count, self.seen)) // self.step
