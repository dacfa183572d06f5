"""Probe and decode video files: real timestamps, upright RGB, one clear error for a file that cannot be read.

Time 0 is the container's start, as players show it. A sample at time t is the frame *on display* at t: the last with
`pts <= t`, before the first the first. No frame is ever made up: a file that ends early or cannot be decoded raises
`VideoError` once, after whatever could be read.

Shape legend: T frames, H height, W width (pixels). Times are seconds, spans half-open `[start, end)`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import numpy.typing as npt

from mova.data.decoder import (
    BROKEN,
    Converter,
    Pixels,
    decode,
    frame_step,
    open_video,
    orientation,
    reason,
    start_seconds,
)
from mova.data.sampling import RULES, TOLERANCE, Times, fps_times
from mova.errors import UsageError, VideoError
from mova.types import Frames

Item = TypeVar("Item")

CHUNK_BYTES = 64 << 20
"""A chunk of `stream` stays below this many bytes, so that full-size pictures do not fill the memory."""

SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .gif .h264 .hevc .m1v .m2ts .m2v .m4v .mjpeg .mjpg .mkv .mov .mp4 .mpe "
    ".mpeg .mpg .mts .mxf .ogm .ogv .rm .rmvb .ts .vob .webm .wmv .y4m".split()
)
"""Endings by which `find_videos` knows a video in a folder; lower case."""


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its video, checked by decoding one frame.

    Attributes:
        path: as given.
        duration: seconds from time 0 to the end of the last picture; > 0.
        width: upright pixels, after rotation.
        height: upright pixels, after rotation.
        fps: average frames per second.
        rotation: degrees clockwise that are applied to make frames upright: 0, 90, 180 or 270.
        codec: FFmpeg's name.
        pixel_format: FFmpeg's name, as decoded.
        has_audio: whether an audio stream is there (it may still not decode).
        start: the container's start time in seconds, subtracted from all times.
    """

    path: str
    duration: float
    width: int
    height: int
    fps: float
    rotation: int
    codec: str
    pixel_format: str
    has_audio: bool
    start: float


def probe(path: str | Path) -> VideoInfo:
    """Read a file's description and decode its first frame.

    Raises:
        VideoError: the file cannot be read as video.
    """
    with open_video(path, threads=1) as (container, stream):
        start = start_seconds(container, stream)
        duration = _header_duration(container, stream, start)
        frames = decode(path, container, stream, start)
        pts, length, frame = next(frames)
        frames.close()
        turns, _ = orientation(frame)
        width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        description = {
            "path": str(path),
            "width": width,
            "height": height,
            "rotation": turns * 90,
            "codec": stream.codec_context.name,
            "pixel_format": frame.format.name,
            "has_audio": bool(container.streams.audio),
            "start": start,
        }
        fps = 1.0 / frame_step(stream)
    if duration is None:
        duration, count = _measure(path)
        fps = count / duration
    return VideoInfo(duration=max(duration, pts + length), fps=fps, **description)  # type: ignore[arg-type]


def _header_duration(container: Any, stream: Any, start: float) -> float | None:
    """Seconds from `start` to the end of the video, where the header tells it."""
    if stream.duration:
        first = float((stream.start_time or 0) * stream.time_base)
        return float(stream.duration * stream.time_base) + max(0.0, first - start)
    tag = stream.metadata.get("DURATION", "")
    if tag.count(":") == 2:
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return container.duration / av.time_base if container.duration else None


def _measure(path: str | Path) -> tuple[float, int]:
    """Duration in seconds and number of frames by reading all packets, for a file whose header does not say."""
    with open_video(path) as (container, stream):
        start = start_seconds(container, stream)
        step = frame_step(stream)
        end, count = 0.0, 0
        try:
            for packet in container.demux(stream):
                if packet.pts is None:
                    continue
                count += 1
                length = float(packet.duration * packet.time_base) if packet.duration else step
                end = max(end, float(packet.pts * packet.time_base) - start + length)
        except (av.FFmpegError, OSError) as error:
            raise VideoError(path, f"cannot be read ({reason(error)}) after {end:.2f} s; {BROKEN}") from error
    if end <= 0:
        raise VideoError(path, f"holds no picture with a time; {BROKEN}")
    return end, count


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
        fps: samples per second: the frames on display at `start + k / fps`, whose `pts` are those times. None: every
            frame that is on display within `[start, end)`, whose `pts` are its own (the first may begin before `start`).
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
    if not 0 <= start < (np.inf if end is None else end):
        raise UsageError(f"a stretch needs 0 <= start < end in seconds, not [{start}, {end})")
    if fps is not None:
        fps_times(0.0, fps)
    return _stream(path, fps, start, end, Converter(short_side), chunk, threads)


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
        chosen = _every(info, start, np.inf if stop == info.duration else stop, threads)
    else:
        chosen = _shown(info, fps_times(stop, fps, start), threads)
    pixels: list[Pixels] = []
    pts: list[float] = []
    try:
        for time, frame in _converted(chosen, convert):
            pixels.append(frame)
            pts.append(time)
            if len(pixels) == chunk or len(pixels) * frame.nbytes >= CHUNK_BYTES:
                yield Frames(np.stack(pixels), np.array(pts))
                pixels, pts = [], []
    except VideoError:
        if pixels:
            yield Frames(np.stack(pixels), np.array(pts))
        raise
    if pixels:
        yield Frames(np.stack(pixels), np.array(pts))


def _converted(chosen: Iterable[tuple[float, Any]], convert: Converter) -> Iterator[tuple[float, Pixels]]:
    """Convert each frame once, however often it is shown."""
    last: Any = None
    for time, frame in chosen:
        if frame is not last:
            pixels, last = convert(frame), frame
        yield time, pixels


def _frames(info: VideoInfo, threads: int | None) -> Generator[tuple[float, float, Any], None, None]:
    """All frames as (pts, next pts, frame), then the check that the file did not end early.

    Raises:
        VideoError: not decodable, or the last picture ends more than 0.5 s and 2 % before the header's end.
    """
    with open_video(info.path, threads) as (container, track):
        before: tuple[float, float, Any] | None = None
        for pts, length, frame in decode(info.path, container, track, info.start):
            if before is not None:
                pts = max(pts, before[0])
                yield before[0], pts, before[2]
            before = (pts, length, frame)
        assert before is not None
        pts, length, frame = before
        yield pts, max(pts + length, info.duration), frame
        if info.duration - (pts + length) > max(0.5, 0.02 * info.duration):
            raise VideoError(
                info.path,
                f"ends at {pts + length:.2f} s of {info.duration:.2f} s: cut off or damaged; copy it again, or {BROKEN}",
            )


def _every(info: VideoInfo, start: float, stop: float, threads: int | None) -> Iterator[tuple[float, Any]]:
    """Frames on display within `[start, stop)` with their own times."""
    for pts, until, frame in _frames(info, threads):
        if pts >= stop - TOLERANCE:
            return
        if until > start + TOLERANCE:
            yield pts, frame


def _shown(info: VideoInfo, times: Times, threads: int | None) -> Iterator[tuple[float, Any]]:
    """The frame on display at each time, with that time."""
    at = 0
    for _, until, frame in _frames(info, threads):
        while at < len(times) and times[at] + TOLERANCE < until:
            yield float(times[at]), frame
            at += 1
        if at == len(times):
            return


def read_times(path: str | Path, times: npt.ArrayLike, *, short_side: int | None = None) -> Frames:
    """The frames on display at given times.

    Args:
        path: the file.
        times: (T,) seconds, non-decreasing, T > 0, from 0 to the end of the video (where it rounds to the end: the last).
        short_side: as in `stream`.

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
        raise UsageError(
            f"{path}: times must lie in [0, {info.duration:.3f}] s, not {asked[0]:.3f} to {asked[-1]:.3f}"
        )
    clipped = np.minimum(asked, np.nextafter(info.duration - 2 * TOLERANCE, 0.0))
    shown = _converted(_shown(info, clipped, None), Converter(short_side))
    return Frames(np.stack([pixels for _, pixels in shown]), asked)


def read_count(
    path: str | Path, count: int, *, rule: str = "segment_midpoint", short_side: int | None = None
) -> Frames:
    """`count` frames under a named rule of `data/sampling.py`, with their own times.

    Raises:
        UsageError: unknown rule, or `count` is not positive.
        VideoError: the file cannot be read.
    """
    if rule not in RULES:
        raise UsageError(f"unknown sampling rule {rule!r}; known: {', '.join(RULES)}")
    if count <= 0:
        raise UsageError(f"the number of frames to sample must be positive, not {count}")
    info = probe(path)
    pts = np.array([time for time, _, _ in _frames(info, None)])
    chosen = np.maximum(pts[RULES[rule](pts, count)], 0.0)
    return read_times(path, chosen, short_side=short_side)


def prefetch(iterator: Iterable[Item], depth: int = 2) -> Generator[Item, None, None]:
    """Run an iterator in a background thread, at most `depth` items ahead.

    Its errors are raised here, in their place. Closing the generator early (or leaving the loop) stops the thread and
    closes the source.

    Raises:
        UsageError: `depth` is not positive.
    """
    if depth <= 0:
        raise UsageError(f"prefetch needs a depth of at least 1, not {depth}")
    return _prefetch(iter(iterator), depth)


def _prefetch(source: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    end: Any = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="mova-prefetch")
    try:
        ahead = deque(pool.submit(next, source, end) for _ in range(depth))
        while (item := ahead.popleft().result()) is not end:
            ahead.append(pool.submit(next, source, end))
            yield item
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(source, Generator):
            source.close()


def find_videos(paths: Iterable[str | Path]) -> list[Path]:
    """Files as given, whatever they end in; folders searched through for `SUFFIXES`, hidden files left out.

    Returns:
        Sorted paths, each once.

    Raises:
        UsageError: a path does not exist.
    """
    found: set[Path] = set()
    for each in paths:
        path = Path(each)
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            found.update(
                p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts)
            )
        elif path.exists():
            found.add(path)
        else:
            raise UsageError(f"{path}: there is no such file or folder")
    return sorted(found)
