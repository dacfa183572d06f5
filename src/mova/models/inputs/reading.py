"""Read videos of any kind, and encode their frames in constant memory.

Shape legend: T frames, d width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.data.concat import VideoConcat
from mova.errors import UsageError, VideoError
from mova.models.embeddings import Source, VideoEmbedding, display_name
from mova.models.inputs.sources import Clock, opened
from mova.scoring.windows.rule import WindowRule, cell_seconds, ending_with
from mova.types import Frames
from mova.utils.numbers import is_number
from mova.utils.prefetch import prefetch
from mova.video.isolated import Decoding
from mova.video.probe import probe
from mova.video.reader import stream
from mova.video.windows import encode_windows

DECODE_CHUNK = 32
"""Frames decoded at once: 200 MB of 1080p pixels, so that memory is bounded regardless of the video's length."""
DECODE_SHORT_SIDE = 2160
"""Pixels of the shorter side to which larger frames are scaled when they are decoded: 8K becomes 4K."""


class EncodedPart(NamedTuple):
    """Consecutive vectors of one video.

    Attributes:
        times: float64, (n,), seconds: each vector stands for the time from here to the next.
        vectors: (n, d).
        windows: float64, (n, 2), start and end in seconds of what each vector sees; None: one frame.

    >>> part = EncodedPart(np.array([0.0, 1.0]), torch.eye(2))
    >>> part.windows is None, len(part.times)
    (True, 2)
    """

    times: npt.NDArray[np.float64]
    vectors: Tensor
    windows: npt.NDArray[np.float64] | None = None


class VideoReading(Decoding, ABC):
    """The part of `mova.models.encoder.DualEncoder` that reads videos.

    Attributes: see there.

    >>> import mova
    >>> model = mova.load("mova-worlds-tiny")
    >>> with open("film.mp4", "rb") as file:
    ...     model.encode_video(file).duration
    10.0
    >>> model.encode_video(np.zeros((6, 64, 64, 3), np.uint8), fps=2.0).times
    array([0. , 0.5, 1. , 1.5, 2. , 2.5])
    """

    name: str
    frame_rate: float
    context: int
    fixed_frame_rate: bool
    window: WindowRule = WindowRule()

    @abstractmethod
    def encode_frames(self, frames: Frames) -> Tensor:
        """Encode consecutive sampled frames: (T, d), float32. If context > 0, ends are repeated."""

    def encode_stream(
        self, chunks: Iterable[Frames], encode: Callable[[Frames], Tensor] | None = None
    ) -> Iterator[tuple[npt.NDArray[np.float64], Tensor]]:
        """Encode a video chunk by chunk, with the same vectors as in one pass over the whole.

        The last `2 * context` frames are kept between chunks: half of them still wait for their right neighbors, the
        other half are left neighbors of these. If the frame size changes, as between concatenated files, there are no
        such neighbors, and a new window begins.

        Args:
            chunks: consecutive parts of one video; empty ones are allowed.
            encode: frames -> (T, ...), where the row of a frame depends on `context` neighbors; default:
                `encode_frames`.

        Yields:
            Times (n,) in seconds and vectors (n, d), every frame exactly once, in order.
        """
        return encode_windows(chunks, encode or self.encode_frames, self.context)

    def encode_parts(
        self,
        chunks: Iterable[Frames],
        rate: float,
        encode: Callable[[Frames], Tensor] | None = None,
        window: WindowRule | None = None,
    ) -> Iterator[EncodedPart]:
        """Encode a video part by part; `encode_stream` for encoders of single frames and of windows alike.

        Args:
            chunks: see `encode_stream`.
            rate: frames per second of the chunks.
            encode: see `encode_stream`; unused by encoders of windows.
            window: used by encoders of windows, in place of their own.
        """
        for times, vectors in self.encode_stream(chunks, encode):
            yield EncodedPart(times, vectors)

    def sampling_rate(self, fps: float | None = None) -> float:
        """Return the frames per second to sample: `fps`; default: the model's own rate.

        Raises:
            UsageError: a rate that is not above 0, or not the fixed rate of the model.
        """
        if fps is None:
            return self.frame_rate
        if not (is_number(fps) and fps > 0):
            raise UsageError(f"frames per second must be above 0, not {fps!r}")
        if self.fixed_frame_rate and fps != self.frame_rate:
            raise UsageError(
                f"{self.name} reads motion from neighboring frames and only supports "
                f"{self.frame_rate:g} frames per second, not {fps:g}; omit fps"
            )
        return fps

    def check_rate(self, fps: float | None) -> None:
        """Raise if the model requires a fixed frame rate and `fps` does not match it (None: a rule without a rate).

        Raises:
            UsageError: `fps` does not match.
        """
        if fps is not None:
            self.sampling_rate(fps)
        elif self.fixed_frame_rate:
            raise UsageError(f"data: {self.name} needs its own rate; set fps: {self.frame_rate:g} and omit rule")

    def open_video(
        self, video: Source, fps: float | None = None, start: float = 0.0, end: float | None = None
    ) -> tuple[Iterable[Frames], float]:
        """Return chunks of a video at the sampling rate, decoded ahead of their use, and its end in seconds.

        Args:
            video, fps, start, end: see `encode_video`.
        """
        rate = self.sampling_rate(fps)
        if isinstance(video, Frames):
            video = _between(video, start, end)
            return [video], float(video.pts[-1]) + 1 / rate if len(video) else 0.0
        if isinstance(video, VideoConcat):
            return prefetch(video.stream(rate, DECODE_CHUNK, self.decoder)), video.end
        duration = (probe if self.decoder is None else self.decoder.probe)(video).duration
        duration = duration if end is None else min(end, duration)
        if start and start >= duration:
            raise VideoError(video, f"is only {duration:.2f} s long, so it has no clip from {start:.2f} s on")
        read = stream if self.decoder is None else self.decoder.stream
        chunks = read(video, fps=rate, start=start, end=end, short_side=DECODE_SHORT_SIDE, chunk=DECODE_CHUNK)
        return prefetch(chunks), duration

    def encode_video(
        self,
        video: Any,
        fps: float | None = None,
        start: float = 0.0,
        end: float | None = None,
        *,
        times: npt.ArrayLike | None = None,
    ) -> VideoEmbedding:
        """Encode the frames of a video. Decoding runs in parallel, and memory is bounded.

        Args:
            video: a path (of a picture, too), an open binary file, several segments of files (`VideoConcat`), or frames
                in memory: `mova.Frames`, an array or a tensor, uint8 (T, H, W, 3) or (T, 3, H, W), one picture (H, W,
                3), a PIL image, or a list of pictures of one size. All frames in memory are encoded.
            fps: of files: frames per second to sample; default: the model's own rate. Of frames in memory: the rate at
                which they were sampled.
            start, end: seconds to encode, `[start, end)`; default: all of it. Times count from the start of the file.
            times: (T,) seconds of frames in memory, instead of `fps`; one picture needs neither.

        Raises:
            VideoError: the file cannot be read, or has no frame there.
            UsageError: a URL, frames of another type or shape, frames without times, or see `sampling_rate`.
        """
        with opened(video, self._clock(video, fps, times)) as source:
            return self._encode_source(source, fps, start, end)

    def _encode_source(self, video: Source, fps: float | None, start: float, end: float | None) -> VideoEmbedding:
        """Encode what `opened` provides; frames in memory without a rate have that of their times, for windows."""
        if not self.window.is_picture and isinstance(video, Frames) and fps is None and len(video) > 1:
            steps = np.diff(video.pts)
            fps = 1 / float(np.median(steps)) if np.median(steps) > 0 else None
        chunks, duration = self.open_video(video, fps, start, end)
        parts = list(self.encode_parts(chunks, self.sampling_rate(fps)))
        if not parts:
            raise VideoError(display_name(video), "no frames to encode")
        encoded = joined(parts, duration, None if isinstance(video, Frames) else 1 / self.sampling_rate(fps))
        if encoded.windows is None:
            return encoded
        return replace(encoded, windows=ending_with(encoded.windows, encoded.duration))

    def _clock(self, video: Any, fps: float | None, times: npt.ArrayLike | None) -> Clock:
        """Return the times of frames in memory.

        Raises:
            UsageError: `times` for a file, or frames at another rate than the fixed one of the model.
        """
        if times is not None and (hasattr(video, "read") or isinstance(video, str | PathLike | Frames | VideoConcat)):
            raise UsageError("times are for frames in memory; files and mova.Frames have their own")
        in_memory = not hasattr(video, "read") and not isinstance(video, str | PathLike | VideoConcat)
        if in_memory and self.fixed_frame_rate and fps is not None and fps != self.frame_rate:
            raise UsageError(
                f"{self.name} reads motion from neighboring frames, and needs {self.frame_rate:g} frames per second, "
                f"not {fps:g}: pass frames at that rate, or the file"
            )
        return Clock(fps, times)


def joined(parts: Sequence[EncodedPart], duration: float, step: float | None) -> VideoEmbedding:
    """Return all parts of a video as one embedding.

    Args:
        parts: in order of time, at least one.
        duration: seconds.
        step: seconds between sampled frames, if they were sampled at a rate; unused for windows.

    >>> parts = [EncodedPart(np.array([float(second)]), torch.ones(1, 2)) for second in range(3)]
    >>> joined(parts, duration=3.0, step=1.0).times
    array([0., 1., 2.])
    """
    times = np.concatenate([part.times for part in parts])
    seen = [part.windows for part in parts if part.windows is not None]
    windows = np.concatenate(seen) if seen else None
    if windows is not None:
        step = cell_seconds(times, windows)
    return VideoEmbedding(torch.cat([part.vectors for part in parts]), times, duration, step=step, windows=windows)


def _between(frames: Frames, start: float, end: float | None) -> Frames:
    """Return the frames of `[start, end)` seconds."""
    if not start and end is None:
        return frames
    inside = (frames.pts >= start) & (frames.pts < (np.inf if end is None else end))
    if not inside.any():
        raise UsageError(f"no frame is between {start:g} s and {'the end' if end is None else f'{end:g} s'}")
    return Frames(frames.pixels[inside], frames.pts[inside])
