"""Shared parts of timeline pictures: thumbnails along the video, and ticks at round times.

Shape legend: N thumbnails, H height, W width (pixels).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mova.types import Pixels
from mova.utils.time_format import clock
from mova.video.isolated import Isolated
from mova.video.probe import probe
from mova.video.reader import read_times

NO_PICTURE = "no picture"
"""Label of a segment whose pictures are missing."""

_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


def film_strip(
    video: str, duration: float, ratio: float, pixels: int, decoder: Isolated | None = None
) -> list[Pixels | None]:
    """Read thumbnails of equal segments of a video, each from the middle of its segment, that fill a strip.

    Args:
        video: a video file; empty for frames in memory, of which there are no pictures.
        duration: length of the strip in seconds.
        ratio: width of the strip divided by its height.
        pixels: height of a thumbnail in pixels.
        decoder: decodes in a child process; None: directly.

    Returns:
        N pictures, uint8 (H, W, 3), center-cropped so that they fill the width of the strip. None for a segment in
        whose middle pictures are missing.

    Raises:
        VideoError: the file cannot be read.
    """
    if not video:
        return [None] * max(1, round(ratio / 1.6))
    info = (probe if decoder is None else decoder.probe)(video)
    shape = min(max(info.width / info.height, 0.5), 2.4)
    count = max(1, round(ratio / shape))
    times = (np.arange(count) + 0.5) * min(duration, info.duration) / count
    scale = pixels / info.height
    short_side = max(2, round(min(info.width, info.height) * scale))
    read = read_times if decoder is None else decoder.read_times
    frames = read(video, times, short_side=short_side, skip_gaps=True)
    pictures: list[Pixels | None] = [None] * count
    for index, picture in zip(np.searchsorted(times, frames.pts), frames.pixels, strict=True):
        pictures[index] = _cropped(picture, ratio / count)
    return pictures


def _cropped(picture: Pixels, ratio: float) -> Pixels:
    """Return the center of a picture (H, W, 3), of a width of `ratio` times its height."""
    height, width = picture.shape[:2]
    if width / height > ratio:
        keep = max(1, round(height * ratio))
        left = (width - keep) // 2
        return picture[:, left : left + keep]
    keep = max(1, round(width / ratio))
    top = (height - keep) // 2
    return picture[top : top + keep]


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
