"""One open file: which stream is the video, its clock, and how a decoded frame becomes upright RGB.

`video/reader.py` builds on this; nothing else should need it. Time 0 is the container's start time (the
smallest over its streams), as players show it. Pixels are what the file holds: the sample aspect ratio is not
applied.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import av.filter

from mova.errors import NoVideoError, VideoError

TimedFrame = tuple[float, float, Any]

NOT_VIDEO = frozenset({"ansi", "bintext", "xbin", "idf"})
"""Codecs by which FFmpeg shows a text file as a picture; a text file is not a video."""

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
