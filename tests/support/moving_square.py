"""A film whose picture changes everywhere, and in which a square moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mova.video.writer import write_mp4


def write_moving_square(path: Path, count: int) -> Path:
    """Write `count` frames of 96 x 64, at 4 frames per second: a square moves over a ramp."""
    ramp = np.linspace(0, 255, 96, dtype=np.uint8)
    pictures = []
    for i in range(count):
        picture = np.repeat(np.stack([ramp, ramp[::-1], np.roll(ramp, 9 * i)], -1)[None], 64, axis=0).copy()
        picture[20:44, 2 * i % 72 : 2 * i % 72 + 24] = (250, 30, 20)
        pictures.append(picture)
    return write_mp4(path, [np.stack(pictures)], fps=4)
