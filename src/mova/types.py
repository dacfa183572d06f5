"""Value objects shared by the whole package. They are frozen, and validated on construction.

Times are seconds from the start of the file by its own timestamps; spans are half-open `[start, end)`.
Shape legend: T frames, H height, W width (pixels), S sentences, V pairs of a video and a text, d width of vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""Frames or images: uint8, (..., H, W, 3), RGB."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Decoded frames with their times.

    Attributes:
        pixels: uint8, (T, H, W, 3), RGB, upright, with square pixels (rotation and aspect ratio already applied).
        pts: float64, (T,), seconds, non-decreasing.

    Raises:
        ValueError: shapes or types do not agree, or times are not finite and non-decreasing.

    Example:
        >>> frames = Frames(np.zeros((4, 8, 8, 3), np.uint8), np.array([0.0, 0.5, 1.0, 1.5]))
        >>> len(frames), frames[2:].pts.tolist()
        (4, [1.0, 1.5])
    """

    pixels: npt.NDArray[np.uint8]
    pts: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[-1] != 3:
            raise ValueError(f"pixels must be uint8 (T, H, W, 3), not {self.pixels.dtype} {self.pixels.shape}")
        _require_times(self.pts, len(self.pixels))

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: slice) -> Frames:
        return Frames(self.pixels[index], self.pts[index])

    @staticmethod
    def concatenate(parts: Sequence[Frames]) -> Frames:
        """Concatenate consecutive parts of one video (equal H and W)."""
        return Frames(np.concatenate([p.pixels for p in parts]), np.concatenate([p.pts for p in parts]))


@dataclass(frozen=True, eq=False)
class FrameVectors:
    """Frame features of a video tower, in place of the frames themselves.

    Attributes:
        vectors: float16 or float32, (T, d), not normalized.
        pts: float64, (T,), seconds, non-decreasing.
        end: seconds; the end of the part of the video that the frames cover.

    Raises:
        ValueError: shapes or types do not agree, or times are not finite and non-decreasing.
    """

    vectors: npt.NDArray[np.floating[Any]]
    pts: npt.NDArray[np.float64]
    end: float

    def __post_init__(self) -> None:
        if not np.issubdtype(self.vectors.dtype, np.floating) or self.vectors.ndim != 2:
            raise ValueError(f"vectors must be floating (T, d), not {self.vectors.dtype} {self.vectors.shape}")
        _require_times(self.pts, len(self.vectors))

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: slice | npt.NDArray[np.int64]) -> FrameVectors:
        return FrameVectors(self.vectors[index], self.pts[index], self.end)


@dataclass(frozen=True, order=True)
class Span:
    """A half-open time interval `[start, end)` in seconds, with `start < end`.

    Example:
        >>> a, b = Span(0.0, 4.0), Span(2.0, 6.0)
        >>> a.duration, a.intersection(b), round(a.iou(b), 3)
        (4.0, 2.0, 0.333)
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.start) and np.isfinite(self.end) and 0 <= self.start < self.end):
            raise ValueError(f"a span needs 0 <= start < end in seconds, not [{self.start}, {self.end})")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start

    def intersection(self, other: Span) -> float:
        """Return the number of seconds that both spans share."""
        return max(0.0, min(self.end, other.end) - max(self.start, other.start))

    def iou(self, other: Span) -> float:
        """Return the temporal intersection over union, in [0, 1]."""
        shared = self.intersection(other)
        return shared / (self.duration + other.duration - shared)


@dataclass(frozen=True)
class ScoredSpan:
    """A span with its score. Higher is better; only scores of the same model are comparable."""

    span: Span
    score: float

    def __post_init__(self) -> None:
        _require_finite(self.score)

    def to_json(self) -> dict[str, float]:
        """Return `{"start", "end", "score"}`, rounded to milliseconds and six digits."""
        return {
            "start": _seconds(self.span.start),
            "end": _seconds(self.span.end),
            "score": round(self.score, 6),
        }


@dataclass(frozen=True)
class Moment:
    """A part of a video that matches a query."""

    video: str
    start: float
    end: float
    score: float

    def __post_init__(self) -> None:
        Span(self.start, self.end)
        _require_finite(self.score)

    def to_json(self) -> dict[str, Any]:
        """Return `{"video", "start", "end", "score"}`, rounded to milliseconds and six digits."""
        return {
            "video": self.video,
            "start": _seconds(self.start),
            "end": _seconds(self.end),
            "score": round(self.score, 6),
        }


@dataclass(frozen=True, eq=False)
class SentenceTimeline:
    """A sentence with its relevance (T,) to the sampled frames of a video, and the spans it describes."""

    text: str
    relevance: npt.NDArray[np.float32]
    spans: tuple[ScoredSpan, ...]


@dataclass(frozen=True, eq=False)
class Timeline:
    """A caption aligned with a video.

    Attributes:
        video: path or name of the video.
        duration: seconds.
        times: (T,) seconds of the sampled frames.
        sentences: one row per sentence, with relevance of length T.
        irrelevant: spans that no sentence describes, without those for which there are no pictures.
    """

    video: str
    duration: float
    times: npt.NDArray[np.float64]
    sentences: tuple[SentenceTimeline, ...]
    irrelevant: tuple[Span, ...]

    def __post_init__(self) -> None:
        for row in self.sentences:
            if row.relevance.shape != self.times.shape:
                raise ValueError(
                    f"relevance {row.relevance.shape} and times {self.times.shape} differ in length for {row.text!r}"
                )

    def to_json(self) -> dict[str, Any]:
        """Return the document that `mova align --json` prints."""
        return {
            "video": self.video,
            "duration": _seconds(self.duration),
            "times": [_seconds(t) for t in self.times],
            "sentences": [
                {
                    "text": row.text,
                    "relevance": [round(float(r), 6) for r in row.relevance],
                    "spans": [s.to_json() for s in row.spans],
                }
                for row in self.sentences
            ],
            "irrelevant": [{"start": _seconds(s.start), "end": _seconds(s.end)} for s in self.irrelevant],
        }


def complement(spans: Sequence[Span], duration: float) -> Iterator[Span]:
    """Yield the parts of `[0, duration)` that none of `spans` covers, in order.

    Example:
        >>> list(complement([Span(1.0, 2.0), Span(1.5, 3.0)], 5.0))
        [Span(start=0.0, end=1.0), Span(start=3.0, end=5.0)]
    """
    cursor = 0.0
    for span in sorted(spans):
        if span.start > cursor:
            yield Span(cursor, min(span.start, duration))
        cursor = max(cursor, span.end)
    if cursor < duration:
        yield Span(cursor, duration)


def _require_times(pts: npt.NDArray[np.float64], count: int) -> None:
    if pts.shape != (count,):
        raise ValueError(f"pts must be ({count},), one time per frame, not {pts.shape}")
    if not np.all(np.isfinite(pts)) or np.any(np.diff(pts) < 0):
        raise ValueError("pts must be finite and non-decreasing seconds")


def _require_finite(score: float) -> None:
    if not np.isfinite(score):
        raise ValueError(f"a score must be finite, not {score}")


def _seconds(value: float) -> float:
    return round(float(value), 3)
