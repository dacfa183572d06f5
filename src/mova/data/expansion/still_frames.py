"""Choose the still frame of a clip: the middle frame, or the keyframe nearest to it.

GEXIA makes image-text pairs from the middle frames of short videos (Appendix F). A keyframe is encoded on its own: it
is often the first frame after a cut, and cheaper to decode.

Times are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from mova.data.concat import VideoConcat
from mova.data.expansion.rows import STILL_SECONDS, TIME_DIGITS
from mova.data.manifest import Segment, total_length
from mova.errors import VideoError
from mova.video.container import BROKEN, open_video, read_packets, reason
from mova.video.probe import probe


def middle(parts: Sequence[Segment], folder: str | Path) -> Segment:
    """Return the frame on display halfway through; a file is opened only if its segment has no end.

    Args:
        parts: segments of the clip.
        folder: folder that their paths are relative to.

    Raises:
        VideoError: such a file cannot be read.
    """
    part, time = _halfway(parts, folder)
    return _still(part.video, time)


def keyframe(parts: Sequence[Segment], folder: str | Path) -> Segment | None:
    """Return the keyframe nearest to the middle, within the segment that is on display there; None if it has none.

    Args:
        parts: segments of the clip.
        folder: folder that their paths are relative to.

    Raises:
        VideoError: the file cannot be read.
    """
    part, time = _halfway(parts, folder)
    path = Path(folder) / part.video
    zero = probe(path).start
    try:
        with open_video(path, threads=1) as (container, track):
            keyframe_times = [
                float(packet.pts * track.time_base) - zero
                for packet in read_packets(container, track)
                if packet.is_keyframe and packet.pts is not None
            ]
    except (av.FFmpegError, OSError) as error:
        raise VideoError(path, f"its packets cannot be read to the end ({reason(error)}); {BROKEN}") from error
    end = np.inf if part.end is None else part.end
    inside = [key for key in keyframe_times if part.start <= key < end]
    return _still(part.video, min(inside, key=lambda key: abs(key - time))) if inside else None


def _halfway(parts: Sequence[Segment], folder: str | Path) -> tuple[Segment, float]:
    """Return the segment on display halfway through, and the time in its file."""
    if total_length(parts) is None:
        segments = VideoConcat.of(parts, folder).segments
        parts = [replace(part, end=segment.end) for part, segment in zip(parts, segments, strict=True)]
    total = total_length(parts)
    assert total is not None
    remaining = total / 2
    for part in parts:
        assert part.length is not None
        if remaining < part.length:
            return part, part.start + remaining
        remaining -= part.length
    return parts[-1], parts[-1].start


def _still(video: str, time: float) -> Segment:
    start = round(time, TIME_DIGITS)
    return Segment(video, start, round(start + STILL_SECONDS, TIME_DIGITS))
