"""Decode only what is needed, and give the same pixels as decoding everything.

A sampled video shows few of its frames. From the packets alone (times, keyframe marks) this plans which must
be decoded:

    I b b P b b P b b | I b b P b b P b b | I b b P ...        decoding order
            x                                     x            on display at a wanted time
    D - - D D . . . .   . . . . . . . . .   D - - D ...        D decoded, - left out

With `|` before each keyframe:

- what follows the last wanted frame of a group of pictures is not decoded, nor are groups without one;
- frames that no other frame refers to (`-`) are left out inside a group (H.264, MPEG-1/2/4);
- where the next wanted frame is far and the file has an index, the groups between are not even read (a seek).

A group begins at a keyframe, but pictures shown before their keyframe (open groups) still need the group
before: if one of them is wanted, nothing is skipped there. Whatever does not come out as planned (no times,
times twice, a frame that the decoder holds back after a seek) ends in `Unplanned`, and the caller decodes
plainly.

Times are seconds from the file's time 0.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from mova.video.container import TimedFrame, cut_off, frame_step, read_packets, slips
from mova.video.duration import ends_early
from mova.video.sampling import TOLERANCE, Times

Need = Callable[[float], float]
"""The earliest wanted time at or after a time; infinite where there is none."""

PLANNED = frozenset({"h264", "hevc", "vp9", "libdav1d", "av1", "mpeg4", "mpeg1video", "mpeg2video", "mjpeg"})
"""Decoders that give one frame a packet and start cleanly at a keyframe."""

DROPPABLE = frozenset({"h264", "mpeg4", "mpeg1video", "mpeg2video"})
"""Decoders whose non-reference pictures nothing refers to (in HEVC a higher sub-layer may)."""

INDEXED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""Containers that seek by an index and keep their times after it."""

TIMED = INDEXED | {"mpegts", "mpeg", "flv"}
"""Containers whose packets carry the times of their pictures (those of AVI count packets)."""

AHEAD = 32
"""Packets looked at in advance: twice the 16 pictures by which H.264 and HEVC may reorder."""

PENDING_BYTES = 16 << 20
"""Packets held back in the hope that their group need not be decoded."""

MIN_JUMP = 4.0
"""Seconds: a keyframe farther ahead than this is sought, a nearer one is read up to."""


def plannable(container: Any, track: Any) -> bool:
    """Whether the packets of a file tell which frame is shown when."""
    return container.format.name in TIMED and track.codec_context.name in PLANNED


class Unplanned(Exception):
    """The packets do not tell enough, or the decoder did not do what they told."""


@dataclass(order=True)
class Unit:
    """A packet with its place in time; ordered by time."""

    pts: float
    ticks: int
    packet: Any
    shown: bool
    until: float = 0.0
    wanted: bool = False


class Window:
    """Packets in decoding order, each with the time at which the next frame replaces it."""

    def __init__(self, container: Any, track: Any, start: float, duration: float) -> None:
        self.container, self.track, self._start, self._duration = container, track, start, duration
        self._base = float(track.time_base)
        self._step = frame_step(track)
        self._packets = read_packets(container, track)
        self._queue: deque[Unit] = deque()
        self._times: list[float] = []
        self._lowest: float | None = None
        self._floor = -math.inf
        self._jumped = False
        self.end = 0.0
        """Where the last picture read so far ends, in seconds."""
        self.finished = False

    def _fill(self) -> None:
        while len(self._queue) < AHEAD and not self.finished:
            packet = next(self._packets, None)
            if packet is None or not packet.size:
                self.finished = True
                return
            if packet.pts is None or cut_off(self.container, packet):
                raise Unplanned("a packet has no time or no end")
            pts = packet.pts * self._base - self._start
            unit = Unit(pts, packet.pts, packet, shown=not packet.is_discard)
            if unit.shown:
                at = bisect_left(self._times, pts)
                if at < len(self._times) and self._times[at] == pts:
                    raise Unplanned("two packets have one time")
                self._times.insert(at, pts)
                length = packet.duration * self._base if packet.duration else self._step
                self.end = max(self.end, pts + length)
            self._queue.append(unit)

    def pop(self, need: Need) -> Unit | None:
        """The next packet in decoding order, with `until` and `wanted` told; None at the end."""
        self._fill()
        if not self._queue:
            return None
        if self._lowest is None and self._times:
            self._lowest = self._times[0]
        unit = self._queue.popleft()
        self._tell(unit, need)
        if len(self._times) > 8 * AHEAD:
            low = min((each.pts for each in self._queue), default=unit.pts)
            del self._times[: bisect_left(self._times, low)]
        return unit

    def _tell(self, unit: Unit, need: Need) -> None:
        at = bisect_right(self._times, unit.pts)
        if at < len(self._times):
            unit.until = self._times[at]
        else:
            unit.until = self.end if ends_early(self._duration, self.end) else math.inf
        unit.wanted = unit.shown and need(self._since(unit.pts)) + TOLERANCE < unit.until

    def _since(self, pts: float) -> float:
        """From when on a frame is on display: the first of the file from time 0 on."""
        return max(self._floor, 0.0 if pts == self._lowest else pts)

    def leads(self, key: Unit, need: Need) -> bool:
        """Whether a wanted frame is shown before the keyframe that precedes it in the file."""
        self._fill()
        early = [unit for unit in self._queue if unit.pts < key.pts]
        for unit in early:
            self._tell(unit, need)
        return any(unit.wanted for unit in early)

    def next_need(self, need: Need) -> float:
        """The earliest wanted time that the packets not yet popped could show."""
        low = min((unit.pts for unit in self._queue), default=self.end)
        return need(self._since(low))

    def far(self, time: float) -> bool:
        """Whether the keyframe before `time` lies so far ahead that seeking it beats reading on.

        Matroska reads its index at the first seek: until then there is nothing to ask.
        """
        ahead = (self._times[-1] if self._times else 0.0) + MIN_JUMP
        if time < ahead or time <= self._floor:  # a seek that landed early is not tried twice
            return False
        index = self.track.index_entries
        if len(index) <= 1:
            return not self._jumped
        at = index.search_timestamp(self._target(time), backward=True)
        return at >= 0 and index[at].timestamp * self._base - self._start > ahead

    def _target(self, time: float) -> int:
        """Ticks to seek for `time`: early by the reordering, as indices hold decoding times."""
        return int((max(0.0, time - AHEAD / 2 * self._step) + self._start) / self._base)

    def jump(self, time: float) -> None:
        """Seek to the keyframe before `time`; nothing earlier is wanted any more."""
        self._jumped = True
        with slips():
            self.container.seek(self._target(time), stream=self.track, backward=True)
        self._packets = read_packets(self.container, self.track)
        self._queue.clear()
        self._times.clear()
        self._lowest, self._floor, self.finished = math.nan, time, False
        self._fill()
        if not self._queue or not self._queue[0].packet.is_keyframe or self._queue[0].pts > time + TOLERANCE:
            raise Unplanned("a seek missed its keyframe")


class Plan:
    """One pass over a file: packets in, wanted frames out, each as `(pts, until, frame)` in order of time."""

    def __init__(self, container: Any, track: Any, start: float, duration: float, need: Need) -> None:
        self.window = Window(container, track, start, duration)
        self._decoder = track.codec_context
        self._need = need
        self._seeks = container.format.name in INDEXED
        self._drops = self._decoder.name in DROPPABLE
        self._pending: list[Unit] = []
        self._bytes = 0
        self._gap = False
        self._expected: list[Unit] = []

    def run(self) -> Generator[TimedFrame, None, None]:
        """Decode until nothing more is wanted or the packets end.

        Raises:
            Unplanned: decode plainly from where this stopped.
        """
        if not plannable(self.window.container, self.window.track):
            raise Unplanned("such packets do not tell")
        count = 0
        while (unit := self.window.pop(self._need)) is not None:
            if unit.packet.is_keyframe and self._pending and not self.window.leads(unit, self._need):
                self._forget()
            self._pending.append(unit)
            self._bytes += unit.packet.size
            if unit.wanted or self._bytes > PENDING_BYTES:
                yield from self._decode_pending()
            count += 1
            if unit.wanted or count % AHEAD == 1:
                coming = self.window.next_need(self._need)
                if coming == math.inf:
                    break
                if self._seeks and self.window.far(coming):
                    yield from self._drained()
                    self._forget()
                    self.window.jump(coming)
        yield from self._drained()

    def _forget(self) -> None:
        self._pending.clear()
        self._bytes = 0
        self._gap = True

    def _decode_pending(self) -> Iterator[TimedFrame]:
        if self._gap:
            yield from self._drained()
            self._gap = False
        for unit in self._pending:
            if unit.wanted:
                insort(self._expected, unit)
            if self._drops:
                self._decoder.skip_frame = "DEFAULT" if unit.wanted else "NONREF"
            yield from self._matched(self._decode(unit.packet))
        self._pending.clear()
        self._bytes = 0

    def _drained(self) -> Iterator[TimedFrame]:
        """What the decoder still holds; it starts afresh afterwards."""
        yield from self._matched(self._decode(None))
        self._decoder.flush_buffers()
        if self._expected:
            raise Unplanned("a wanted frame did not come out")

    def _decode(self, packet: Any) -> list[Any]:
        with slips():
            return list(self._decoder.decode(packet))

    def _matched(self, frames: list[Any]) -> Iterator[TimedFrame]:
        for frame in frames:
            if frame.pts is None:
                raise Unplanned("a frame has no time")
            if self._expected and self._expected[0].ticks < frame.pts:
                raise Unplanned("a wanted frame did not come out")
            if self._expected and self._expected[0].ticks == frame.pts:
                unit = self._expected.pop(0)
                yield unit.pts, unit.until, frame


def packet_times(container: Any, track: Any, start: float) -> tuple[Times | None, float]:
    """Times of all frames by the packets alone, (n,) sorted seconds, and where the last one ends.

    None where packets do not tell, one has no time, two have the same, or the file stops being readable: then
    decode.
    """
    if not plannable(container, track):
        return None, 0.0
    base, step, end = float(track.time_base), frame_step(track), 0.0
    times = []
    try:
        for packet in read_packets(container, track):
            if not packet.size or packet.is_discard:
                continue
            if packet.pts is None or cut_off(container, packet):
                return None, end
            times.append(packet.pts * base - start)
            end = max(end, times[-1] + (packet.duration * base if packet.duration else step))
    except (av.FFmpegError, OSError):
        return None, end
    unique = np.unique(times)
    return (unique if len(unique) == len(times) > 0 else None), end
