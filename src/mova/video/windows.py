"""Encode a stream of frames in overlapping windows, with the result of one pass over the whole video.

Shape legend: T frames, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mova.types import Frames

if TYPE_CHECKING:
    from torch import Tensor


def encode_windows(
    chunks: Iterable[Frames], encode: Callable[[Frames], Tensor], context: int
) -> Iterator[tuple[npt.NDArray[np.float64], Tensor]]:
    """Encode consecutive chunks of one video.

    The last `2 * context` frames are kept between chunks: half of them still wait for frames to their right, the other
    half are their neighbors to the left. Frames of different sizes, as where one file follows another, are not
    neighbors: a new window begins there.

    Args:
        chunks: consecutive frames of one video; empty chunks are allowed.
        encode: frames -> (T, ...); a frame's row depends on at most `context` frames on either side.
        context: see `encode`.

    Yields:
        Times (n,) in seconds and rows (n, ...); every frame exactly once, in order.
    """
    window: Frames | None = None
    done = 0
    for chunk in chunks:
        if window is not None and len(window) and len(chunk) and chunk.pixels.shape[1:] != window.pixels.shape[1:]:
            if len(window) > done:
                yield window.pts[done:], encode(window)[done:]
            window, done = None, 0
        window = chunk if window is None or not len(window) else Frames.concatenate([window, chunk])
        ready = len(window) - context
        if ready > done:
            vectors = encode(window)
            yield window.pts[done:ready], vectors[done:ready]
            start = max(0, ready - context)
            window, done = window[start:], ready - start
    if window is not None and len(window) > done:
        yield window.pts[done:], encode(window)[done:]
