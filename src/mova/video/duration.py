"""Durations of videos: from the header, corrected by the packets at the end of the file, or by reading all packets."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import av

from mova.errors import VideoError
from mova.video.container import BROKEN, ffmpeg_errors, frame_step, read_packets, reason

log = logging.getLogger(__name__)

LONGEST = 100 * 86400.0
"""Seconds; a file whose clock claims more is damaged."""


def known_duration(container: Any, track: Any, start: float) -> float | None:
    """Return seconds from time 0 to the end of the video by its header, corrected by the last packets of the file.

    The header of a container also covers the sound, and with variable rates some headers end before the last frame.
    Return None if the header has no credible duration; `measured_duration` then reads all packets.
    """
    matroska = container.format.name == "matroska,webm"
    header = _header_duration(container, track, start)
    container_duration = container.duration / av.time_base - matroska * start if container.duration else None
    declared = header if header is not None else container_duration
    if declared is None or not 0 < declared <= LONGEST:
        return None
    video, last = _tail(container, track, start, declared)
    if header is None and video > 0 and not ends_early(declared, last):
        return video
    return declared if video > declared + max(1.0, 0.05 * declared) else max(declared, video)


def _header_duration(container: Any, track: Any, start: float) -> float | None:
    """Return seconds from time 0 to the end of this stream, or None if the header has no duration of the stream."""
    if container.format.name == "avi" and track.frames:  # its duration is truncated to the size of the file
        return float(track.frames * frame_step(track))
    if track.duration:
        return float(((track.start_time or 0) + track.duration) * track.time_base) - start
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", track.metadata.get("DURATION", "").strip())
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) - start if tag else None


def _tail(container: Any, track: Any, start: float, declared: float) -> tuple[float, float]:
    """Return where the last packets of the file end, in seconds: of the video, and of any stream."""
    video = last = 0.0
    step = frame_step(track)
    try:
        target = int((max(0.0, declared - 1.0) + start) / track.time_base)
        with ffmpeg_errors():
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
        log.debug("%s: cannot read the end of the file (%s)", container.name, reason(error))
    return video, last


def measured_duration(path: str | Path, container: Any, track: Any, start: float) -> tuple[float, int]:
    """Return seconds from time 0 to the end of the video, and its number of packets, by reading all packets.

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
        raise VideoError(path, f"contains no frame with a time; {BROKEN}")
    return end, count


def ends_early(duration: float, end: float) -> bool:
    """Return whether a video of `duration` seconds that stops at `end` was cut off: by more than 0.5 s and 2 %.

    Example:
        >>> ends_early(10.0, 9.6), ends_early(10.0, 9.4)
        (False, True)
    """
    return duration - end > max(0.5, 0.02 * duration)
