"""Describe a video file: duration, size, rate, rotation, gaps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mova.errors import VideoError
from mova.types import Span
from mova.video.clock import broadcast
from mova.video.container import BROKEN, frame_step, open_video, start_seconds, video_errors
from mova.video.decode import decode
from mova.video.duration import LONGEST, known_duration
from mova.video.frame_converter import check_matrix, display_width, orientation, pixel_aspect
from mova.video.scan import scan
from mova.video.structure import unread_bytes


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video, checked by decoding one frame.

    Attributes:
        path: path of the file.
        duration: seconds from time 0 to the end of the last frame; > 0.
        width: pixels as displayed: square ones, after rotation.
        height: like `width`.
        fps: average frames per second.
        rotation: clockwise degrees by which frames are rotated to be upright: 0, 90, 180 or 270.
        codec: FFmpeg's name of the codec.
        pixel_format: FFmpeg's name of the pixel format of decoded frames.
        has_audio: whether there is an audio stream (it may not be decodable).
        start: the container's start time in seconds, subtracted from all times.
        gaps: stretches without pictures, in seconds, as far as they are known without reading the whole file: all that
            the packets of a broadcast show. `mova.video.display.find_damage` finds those of any file.
        leaps: number of places where the clock of the file restarts or leaps; times run on there.
        pixel_aspect: width of a stored pixel divided by its height, before rotation.
        unread: bytes after the end of the video that belong to another one, which is not read.

    >>> info = probe("film.mp4")
    >>> info.codec, info.pixel_format, info.rotation, info.has_audio
    ('h264', 'yuv420p', 0, False)
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
    gaps: tuple[Span, ...] = ()
    leaps: int = 0
    pixel_aspect: float = 1.0
    unread: int = 0


def probe(path: str | Path) -> VideoInfo:
    """Read the header of a file, decode its first frame, and read the packets at its end.

    Raises:
        VideoError: the file cannot be read as video.

    >>> info = probe("film.mp4")
    >>> info.duration, info.width, info.height, info.fps
    (10.0, 64, 64, 8.0)
    """
    with video_errors(path), open_video(path, threads=1) as (container, track):
        start = start_seconds(container)
        first = next(decode(path, container, track, start or 0.0))
        frame, end = first.frame, first.end
        if start is None:
            start, end = first.pts, first.end - first.pts
        turns, _ = orientation(frame)
        check_matrix(path, frame)
        aspect = pixel_aspect(container, track)
        width, height = display_width(frame.width, aspect), frame.height
        if turns % 2:
            width, height = height, width
        fps = 1.0 / frame_step(track)
        duration = known_duration(path, container, track, start)
        gaps: tuple[Span, ...] = ()
        leaps = 0
        if duration is None:
            packets = scan(path, start)
            duration, gaps, leaps = packets.end, packets.gaps, packets.leaps
            if not broadcast(container):
                fps = packets.count / duration
        duration = max(duration, end)
        if duration > LONGEST:
            days = duration / 86400
            raise VideoError(path, f"its duration of {days:.0f} days is implausible: the file is damaged; {BROKEN}")
        return VideoInfo(
            path=str(path),
            duration=duration,
            width=width,
            height=height,
            fps=fps,
            rotation=turns * 90,
            codec=track.codec_context.name,
            pixel_format=frame.format.name,
            has_audio=bool(container.streams.audio),
            start=start,
            gaps=gaps,
            leaps=leaps,
            pixel_aspect=aspect,
            unread=unread_bytes(path, container.format.name),
        )
