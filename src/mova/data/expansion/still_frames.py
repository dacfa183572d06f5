"""Which single frame stands for a clip of one or several stretches: the middle one, or a keyframe near it.

GEXIA makes image-text pairs of the middle frames of short videos (Appendix F). A keyframe is one that the encoder
wrote whole: often the first after a cut, and cheaper to decode.

Times are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mova.data.concat import VideoConcat
from mova.data.expansion.rows import DIGITS, STILL
from mova.data.manifest import Segment, total_length
from mova.video.container import open_video, read_packets
from mova.video.reader import probe


def middle(parts: Sequence[Segment], folder: str | Path) -> Segment:
    """The frame on display halfway through; files are looked at only where the manifest does not tell their length.

    Raises:
        VideoError: such a file cannot be read.
    """
    part, time = _halfway(parts, folder)
    return _still(part.video, time)


def keyframe(parts: Sequence[Segment], folder: str | Path) -> Segment | None:
    """The keyframe nearest to halfway, of the stretch that is shown there; None where that stretch has none.

    Raises:
        VideoError: the file cannot be read.
    """
    part, time = _halfway(parts, folder)
    path = Path(folder) / part.video
    zero = probe(path).start
    with open_video(path, threads=1) as (container, track):
        found = [
            float(packet.pts * track.time_base) - zero
            for packet in read_packets(container, track)
            if packet.is_keyframe and packet.pts is not None
        ]
    last = np.inf if part.end is None else part.end
    inside = [key for key in found if part.start <= key < last]
    return _still(part.video, min(inside, key=lambda key: abs(key - time))) if inside else None


def _halfway(parts: Sequence[Segment], folder: str | Path) -> tuple[Segment, float]:
    """The stretch that is shown halfway, and the second of its file."""
    if total_length(parts) is None:
        shown = VideoConcat.of(parts, folder).segments
        parts = [replace(part, end=each.end) for part, each in zip(parts, shown, strict=True)]
    total = total_length(parts)
    assert total is not None
    left = total / 2
    for part in parts:
        assert part.length is not None
        if left < part.length:
            return part, part.start + left
        left -= part.length
    return parts[-1], parts[-1].start


def _still(video: str, time: float) -> Segment:
    start = round(time, DIGITS)
    return Segment(video, start, round(start + STILL, DIGITS))
