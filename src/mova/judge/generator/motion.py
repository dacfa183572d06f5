"""Flicker, smoothness and amount of motion, from pixels alone, by VBench's definitions.

VBench (Huang et al., CVPR 2024) interpolates with a network and finds motion with another; here both come from
`mova.judge.generator.flow`, on frames of `SHORT_SIDE` pixels.

Shape legend: H height, W width (pixels).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from mova.errors import UsageError
from mova.judge.generator.flow import middle, optical_flow
from mova.types import Pixels

SHORT_SIDE = 96
"""Shorter side of the frames between which flow is computed; smaller videos are not changed."""
MOTION_RATE = 8.0
"""Frames per second between which the amount of motion is measured."""
LARGEST_SHARE = 0.05
"""Share of a frame's pixels, those that move most, whose mean motion counts."""
MOVES = 6 / 256
"""Motion from one frame to the next above which a frame moves, as a share of the shorter side."""
MOVING_SHARE = 4 / 16
"""Share of the frames that move in a dynamic video."""

_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Motion:
    """Motion of one video.

    Attributes:
        flicker: `temporal_flickering`: 1 minus the mean absolute difference of consecutive frames; None with one frame.
        smoothness: `motion_smoothness`: 1 minus the mean absolute difference of every second frame from the one halfway
            between its neighbors; None with fewer than three frames.
        dynamic: `dynamic_degree`: whether enough frames move; None with one frame.
    """

    flicker: float | None
    smoothness: float | None
    dynamic: bool | None


def measure_motion(frames: Iterable[Pixels], rate: float) -> Motion:
    """Measure the motion of a video.

    Args:
        frames: all frames in order, each uint8 (H, W, 3).
        rate: frames per second.

    Raises:
        UsageError: the size of the frames changes.

    Example:
        >>> still = [np.full((32, 32, 3), 90, np.uint8)] * 9
        >>> measure_motion(still, rate=8.0)
        Motion(flicker=1.0, smoothness=1.0, dynamic=False)
    """
    interval = max(1, round(rate / MOTION_RATE))
    differences: list[float] = []
    errors: list[float] = []
    lengths: list[float] = []
    last: Pixels | None = None
    small: list[npt.NDArray[np.float32]] = []
    sampled: npt.NDArray[np.float32] | None = None
    count = 0
    for index, frame in enumerate(frames):
        if last is not None:
            if last.shape != frame.shape:
                raise UsageError("the size of the frames changes within the video")
            differences.append(float(np.abs(frame.astype(np.int16) - last).mean()) / 255)
        last = frame
        small = [*small[-2:], _shrink(frame)]
        if index % 2 == 0 and index:
            first, between, second = small
            expected = middle(first, second, optical_flow(_gray(first), _gray(second)))
            errors.append(float(np.abs(expected - between).mean()))
        if index % interval == 0:
            if sampled is not None:
                lengths.append(_longest(optical_flow(_gray(sampled), _gray(small[-1]))) / min(small[-1].shape[:2]))
            sampled, count = small[-1], count + 1
    needed = max(1, round(MOVING_SHARE * count))
    limit = MOVES * max(1.0, MOTION_RATE / rate)
    return Motion(
        1.0 - float(np.mean(differences)) if differences else None,
        1.0 - float(np.mean(errors)) if errors else None,
        sum(length > limit for length in lengths) >= needed if lengths else None,
    )


def _shrink(frame: Pixels) -> npt.NDArray[np.float32]:
    """Return a frame in [0, 1] with a shorter side of at most `SHORT_SIDE` pixels."""
    height, width = frame.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
    return np.asarray(frame, dtype=np.float32) / np.float32(255)


def _gray(frame: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(frame @ _WEIGHTS, dtype=np.float32)


def _longest(flow: npt.NDArray[np.float32]) -> float:
    """Return the mean length of the longest `LARGEST_SHARE` of a flow (H, W, 2), in pixels."""
    lengths = np.sort(np.hypot(flow[..., 0], flow[..., 1]), axis=None)
    return float(lengths[-max(1, int(LARGEST_SHARE * lengths.size)) :].mean())
