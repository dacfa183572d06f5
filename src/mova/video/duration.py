"""Durations of videos. The packets decide; what headers and tags claim counts only where packets cannot be read.

A header may be stale or wrong, and then disagrees with the packets at the end of the file. If it claims more than they
have, either the header is wrong or the file was cut off: `is_complete` looks for the end of the file's structure.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import av

from mova.video.clock import RisingPackets, broadcast
from mova.video.container import ffmpeg_errors, frame_step, reason
from mova.video.structure import is_complete

log = logging.getLogger(__name__)

LONGEST = 100 * 86400.0
"""Seconds; a file whose clock claims more is damaged."""


def known_duration(path: str | Path, container: Any, track: Any, start: float) -> float | None:
    """Return seconds from time 0 to the end of the video by the last packets of the file, or by its header.

    Return None if all packets must be read: broadcasts, files without a credible duration in their header, and files
    whose clock restarts.
    """
    if broadcast(container):
        return None
    container_duration = _container_duration(container, start)
    header = _stream_duration(container, track, start)
    tagged = container.format.name == "matroska,webm" and container_duration is not None
    if tagged and header is not None and ends_early(header, container_duration or 0.0):
        header = None  # a stale tag: no stream is longer than its container
    declared = header if header is not None else container_duration
    if declared is None or not 0 < declared <= LONGEST:
        return None
    table = _table_end(container, track, start)
    video, last, leaps = _tail(container, track, start, declared if table is None else table)
    if video <= 0 and table is None:  # there is nothing where the header claims the end to be
        video, last, leaps = _tail(container, track, start, 0.0)
    if leaps:
        return None
    if video <= 0:
        return table or declared
    if not ends_early(declared, video):
        return max(declared, video)
    if table is not None:
        return max(video, table)
    if header is None and container_duration is not None and not ends_early(container_duration, last):
        return video
    return video if not ends_early(last, video) and is_complete(path, container.format.name) else declared


def _container_duration(container: Any, start: float) -> float | None:
    """Return seconds from time 0 to the end of the longest stream, or None if the header does not have it."""
    if not container.duration:
        return None
    return float(container.duration / av.time_base) - (start if container.format.name == "matroska,webm" else 0.0)


def _stream_duration(container: Any, track: Any, start: float) -> float | None:
    """Return seconds from time 0 to the end of this stream, or None if the header does not have it."""
    if container.format.name == "avi" and track.frames:  # its duration is truncated to the size of the file
        return float(track.frames * frame_step(track))
    if track.duration:
        return float(((track.start_time or 0) + track.duration) * track.time_base) - start
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", track.metadata.get("DURATION", "").strip())
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) - start if tag else None


def _table_end(container: Any, track: Any, start: float) -> float | None:
    """Return where the sample table of an MP4 or MOV file ends, in seconds; None for other and fragmented files."""
    if not container.format.name.startswith("mov") or not track.frames or not len(track.index_entries):
        return None
    last = len(track.index_entries) - 1
    while last > 0 and track.index_entries[last].is_discard:  # outside of the edit list
        last -= 1
    return float(track.index_entries[last].timestamp * track.time_base) - start


def _tail(container: Any, track: Any, start: float, declared: float) -> tuple[float, float, int]:
    """Return where the last packets end, in seconds (of the video, and of any stream), and restarts of the clock."""
    video = last = 0.0
    step, base = frame_step(track), float(track.time_base)
    try:
        target = int((max(0.0, declared - 1.0) + start) / track.time_base)
        with ffmpeg_errors():
            container.seek(target, stream=track, backward=True, any_frame=True)
        packets = RisingPackets(container, track, *(stream for stream in container.streams if stream != track))
    except (av.FFmpegError, OSError) as error:
        log.debug("%s: cannot seek to the end of the file (%s)", container.name, reason(error))
        return video, last, 0
    try:
        for packet in packets:
            if packet.pts is None or packet.is_discard:
                continue
            length = packet.duration * packet.time_base if packet.duration else step
            end = float(packet.pts * packet.time_base + length) - start
            last = max(last, end)
            if packet.stream_index == track.index:
                video = max(video, packet.pts * base + float(length) - start)
    except (av.FFmpegError, OSError) as error:
        log.debug("%s: cannot read the end of the file (%s)", container.name, reason(error))
    return video, last, packets.leaps


def ends_early(duration: float, end: float) -> bool:
    """Return whether a video of `duration` seconds that stops at `end` was cut off: by more than 0.5 s and 2 %.

    Example:
        >>> ends_early(10.0, 9.6), ends_early(10.0, 9.4)
        (False, True)
    """
    return duration - end > max(0.5, 0.02 * duration)
