"""Convert decoded frames to upright RGB of one size. The sample aspect ratio is not applied."""

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
"""Kinds of side data that FFmpeg may have in addition to those that PyAV knows."""


@dataclass
class Converter:
    """Converts decoded frames to upright RGB of one size: that of the first frame, scaled down to `short_side`.

    Color matrix and range are those of the frame, or BT.601 limited range if it has none (FFmpeg's default). More than
    8 bits are rounded to 8; alpha is dropped. Scaling is libswscale's bicubic, which filters when it scales down. It
    scales up only if the frames of a stream become smaller in the middle.
    """

    short_side: int | None
    size: tuple[int, int] | None = None
    _scaler: VideoReformatter = field(default_factory=VideoReformatter)
    _rotation: int | None = None
    _orientation: tuple[int, bool] = (0, False)

    def __call__(self, frame: Any) -> Pixels:
        """Return the frame as uint8 (H, W, 3)."""
        if frame.rotation != self._rotation:  # reading side data makes a cycle that keeps the frame in memory
            self._rotation, self._orientation = frame.rotation, orientation(frame)
        turns, mirrored = self._orientation
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
    """Return `(clockwise quarter turns, mirrored first)` that make a frame upright, from its display matrix.

    The matrix (ISO/IEC 14496-12, `tkhd`) maps a pixel (x right, y down) to (a x + c y, b x + d y). A negative
    determinant means that the picture is mirrored left to right before it is rotated.
    """
    data = _display_matrix(frame)
    if data is None:
        return 0, False
    a, b, _, c, d = struct.unpack("<5i", data[:20])
    mirrored = a * d - b * c < 0
    angle = np.degrees(np.arctan2(-b if mirrored else b, -a if mirrored else a))
    return round(angle / 90) % 4, mirrored


def _display_matrix(frame: Any) -> bytes | None:
    """Return the display matrix of a frame, nine int32, if any.

    PyAV 18.1 does not know newer kinds of side data and raises on frames that have one, such as EXIF of photographs.
    They are removed from a copy with FFmpeg's own filter.
    """
    try:
        table = frame.side_data
    except ValueError:
        table = _without_unnamed(frame).side_data
    return bytes(table["DISPLAYMATRIX"]) if "DISPLAYMATRIX" in table else None


def _without_unnamed(frame: Any) -> Any:
    """Return the frame without side data that PyAV does not know; takes 0.2 ms."""
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
    """Return width and height, scaled down so that the shorter one is at most `short_side`.

    Example:
        >>> scaled(1920, 1080, 240), scaled(100, 50, 240)
        ((427, 240), (100, 50))
    """
    if short_side is None or min(width, height) <= short_side:
        return width, height
    scale = short_side / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
