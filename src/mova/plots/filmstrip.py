"""Shared parts of timeline pictures: thumbnails along the video, and ticks at round times.

Shape legend: N thumbnails, H height, W width (pixels).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mova.types import Pixels
from mova.utils.time_format import clock
from mova.video.probe import probe
from mova.video.reader import read_times

_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


def film_strip(video: str, duration: float, ratio: float, pixels: int) -> Pixels:
    """Read thumbnails of equal segments of a video, each from the middle of its segment, that fill a strip.

    Args:
        video: a video file.
        duration: length of the strip in seconds.
        ratio: width of the strip divided by its height.
        pixels: height of a thumbnail in pixels.

    Returns:
        uint8 (N, H, W, 3), center-cropped so that N of them fill the width of the strip.

    Raises:
        VideoError: the file cannot be read.
    """
    info = probe(video)
    shape = min(max(info.width / info.height, 0.5), 2.4)
    count = max(1, round(ratio / shape))
    times = (np.arange(count) + 0.5) * min(duration, info.duration) / count
    scale = pixels / info.height
    short_side = max(2, round(min(info.width, info.height) * scale))
    pictures = read_times(video, times, short_side=short_side).pixels
    height, width = pictures.shape[1:3]
    target = ratio / count
    if width / height > target:
        keep = max(1, round(height * target))
        left = (width - keep) // 2
        return pictures[:, :, left : left + keep]
    keep = max(1, round(width / target))
    top = (height - keep) // 2
    return pictures[:, top : top + keep]


def tick_times(duration: float, most: int = 12) -> npt.NDArray[np.float64]:
    """Return round times in `[0, duration]` seconds, at most about `most` of them.

    Example:
        >>> tick_times(61.0, most=4)
        array([ 0., 30., 60.])
    """
    step = next((step for step in _STEPS if duration / step <= most), duration / most)
    return np.arange(0, duration + 1e-9, step)


def tick_labels(times: npt.NDArray[np.float64]) -> list[str]:
    """Format ticks as `m:ss`, with one decimal if they are less than a second apart.

    Example:
        >>> tick_labels(np.array([0.0, 30.0, 60.0]))
        ['0:00', '0:30', '1:00']
    """
    digits = 1 if len(times) > 1 and times[1] < 1 else 0
    return [clock(time, digits) for time in times]
