"""Decode every frame of a file, in the order and at the times of display.

The order of display is known to the decoder; times are stored by the container. They disagree where the stored times
are those of decoding, not of display (B-frames in an MP4 file without a table of offsets, H.264 in AVI):

    stored and sent      I0 P1 B2 B3 P4 B5 B6
    decoder returns      I0 B2 B3 P1 B5 B6 P4        in the order of display, but with times that go back
    used                 I0 B1 B2 P3 B4 B5 P6        the order of the decoder, with the times in rising order
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.video.frame import PictureType

from mova.errors import VideoError
from mova.video.clock import AHEAD, RisingPackets
from mova.video.container import BROKEN, cut_off, ffmpeg_errors, frame_step, reason
from mova.video.gaps import GAP, display_end
from mova.video.sampling import TOLERANCE

log = logging.getLogger(__name__)

REORDER = 3
"""Frames held back to sort those that a decoder returns in a wrong order."""

HELD_BYTES = 90 << 20
"""Bytes that these frames may take: fewer large ones are held back."""

DEPTH = AHEAD // 2
"""Frames by which H.264 and HEVC may reorder."""


class Shown(NamedTuple):
    """A frame and when it is on display, in seconds from the file's time 0.

    Attributes:
        pts: its own time.
        until: when the next frame replaces it, or pictures are missing; infinity for the last frame.
        frame: PyAV's frame.
        begin: when its display begins: its own time, except that the first frame is also on display before.
        end: its own time and duration.
        serves: sampling times for which it was chosen, if frames near them may be chosen; None: those of its display.
    """

    pts: float
    until: float
    frame: Any
    begin: float
    end: float
    serves: tuple[float, ...] | None = None


class ThreadedError(Exception):
    """A packet or a frame is damaged. With several threads, the frames around it differ from run to run."""


def decode(
    path: str | Path,
    container: Any,
    track: Any,
    start: float,
    regular: Callable[[], bool] = bool,
    lost: Callable[[], None] | None = None,
) -> Iterator[Shown]:
    """Yield every frame in the order of display, with rising times, in constant memory.

    Packets that cannot be decoded are skipped if any later packet can be: their pictures are missing.

    Args:
        path: path of the file, for messages.
        container: opened with `open_video`, at its beginning.
        track: its video stream.
        start: the container's start time in seconds.
        regular: returns whether the file has a regular rate; called only if a long step between frames occurs.
        lost: called for each packet after the first frame that cannot be decoded.

    Raises:
        ThreadedError: a packet or frame is damaged, and there are several threads: decode again with one.
        VideoError: no frame can be decoded, or the file cannot be read further (raised after the last good frame).
    """
    times = _Times(track, start, lost)
    previous: tuple[float, float, Any] | None = None
    begin, failure = 0.0, None
    try:
        for pts, length, frame in _frames(container, track, times):
            if previous is None:
                begin = pts if times.lost(-math.inf, pts) and pts > GAP else min(pts, 0.0)
            else:
                pts = max(pts, previous[0] + min(length, times.step) / 10)
                until = times.display_end(previous[0], previous[1], pts, regular)
                yield Shown(previous[0], until, previous[2], begin, previous[0] + previous[1])
                begin = pts
            previous = (pts, length, frame)
    except (av.FFmpegError, OSError) as error:
        failure = error
    if previous is not None:
        if times.lost(previous[0], math.inf) and track.codec_context.thread_count != 1:
            raise ThreadedError("the last frames are missing")  # an error ends several threads without a message
        yield Shown(previous[0], math.inf, previous[2], begin, previous[0] + previous[1])
    failure = failure or (times.error if previous is None else None)
    if failure is not None:
        where = "at its first frame" if previous is None else f"at {previous[0]:.2f} s"
        raise VideoError(
            path, f"decoding fails {where} ({reason(failure)}): the file is damaged; {BROKEN}"
        ) from failure
    if previous is None:
        raise VideoError(path, f"contains a {track.codec_context.name} stream without any frame; {BROKEN}")


def _frames(container: Any, track: Any, times: _Times) -> Iterator[tuple[float, float, Any]]:
    """Yield (time, duration, frame) of all frames that can be decoded, sorted by time.

    Raises:
        av.FFmpegError: the file cannot be read further; raised after the last frame.
    """
    held: list[tuple[float, float, Any]] = []
    failure: Exception | None = None
    packets = RisingPackets(container, track)
    flushed = clean = False
    while not flushed:
        try:
            packet = next(packets, None)
            if packet is not None and cut_off(container, packet):
                raise av.InvalidDataError(0, "the file ends within a packet")
        except (av.FFmpegError, OSError) as error:
            failure, packet = error, None
        flushed = packet is None or (not packet.size and packet.dts is None)
        for frame in _decode(track, None if flushed else packet, times):
            if frame.is_corrupt and clean and track.codec_context.thread_count != 1:
                raise ThreadedError("a frame is damaged")
            clean = clean or not frame.is_corrupt
            insort(held, (*times.read(frame), frame), key=lambda row: row[0])
            if len(held) > min(REORDER, HELD_BYTES // max(1, 3 * frame.width * frame.height)):
                del frame
                yield held.pop(0)
    yield from held
    if failure is not None:
        raise failure


def _decode(track: Any, packet: Any, times: _Times) -> list[Any]:
    """Return the frames that the decoder returns for a packet (None: those that it still holds); none if it fails."""
    if packet is not None:
        if not packet.size:
            return []
        times.sent(packet)
    try:
        with ffmpeg_errors():
            return list(track.codec_context.decode(packet))
    except (av.error.MemoryError, av.EOFError):
        raise
    except av.FFmpegError as error:
        if track.codec_context.thread_count != 1:
            raise ThreadedError(reason(error)) from error
        log.debug("a packet cannot be decoded (%s)", reason(error))
        times.failed(packet, error)
        return []


class _Times:
    """Times of the frames that a decoder returns, in seconds from the container's start."""

    def __init__(self, track: Any, start: float, lost: Callable[[], None] | None) -> None:
        self.step = frame_step(track)
        self.error: Exception | None = None
        """The first error of the decoder."""
        self._on_lost = lost
        self._decoder = track.codec_context
        self._base = float(track.time_base)
        self._start = start
        self._last: float | None = None
        self._latest = -math.inf
        self._rising = True
        """Whether the stored times rise in the order of decoding so far."""
        self._sent: list[float] = []
        self._waiting: list[float] = []
        self._lengths: deque[float] = deque(maxlen=3 * AHEAD)

    def sent(self, packet: Any) -> None:
        """Note a packet before it is decoded."""
        if packet.is_discard:
            return
        if packet.pts is None:
            self._rising = False
            return
        time = packet.pts * self._base - self._start
        self._rising = self._rising and time >= self._latest
        self._latest = time
        if self._rising:
            self._waiting.append(time)
        insort(self._sent, time)
        if packet.duration:
            self._lengths.append(packet.duration * self._base)

    def failed(self, packet: Any, error: Exception) -> None:
        """Note that a packet gives no frame."""
        self.error = self.error or error
        if self._on_lost is not None and self._last is not None:
            self._on_lost()
        if packet is not None and packet.pts is not None:
            time = packet.pts * self._base - self._start
            if time in self._waiting:
                self._waiting.remove(time)

    def read(self, frame: Any) -> tuple[float, float]:
        """Return the time and the duration of the next frame of the decoder."""
        stamp = frame.pts if frame.pts is not None else frame.dts
        length = frame.duration * self._base if frame.duration else self.step
        if stamp is None:
            time = 0.0 if self._last is None else self._last + self.step
        else:
            time = stamp * self._base - self._start
            if self._rising and self._waiting:
                time = self._in_order(frame, time)
        self._last = time
        return time, length

    def _in_order(self, frame: Any, time: float) -> float:
        """Return the lowest time that no frame has yet, for a frame that is stored with `time`.

        No frame but a B-frame is displayed earlier than it is decoded: the times before it are those of lost frames.
        """
        position = bisect_left(self._waiting, time - TOLERANCE)
        if not self._decoder.has_b_frames:
            del self._waiting[: position + 1]
            return time
        late = 0 if frame.pict_type in (PictureType.I, PictureType.P) else DEPTH
        del self._waiting[: max(0, position - late)]
        return self._waiting.pop(0) if self._waiting else time

    def lost(self, after: float, before: float) -> bool:
        """Return whether the file has a packet for a frame between two times, which was not decoded."""
        first = bisect_right(self._sent, after + TOLERANCE)
        return first < bisect_left(self._sent, before - TOLERANCE)

    def display_end(self, time: float, length: float, following: float, regular: Callable[[], bool]) -> float:
        """Return when a frame stops being on display; forget the packets before it."""
        length, declared = min(length, self.step), max(self._lengths, default=0.0)
        end = display_end(time, length, following, declared, lambda: self.lost(time, following) or regular())
        del self._sent[: bisect_left(self._sent, time)]
        return end
