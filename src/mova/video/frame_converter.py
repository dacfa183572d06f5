"""Convert decoded frames to upright 8-bit RGB with square pixels, all of one size; HDR is mapped to SDR.

Shape legend: H height, W width (pixels). Light is linear, relative to reference white.
"""

from __future__ import annotations

import gc
import struct
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Interpolation, VideoReformatter

from mova.errors import VideoError
from mova.types import Pixels

MAX_ASPECT = 4.0
"""Pixels that are declared wider or higher than this are not believed. The widest in use have about 2.9 (half D1)."""

Array = npt.NDArray[np.float32]

PQ, HLG = 16, 18
"""Transfer functions of HDR, numbered as in ITU-T H.273: SMPTE ST 2084 and ARIB STD-B67."""

WHITE = 203.0
"""Candela per square meter of diffuse white in HDR (ITU-R BT.2408); it becomes white in SDR."""

HLG_PEAK = 1000.0
"""Candela per square meter of the display that HLG is shown on, with a system gamma of 1.2 (ITU-R BT.2100)."""

KNEE = 0.85
"""Light above this is compressed: what is brighter than white stays distinguishable, all else keeps its color."""

TO_BT709 = {
    1: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    9: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008350), (-0.018151, -0.100579, 1.118730)),
    12: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
}
"""Matrices from linear RGB of other primaries: BT.709, BT.2020 (ITU-R BT.2087), P3 with D65."""

LARGE = 1 << 24
"""Pixels of frames that do not wait for the garbage collector: with 10 bits, they take 50 MB and more."""

BLOCK = 1 << 18
"""Pixels that are mapped to SDR at once."""

SAME_MATRIX = {3: 2, 10: 9}
"""Color matrices that libswscale refuses but FFmpeg converts like another one: reserved, BT.2020 constant luminance."""

UNCONVERTIBLE = {
    8: "YCgCo",
    11: "SMPTE 2085",
    12: "chroma-derived, non-constant luminance",
    13: "chroma-derived, constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
"""Color matrices that libswscale cannot convert, numbered as in ITU-T H.273."""

UNNAMED = 16
"""Kinds of side data that FFmpeg may have in addition to those that PyAV knows."""


@dataclass
class Converter:
    """Converts decoded frames to upright RGB of one size: that of the first frame, scaled down to `short_side`.

    The width is multiplied by `pixel_aspect`, then the picture is rotated; `short_side` is that of the result. This is
    one scaling step, libswscale's bicubic, which filters when it scales down. It scales up only for wide pixels, or
    if the frames of a stream become smaller in the middle.

    Color matrix and range are those of the frame, or BT.601 limited range if it has none (FFmpeg's default). More than
    8 bits are rounded to 8; alpha is dropped. Frames with an HDR transfer function are mapped to SDR, see `to_sdr`.
    Interlaced frames stay as the decoder returns them, both fields woven.
    """

    short_side: int | None
    pixel_aspect: float = 1.0
    size: tuple[int, int] | None = None
    _scaler: VideoReformatter = field(default_factory=VideoReformatter)
    _rotation: int | None = None
    _orientation: tuple[int, bool] = (0, False)
    _cycles: int = 2
    """Frames in reference cycles (their side data was read) that may wait for the garbage collector."""

    def __call__(self, frame: Any) -> Pixels:
        """Return the frame as uint8 (H, W, 3)."""
        if self._cycles and frame.width * frame.height > LARGE:  # that of `probe`, and the first one here
            gc.collect()
            self._cycles -= 1
        if frame.rotation != self._rotation:  # reading side data makes a cycle that keeps the frame in memory
            self._rotation, self._orientation = frame.rotation, orientation(frame)
        turns, mirrored = self._orientation
        if self.size is None:
            width, height = display_width(frame.width, self.pixel_aspect), frame.height
            if turns % 2:
                width, height = height, width
            self.size = scaled(width, height, self.short_side)
        out_width, out_height = self.size[::-1] if turns % 2 else self.size
        if (matrix := same_matrix(frame.colorspace)) != frame.colorspace:
            frame.colorspace = matrix
        hdr = frame.color_trc in (PQ, HLG)
        picture = self._scaler.reformat(
            frame,
            width=out_width,
            height=out_height,
            format="rgb48le" if hdr else "rgb24",
            src_colorspace=frame.colorspace,
            src_color_range=frame.color_range,
            interpolation=Interpolation.BICUBIC,
            threads=1,
        )
        plane = picture.planes[0]
        depth = np.dtype("<u2" if hdr else "u1")
        rows = np.frombuffer(memoryview(plane), depth).reshape(-1, plane.line_size // depth.itemsize)
        pixels = rows[:out_height, : 3 * out_width].reshape(out_height, out_width, 3)
        if hdr:
            pixels = to_sdr(pixels, frame.color_trc, frame.color_primaries)
        if mirrored:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, -turns)) if turns or mirrored else pixels


def pixel_aspect(container: Any, track: Any) -> float:
    """Return the width of a pixel divided by its height, after the first frame was decoded.

    The container's ratio comes before that of the coded stream, as in FFmpeg. It is 1 if neither is plausible, and for
    photographs, whose ratio is one of printing resolutions.
    """
    if is_picture(container):
        return 1.0
    ratios = (float(ratio or 0) for ratio in (track.sample_aspect_ratio, track.codec_context.sample_aspect_ratio))
    return next((ratio for ratio in ratios if 1 / MAX_ASPECT <= ratio <= MAX_ASPECT), 1.0)


def is_picture(container: Any) -> bool:
    """Return whether an open file is a single picture, by FFmpeg's format."""
    name: str = container.format.name
    return name == "image2" or name.endswith("_pipe")


def display_width(width: int, pixel_aspect: float) -> int:
    """Return the width with square pixels; a difference of less than one pixel is rounding, and is ignored.

    Example:
        >>> display_width(720, 64 / 45), display_width(720, 8 / 9), display_width(470, 704 / 705)
        (1024, 640, 470)
    """
    wide = width * pixel_aspect
    return width if abs(wide - width) < 1 else max(1, round(wide))


def same_matrix(matrix: int) -> int:
    """Return the color matrix by which FFmpeg converts a matrix; reserved numbers mean that it is not known."""
    return SAME_MATRIX.get(matrix, matrix if matrix <= max(UNCONVERTIBLE) else 2)


def check_matrix(path: str | Path, frame: Any) -> None:
    """Check that the colors of a frame can be converted to RGB.

    Raises:
        VideoError: they have a color matrix that libswscale does not know.
    """
    if frame.colorspace in UNCONVERTIBLE and not frame.format.is_rgb and len(frame.format.components) > 2:
        name = UNCONVERTIBLE[frame.colorspace]
        raise VideoError(path, f"its color matrix ({name}) cannot be converted to RGB; make the file anew with BT.709")


def to_sdr(pixels: npt.NDArray[np.uint16], transfer: int, primaries: int) -> Pixels:
    """Map HDR pictures to SDR: 203 cd/m2 become white, colors up to that stay, brighter ones are compressed.

    The steps: the transfer function to linear light (with HLG, as on a display of 1000 cd/m2); the matrix from the
    primaries (default: BT.2020) to BT.709, whose negative values become 0; light above `KNEE` compressed by the largest
    of R, G and B, so that the hue stays; sRGB.

    Args:
        pixels: (H, W, 3), full range.
        transfer: `PQ` or `HLG`.
        primaries: as numbered in ITU-T H.273.

    Returns:
        uint8 (H, W, 3).

    Example:
        >>> to_sdr(np.full((1, 1, 3), round(0.5807 * 65535), np.uint16), PQ, 9).tolist()
        [[[246, 246, 246]]]
    """
    eotf, to_srgb = _linear(transfer), _srgb()
    matrix = np.array(TO_BT709.get(primaries, TO_BT709[9]), np.float32).T
    flat = pixels.reshape(-1, 3)
    result = np.empty(flat.shape, np.uint8)
    for first in range(0, len(flat), BLOCK):
        light = eotf[flat[first : first + BLOCK]]
        if transfer == HLG:
            scene = light @ np.array((0.2627, 0.6780, 0.0593), np.float32)
            light *= (HLG_PEAK / WHITE * scene**0.2)[:, None]
        light = np.maximum(light @ matrix, 0)
        largest = np.maximum(light.max(1), KNEE)
        above = largest - KNEE
        light *= ((KNEE + (1 - KNEE) * above / (above + 1 - KNEE)) / largest)[:, None]
        result[first : first + BLOCK] = to_srgb[np.rint(light * 65535).astype(np.uint16)]
    return result.reshape(pixels.shape)


@cache
def _linear(transfer: int) -> Array:
    """Return light for 16-bit values: relative to `WHITE` with PQ, scene light up to 1 with HLG."""
    value = np.arange(65536) / 65535
    if transfer == PQ:
        power = value ** (32 / 2523)
        light = (np.maximum(power - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * power)) ** (16384 / 2610)
        return (light * 10000 / WHITE).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12).astype(np.float32)


@cache
def _srgb() -> Pixels:
    """Return 8-bit sRGB for light of 16 bits."""
    light = np.arange(65536) / 65535
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(coded * 255).astype(np.uint8)


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

    PyAV 18.1 does not know newer kinds of side data and raises on frames that have one, such as EXIF of photographs. It
    frees the name of an ICC profile twice, which ends the process; the decoder of PNG, which never gives YUV, names
    profiles. Both are removed from a copy with FFmpeg's own filter.
    """
    try:
        table = (frame if frame.format.name.startswith("yuv") else _without_unsafe(frame)).side_data
    except ValueError:
        table = _without_unsafe(frame).side_data
    return bytes(table["DISPLAYMATRIX"]) if "DISPLAYMATRIX" in table else None


def _without_unsafe(frame: Any) -> Any:
    """Return the frame without the side data that PyAV cannot read; takes 0.2 ms."""
    graph = av.filter.Graph()
    graph.threads = 1
    base = frame.time_base or Fraction(1, 1)
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format.name, time_base=base)
    first = last
    for kind in (SideData.ICC_PROFILE.value, *range(len(SideData), len(SideData) + UNNAMED)):
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
