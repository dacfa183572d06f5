"""Find the frames on display: plan from the packets if possible, decode everything if not.

Shape legend: H height, W width (pixels).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from mova.errors import VideoError
from mova.types import Frames, Pixels, Span
from mova.video.container import BROKEN, frame_step, open_video, video_errors
from mova.video.decode import Shown, ThreadedError, decode
from mova.video.duration import ends_early
from mova.video.frame_converter import Converter
from mova.video.gaps import GAP, HOLD, has_regular_rate
from mova.video.nearest.choice import Nearest
from mova.video.packet_plan import Need, Plan, Unplanned, Window, plannable
from mova.video.probe import VideoInfo, probe
from mova.video.sampling import TOLERANCE, Times, on_display
from mova.video.scan import Packets, scan

log = logging.getLogger(__name__)

CHUNK_BYTES = 64 << 20
"""Maximum size of a chunk of `stream`, so that large frames do not fill the memory."""

CHECK_SHORT_SIDE = 16
"""Pixels of the shorter side when frames are converted only to check them."""

CHECK = "list all such gaps with: mova data check FILE"


def shown_frames(
    info: VideoInfo,
    need: Need,
    threads: int | None,
    lost: Callable[[], None] | None = None,
    nearest: Nearest | None = None,
) -> Iterator[Shown]:
    """Yield at least the frames on display at the needed times, sorted by time.

    `lost` is called for each packet that cannot be decoded, if all frames are needed. With `nearest`, frames that it
    chooses replace those on display, as far as the packets determine the frames.

    Raises:
        VideoError: the file cannot be decoded, or ends before the last needed time.
    """
    reached, done = -np.inf, False
    regular = partial(_is_regular, info)
    try:
        with open_video(info.path, threads) as (container, track):
            window = Window(container, track, info.start, info.duration, regular, nearest)
            for shown in Plan(window, need, seeks=not info.leaps).run():
                reached = shown.until
                yield _held(info, shown)
                del shown  # a large frame must not stay while the next one is decoded
            if need(window.end) < np.inf:
                check_end(info, window.end)
            return
    except (Unplanned, av.FFmpegError) as signal:
        log.debug("%s: decoding every frame (%s)", info.path, signal)
    for count in (threads, 1):
        try:
            with open_video(info.path, count) as (container, track):
                for shown in decode(info.path, container, track, info.start, regular, lost):
                    done = shown.until == np.inf
                    if done and ends_early(info.duration, shown.end):
                        shown = shown._replace(until=shown.end)
                    if shown.until > reached + TOLERANCE:
                        reached = shown.until
                        yield _held(info, shown)
                check_end(info, shown.end)
                return
        except ThreadedError as signal:
            log.debug("%s: decoding with one thread (%s)", info.path, signal)


def _is_regular(info: VideoInfo) -> bool:
    """Return whether the frames of a file follow each other at a regular rate, by all of its packets."""
    try:
        return scan(info.path, info.start).regular
    except VideoError:
        return False


def _held(info: VideoInfo, shown: Shown) -> Shown:
    """Return the last frame of a file with the end of its display."""
    if shown.until == np.inf and info.duration > shown.pts + HOLD:
        return shown._replace(until=shown.pts + HOLD)
    return shown


def check_end(info: VideoInfo, end: float) -> None:
    """Raise a `VideoError` if a file whose last frame ends at `end` seconds was cut off."""
    if ends_early(info.duration, end):
        raise VideoError(
            info.path,
            f"ends at {end:.2f} s of {info.duration:.2f} s: truncated or damaged; copy it again, or {BROKEN}",
        )


def noting_gaps(info: VideoInfo, frames: Iterable[Shown], gaps: list[Span]) -> Iterator[Shown]:
    """Yield all frames of a file once, and append the gaps between them to `gaps`."""
    until, last = 0.0, -np.inf
    for shown in frames:
        if shown.pts > last:
            if shown.begin > until + TOLERANCE:
                gaps.append(Span(until, shown.begin))
            last = shown.pts
            yield shown
        until = max(until, shown.until)
        del shown  # a large frame must not stay while the next one is decoded
    if until < info.duration - GAP:
        gaps.append(Span(until, info.duration))


def times_in_range(info: VideoInfo, pts: Times, gaps: Sequence[Span], start: float, end: float | None) -> Times:
    """Return those of all frame times `pts` that are on display within `[start, end)`."""
    stop = int(np.searchsorted(pts, (np.inf if end is None else end) - TOLERANCE))
    first = int(on_display(pts, start))
    if any(gap.start <= start + TOLERANCE and start + TOLERANCE < gap.end for gap in gaps):
        first = int(np.searchsorted(pts, start))
        if first >= stop:
            raise VideoError(info.path, f"shows no picture from {start:.2f} s on: pictures are missing there; {CHECK}")
    return pts[first : max(first + 1, stop)]


def frame_times(info: VideoInfo) -> tuple[Times, Sequence[Span]]:
    """Return the times of all frames, (n,) seconds, and the gaps: from the packets if they have times, else decoded."""
    with open_video(info.path) as (container, track):
        if plannable(container, track):
            packets = Packets.read(info.path, container, track, info.start)
            times = np.unique(packets.times)
            if len(times) == len(packets.times) > 0 and not packets.untimed:
                check_end(info, packets.end)
                return times, packets.gaps(frame_step(track), has_regular_rate(packets.times))
    return decoded_times(info)


def decoded_times(info: VideoInfo) -> tuple[Times, Sequence[Span]]:
    """Return the times of all frames that can be decoded, (n,) seconds, and the gaps."""
    gaps: list[Span] = []
    times = [shown.pts for shown in noting_gaps(info, shown_frames(info, lambda time: time, None), gaps)]
    return np.array(times), gaps


def chunks(frames: Iterable[tuple[float, Any]], convert: Converter, count: int) -> Iterator[Frames]:
    """Convert frames (None: the same one again) and yield arrays of `count`, fewer if they exceed `CHUNK_BYTES`."""
    pixels: Pixels | None = None
    picture: Pixels | None = None
    pts: list[float] = []
    failure: VideoError | None = None
    source = iter(frames)
    while failure is None:
        try:
            time, frame = next(source, (None, None))
        except VideoError as error:
            failure, time = error, None
        if time is None:
            break
        picture = picture if frame is None else convert(frame)
        del frame  # a large frame must not stay while the next one is decoded
        assert picture is not None
        if pixels is None:
            pixels = np.empty((max(1, min(count, CHUNK_BYTES // picture.nbytes)), *picture.shape), np.uint8)
        pixels[len(pts)] = picture
        pts.append(time)
        if len(pts) == len(pixels):
            yield Frames(pixels, np.array(pts))
            pixels, pts = None, []
    if pixels is not None:
        yield Frames(pixels[: len(pts)], np.array(pts))
    if failure is not None:
        raise failure


def joined(parts: Iterable[Frames | None]) -> Frames:
    """Concatenate parts of one video; None means that those before it do not count. No part gives no frames."""
    kept: list[Frames] = []
    for part in parts:
        kept = [] if part is None else [*kept, part]
    if len(kept) == 1:
        return kept[0]
    return Frames.concatenate(kept) if kept else Frames(np.empty((0, 0, 0, 3), np.uint8), np.empty(0))


@dataclass(frozen=True)
class Damage:
    """Damage within a file that can be read to its end.

    Attributes:
        gaps: stretches in which pictures are missing.
        lost: number of pictures that cannot be decoded, within gaps or not.
        unread: bytes after the end of the video that belong to another one, which is not read.

    >>> Damage(gaps=(Span(4.0, 5.0),), lost=0).gaps[0].duration
    1.0
    """

    gaps: tuple[Span, ...]
    lost: int
    unread: int = 0


def find_damage(path: str | Path, *, threads: int | None = None) -> Damage:
    """Decode and convert every frame of a file, and return what is damaged.

    Raises:
        VideoError: the file cannot be read to its end.

    >>> find_damage("film.mp4")
    Damage(gaps=(), lost=0, unread=0)
    """
    info = probe(path)
    gaps: list[Span] = []
    lost: list[None] = []
    convert = Converter(CHECK_SHORT_SIDE)
    frames = shown_frames(info, lambda time: time, threads, lambda: lost.append(None))
    with video_errors(path):
        for shown in noting_gaps(info, frames, gaps):
            convert(shown.frame)
            del shown
    return Damage(tuple(gaps), len(lost), info.unread)
