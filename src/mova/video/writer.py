"""Write MP4 files, cut exact clips, and extract thumbnails.

Everything is re-encoded (H.264 and AAC), so a clip begins and ends at the requested times, not at keyframes. Files are
written under a temporary name in the same folder and renamed at the end, so that readers never see a partial file.

Shape legend: T frames, H height, W width (pixels). Times are seconds.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image, ImageOps

from mova.errors import UsageError, VideoError
from mova.types import Frames, Pixels
from mova.video.clock import RisingPackets
from mova.video.container import ffmpeg_errors, open_video, read_packets, reason
from mova.video.limits import progress
from mova.video.probe import VideoInfo, probe
from mova.video.reader import read_times, stream

log = logging.getLogger(__name__)

LEAD = 2.0
"""Seconds before a clip at which decoding of its sound begins, so that the codec has settled."""

OVERLAP = 0.01
"""Seconds by which a piece of sound may begin before the last one ends: Matroska rounds times to milliseconds."""

CLOCK = 90_000
"""Ticks per second of written videos: MPEG's clock, a multiple of the usual frame rates."""


def write_mp4(
    path: str | Path,
    frames: Iterable[Frames | Pixels],
    *,
    fps: float | None = None,
    crf: float = 20,
    preset: str = "veryfast",
) -> Path:
    """Encode frames as H.264 yuv420p (BT.709), with the index at the front, so that browsers can stream the file.

    Args:
        path: file to write; its folder must exist. An existing file is replaced when the new one is complete.
        frames: consecutive parts of one video: `Frames`, or uint8 arrays (T, H, W, 3), all of one size. H.264 needs
            even sizes: an odd height or width repeats its last row or column once.
        fps: frames per second. None keeps the times of `Frames` (a variable rate; the first one becomes time 0; the
            last frame lasts as long as the one before it).
        crf: x264 quality, 0 (lossless) to 51; 18 is visually lossless, 28 is small.
        preset: x264 preset, speed against size.

    Raises:
        UsageError: no frames, sizes or types that do not agree, times that do not increase, or arrays without fps.
        VideoError: the file cannot be written.

    >>> frames = np.zeros((8, 48, 64, 3), np.uint8)
    >>> probe(write_mp4("black.mp4", [frames], fps=4.0)).duration
    2.0
    """
    with replacing(path) as temporary, _Writer(temporary, crf, preset, reorder=fps is not None) as writer:
        index, origin = 0, None
        for part in frames:
            pixels = part.pixels if isinstance(part, Frames) else np.asarray(part)
            for k, picture in enumerate(pixels):
                if fps is not None:
                    writer.add(picture, index / fps)
                elif isinstance(part, Frames):
                    origin = float(part.pts[0]) if origin is None else origin
                    writer.add(picture, float(part.pts[k]) - origin)
                else:
                    raise UsageError("arrays have no times: pass fps, or Frames instead of arrays")
                index += 1
        writer.finish(1.0 / fps if fps else None)
    return Path(path)


def cut_clip(
    source: str | Path,
    target: str | Path,
    start: float,
    end: float,
    *,
    short_side: int | None = None,
    crf: float = 20,
) -> Path:
    """Cut exactly `[start, end)` out of a file: re-encoded, upright, starting at time 0.

    The first frame is the one on display at `start`; the last one stays until `end` (at most the end of the video).
    Sound is kept as AAC. If it cannot be decoded, the rest of the clip is silent and a warning is logged. Memory does
    not grow with the length.

    Args:
        source: a video file.
        target: the MP4 file to write.
        start: seconds in the source.
        end: seconds in the source.
        short_side: scale down, as in `mova.video.reader.stream`.
        crf: as in `write_mp4`.

    Raises:
        UsageError: not `0 <= start < end`, or `start` is not within the video.
        VideoError: the source cannot be read there, or the target cannot be written.

    >>> round(probe(cut_clip("film.mp4", "clip.mp4", 2.6, 6.2)).duration, 3)
    3.6
    """
    with replacing(target) as temporary:
        write_clip(source, temporary, start, end, short_side=short_side, crf=crf)
    return Path(target)


def write_clip(
    source: str | Path, target: str | Path, start: float, end: float, *, short_side: int | None = None, crf: float = 20
) -> None:
    """Write what `cut_clip` writes, but directly: if it fails, a part of the target remains."""
    info = probe(source)
    if not 0 <= start < end or start >= info.duration:
        raise UsageError(f"{source}: a clip needs 0 <= start < end within {info.duration:.3f} s, not [{start}, {end})")
    end = min(end, info.duration)
    with (
        closing(_sound(info, info.start + start, end - start)) as sound,
        _Writer(Path(target), crf, "veryfast", sound=sound) as writer,
    ):
        for part in stream(source, fps=None, start=start, end=end, short_side=short_side):
            for picture, pts in zip(part.pixels, part.pts, strict=True):
                writer.add(picture, max(0.0, float(pts) - start))
        writer.finish(None, end - start)


def join_clips(
    spans: Sequence[tuple[str | Path, float, float | None]],
    target: str | Path,
    *,
    short_side: int | None = None,
    crf: float = 20,
) -> Path:
    """Concatenate parts of files to one silent video that starts at time 0.

    Every part has the same frames as with `cut_clip`. All frames get the size of the first one; frames with a different
    aspect ratio get black bars. Memory does not grow with the length.

    Args:
        spans: file, start and end (seconds; None for the end of the file) of each part, at least one.
        target, short_side, crf: as in `cut_clip`.

    Raises:
        UsageError: no span, not `0 <= start < end`, or a `start` that is not within its video.
        VideoError: a source cannot be read there, or the target cannot be written.

    >>> probe(join_clips([("film.mp4", 0.0, 2.0), ("film.mp4", 8.0, None)], "joined.mp4")).duration
    4.0
    """
    with replacing(target) as temporary, _Writer(temporary, crf, "veryfast") as writer:
        offset, size = 0.0, None
        for source, start, until in spans:
            info = probe(source)
            end = info.duration if until is None else min(until, info.duration)
            if not 0 <= start < end:
                raise UsageError(f"{source}: a clip needs 0 <= start < end within {info.duration:.3f} s, not {start}")
            for part in stream(source, fps=None, start=start, end=end, short_side=short_side):
                for picture, pts in zip(part.pixels, part.pts, strict=True):
                    size = size or (picture.shape[1], picture.shape[0])
                    writer.add(_fitted(picture, size), offset + max(0.0, float(pts) - start))
            offset += (end if until is None else until) - start
        writer.finish(None, offset)
    return Path(target)


def _fitted(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """Fit a picture (H, W, 3) into a frame of `size` (width, height), keeping its aspect ratio."""
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    return np.asarray(ImageOps.pad(Image.fromarray(picture), size))


def thumbnail(path: str | Path, time: float, *, short_side: int = 160) -> Image.Image:
    """Return the frame on display at `time` seconds, upright, scaled down to `short_side`.

    Raises:
        UsageError: the time is not within the video.
        VideoError: the file cannot be read there.

    >>> thumbnail("film.mp4", 4.0, short_side=32).size
    (32, 32)
    """
    return Image.fromarray(read_times(path, [time], short_side=short_side).pixels[0])


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` if the block succeeds, and is removed if it does not.

    Raises:
        UsageError: its folder does not exist.
        VideoError: the file cannot be written.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise UsageError(f"{target}: no such directory: {target.parent}; create it first")
    temporary = target.with_name(f".{target.name[-50:]}.{os.getpid()}.part")  # at most 255 bytes
    try:
        with writing(target):
            yield temporary
            temporary.replace(target)
    finally:
        with suppress(OSError):  # where nothing can be written, nothing can be removed either
            temporary.unlink()


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Convert the errors of writing a file to a `VideoError` of that file.

    Raises:
        VideoError: the file cannot be written.
    """
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            path, f"cannot be written ({reason(error)}); check the free space and the permissions of the folder"
        ) from error


class _Writer:
    """Writes an MP4 file, one frame late: the duration of a frame is the time until the next one.

    Sound is written up to the time of the frames. `reorder` allows B-frames. MP4 stores durations in decoding order, so
    with a variable rate, B-frames would result in a wrong length. The same frames give the same file: x264 chooses
    quantizers without its vector code, whose result depends on the processor and on what was in memory.
    """

    def __init__(
        self, path: Path, crf: float, preset: str, *, reorder: bool = False, sound: Iterable[Any] = ()
    ) -> None:
        self._container = av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"})
        options = {"crf": str(crf), "preset": preset, "x264-params": "cpu-independent=1"}
        self._options = options if reorder else options | {"bf": "0"}
        self._durations: deque[int] = deque()
        self._video: Any = None
        self._sound = iter(sound)
        self._next_sound: Any = next(self._sound, None)
        self._audio: Any = None
        self._size: tuple[int, ...] = ()
        self._waiting: tuple[Any, int] | None = None
        self._step = 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def add(self, picture: Pixels, time: float) -> None:
        """Append a frame, uint8 (H, W, 3), at `time` seconds."""
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
            raise UsageError(f"frames must be uint8 (T, H, W, 3), not {picture.dtype} frames of shape {picture.shape}")
        if self._video is None:
            self._begin(picture)
        if picture.shape != self._size:
            raise UsageError(f"frames must all have the same size, not {self._size[:2]} and then {picture.shape[:2]}")
        tick = round(time * CLOCK)
        if self._waiting is not None:
            self._step = tick - self._waiting[1]
            if self._step <= 0:
                raise UsageError(f"times must increase from frame to frame, but do not at {time:.4f} s")
            self._encode(self._step)
        self._waiting = (self._convert(picture), tick)

    def finish(self, step: float | None, end: float | None = None) -> None:
        """Write the last frame. It lasts `step` seconds, or until `end`, or as long as the one before it."""
        if self._waiting is None:
            raise UsageError("no frames to write")
        ticks = self._step or CLOCK // 25
        if step is not None:
            ticks = round(step * CLOCK)
        if end is not None:
            ticks = round(end * CLOCK) - self._waiting[1]
        self._encode(max(1, ticks))
        self._mux(None)
        if self._audio is not None:
            self._write_sound(np.inf)
            self._container.mux(self._audio.encode(None))

    def _begin(self, picture: Pixels) -> None:
        self._size = picture.shape
        height, width = (side + side % 2 for side in picture.shape[:2])
        video = self._container.add_stream("libx264", options=self._options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = video.time_base = Fraction(1, CLOCK)
        video.codec_context.colorspace = video.codec_context.color_primaries = video.codec_context.color_trc = 1
        video.codec_context.color_range = ColorRange.MPEG
        self._video = video
        if self._next_sound is not None:
            first = self._next_sound
            self._audio = self._container.add_stream("aac", rate=first.sample_rate, layout=first.layout.name)

    def _convert(self, picture: Pixels) -> Any:
        height, width = self._size[:2]
        if height % 2 or width % 2:
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        return frame.reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )

    def _encode(self, ticks: int) -> None:
        assert self._waiting is not None
        frame, tick = self._waiting
        frame.pts, frame.time_base = tick, Fraction(1, CLOCK)
        self._durations.append(ticks)
        self._mux(frame)
        self._write_sound((tick + ticks) / CLOCK)

    def _write_sound(self, until: float) -> None:
        """Write the sound that begins before `until` seconds."""
        while self._next_sound is not None and self._next_sound.pts * self._next_sound.time_base < until:
            self._container.mux(self._audio.encode(self._next_sound))
            self._next_sound = next(self._sound, None)

    def _mux(self, frame: Any) -> None:
        for packet in self._video.encode(frame):
            packet.duration = self._durations.popleft()
            progress.packets += 1
            self._container.mux(packet)


def _sound(info: VideoInfo, start: float, length: float) -> Generator[Any, None, None]:
    """Yield `length` seconds of sound from `start` (by the file's clock) as planar float frames, if there is any.

    The generator ends with a warning in the log if the sound cannot be decoded.
    """
    if not info.has_audio:
        return
    try:
        with open_video(info.path) as (container, video):
            track = container.streams.best("audio")
            if start > LEAD and not info.leaps:
                with ffmpeg_errors():
                    container.seek(int((start - LEAD) / track.time_base), stream=track)
            layout = "stereo" if track.channels > 1 else "mono"
            resampler: Any = None
            setup, rate = None, 0
            packets = RisingPackets(container, video, track) if info.leaps else read_packets(container, track)
            reached = 0
            for frame in _audio_frames(packets, track):
                begin = float(frame.pts * frame.time_base) - start
                if begin >= length + LEAD:
                    break
                if not -1.0 < begin < length:
                    continue
                if setup != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):
                    rate = rate or frame.sample_rate  # that of the clip, also where joined files differ
                    setup, resampler = kind, av.AudioResampler(format="fltp", layout=layout, rate=rate)
                with ffmpeg_errors():
                    pieces = resampler.resample(frame)
                for part in (part for piece in pieces for part in _trimmed(piece, begin, length)):
                    if part.pts >= reached - OVERLAP * rate:  # it may be more where the clock restarts
                        part.pts = max(part.pts, reached)
                        reached = part.pts + part.samples
                        yield part
    except (av.FFmpegError, OSError) as error:
        log.warning("%s: the sound cannot be decoded (%s); the rest of the clip is silent", info.path, reason(error))


def _audio_frames(packets: Iterable[Any], track: Any) -> Iterator[Any]:
    """Yield the decoded sound frames that have a time."""
    for packet in packets:
        if packet.stream_index == track.index:
            with ffmpeg_errors():
                frames = packet.decode()
            yield from (frame for frame in frames if frame.pts is not None)


def _trimmed(frame: Any, begin: float, length: float) -> list[Any]:
    """Return the part of a sound frame, whose time is `begin`, that is within `[0, length)` seconds."""
    rate = frame.sample_rate
    first, last = max(0, round(-begin * rate)), min(frame.samples, round((length - begin) * rate))
    if first >= last:
        return []
    part = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(frame.to_ndarray()[:, first:last]), format="fltp", layout=frame.layout.name
    )
    part.sample_rate, part.time_base = rate, Fraction(1, rate)
    part.pts = round(begin * rate) + first
    return [part]
