"""Whether subject and background stay the same, by vectors of frames.

VBench takes the mean, over frames, of the cosines with the first and with the previous frame: of DINO's vectors for the
subject, of CLIP's for the background. Both see the whole frame. Here one encoder sees two parts of it: the box of what
moves before a still background, and the frame without it. If they cannot be separated (a moving camera, a cut, nothing
moves), both are the whole frame, as in VBench.

Shape legend: T frames, H height, W width (pixels), d width of vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import binary_dilation, binary_opening

from mova.types import Pixels

CHANGED = 0.1
"""Difference from the median over time, as a share of full contrast, from which a pixel belongs to the subject."""
LEAST_PART, LARGEST_PART = 0.001, 0.5
"""Bounds of a subject's share of a frame."""
LEAST_SEEN = 0.8
"""Share of the frames in which there must be a subject."""
MARGIN = 0.2
"""Margin around the box of a subject, as a share of its longer side."""
GROWTH = 2
"""Pixels by which the mask of a subject is grown before the background is filled in."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What is compared.

    Attributes:
        subject: square pictures of the subject, uint8 (n, S, S, 3), or whole frames.
        background: uint8 (T, H, W, 3), frames with the background in the place of the subject, or whole frames.
        separated: whether subject and background could be separated.
    """

    subject: Pixels
    background: Pixels
    separated: bool


def separate(frames: Pixels) -> Parts:
    """Separate what moves from a still background, the median over time.

    Args:
        frames: (T, H, W, 3), in order.

    Example:
        >>> frames = np.zeros((8, 40, 40, 3), np.uint8)
        >>> for t in range(8):
        ...     frames[t, 10:20, 4 * t : 4 * t + 8] = 255
        >>> parts = separate(frames)
        >>> parts.separated, parts.subject.shape, int(parts.background.max())
        (True, (8, 40, 40, 3), 0)
    """
    still = np.median(frames, axis=0).astype(np.uint8)
    difference = np.abs(frames.astype(np.int16) - still).max(axis=-1)
    masks = np.stack([binary_opening(mask) for mask in difference > CHANGED * 255])
    shares = masks.mean(axis=(1, 2))
    seen = (shares >= LEAST_PART) & (shares <= LARGEST_PART)
    if seen.mean() < LEAST_SEEN or shares.max() > LARGEST_PART:
        return Parts(frames, frames, False)
    side = min(frames.shape[1:3])
    subject = np.stack([_box(frame, mask, side) for frame, mask in zip(frames[seen], masks[seen], strict=True)])
    grown = np.stack([binary_dilation(mask, iterations=GROWTH) for mask in masks])
    return Parts(subject, np.where(grown[..., None], still, frames), True)


def consistency(vectors: npt.NDArray[np.float64]) -> float | None:
    """Return the mean, over all frames but the first, of the cosines with the first and with the previous frame.

    Negative cosines count as 0. None: there is one frame.

    Args:
        vectors: (T, d), of any length.

    Example:
        >>> consistency(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        0.5
    """
    if len(vectors) < 2:
        return None
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    first, previous = unit[1:] @ unit[0], np.einsum("td,td->t", unit[1:], unit[:-1])
    return float(np.mean((np.maximum(first, 0.0) + np.maximum(previous, 0.0)) / 2))


def _box(frame: Pixels, mask: npt.NDArray[np.bool_], side: int) -> Pixels:
    """Return the square box around a mask, enlarged by `MARGIN` and scaled to `side`; edges are repeated."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    center = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
    reach = (0.5 + MARGIN) * (max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1)
    down, right = (
        np.clip(np.arange(np.floor(at - reach), np.ceil(at + reach)), 0, length - 1).astype(int)
        for at, length in zip(center, mask.shape, strict=True)
    )
    cut = frame[down][:, right]
    return np.asarray(Image.fromarray(cut).resize((side, side), Image.Resampling.BILINEAR))
