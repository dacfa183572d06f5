"""Convert decoded frames to upright RGB of one size."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Interpolation, VideoReformatter

from mova.types import Pixels

UNNAMED = 16
"""Kinds of side data that FFmpeg may have beyond those that PyAV knows."""


@dataclass
class Converter:
    """Decoded frames to upright RGB of one size: the size of the first frame, scaled down to `short_side`.

    Colour matrix and range are the frame's own, BT.601 limited range where it says none (FFmpeg's default).
    More than 8 bits are rounded to 8; alpha is dropped. Scaling is libswscale's bicubic, which filters on the
    way down; it never enlarges, save where a stream shrinks its pictures in the middle.
    """

    short_side: int | None
    size: tuple[int, int] | None = None
    _scaler: VideoReformatter = field(default_factory=VideoReformatter)

    def __call__(self, frame: Any) -> Pixels:
        """uint8, (H, W, 3)."""
        turns, mirrored = orientation(frame)
        width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        if self.size is None:
            self.size = scaled(width, height, self.short_side)
        out_width, out_height = self.size[::-1] if turns % 2 else self.size
        picture = self._scaler.reformat(
            frame,
            width=out_width,
            height=out_height,
            format="rgb24",
            src_colorspace=frame.colorspace,
            src_color_range=frame.color_range,
            interpolation=Interpolation.BICUBIC,
            threads=1,
        )
        plane = picture.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:out_height, : 3 * out_width]
        pixels = rows.reshape(out_height, out_width, 3)
        if mirrored:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, -turns)) if turns or mirrored else pixels


def orientation(frame: Any) -> tuple[int, bool]:
    """`(quarter turns clockwise, mirrored first)` that make the frame upright, by its display matrix.

    The matrix (ISO/IEC 14496-12, `tkhd`) maps a pixel (x right, y down) to (a x + c y, b x + d y); a negative
    determinant means that the picture is mirrored left to right before it is turned.
    """
    data = _display_matrix(frame)
    if data is None:
        return 0, False
    a, b, _, c, d = struct.unpack("<5i", data[:20])
    mirrored = a * d - b * c < 0
    angle = np.degrees(np.arctan2(-b if mirrored else b, -a if mirrored else a))
    return round(angle / 90) % 4, mirrored


def _display_matrix(frame: Any) -> bytes | None:
    """A frame's display matrix, nine int32; None where it has none.

    PyAV 18.1 lacks names of newer kinds of side data and raises on frames that carry one, such as EXIF of photographs.
    Those are taken off a copy by FFmpeg's own filter.
    """
    try:
        table = frame.side_data
    except ValueError:
        table = _without_unnamed(frame).side_data
    return bytes(table["DISPLAYMATRIX"]) if "DISPLAYMATRIX" in table else None


def _without_unnamed(frame: Any) -> Any:
    """The same picture without side data that PyAV has no name for; 0.2 ms."""
    graph = av.filter.Graph()
    graph.threads = 1
    base = frame.time_base or Fraction(1, 1)
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format.name, time_base=base)
    first = last
    for kind in range(len(SideData), len(SideData) + UNNAMED):
        step = graph.add("sidedata", f"mode=delete:type={kind}")
        last.link_to(step)
        last = step
    end = graph.add("buffersink")
    last.link_to(end)
    graph.configure()
    first.push(frame)
    return end.pull()


def scaled(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """(width, height) with the shorter one brought down to `short_side`; never larger than it was."""
    if short_side is None or min(width, height) <= short_side:
        return width, height
    scale = short_side / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
