"""A few frames' features out of a stream, in bounded memory.

Shape legend: T kept frames, P dense vectors a frame, C their width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.video.sampling import linspace


class FrameReservoir:
    """Features of frames spread evenly over a stream whose length is not known before its end.

    Every s-th frame is kept; when 2 x `most` are, every other one goes and s doubles. Up to 2 x `most` frames nothing
    is lost, so `evenly` is exactly `linspace`; beyond, each frame is the last on the grid up to the one that `linspace`
    names, less than a `most`-th of the video before it.

    Args:
        most: frames that will be asked for at most.
    """

    def __init__(self, most: int) -> None:
        self.most, self.step, self.seen = most, 1, 0
        self._kept: list[Tensor] = []

    def add(self, features: Tensor) -> None:
        """The next frames, (n, ...)."""
        for row in features:
            if self.seen % self.step == 0:
                if len(self._kept) == 2 * self.most:
                    self._kept, self.step = self._kept[::2], 2 * self.step
                self._kept.append(row.clone())
            self.seen += 1

    def chosen(self, count: int) -> list[int]:
        """Which frames of the stream `evenly` gives."""
        return [int(i) * self.step for i in self._grid(count)]

    def evenly(self, count: int) -> Tensor:
        """At most `count` of them, at most `most`: (count, ...)."""
        return torch.stack([self._kept[int(i)] for i in self._grid(count)])

    def _grid(self, count: int) -> npt.NDArray[np.int64]:
        """Places among the kept ones."""
        return linspace(self.seen, min(count, self.seen)) // self.step
