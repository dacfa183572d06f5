"""Decode only the frames that are needed, with the same pixels as decoding everything.

Sampling needs few of the frames of a video. From the packets alone (times, keyframe flags) this module plans which
ones must be decoded:

    I b b P b b P b b | I b b P b b P b b | I b b P ...        decoding order
            x                                     x            on display at a needed time
    D - - D D . . . .   . . . . . . . . .   D - - D ...        D decoded, - skipped

With `|` before each keyframe:

- frames after the last needed frame of a group of pictures are not decoded, nor are groups without a needed frame;
- frames that no other frame refers to (`-`) are skipped inside a group (H.264, HEVC, MPEG-1/2/4);
- of the frames near a sampling time, the cheapest one is decoded, if the caller allows it (`nearest/choice.py`);
- if the next needed frame is far away and the file has an index, the groups in between are not even read (a seek).

A group begins at a keyframe, but frames displayed before their keyframe (open groups) need the previous group: if one
of them is needed, nothing is skipped there. If anything does not go as planned (missing or duplicate times, a frame
that the decoder holds back after a seek), `Unplanned` is raised and the caller decodes every frame.

Times are seconds from the file's time 0.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mova.video.clock import AHEAD, RisingPackets
from mova.video.container import cut_off, ffmpeg_errors, frame_step, read_packets
from mova.video.decode import Shown
from mova.video.duration import ends_early
from mova.video.gaps import GAP, display_end
from mova.video.nearest.choice import Nearest
from mova.video.nearest.references import always, reference_test
from mova.video.sampling import TOLERANCE

Need = Callable[[float], float]
"""Return the earliest needed time at or after a time; infinity if there is none."""

PLANNED = frozenset({"h264", "hevc", "vp9", "libdav1d", "av1", "mpeg4", "mpeg1video", "mpeg2video", "mjpeg"})
"""Decoders that return one frame per packet and start cleanly at a keyframe."""

DROPPABLE = frozenset({"h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video"})
"""Decoders whose frames are checked for whether others refer to them."""

INDEXED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""Containers with an index for seeking, whose times stay correct after a seek."""

TIMED = INDEXED | {"mpegts", "mpeg", "flv"}
"""Containers whose packets have the times of their frames (the times of AVI count packets)."""

PENDING_BYTES = 16 << 20
"""Maximum size of packets held back because their group may not need decoding."""

MOST_AHEAD = 256
"""Maximum number of packets that are read in advance, to choose among frames, beyond `AHEAD`."""

MIN_JUMP = 4.0
"""Seconds. Seek to a keyframe that is farther ahead than this; read up to a nearer one."""


def plannable(container: Any, track: Any) -> bool:
    """Return whether the packets of a file determine which frame is displayed when."""
    return container.format.name in TIMED and track.codec_context.name in PLANNED


class Unplanned(Exception):
    """The packets have too little information, or the decoder did not behave as they indicate."""


@dataclass(order=True)
class Unit:
    """A packet with its time; ordered by time.

    Attributes:
        pts: seconds; `ticks` is the same in the stream's time base.
        packet: PyAV's packet.
        displayed: whether its frame is shown.
        until: seconds at which the next frame replaces it.
        needed: whether its frame is on display at a needed time, or was chosen for one.
        reference: whether other frames may refer to it.
        serves: sampling times for which it is decoded, if frames near them may be chosen.
    """

    pts: float
    ticks: int
    packet: Any
    displayed: bool
    end: float = 0.0
    begin: float = 0.0
    until: float = 0.0
    needed: bool = False
    reference: bool = True
    serves: tuple[float, ...] | None = None


class Window:
    """Packets in decoding order, each with the time when the next frame replaces it."""

    def __init__(
        self,
        container: Any,
        track: Any,
        start: float,
        duration: float,
        regular: Callable[[], bool],
        nearest: Nearest | None = None,
    ) -> None:
        self.container, self.track, self._start, self._duration = container, track, start, duration
        self._regular, self._nearest = regular, nearest
        name = track.codec_context.name
        self._refers = reference_test(name, track.codec_context.extradata) if name in DROPPABLE else always
        self._waiting: dict[float, Unit] = {}
        self._bytes = 0
        self._base = float(track.time_base)
        self._step = frame_step(track)
        self._ahead = AHEAD + (0 if nearest is None else min(MOST_AHEAD, math.ceil(8 * nearest.slack / self._step)))
        self._packets: Iterator[Any] = RisingPackets(container, track)
        self._lengths: deque[float] = deque(maxlen=3 * AHEAD)
        self._queue: deque[Unit] = deque()
        self._times: list[float] = []
        self._lowest: float | None = None
        self._floor = -math.inf
        self._jumped = False
        self.end = 0.0
        """End of the last frame read so far, in seconds."""
        self.finished = False

    def _fill(self) -> None:
        while not self.finished:
            if len(self._queue) >= (self._ahead if self._bytes < PENDING_BYTES else AHEAD):
                return
            packet = next(self._packets, None)
            if packet is None or not packet.size:
                self.finished = True
                return
            if packet.pts is None or cut_off(self.container, packet):
                raise Unplanned("a packet has no time, or is truncated")
            pts = packet.pts * self._base - self._start
            unit = Unit(pts, packet.pts, packet, displayed=not packet.is_discard)
            if unit.displayed:
                position = bisect_left(self._times, pts)
                if position < len(self._times) and self._times[position] == pts:
                    raise Unplanned("two packets have the same time")
                self._times.insert(position, pts)
                if packet.duration:
                    self._lengths.append(packet.duration * self._base)
                unit.reference = packet.is_keyframe or self._refers(packet)
                self._waiting[pts] = unit
                unit.end = pts + (packet.duration * self._base if packet.duration else self._step)
                self.end = max(self.end, unit.end)
            self._queue.append(unit)
            self._bytes += packet.size

    def pop(self, need: Need) -> Unit | None:
        """Return the next packet in decoding order, with `until` and `needed` set; None at the end."""
        self._fill()
        if not self._queue:
            return None
        if self._lowest is None and self._times:
            self._lowest = self._times[0]
        unit = self._queue.popleft()
        self._bytes -= unit.packet.size
        self._annotate(unit, need)
        self._waiting.pop(unit.pts, None)
        if self._nearest is not None:
            self._nearest.passed(unit.pts)
        if len(self._times) > 8 * self._ahead:
            low = min((queued.pts for queued in self._queue), default=unit.pts)
            del self._times[: bisect_left(self._times, low)]
        return unit

    def _annotate(self, unit: Unit, need: Need) -> None:
        following = bisect_right(self._times, unit.pts)
        if following < len(self._times):
            unit.until = self._display_end(unit, self._times[following])
        else:
            unit.until = self.end if ends_early(self._duration, self.end) else math.inf
        unit.begin = min(unit.pts, 0.0) if unit.pts == self._lowest else unit.pts
        since = max(self._floor, unit.begin)
        if self._nearest is None or not unit.displayed:
            unit.needed = unit.displayed and need(since) + TOLERANCE < unit.until
        else:
            unit.serves, unit.needed = self._nearest.served(unit.pts, since, unit.until, self._choose)

    def _choose(self, time: float) -> float | None:
        assert self._nearest is not None
        return self._nearest.choose(time, self._times, self._waiting)

    def _display_end(self, unit: Unit, following: float) -> float:
        if following - unit.pts <= GAP:
            return following
        length = min(self._step, unit.packet.duration * self._base or self._step)
        return display_end(unit.pts, length, following, max(self._lengths, default=0.0), self._regular)

    def _displayed_from(self, pts: float) -> float:
        """Return when a frame starts to be on display; the first frame of the file is on display from time 0."""
        return max(self._floor, 0.0 if pts == self._lowest else pts)

    def upcoming(self) -> list[Any]:
        """Return the next packets, in decoding order, as many as reordering may concern."""
        self._fill()
        return [unit.packet for unit in self._queue if unit.displayed][:AHEAD]

    def leads(self, key: Unit, need: Need) -> bool:
        """Return whether a needed frame is displayed before the keyframe that precedes it in the file."""
        self._fill()
        early = [unit for unit in self._queue if unit.pts < key.pts]
        for unit in early:
            self._annotate(unit, need)
        return any(unit.needed for unit in early)

    def next_need(self, need: Need) -> float:
        """Return the earliest needed time of the packets that have not been returned yet."""
        low = min((unit.pts for unit in self._queue), default=self.end)
        if self._nearest is not None:
            return self._nearest.next_time(self._displayed_from(low))
        return need(self._displayed_from(low))

    def far(self, time: float) -> bool:
        """Return whether the keyframe before `time` is so far ahead that a seek is faster than reading on.

        Matroska reads its index at the first seek; before that, there is no index to consult.
        """
        ahead = (self._times[-1] if self._times else 0.0) + MIN_JUMP
        if time < ahead or time <= self._floor:  # do not repeat a seek that landed early
            return False
        index = self.track.index_entries
        if len(index) <= 1:
            return not self._jumped
        entry = index.search_timestamp(self._target(time), backward=True)
        return entry >= 0 and index[entry].timestamp * self._base - self._start > ahead

    def _target(self, time: float) -> int:
        """Return the ticks to seek to for `time`: earlier by the reordering, because an index has decoding times."""
        return int((max(0.0, time - AHEAD / 2 * self._step) + self._start) / self._base)

    def jump(self, time: float) -> None:
        """Seek to the keyframe before `time`; nothing earlier is needed any more."""
        self._jumped = True
        with ffmpeg_errors():
            self.container.seek(self._target(time), stream=self.track, backward=True)
        self._packets = read_packets(self.container, self.track)
        self._queue.clear()
        self._times.clear()
        self._waiting.clear()
        self._bytes = 0
        self._lowest, self._floor, self.finished = math.nan, time, False
        self._fill()
        if not self._queue or not self._queue[0].packet.is_keyframe or self._queue[0].pts > time + TOLERANCE:
            raise Unplanned("a seek missed its keyframe")


class Plan:
    """One pass over a file, from packets to needed frames, sorted by time."""

    def __init__(self, window: Window, need: Need, *, seeks: bool = True) -> None:
        """Plan a pass over the packets of `window`; `seeks` allows seeking if the container has an index."""
        self.window = window
        self._decoder = window.track.codec_context
        self._need = need
        self._seeks = seeks and window.container.format.name in INDEXED
        self._pending: list[Unit] = []
        self._bytes = 0
        self._gap = False
        self._clean = False
        """Whether a frame without damage was decoded; those before may lack what a recording does not begin with."""
        self._expected: list[Unit] = []

    def run(self) -> Generator[Shown, None, None]:
        """Decode until no more frames are needed, or the packets end.

        Raises:
            Unplanned: the caller must decode every frame from where this stopped.
        """
        if not plannable(self.window.container, self.window.track):
            raise Unplanned("packets of this format do not determine the frames")
        if self._decoder.has_b_frames:
            self._check_order(self.window.upcoming())
        count = 0
        while (unit := self.window.pop(self._need)) is not None:
            if unit.packet.is_keyframe and self._pending and not self.window.leads(unit, self._need):
                self._skip_pending()
            self._pending.append(unit)
            self._bytes += unit.packet.size
            if unit.needed or self._bytes > PENDING_BYTES:
                yield from self._decode_pending()
            count += 1
            if unit.needed or count % AHEAD == 1:
                coming = self.window.next_need(self._need)
                if coming == math.inf:
                    break
                if self._seeks and self.window.far(coming):
                    yield from self._drain()
                    self._skip_pending()
                    self.window.jump(coming)
        yield from self._drain()

    def _check_order(self, packets: list[Any]) -> None:
        """Check that stored times are those of display if they rise in the order of decoding.

        If the decoder returns the first frames in another order, they are those of decoding. An MP4 file whose packets
        are decoded when they are displayed leaves no time for reordering.
        """
        times = [packet.pts for packet in packets]
        if any(later < earlier for earlier, later in pairwise(times)) or all(packet.is_keyframe for packet in packets):
            return
        if self.window.container.format.name.startswith("mov") and all(packet.pts == packet.dts for packet in packets):
            raise Unplanned("times are those of decoding")
        frames = [frame.pts for packet in [*packets, None] for frame in self._decode(packet)]
        self._decoder.flush_buffers()
        if any(time is None for time in frames) or frames != sorted(frames):
            raise Unplanned("times are those of decoding")

    def _skip_pending(self) -> None:
        self._pending.clear()
        self._bytes = 0
        self._gap = True

    def _decode_pending(self) -> Iterator[Shown]:
        if self._gap:
            yield from self._drain()
            self._gap = False
        for unit in self._pending:
            if unit.needed:
                insort(self._expected, unit)
            if unit.needed or unit.reference:
                yield from self._matched(self._decode(unit.packet))
        self._pending.clear()
        self._bytes = 0

    def _drain(self) -> Iterator[Shown]:
        """Yield the frames that the decoder still holds, and reset it."""
        yield from self._matched(self._decode(None))
        self._decoder.flush_buffers()
        if self._expected:
            raise Unplanned("the decoder did not return a needed frame")

    def _decode(self, packet: Any) -> list[Any]:
        with ffmpeg_errors():
            return list(self._decoder.decode(packet))

    def _matched(self, frames: list[Any]) -> Iterator[Shown]:
        for frame in frames:
            if frame.pts is None:
                raise Unplanned("a frame has no time")
            if frame.is_corrupt and self._clean:
                raise Unplanned("a frame is damaged, and so may be those after it")
            self._clean = self._clean or not frame.is_corrupt
            if self._expected and self._expected[0].ticks < frame.pts:
                raise Unplanned("the decoder did not return a needed frame")
            if self._expected and self._expected[0].ticks == frame.pts:
                if frame.is_corrupt:
                    raise Unplanned("a needed frame is damaged")
                unit = self._expected.pop(0)
                yield Shown(unit.pts, unit.until, frame, unit.begin, unit.end, unit.serves)
