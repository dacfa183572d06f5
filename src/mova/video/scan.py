"""Read all packets of a file once: its end, the number of its frames, its gaps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np

from mova.errors import VideoError
from mova.remote.objects import status_of
from mova.types import Span
from mova.video.clock import AHEAD, RisingPackets
from mova.video.container import BROKEN, cut_off, frame_step, open_video, reason
from mova.video.gaps import GAP, display_end, has_regular_rate
from mova.video.sampling import Times


@dataclass(frozen=True)
class Scan:
    """The frames of a file by its packets.

    Attributes:
        end: seconds from the start to the end of the last frame; > 0.
        count: number of frames.
        leaps: number of places where the clock restarts or leaps.
        regular: whether the frames follow each other at a regular rate.
        gaps: stretches in which pictures are missing.
    """

    end: float
    count: int
    leaps: int
    regular: bool
    gaps: tuple[Span, ...]


def scan(path: str | Path, start: float) -> Scan:
    """Read all packets of a file (only once while it does not change).

    Args:
        path: video file.
        start: the container's start time in seconds.

    Raises:
        VideoError: the file cannot be read to its end, or has no times.
    """
    try:
        status = status_of(path)
    except OSError as error:
        raise VideoError(path, f"cannot be accessed ({reason(error)}); check the path") from error
    return _scan(str(path), start, *status)


@lru_cache(maxsize=64)
def _scan(path: str, start: float, _size: int, _mtime_ns: int) -> Scan:
    with open_video(path, threads=1) as (container, track):
        step = frame_step(track)
        packets = Packets.read(path, container, track, start)
    if packets.end <= 0:
        raise VideoError(path, f"contains no frame with a time; {BROKEN}")
    regular = has_regular_rate(packets.times)
    return Scan(packets.end, len(packets.times), packets.leaps, regular, packets.gaps(step, regular))


@dataclass(frozen=True, eq=False)
class Packets:
    """The times of all packets of a video, in decoding order, and the durations that they state, (n,) seconds."""

    times: Times
    lengths: Times
    end: float
    leaps: int
    untimed: bool
    """Whether some packets have no time, or are cut off."""

    @classmethod
    def read(cls, path: str | Path, container: Any, track: Any, start: float) -> Packets:
        """Read all packets of a file that was just opened.

        Raises:
            VideoError: the file cannot be read to its end.
        """
        step, end, untimed = frame_step(track), 0.0, False
        times, lengths, bare = [], [], []
        packets = RisingPackets(container, track)
        try:
            for packet in packets:
                if not packet.size or packet.is_discard:
                    continue
                if packet.pts is None:
                    untimed = True
                    bare.append(float(packet.duration * packet.time_base) if packet.duration else step)
                    continue
                untimed = untimed or cut_off(container, packet)
                times.append(float(packet.pts * packet.time_base) - start)
                lengths.append(float(packet.duration * packet.time_base) if packet.duration else step)
                end = max(end, times[-1] + lengths[-1])
        except (av.FFmpegError, OSError) as error:
            raise VideoError(path, f"cannot be read ({reason(error)}) after {end:.2f} s; {BROKEN}") from error
        if not times and bare:  # a raw stream: its frames follow each other
            end = float(np.sum(bare))
            times, lengths = (np.cumsum(bare) - bare).tolist(), bare
        return cls(np.array(times), np.array(lengths), end, packets.leaps, untimed)

    def gaps(self, step: float, regular: bool) -> tuple[Span, ...]:
        """Return the stretches in which pictures are missing; frames last `step` seconds."""
        order = np.argsort(self.times, kind="stable")
        gaps = []
        for index in np.flatnonzero(np.diff(self.times[order]) > GAP):
            before, after = order[index], order[index + 1]
            near = self.lengths[max(0, min(before, after) - AHEAD) : max(before, after) + AHEAD]
            time, following = float(self.times[before]), float(self.times[after])
            length = min(step, float(self.lengths[before]))
            end = display_end(time, length, following, float(near.max()), lambda: regular)
            if end < following:
                gaps.append(Span(max(0.0, end), following))
        return tuple(gaps)
