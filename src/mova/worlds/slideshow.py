"""Make films out of still pictures: slow pans with cuts between them, at known seconds.

Shape legend: T frames, H W picture pixels, h w frame pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mova.errors import UsageError
from mova.types import Pixels, Span
from mova.video.writer import write_mp4

CROP = 0.9
"""Share of the largest crop of the frame's shape that the moving window takes."""


def pan(picture: Pixels, count: int, size: tuple[int, int], *, backwards: bool = False) -> Iterator[Pixels]:
    """Yield frames of a window that moves slowly over a picture, from the upper left to the lower right.

    Args:
        picture: uint8, (H, W, 3).
        count: number of frames, T.
        size: width and height of a frame in pixels.
        backwards: from the lower right to the upper left.

    Yields:
        uint8, (1, h, w, 3).

    >>> frames = list(pan(np.zeros((90, 120, 3), np.uint8), 3, (32, 18)))
    >>> len(frames), frames[0].shape
    (3, (1, 18, 32, 3))
    """
    height, width = picture.shape[:2]
    scale = CROP * min(width / size[0], height / size[1])
    wide, tall = size[0] * scale, size[1] * scale
    image = Image.fromarray(picture)
    for number in range(count):
        share = number / max(1, count - 1)
        share = 1 - share if backwards else share
        left, top = (width - wide) * share, (height - tall) * share
        frame = image.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + wide, top + tall))
        yield np.asarray(frame)[None]


def write_slideshow(
    path: str | Path,
    pictures: Sequence[Pixels],
    *,
    seconds: float = 4.0,
    fps: float = 12.0,
    size: tuple[int, int] = (640, 360),
) -> list[Span]:
    """Write a film of pictures, one after the other, and return the seconds of each.

    Args:
        path: mp4 file to write; its folder must exist.
        pictures: uint8, (H, W, 3) each.
        seconds: duration of each picture.
        fps: frames per second.
        size: width and height of the film in pixels.

    Raises:
        UsageError: no pictures, or a duration of less than one frame.
    """
    count = round(seconds * fps)
    if not pictures or count < 1:
        raise UsageError(f"a film needs at least one picture and one frame of each, not {len(pictures)} and {count}")
    write_mp4(
        path,
        (frame for i, picture in enumerate(pictures) for frame in pan(picture, count, size, backwards=i % 2 == 1)),
        fps=fps,
    )
    return [Span(i * count / fps, (i + 1) * count / fps) for i in range(len(pictures))]
