"""Describe a video file: duration, size, rate, rotation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mova.errors import VideoError
from mova.video.container import BROKEN, decode, frame_step, open_video, start_seconds, video_errors
from mova.video.duration import LONGEST, known_duration, measured_duration
from mova.video.frame_converter import orientation


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video, checked by decoding one frame.

    Attributes:
        path: path of the file.
        duration: seconds from time 0 to the end of the last frame; > 0.
        width: pixels, after rotation.
        height: pixels, after rotation.
        fps: average frames per second.
        rotation: clockwise degrees by which frames are rotated to be upright: 0, 90, 180 or 270.
        codec: FFmpeg's name of the codec.
        pixel_format: FFmpeg's name of the pixel format of decoded frames.
        has_audio: whether there is an audio stream (it may not be decodable).
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
    """Read the header of a file, decode its first frame, and read the packets at its end.

    Raises:
        VideoError: the file cannot be read as video.
    """
    with video_errors(path), open_video(path, threads=1) as (container, track):
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
        )
