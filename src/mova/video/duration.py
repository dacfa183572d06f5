"""Durations of videos: from the header, corrected by the packets at the end of the file, or by reading all packets."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import av

from mova.errors import VideoError
from mova.video.container import BROKEN, frame_step, read_packets, reason, slips

log = logging.getLogger(__name__)

LONGEST = 100 * 86400.0
"""Seconds: no file is longer; a clock that says so is damaged."""


def known_duration(container: Any, track: Any, start: float) -> float | None:
    """Seconds from time 0 to the end of the video by its header, mended by the packets at the end of the
    file.

    Headers of a whole container count the sound too, and variable rates make some headers end before the last
    frame. None where the header tells nothing, or nothing credible; then `measured_duration` reads all
    packets.
    """
    matroska = container.format.name == "matroska,webm"
    header = _header_duration(container, track, start)
    whole = container.duration / av.time_base - matroska * start if container.duration else None
    promised = header if header is not None else whole
    if promised is None or not 0 < promised <= LONGEST:
        return None
    video, last = _tail(container, track, start, promised)
    if header is None and video > 0 and not ends_early(promised, last):
        return video
    return promised if video > promised + max(1.0, 0.05 * promised) else max(promised, video)


def _header_duration(container: Any, track: Any, start: float) -> float | None:
    """Seconds from time 0 to the end of this stream, where the header tells it of the stream."""
    if container.format.name == "avi" and track.frames:  # its duration is cut to the size of the file
        return float(track.frames * frame_step(track))
    if track.duration:
        return float(((track.start_time or 0) + track.duration) * track.time_base) - start
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", track.metadata.get("DURATION", "").strip())
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) - start if tag else None


def _tail(container: Any, track: Any, start: float, promised: float) -> tuple[float, float]:
    """Where the packets at the end of the file stop, in seconds: those of the video, and those of any
    stream."""
    video = last = 0.0
    step = frame_step(track)
    try:
        target = int((max(0.0, promised - 1.0) + start) / track.time_base)
        with slips():
            container.seek(target, stream=track, backward=True, any_frame=True)
        for packet in read_packets(container):
            if packet.pts is None or packet.is_discard:
                continue
            length = packet.duration * packet.time_base if packet.duration else step
            end = float(packet.pts * packet.time_base + length) - start
            last = max(last, end)
            if packet.stream_index == track.index:
                video = max(video, end)
    except (av.FFmpegError, OSError) as error:
        log.debug("%s: no look at the end (%s)", container.name, reason(error))
    return video, last


def measured_duration(path: str | Path, container: Any, track: Any, start: float) -> tuple[float, int]:
    """Seconds from time 0 to the end of the video and its number of packets, by reading all of them.

    Raises:
        VideoError: the file cannot be read to its end, or has no times.
    """
    step = frame_step(track)
    end, count = 0.0, 0
    try:
        container.seek(0)
        for packet in read_packets(container, track):
            if packet.pts is not None and not packet.is_discard:
                count += 1
                length = packet.duration * packet.time_base if packet.duration else step
                end = max(end, float(packet.pts * packet.time_base + length) - start)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(path, f"cannot be read ({reason(error)}) after {end:.2f} s; {BROKEN}") from error
    if end <= 0:
        raise VideoError(path, f"holds no picture with a time; {BROKEN}")
    return end, count


def ends_early(duration: float, end: float) -> bool:
    """Whether a video that should last `duration` seconds but stops at `end` was cut off: by more than 0.5 s
    and 2 %."""
    return duration - end > max(0.5, 0.02 * duration)
