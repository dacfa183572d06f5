"""Describe a video file: duration, size, rate, rotation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mova.errors import VideoError
from mova.video.container import BROKEN, decode, frame_step, open_video, start_seconds
from mova.video.duration import LONGEST, known_duration, measured_duration
from mova.video.frame_converter import orientation


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
    """Read a file's description, decode its first frame and look at the packets at its end.

    Raises:
        VideoError: the file cannot be read as video.
    """
    with open_video(path, threads=1) as (container, track):
        start = start_seconds(container)
        frames = decode(path, container, track, start or 0.0)
        pts, length, frame = next(frames)
        frames.close()
        if start is None:
            start, pts = pts, 0.0
        turns, _ = orientation(frame)
        width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        fps = 1.0 / frame_step(track)
        duration = known_duration(container, track, start)
        if duration is None:
            duration, count = measured_duration(path, container, track, start)
            fps = count / duration
        duration = max(duration, pts + length)
        if duration > LONGEST:
            days = duration / 86400
            raise VideoError(path, f"its clock says that it lasts {days:.0f} days: it is damaged; {BROKEN}")
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
        )
