"""One open file: which stream is the video, its clock, and how a decoded frame becomes upright RGB.

`video/reader.py` builds on this; nothing else should need it. Time 0 is the container's start time (the
smallest over its streams), as players show it. Pixels are what the file holds: the sample aspect ratio is not
applied.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Interpolation, VideoReformatter

from mova.errors import NoVideoError, VideoError
from mova.types import Pixels

log = logging.getLogger(__name__)

TimedFrame = tuple[float, float, Any]

NOT_VIDEO = frozenset({"ansi", "bintext", "xbin", "idf"})
"""Codecs by which FFmpeg shows a text file as a picture; a text file is not a video."""

LONGEST = 100 * 86400.0
"""Seconds: no file is longer; a clock that says so is damaged."""

UNNAMED = 16
"""Kinds of side data that FFmpeg may have beyond those that PyAV knows."""

PICTURES = frozenset({"image2", "jpeg_pipe"})
"""FFmpeg's names for a photograph; of a JPEG that is cut off it would show a grey rest."""

BROKEN = "play it to see what is left, or rescue that part with: ffmpeg -i IN -c:v libx264 OUT.mp4"


@contextmanager
def open_video(path: str | Path, threads: int | None = None) -> Iterator[tuple[Any, Any]]:
    """Open a file and choose its video: yields PyAV's `(container, stream)`.

    Of several video streams it is the one FFmpeg (and so most players) choose: `av_find_best_stream`, which
    prefers the default one and the most pixels. Attached pictures (cover art) are not video.

    Args:
        path: a local file; its name may start with a dash or hold colons.
        threads: decoding threads; None lets FFmpeg choose by the number of cores.

    Raises:
        VideoError: missing, a folder, empty, not readable as media.
        NoVideoError: without video.
    """
    file = Path(path)
    _check(path, file)
    try:
        with slips():
            # "img%d.jpg" is this file, not the first of a numbered series
            container = av.open(f"file:{file}", metadata_errors="replace", options={"pattern_type": "none"})
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            path, f"cannot be opened as video ({reason(error)}); is it a video file, and whole?"
        ) from error
    with container:
        yield container, _choose(path, container, threads)


def _check(path: str | Path, file: Path) -> None:
    """Say before FFmpeg does, in words for people, why this is no file to open."""
    try:
        status = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise VideoError(path, "there is no such file (or it is a link that leads nowhere); check the path") from None
    except OSError as error:
        raise VideoError(path, f"cannot be looked at ({error.strerror}); may you read it?") from error
    if stat.S_ISDIR(status.st_mode):
        if not os.access(file, os.R_OK | os.X_OK):
            raise VideoError(path, "this folder may not be listed, so its videos are not read; ask for the right")
        raise VideoError(path, "this is a folder, not a video file; name a file in it")
    if status.st_size == 0:
        raise VideoError(path, "the file is empty (0 bytes); copy or download it again")


def _choose(path: str | Path, container: Any, threads: int | None) -> Any:
    stream = container.streams.best("video") if container.streams.video else None
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        kinds = sorted({each.type for each in container.streams}) or ["nothing"]
        raise NoVideoError(
            path, f"holds no video stream (it holds {', '.join(kinds)}); name a file with pictures in it"
        )
    if stream.codec_context is None or stream.codec_context.name in NOT_VIDEO:
        raise NoVideoError(path, "holds no video that can be decoded (text, or an unknown codec)")
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = threads or 0
    if container.format.name in PICTURES and stream.codec_context.name == "mjpeg":
        stream.codec_context.options = {"err_detect": "explode"}
    return stream


@contextmanager
def slips() -> Iterator[None]:
    """Around calls of PyAV: what it raises of its own where damaged data contradict themselves, as FFmpeg's
    error.

    A packet of a stream that the header does not name is an `IndexError`, a number beyond 64 bits an
    `OverflowError`.
    """
    try:
        yield
    except av.FFmpegError:
        raise
    except (IndexError, ValueError, OverflowError) as error:
        raise av.InvalidDataError(0, f"the data contradict themselves: {error}") from error


def read_packets(container: Any, *tracks: Any) -> Iterator[Any]:
    """The packets of some streams, or of all, from where the file is read.

    Raises:
        av.FFmpegError: the file cannot be read on.
    """
    with slips():
        yield from container.demux(*tracks)


def reason(error: BaseException) -> str:
    """FFmpeg's own words for an error, without its number and path."""
    return str(getattr(error, "strerror", None) or error)


def start_seconds(container: Any) -> float | None:
    """The container's start time in seconds, which is time 0 for us; None where only its frames tell."""
    return float(container.start_time) / av.time_base if container.start_time is not None else None


def cut_off(container: Any, packet: Any) -> bool:
    """Whether the file ends within a packet, whose picture FFmpeg would make up from the ones before.

    Transport streams are broadcast: a disturbed packet there is no end, and its picture is what viewers saw.
    """
    return packet.is_corrupt and container.format.name != "mpegts"


def decode(path: str | Path, container: Any, stream: Any, start: float) -> Generator[TimedFrame, None, None]:
    """Every frame as `(pts, duration, frame)`, by pts in seconds from `start`; constant memory.

    Frames whose times are out of order within a few frames are sorted. A missing time follows the frame
    before.

    Raises:
        VideoError: after the frames before it, where the data cannot be decoded, or where there is no frame
        at all.
    """
    clock = _Clock(stream, start)
    held: list[tuple[float, float, Any]] = []
    try:
        for packet in read_packets(container, stream):
            if cut_off(container, packet):
                raise av.InvalidDataError(0, "the file ends within a packet")
            with slips():
                frames = packet.decode()
            for frame in frames:
                pts, length = clock.read(frame)
                at = len(held)
                while at and held[at - 1][0] > pts:
                    at -= 1
                held.insert(at, (pts, length, frame))
                if len(held) > clock.REORDER:
                    yield held.pop(0)
    except (av.FFmpegError, OSError) as error:
        yield from held
        where = f"at {clock.last:.2f} s" if clock.count else "at its first frame"
        raise VideoError(path, f"decoding fails {where} ({reason(error)}): the file is damaged; {BROKEN}") from error
    yield from held
    if clock.count == 0:
        raise VideoError(path, f"holds a {stream.codec_context.name} stream without a single frame; {BROKEN}")


@dataclass
class _Clock:
    """Times of decoded frames, in seconds from the container's start.

    Where the file's clock jumps back by more than `RESTART` seconds (files joined by hand), time goes on from
    there.
    """

    stream: Any
    start: float
    last: float = 0.0
    count: int = 0
    step: float = field(init=False)
    REORDER = 3
    RESTART = 2.0

    def __post_init__(self) -> None:
        self.step = frame_step(self.stream)

    def read(self, frame: Any) -> tuple[float, float]:
        """The frame's time and how long it stays, both seconds."""
        stamp = frame.pts if frame.pts is not None else frame.dts
        length = float(frame.duration * frame.time_base) if frame.duration else self.step
        follows = self.last + self.step if self.count else 0.0
        pts = follows if stamp is None else float(stamp * frame.time_base) - self.start
        if self.count and pts < self.last - self.RESTART:
            self.start -= follows - pts
            pts = follows
        self.count += 1
        self.last = pts
        return pts, length


def frame_step(stream: Any) -> float:
    """Seconds of one frame by the stream's rate; 1/25 where it says none, as FFmpeg assumes for stills."""
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return 1.0 / float(rate) if rate else 0.04


def known_duration(container: Any, track: Any, start: float) -> float | None:
    """Seconds from time 0 to the end of the video by its header, mended by the packets at the end of the
    file.

    Headers of a whole container count the sound too, and variable rates make some headers end before the last
    frame. None where the header tells nothing, or nothing credible; then `measured_duration` reads all
    packets.
    """
    matroska = container.format.name == "matroska,webm"
    header = _header_duration(container, track, start)
    whole = container.duration / av.time_base - matroska * start if container.duration else None
    promised = header if header is not None else whole
    if promised is None or not 0 < promised <= LONGEST:
        return None
    video, last = _tail(container, track, start, promised)
    if header is None and video > 0 and not ends_early(promised, last):
        return video
    return promised if video > promised + max(1.0, 0.05 * promised) else max(promised, video)


def _header_duration(container: Any, track: Any, start: float) -> float | None:
    """Seconds from time 0 to the end of this stream, where the header tells it of the stream."""
    if container.format.name == "avi" and track.frames:  # its duration is cut to the size of the file
        return float(track.frames * frame_step(track))
    if track.duration:
        return float(((track.start_time or 0) + track.duration) * track.time_base) - start
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", track.metadata.get("DURATION", "").strip())
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) - start if tag else None


def _tail(container: Any, track: Any, start: float, promised: float) -> tuple[float, float]:
    """Where the packets at the end of the file stop, in seconds: those of the video, and those of any
    stream."""
    video = last = 0.0
    step = frame_step(track)
    try:
        target = int((max(0.0, promised - 1.0) + start) / track.time_base)
        with slips():
            container.seek(target, stream=track, backward=True, any_frame=True)
        for packet in read_packets(container):
            if packet.pts is None or packet.is_discard:
                continue
            length = packet.duration * packet.time_base if packet.duration else step
            end = float(packet.pts * packet.time_base + length) - start
            last = max(last, end)
            if packet.stream_index == track.index:
                video = max(video, end)
    except (av.FFmpegError, OSError) as error:
        log.debug("%s: no look at the end (%s)", container.name, reason(error))
    return video, last


def measured_duration(path: str | Path, container: Any, track: Any, start: float) -> tuple[float, int]:
    """Seconds from time 0 to the end of the video and its number of packets, by reading all of them.

    Raises:
        VideoError: the file cannot be read to its end, or has no times.
    """
    step = frame_step(track)
    end, count = 0.0, 0
    try:
        container.seek(0)
        for packet in read_packets(container, track):
            if packet.pts is not None and not packet.is_discard:
                count += 1
                length = packet.duration * packet.time_base if packet.duration else step
                end = max(end, float(packet.pts * packet.time_base + length) - start)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(path, f"cannot be read ({reason(error)}) after {end:.2f} s; {BROKEN}") from error
    if end <= 0:
        raise VideoError(path, f"holds no picture with a time; {BROKEN}")
    return end, count


def ends_early(duration: float, end: float) -> bool:
    """Whether a video that should last `duration` seconds but stops at `end` was cut off: by more than 0.5 s
    and 2 %."""
    return duration - end > max(0.5, 0.02 * duration)


@dataclass
class Converter:
    """Decoded frames to upright RGB of one size: the size of the first frame, scaled down to `short_side`.

    Colour matrix and range are the frame's own, BT.601 limited range where it says none (FFmpeg's default).
    More than 8 bits are rounded to 8; alpha is dropped. Scaling is libswscale's bicubic, which filters on the
    way down; it never enlarges, save where a stream shrinks its pictures in the middle.
    """

    short_side: int | None
    size: tuple[int, int] | None = None
    _scaler: VideoReformatter = field(default_factory=VideoReformatter)

    def __call__(self, frame: Any) -> Pixels:
        """uint8, (H, W, 3)."""
        turns, mirrored = orientation(frame)
        width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        if self.size is None:
            self.size = scaled(width, height, self.short_side)
        out_width, out_height = self.size[::-1] if turns % 2 else self.size
        picture = self._scaler.reformat(
            frame,
            width=out_width,
            height=out_height,
            format="rgb24",
            src_colorspace=frame.colorspace,
            src_color_range=frame.color_range,
            interpolation=Interpolation.BICUBIC,
            threads=1,
        )
        plane = picture.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:out_height, : 3 * out_width]
        pixels = rows.reshape(out_height, out_width, 3)
        if mirrored:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, -turns)) if turns or mirrored else pixels


def orientation(frame: Any) -> tuple[int, bool]:
    """`(quarter turns clockwise, mirrored first)` that make the frame upright, by its display matrix.

    The matrix (ISO/IEC 14496-12, `tkhd`) maps a pixel (x right, y down) to (a x + c y, b x + d y); a negative
    determinant means that the picture is mirrored left to right before it is turned.
    """
    data = _display_matrix(frame)
    if data is None:
        return 0, False
    a, b, _, c, d = struct.unpack("<5i", data[:20])
    mirrored = a * d - b * c < 0
    angle = np.degrees(np.arctan2(-b if mirrored else b, -a if mirrored else a))
    return round(angle / 90) % 4, mirrored


def _display_matrix(frame: Any) -> bytes | None:
    """A frame's display matrix, nine int32; None where it has none.

    PyAV 18.1 lacks names of newer kinds of side data and raises on frames that carry one, such as EXIF of photographs.
    Those are taken off a copy by FFmpeg's own filter.
    """
    try:
        table = frame.side_data
    except ValueError:
        table = _without_unnamed(frame).side_data
    return bytes(table["DISPLAYMATRIX"]) if "DISPLAYMATRIX" in table else None


def _without_unnamed(frame: Any) -> Any:
    """The same picture without side data that PyAV has no name for; 0.2 ms."""
    graph = av.filter.Graph()
    graph.threads = 1
    base = frame.time_base or Fraction(1, 1)
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format.name, time_base=base)
    first = last
    for kind in range(len(SideData), len(SideData) + UNNAMED):
        step = graph.add("sidedata", f"mode=delete:type={kind}")
        last.link_to(step)
        last = step
    end = graph.add("buffersink")
    last.link_to(end)
    graph.configure()
    first.push(frame)
    return end.pull()


def scaled(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """(width, height) with the shorter one brought down to `short_side`; never larger than it was."""
    if short_side is None or min(width, height) <= short_side:
        return width, height
    scale = short_side / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
