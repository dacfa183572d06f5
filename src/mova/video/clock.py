"""Read packets on one rising time line, repaired where the clock of a file restarts or leaps.

The clock of concatenated files starts again at each join, and that of a broadcast may leap. Wherever that happens, the
next frame follows the last one:

    times in the file      8.0 9.0 | 0.0 1.0 2.0 | 18000.0 18001.0
    times that are used    8.0 9.0  10.0 11.0 12.0    13.0    14.0
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

from av.format import Flags

from mova.video import container as media

AHEAD = 32
"""Packets to read in advance: twice the 16 frames by which H.264 and HEVC may reorder."""

RESTART = 0.5
"""Seconds by which a clock must jump back to count as started again."""

LEAP = 10.0
"""Seconds by which the clock of a broadcast must jump forward to count as leapt, as in the `ffmpeg` program. A shorter
jump means that pictures are missing."""


def broadcast(container: Any) -> bool:
    """Return whether the format is made for broadcasts, whose clock may leap (MPEG-TS, MPEG-PS, Ogg)."""
    return bool(container.format.flags & Flags.ts_discont.value)


class RisingPackets:
    """Iterator over the packets of one video stream (and of others) whose times are shifted to one time line.

    Only for reading from the beginning to the end: after a seek, the shift is not known.

    Attributes:
        leaps: number of restarts and leaps so far.
    """

    def __init__(self, container: Any, track: Any, *others: Any) -> None:
        self.leaps = 0
        self._source = media.read_packets(container, track, *others)
        self._track = track
        self._base = float(track.time_base)
        self._step = max(1, round(media.frame_step(track) / self._base))
        self._flags_reliable = not container.format.name.startswith("mov")
        self._broadcast = broadcast(container)
        self._ahead: deque[Any] = deque()
        self._recent: deque[int] = deque(maxlen=AHEAD // 2 + 1)
        self._decoding_time: int | None = None
        self._end: int | None = None
        self._highest = 0
        self._shift = 0
        self._earlier = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        packet = self._ahead.popleft() if self._ahead else next(self._source)
        if packet.stream_index != self._track.index:
            self._move_other(packet)
        elif packet.size and packet.pts is not None and not packet.is_discard:
            if self._end is not None and self._leapt(packet):
                self._follow(packet)
            self._recent.append(packet.pts)
            self._highest = max(self._highest, packet.pts) if len(self._recent) > 1 else packet.pts
            self._decoding_time = packet.dts
            self._move(packet)
            end = packet.pts + (packet.duration or self._step)
            self._end = end if self._end is None else max(self._end, end)
        return packet

    def _leapt(self, packet: Any) -> bool:
        """Return whether a packet cannot belong to the time line of those before it.

        No frame is displayed before more than 16 frames that were decoded earlier, and no frame that is decoded before
        a keyframe is displayed after it.
        """
        back = RESTART / self._base
        if self._broadcast and packet.dts is not None and self._decoding_time is not None:
            step = packet.dts - self._decoding_time
            return bool(step < -back or step > LEAP / self._base)
        if len(self._recent) == self._recent.maxlen and packet.pts < min(self._recent) - back:
            return True
        return bool(self._flags_reliable and packet.is_keyframe and packet.pts < self._highest - back)

    def _follow(self, packet: Any) -> None:
        """Shift the clock so that the first displayed of the coming frames follows the last frame."""
        count = 0
        for coming in self._ahead:
            count += coming.stream_index == self._track.index
        while count < AHEAD // 2:
            coming = next(self._source, None)
            if coming is None:
                break
            self._ahead.append(coming)
            count += coming.stream_index == self._track.index
        lowest, near = packet.pts, LEAP / self._base
        for coming in self._ahead:
            if coming.stream_index == self._track.index and coming.pts is not None:
                if abs(coming.pts - lowest) > near:
                    break
                lowest = min(lowest, coming.pts)
        self._earlier, self._shift = self._shift, (self._end or 0) - lowest
        self._recent.clear()
        self.leaps += 1

    def _move(self, packet: Any) -> None:
        if self._shift:
            packet.pts += self._shift
            if packet.dts is not None:
                packet.dts += self._shift

    def _move_other(self, packet: Any) -> None:
        """Shift a packet of another stream by the shift, before or after the last leap, that brings it nearer."""
        if not self.leaps or packet.pts is None:
            return
        ratio = self._track.time_base / packet.time_base
        moved = [packet.pts + round(shift * ratio) for shift in (self._shift, self._earlier)]
        now = (self._end or 0) * ratio
        best = min(moved, key=lambda pts: abs(pts - now))
        shift, packet.pts = best - packet.pts, best
        if packet.dts is not None:
            packet.dts += shift


def seconds(packet: Any, start: float) -> float:
    """Return the time of a packet in seconds from `start`; NaN if it has none."""
    return math.nan if packet.pts is None else float(packet.pts * packet.time_base) - start
