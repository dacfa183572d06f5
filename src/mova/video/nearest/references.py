"""Tell from a packet whether other frames may refer to its frame.

A frame to which none refers can be left out without any effect on the others. The standards mark such frames:

- H.264: `nal_ref_idc` is 0 in the header of every slice.
- HEVC: a sub-layer non-reference picture may still be referred to by a higher temporal sub-layer, so that only those of
  the highest sub-layer count. (`skip_frame = "NONREF"` of FFmpeg leaves out the others, too, and then returns wrong
  pictures. `"BIDIR"` does so in H.264 wherever frames refer to a B-frame, as x264 makes them by default.)
- MPEG-1, MPEG-2, MPEG-4 part 2: B-frames.

Of other codecs (VP9, AV1, ...), every frame counts as a reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Refers = Callable[[Any], bool]
"""PyAV's packet -> whether other frames may refer to its frame."""

START = b"\0\0\1"
VPS = 32
"""Type of HEVC's video parameter set."""


def always(_: Any) -> bool:
    """Return that other frames may refer to any frame.

    >>> always(None)
    True
    """
    return True


def reference_test(codec: str, extradata: bytes | None) -> Refers:
    """Return the test for the packets of a stream.

    Args:
        codec: FFmpeg's name of the decoder.
        extradata: the stream's parameter sets, as the container stores them.

    >>> test = reference_test("h264", None)
    >>> test(bytes([0, 0, 1, 0x61])), test(bytes([0, 0, 1, 0x01]))
    (True, False)
    """
    extra = extradata or b""
    if codec == "h264":
        size = (extra[4] & 3) + 1 if len(extra) > 4 and extra[0] == 1 else 0
        return lambda packet: _h264_refers(bytes(packet), size)
    if codec == "hevc":
        size, top = _hevc_layout(extra)
        return always if top is None else lambda packet: _hevc_refers(bytes(packet), size, top)
    if codec in ("mpeg1video", "mpeg2video"):
        return lambda packet: _mpeg2_refers(bytes(packet))
    if codec == "mpeg4":
        return lambda packet: _mpeg4_refers(bytes(packet))
    return always


def _units(data: bytes, size: int) -> Iterator[bytes]:
    """Yield the first two bytes of each NAL unit; its length has `size` bytes, or start codes precede it (0)."""
    if size:
        position = 0
        while position + size < len(data):
            length = int.from_bytes(data[position : position + size], "big")
            if 0 < length <= len(data) - position - size:
                yield data[position + size : position + size + 2]
            position += size + length
        return
    position = data.find(START)
    while position >= 0:
        yield data[position + 3 : position + 5]
        position = data.find(START, position + 3)


def _h264_refers(data: bytes, size: int) -> bool:
    """Return whether any slice has a `nal_ref_idc` above 0, or there is none."""
    slices = [unit[0] for unit in _units(data, size) if unit and 1 <= unit[0] & 31 <= 5]
    return not slices or any(byte >> 5 & 3 for byte in slices)


def _hevc_layout(extra: bytes) -> tuple[int, int | None]:
    """Return the bytes of a NAL unit's length (0: start codes), and the highest temporal sub-layer, if it is known."""
    if len(extra) > 22 and extra[0] == 1:
        layers = extra[21] >> 3 & 7
        return (extra[21] & 3) + 1, layers - 1 if layers else None
    position = extra.find(START)
    while position >= 0:
        unit = extra[position + 3 : position + 7]
        if len(unit) == 4 and unit[0] >> 1 & 63 == VPS:
            return 0, unit[3] >> 1 & 7
        position = extra.find(START, position + 3)
    return 0, None


def _hevc_refers(data: bytes, size: int, top: int) -> bool:
    """Return whether any slice has a type that is odd or above 14, or is not of the highest sub-layer."""
    slices = [unit for unit in _units(data, size) if len(unit) == 2 and unit[0] >> 1 & 63 < VPS]
    return not slices or any(kind[0] >> 1 & 63 > 14 or kind[0] >> 1 & 1 or (kind[1] & 7) - 1 < top for kind in slices)


def _mpeg2_refers(data: bytes) -> bool:
    position = data.find(START + b"\0")
    return position < 0 or len(data) < position + 6 or data[position + 5] >> 3 & 7 != 3


def _mpeg4_refers(data: bytes) -> bool:
    position = data.find(START + b"\xb6")
    return position < 0 or len(data) < position + 5 or data[position + 4] >> 6 != 2
