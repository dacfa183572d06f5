"""What pictures of a timeline share: thumbnails along the video, round tick times, times as people read them.

Shape legend: N thumbnails, H height, W width (pixels).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mova.utils.time_format import clock
from mova.video.reader import probe, read_times

_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


@dataclass(frozen=True, eq=False)
class Strip:
    """Thumbnails of equal stretches of a video, each taken in the middle of its stretch.

    Attributes:
        pictures: uint8, (N, H, W, 3), RGB, cropped in the middle so that N of them fill the strip's width.
    """

    pictures: npt.NDArray[np.uint8]


def film_strip(video: str, duration: float, ratio: float, pixels: int) -> Strip:
    """Thumbnails that fill a strip.

    Args:
        video: a file.
        duration: seconds.
        ratio: width of the strip divided by its height.
        pixels: height of a thumbnail.

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
    wanted = ratio / count
    if width / height > wanted:
        keep = max(1, round(height * wanted))
        left = (width - keep) // 2
        return Strip(pictures[:, :, left : left + keep])
    keep = max(1, round(width / wanted))
    top = (height - keep) // 2
    return Strip(pictures[:, top : top + keep])


def tick_times(duration: float, most: int = 12) -> npt.NDArray[np.float64]:
    """Round times in `[0, duration]` seconds, at most about `most` of them."""
    step = next((step for step in _STEPS if duration / step <= most), duration / most)
    return np.arange(0, duration + 1e-9, step)


def tick_labels(times: npt.NDArray[np.float64]) -> list[str]:
    """`m:ss` for each tick; with a decimal where ticks lie closer than a second."""
    digits = 1 if len(times) > 1 and times[1] < 1 else 0
    return [clock(time, digits) for time in times]
