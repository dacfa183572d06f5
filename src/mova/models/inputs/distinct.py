"""Encode a frame only if it differs from the one before it: slides, stills and screens repeat the same picture.

Shape legend: T frames, d width of the model's space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mova.types import Frames

if TYPE_CHECKING:
    from torch import Tensor

COARSE = 16
"""Every 16th row and column is compared first: frames that differ mostly do so there."""


class Distinct:
    """Wraps the encoding of frames, each on its own: a frame equal to the one before it gets its vector.

    Only frames of equal pixels count: the vectors are those of encoding every frame, up to the rounding of batches.

    Args:
        encode: frames -> (T, d), where each row depends on its frame alone.

    >>> import torch
    >>> encode = Distinct(lambda frames: torch.from_numpy(frames.pixels.reshape(len(frames), -1)).float())
    >>> encode(Frames(np.zeros((3, 2, 2, 3), np.uint8), np.arange(3.0))).shape, encode.repeated
    (torch.Size([3, 12]), 2)
    """

    def __init__(self, encode: Callable[[Frames], Tensor]) -> None:
        self._encode = encode
        self._last: tuple[npt.NDArray[np.uint8], Tensor] | None = None
        self.repeated = 0
        """Number of frames that were not encoded."""

    def __call__(self, frames: Frames) -> Tensor:
        """Return the vectors (T, d) of consecutive frames."""
        import torch

        if not len(frames):
            return self._encode(frames)
        pixels = frames.pixels
        before = None if self._last is None else self._last[0]
        new = np.array([not _equal(pixels[k], pixels[k - 1] if k else before) for k in range(len(frames))])
        self.repeated += int(np.sum(~new))
        parts = [] if new[0] or self._last is None else [self._last[1]]
        if new.all():
            parts.append(self._encode(frames))
        elif new.any():
            parts.append(self._encode(Frames(pixels[new], frames.pts[new])))
        vectors = torch.cat(parts)[np.cumsum(new) - int(new[0])]
        self._last = pixels[-1].copy(), vectors[-1:]
        return vectors


def _equal(pixels: npt.NDArray[np.uint8], other: npt.NDArray[Any] | None) -> bool:
    if other is None or pixels.shape != other.shape:
        return False
    coarse = np.array_equal(pixels[::COARSE, ::COARSE], other[::COARSE, ::COARSE])
    return coarse and np.array_equal(pixels, other)
