"""Probe and decode video files: real timestamps, upright RGB, one clear error for a file that cannot be read.

Time 0 is the container's start, as players show it. A sample at time t is the frame *on display* at t: the
last with `pts <= t`, before the first the first. No frame is ever made up: a file that ends early or cannot
be decoded raises `VideoError` once, after whatever could be read.

Shape legend: T frames, H height, W width (pixels). Times are seconds, spans half-open `[start, end)`.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from mova.errors import UsageError, VideoError
from mova.types import Frames, Pixels
from mova.video.container import BROKEN, TimedFrame, decode, open_video
from mova.video.duration import ends_early
from mova.video.frame_converter import Converter
from mova.video.packet_plan import Need, Plan, Unplanned, packet_times
from mova.video.probe import VideoInfo, probe
from mova.video.sampling import RULES, TOLERANCE, FpsTimes, Times, fps_times, on_display

log = logging.getLogger(__name__)

CHUNK_BYTES = 64 << 20
"""A chunk of `stream` stays below this many bytes, so that full-size pictures do not fill the memory."""


def stream(
    path: str | Path,
    *,
    fps: float | None,
    start: float = 0.0,
    end: float | None = None,
    short_side: int | None = None,
    chunk: int = 64,
    threads: int | None = None,
) -> Iterator[Frames]:
    """Decode `[start, end)` in chunks, in constant memory.

    Args:
        path: the file.
        fps: samples per second: the frames on display at `start + k / fps`, whose `pts` are those times.
            None: every frame that is on display within `[start, end)`, whose `pts` are its own (the first may
            begin before `start`).
        start: seconds.
        end: seconds; None or beyond the end of the video means its end.
        short_side: scale down so that the shorter side has this many pixels; smaller videos stay as they are.
        chunk: at most so many frames at once (fewer where they would take more than `CHUNK_BYTES`).
        threads: decoding threads; None lets FFmpeg choose (one file at a time), 1 is right inside a worker.

    Raises:
        UsageError: a number makes no sense.
        VideoError: once, after whatever was yielded.
    """
    if chunk <= 0 or (short_side is not None and short_side <= 0):
        raise UsageError(f"chunk and short_side must be positive, not {chunk} and {short_side}")
    _check_stretch(start, end)
    if fps is not None:
        fps_times(0.0, fps)
    return _stream(path, fps, start, end, Converter(short_side), chunk, threads)


def _check_stretch(start: float, end: float | None) -> None:
    if not 0 <= start < (np.inf if end is None else end):
        raise UsageError(f"a stretch needs 0 <= start < end in seconds, not [{start}, {end})")


def _stream(
    path: str | Path,
    fps: float | None,
    start: float,
    end: float | None,
    convert: Converter,
    chunk: int,
    threads: int | None,
) -> Iterator[Frames]:
    info = probe(path)
    stop = info.duration if end is None else min(end, info.duration)
    if fps is None:
        shown = _every(info, start, np.inf if stop == info.duration else stop, threads)
    else:
        shown = _shown(info, fps_times(stop, fps, start), threads, to_end=stop == info.duration)
    yield from _chunks(shown, convert, chunk)


def _chunks(shown: Iterable[tuple[float, Any]], convert: Converter, chunk: int) -> Iterator[Frames]:
    """Frames converted into arrays of `chunk`, each frame once, however often it is shown."""
    pixels: Pixels | None = None
    picture: Pixels | None = None
    pts: list[float] = []
    last: Any = None
    failure: VideoError | None = None
    source = iter(shown)
    while failure is None:
        try:
            time, frame = next(source, (0.0, None))
        except VideoError as error:
            failure, frame = error, None
        if frame is None:
            break
        if picture is None or frame is not last:
            picture, last = convert(frame), frame
        if pixels is None:
            pixels = np.empty((max(1, min(chunk, CHUNK_BYTES // picture.nbytes)), *picture.shape), np.uint8)
        pixels[len(pts)] = picture
        pts.append(time)
        if len(pts) == len(pixels):
            yield Frames(pixels, np.array(pts))
            pixels, pts = None, []
    if pixels is not None:
        yield Frames(pixels[: len(pts)], np.array(pts))
    if failure is not None:
        raise failure


def _frames(info: VideoInfo, need: Need, threads: int | None) -> Iterator[TimedFrame]:
    """At least the frames that are on display at a wanted time, as (pts, end of display, frame), by time.

    Raises:
        VideoError: not decodable, or the file ends early while more is wanted.
    """
    reached = -np.inf
    try:
        with open_video(info.path, threads) as (container, track):
            plan = Plan(container, track, info.start, info.duration, need)
            for pts, until, frame in plan.run():
                reached = until
                yield pts, until, frame
            if need(plan.window.end) < np.inf:
                _check_end(info, plan.window.end)
            return
    except (Unplanned, av.FFmpegError) as signal:
        log.debug("%s: decoding plainly (%s)", info.path, signal)
    with open_video(info.path, threads) as (container, track):
        before: TimedFrame | None = None
        for pts, length, frame in decode(info.path, container, track, info.start):
            if before is not None:
                pts = max(pts, before[0])
                if pts > reached + TOLERANCE:
                    yield before[0], pts, before[2]
            before = (pts, length, frame)
        assert before is not None
        pts, length, frame = before
        end = pts + length
        yield pts, end if ends_early(info.duration, end) else np.inf, frame
        _check_end(info, end)


def _check_end(info: VideoInfo, end: float) -> None:
    if ends_early(info.duration, end):
        raise VideoError(
            info.path,
            f"ends at {end:.2f} s of {info.duration:.2f} s: cut off or damaged; copy it again, or {BROKEN}",
        )


def _every(info: VideoInfo, start: float, stop: float, threads: int | None) -> Iterator[tuple[float, Any]]:
    """Frames on display within `[start, stop)` with their own times."""

    def need(time: float) -> float:
        return max(time, start) if time < stop else np.inf

    for pts, until, frame in _frames(info, need, threads):
        if pts >= stop - TOLERANCE:
            return
        if until > start + TOLERANCE:
            yield pts, frame


def _shown(
    info: VideoInfo, wanted: Sequence[float], threads: int | None, *, to_end: bool = False
) -> Iterator[tuple[float, Any]]:
    """The frame on display at each time, with that time; `to_end` decodes the end too, to know that it is
    there."""
    at = 0
    index_from = wanted.index_from if isinstance(wanted, FpsTimes) else partial(bisect_left, wanted)
    end = info.duration if to_end else -np.inf

    def need(time: float) -> float:
        """The first wanted second from `time` on; infinity where no frame is wanted any more."""
        index = index_from(time - TOLERANCE)
        if index < len(wanted):
            return wanted[index]
        return end if time - TOLERANCE <= end else np.inf

    for _, until, frame in _frames(info, need, threads):
        while at < len(wanted) and wanted[at] + TOLERANCE < until:
            yield wanted[at], frame
            at += 1
        if at == len(wanted) and not to_end:
            return


def read_times(
    path: str | Path, times: npt.ArrayLike, *, short_side: int | None = None, threads: int | None = None
) -> Frames:
    """The frames on display at given times.

    Args:
        path: the file.
        times: (T,) seconds, non-decreasing, T > 0, from 0 to the end of the video (where it rounds to the
            end: the last).
        short_side, threads: as in `stream`.

    Returns:
        T frames whose `pts` are the asked times.

    Raises:
        UsageError: the times are not such a list.
        VideoError: the file cannot be read up to the last of the times.
    """
    asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if asked.ndim != 1 or len(asked) == 0 or not np.all(np.isfinite(asked)) or np.any(np.diff(asked) < 0):
        raise UsageError("times must be a list of one or more finite, non-decreasing seconds")
    info = probe(path)
    if asked[0] < 0 or asked[-1] > info.duration + max(0.5, 0.02 * info.duration):
        raise UsageError(f"{path}: times must lie in [0, {info.duration:.3f}] s, not {asked[0]:.3f} to {asked[-1]:.3f}")
    parts = _chunks(_shown(info, asked.tolist(), threads), Converter(short_side), len(asked))
    return Frames(np.concatenate([part.pixels for part in parts]), asked)


def read_count(
    path: str | Path,
    count: int,
    *,
    rule: str = "segment_midpoint",
    start: float = 0.0,
    end: float | None = None,
    short_side: int | None = None,
    threads: int | None = None,
) -> Frames:
    """`count` of the frames that are on display within `[start, end)`, under a named rule of `video/sampling.py`.

    Returns:
        Frames with their own times; the first of a clip may begin before `start`.

    Raises:
        UsageError: unknown rule, `count` is not positive, or not `0 <= start < end`.
        VideoError: the file cannot be read, or ends before `start`.
    """
    if rule not in RULES:
        raise UsageError(f"unknown sampling rule {rule!r}; known: {', '.join(RULES)}")
    if count <= 0:
        raise UsageError(f"the number of frames to sample must be positive, not {count}")
    info, pts = _clip_times(path, start, end)
    times = pts[RULES[rule](pts, count)]
    parts = _chunks(_shown(info, times.tolist(), threads), Converter(short_side), count)
    return Frames(np.concatenate([part.pixels for part in parts]), times)


def clip_times(path: str | Path, start: float = 0.0, end: float | None = None) -> Times:
    """Times of the frames on display within `[start, end)`, (n,) seconds, n > 0; the first may begin before `start`.

    Raises:
        UsageError: not `0 <= start < end`.
        VideoError: the file cannot be read, or ends before `start`.
    """
    return _clip_times(path, start, end)[1]


def _clip_times(path: str | Path, start: float, end: float | None) -> tuple[VideoInfo, Times]:
    _check_stretch(start, end)
    info = probe(path)
    if start >= info.duration:
        raise VideoError(
            path, f"is only {info.duration:.2f} s long, so there is no frame at {start:.2f} s; fix the start"
        )
    pts = _all_times(info)
    first = int(on_display(pts, start))
    return info, pts[first : max(first + 1, int(np.searchsorted(pts, (np.inf if end is None else end) - TOLERANCE)))]


def _all_times(info: VideoInfo) -> Times:
    """Times of all frames, (n,) seconds: from the packets where those tell, else by decoding."""
    with open_video(info.path) as (container, track):
        times, end = packet_times(container, track, info.start)
    if times is not None:
        _check_end(info, end)
        return times
    return np.array([pts for pts, _ in _every(info, 0.0, np.inf, None)])
