"""Decode video files: real timestamps, upright RGB, and one clear error for a file that cannot be read.

Time 0 is the start of the container, as in players. A sample at time t is the frame *on display* at t: the last one
with `pts <= t`, or the first one if t is before it. Frames are never made up: a file that ends early or cannot be
decoded raises `VideoError` once, after all frames that could be read.

`FrameRule` states which frames of a clip are read, for those that keep such a choice in their settings.

Shape legend: T frames, H height, W width (pixels). Times are seconds, spans half-open `[start, end)`.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError, VideoError
from mova.types import Frames
from mova.video.container import video_errors
from mova.video.display import CHECK, chunks, decoded_times, frame_times, joined, shown_frames, times_in_range
from mova.video.frame_converter import Converter
from mova.video.nearest.choice import Nearest
from mova.video.packet_plan import Unplanned
from mova.video.probe import VideoInfo, probe
from mova.video.sampling import RULES, TOLERANCE, FpsTimes, Times, fps_times, linspace

log = logging.getLogger(__name__)

SLACK = 0.25
"""Share of the sampling period by which a sample may differ from its time, if it need not be exact. Two samples are at
most one and a half periods apart, which is no gap (`mova.scoring.spans.LONGEST_CELL`)."""


def stream(
    path: str | Path,
    *,
    fps: float | None,
    start: float = 0.0,
    end: float | None = None,
    short_side: int | None = None,
    chunk: int = 64,
    threads: int | None = None,
    exact: bool = True,
) -> Iterator[Frames]:
    """Decode `[start, end)` in chunks, in constant memory.

    Args:
        path: video file.
        fps: samples per second: the frames on display at `start + k / fps`, with those times as `pts`. None: every
            frame on display within `[start, end)`, with its own `pts` (the first one may begin before `start`).
        start: seconds.
        end: seconds; None or a time after the end of the video means its end.
        short_side: scale down so that the shorter side has this many pixels; smaller videos are not changed.
        chunk: maximum number of frames per chunk (fewer if they would need more than `CHUNK_BYTES`).
        threads: decoding threads; None lets FFmpeg choose (for one file at a time), use 1 inside a worker.
        exact: with False, a frame that costs less to decode replaces the frame on display, if it is at most `SLACK` of
            the period away from the sampling time; its `pts` is its own time.

    Raises:
        UsageError: an argument is out of range.
        VideoError: the file cannot be read to `end`; raised once, after the last good frame.

    >>> [len(frames) for frames in stream("film.mp4", fps=2.0, start=1.0, end=5.0, chunk=3)]
    [3, 3, 2]
    """
    if chunk <= 0 or (short_side is not None and short_side <= 0):
        raise UsageError(f"chunk and short_side must be positive, not {chunk} and {short_side}")
    _check_range(start, end)
    if fps is not None:
        fps_times(0.0, fps)
    return _stream(path, fps, start, end, short_side, chunk, threads, exact)


def _check_range(start: float, end: float | None) -> None:
    if not 0 <= start < (np.inf if end is None else end):
        raise UsageError(f"a time range needs 0 <= start < end in seconds, not [{start}, {end})")


def _stream(
    path: str | Path,
    fps: float | None,
    start: float,
    end: float | None,
    short_side: int | None,
    chunk: int,
    threads: int | None,
    exact: bool,
) -> Iterator[Frames]:
    info = probe(path)
    stop = info.duration if end is None else min(end, info.duration)
    if fps is None:
        frames = _every_frame(info, start, np.inf if stop == info.duration else stop, threads)
    else:
        slack = 0.0 if exact else SLACK / fps
        frames = _frames_at(info, fps_times(stop, fps, start), threads, to_end=stop == info.duration, slack=slack)
    count = 0
    with video_errors(path):
        for part in chunks(frames, Converter(short_side, info.pixel_aspect), chunk):
            count += len(part)
            yield part
            del part
    if not count and start < stop:
        raise VideoError(
            path, f"shows no picture from {start:.2f} to {stop:.2f} s: pictures are missing there; {CHECK}"
        )


def _every_frame(info: VideoInfo, start: float, stop: float, threads: int | None) -> Iterator[tuple[float, Any]]:
    """Yield the frames on display within `[start, stop)`, with their own times."""

    def need(time: float) -> float:
        return max(time, start) if time < stop else np.inf

    last = -np.inf
    for shown in shown_frames(info, need, threads):
        if shown.pts >= stop - TOLERANCE:
            return
        if shown.until > start + TOLERANCE and shown.pts > last:
            last = shown.pts
            yield shown.pts, shown.frame
        del shown  # a large frame must not stay while the next one is decoded


def _frames_at(
    info: VideoInfo,
    times: Sequence[float],
    threads: int | None,
    *,
    to_end: bool = False,
    exact: bool = False,
    slack: float = 0.0,
) -> Iterator[tuple[float, Any]]:
    """Yield each time with the frame on display, or None for the same frame again; no times within gaps.

    `to_end` also decodes the end of the file, to verify it. `exact` raises `Unplanned` if a time is not a frame's own.
    With `slack` in seconds, frames that are as near as this replace those on display, and have their own times.
    """
    done = 0
    index_from = times.index_from if isinstance(times, FpsTimes) else partial(bisect_left, times)
    end = info.duration if to_end else -np.inf

    def need(time: float) -> float:
        """Return the first needed time at or after `time`; infinity if there is none."""
        index = index_from(time - TOLERANCE)
        if index < len(times):
            return times[index]
        return end if time - TOLERANCE <= end else np.inf

    nearest = Nearest(slack, need, times[-1]) if slack and len(times) else None
    for shown in shown_frames(info, need, threads, nearest=nearest):
        pts, until, frame = shown.pts, shown.until, shown.frame
        if shown.serves is not None:
            for time in shown.serves:
                done = index_from(time - TOLERANCE) + 1
                yield (max(0.0, pts) if abs(time - pts) < slack - TOLERANCE else time), frame
                frame = None
            del shown, frame
            if done == len(times) and not to_end:
                return
            continue
        done = max(done, index_from(shown.begin - TOLERANCE))
        del shown
        while done < len(times) and times[done] + TOLERANCE < until:
            if exact and abs(times[done] - pts) > TOLERANCE:
                raise Unplanned("a packet has no frame")
            yield times[done], frame
            frame, done = None, done + 1
        if done == len(times) and not to_end:
            return
        del frame


def read_times(
    path: str | Path,
    times: npt.ArrayLike,
    *,
    short_side: int | None = None,
    threads: int | None = None,
    skip_gaps: bool = False,
) -> Frames:
    """Read the frames on display at given times.

    Args:
        path: video file.
        times: (T,) seconds, non-decreasing, T > 0, from 0 to the end of the video (a time that rounds to the end
            means the last frame).
        short_side, threads: as in `stream`.
        skip_gaps: leave out times at which pictures are missing, instead of raising an error.

    Returns:
        T frames whose `pts` are the requested times; fewer, or none, with `skip_gaps`.

    Raises:
        UsageError: the times are not sorted, not finite, or outside the video.
        VideoError: the file cannot be read up to the last of the times.

    >>> read_times("film.mp4", [0.0, 2.5], short_side=32).pixels.shape
    (2, 32, 32, 3)
    """
    return joined(stream_times(path, times, short_side=short_side, threads=threads, skip_gaps=skip_gaps))


def stream_times(
    path: str | Path,
    times: npt.ArrayLike,
    *,
    short_side: int | None = None,
    threads: int | None = None,
    skip_gaps: bool = False,
) -> Iterator[Frames]:
    """Yield the frames of `read_times` in parts of at most `CHUNK_BYTES`."""
    requested = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if (
        requested.ndim != 1
        or len(requested) == 0
        or not np.all(np.isfinite(requested))
        or np.any(np.diff(requested) < 0)
    ):
        raise UsageError("times must be a list of one or more finite, non-decreasing seconds")
    info = probe(path)
    if requested[0] < 0 or requested[-1] > info.duration + max(0.5, 0.02 * info.duration):
        raise UsageError(
            f"{path}: times must be in [0, {info.duration:.3f}] s, not {requested[0]:.3f} to {requested[-1]:.3f}"
        )
    yield from _read(info, requested, short_side, threads, skip_gaps=skip_gaps)


def _read(
    info: VideoInfo,
    times: Times,
    short_side: int | None,
    threads: int | None,
    *,
    exact: bool = False,
    skip_gaps: bool = False,
) -> Iterator[Frames]:
    """Yield the frames on display at sorted times within the video, in parts."""
    shown: list[Times] = []
    with video_errors(info.path):
        frames = _frames_at(info, times.tolist(), threads, exact=exact)
        for part in chunks(frames, Converter(short_side, info.pixel_aspect), len(times)):
            shown.append(part.pts)
            yield part
            del part
    if sum(map(len, shown)) < len(times) and not skip_gaps:
        missing = np.setdiff1d(times, np.concatenate(shown) if shown else [])[0]
        raise VideoError(info.path, f"shows no picture at {missing:.2f} s: pictures are missing there; {CHECK}")


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
    """Read `count` of the frames on display within `[start, end)`, sampled by a named rule of `video/sampling.py`.

    Returns:
        Frames with their own times; the first one may begin before `start`.

    Raises:
        UsageError: the rule is unknown, `count` is not positive, or not `0 <= start < end`.
        VideoError: the file cannot be read, or ends before `start`.

    >>> read_count("film.mp4", 4).pts
    array([1.125, 3.625, 6.125, 8.625])
    """
    return joined(stream_count(path, count, rule=rule, start=start, end=end, short_side=short_side, threads=threads))


def stream_count(
    path: str | Path,
    count: int,
    *,
    rule: str = "segment_midpoint",
    start: float = 0.0,
    end: float | None = None,
    short_side: int | None = None,
    threads: int | None = None,
) -> Iterator[Frames | None]:
    """Yield the frames of `read_count` in parts of at most `CHUNK_BYTES`, see `joined`."""
    if rule not in RULES:
        raise UsageError(f"unknown sampling rule {rule!r}; known: {', '.join(RULES)}")
    if count <= 0:
        raise UsageError(f"the number of frames to sample must be positive, not {count}")
    info, pts = _clip_times(path, start, end)
    try:
        yield from _read(info, pts[RULES[rule](pts, count)], short_side, threads, exact=True)
        return
    except Unplanned as signal:
        log.debug("%s: listing the frames by decoding (%s)", path, signal)
    yield None
    pts = times_in_range(info, *decoded_times(info), start, end)
    yield from _read(info, pts[RULES[rule](pts, count)], short_side, threads)


def clip_times(path: str | Path, start: float = 0.0, end: float | None = None) -> Times:
    """Return the times of the frames on display within `[start, end)`, (n,) seconds, n > 0.

    The first frame may begin before `start`.

    Raises:
        UsageError: not `0 <= start < end`.
        VideoError: the file cannot be read, ends before `start`, or has no picture within the range.

    >>> clip_times("film.mp4", 2.0, 2.5)
    array([2.   , 2.125, 2.25 , 2.375])
    """
    return _clip_times(path, start, end)[1]


def _clip_times(path: str | Path, start: float, end: float | None) -> tuple[VideoInfo, Times]:
    _check_range(start, end)
    info = probe(path)
    if start >= info.duration:
        raise VideoError(
            path, f"is only {info.duration:.2f} s long, so there is no frame at {start:.2f} s; fix the start"
        )
    with video_errors(path):
        return info, times_in_range(info, *frame_times(info), start, end)


@dataclass(frozen=True)
class FrameRule:
    """Rule that selects the frames of a clip.

    Attributes:
        frames: number of frames; an upper limit with `fps`.
        rule: a named rule of `video/sampling.py`, which always selects `frames` frames. None with `fps`.
        fps: frames per second, from the clip's start; if that gives more than `frames`, `linspace` selects among them
            (as CLIP4Clip does: short videos have fewer frames and are padded). None with `rule`.

    Raises:
        UsageError: neither or both of `rule` and `fps`, an unknown rule, or `frames` below 1.

    >>> FrameRule(3, fps=2.0).pick(5).tolist()
    [0, 2, 4]
    """

    frames: int = 64
    rule: str | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if (self.rule is None) == (self.fps is None):
            raise UsageError("frame sampling needs either a 'rule' or an 'fps', not both")
        if self.rule is not None and self.rule not in RULES:
            raise UsageError(f"unknown sampling rule {self.rule!r}; known: {', '.join(RULES)}")
        if not isinstance(self.frames, int) or self.frames <= 0:
            raise UsageError(f"the number of frames to sample must be a positive integer, not {self.frames}")
        if self.fps is not None:
            fps_times(0.0, self.fps)

    def read(self, path: str | Path, start: float = 0.0, end: float | None = None) -> Frames:
        """Return the selected frames of `[start, end)` seconds, decoded by one thread (workers run in parallel).

        At a rate, times at which pictures are missing have no frame.

        Raises:
            VideoError: the file cannot be read, ends before `start`, or has no picture there.
        """
        if self.rule is not None:
            return read_count(path, self.frames, rule=self.rule, start=start, end=end, threads=1)
        assert self.fps is not None
        duration = probe(path).duration
        times = fps_times(duration if end is None else min(end, duration), self.fps, start)
        if not len(times):
            raise VideoError(
                path, f"is only {duration:.2f} s long, so there is no frame at {start:.2f} s; fix the start"
            )
        frames = read_times(path, [times[int(i)] for i in self.pick(len(times))], threads=1, skip_gaps=True)
        if not len(frames):
            raise VideoError(path, f"shows no picture from {start:.2f} s on: pictures are missing there; {CHECK}")
        return frames

    def pick(self, count: int) -> npt.NDArray[np.int64]:
        """Return the indices to keep of a clip's `count` sampled frames: all, or `linspace` if `fps` gives too many."""
        return linspace(count, self.frames) if self.fps is not None and count > self.frames else np.arange(count)
