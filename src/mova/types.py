"""Value objects shared by the whole package. They are frozen, and validated on construction.

Times are seconds from the start of the file by its own timestamps; spans are half-open `[start, end)`.
Shape legend: T frames, H height, W width (pixels), S sentences, V pairs of a video and a text, d width of vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.displayed import Displayed

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

    Example:
        >>> vectors = FrameVectors(np.zeros((3, 8), np.float32), np.array([0.0, 0.5, 1.0]), end=1.5)
        >>> len(vectors), vectors[1:].pts.tolist()
        (3, [0.5, 1.0])
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
    """A span with its score. Higher is better; only scores of the same model are comparable.

    Attributes:
        span: seconds.
        score: highest relevance in the span.
        posterior: probability that a moment of the span shows the sentence; None if it was not computed.

    Example:
        >>> ScoredSpan(Span(2.5, 6.0), score=0.75, posterior=0.9).to_json()
        {'start': 2.5, 'end': 6.0, 'score': 0.75, 'posterior': 0.9}
    """

    span: Span
    score: float
    posterior: float | None = None

    def __post_init__(self) -> None:
        _require_finite(self.score)
        if self.posterior is not None and not 0 <= self.posterior <= 1:
            raise ValueError(f"a posterior must be in [0, 1], not {self.posterior}")

    def to_json(self) -> dict[str, float]:
        """Return `{"start", "end", "score"}` and the posterior if any, rounded to milliseconds and six digits."""
        values = {"start": _seconds(self.span.start), "end": _seconds(self.span.end), "score": round(self.score, 6)}
        return values if self.posterior is None else {**values, "posterior": round(self.posterior, 6)}


@dataclass(frozen=True)
class MomentSentence:
    """A sentence of a paragraph inside a moment.

    Attributes:
        text: the sentence.
        start, end: seconds.
        posterior: probability that this part of the video shows it.

    Example:
        >>> MomentSentence("A man pours tea.", 2.0, 4.5, 0.9).to_json()
        {'text': 'A man pours tea.', 'start': 2.0, 'end': 4.5, 'posterior': 0.9}
    """

    text: str
    start: float
    end: float
    posterior: float

    def to_json(self) -> dict[str, Any]:
        """Return all fields, rounded to milliseconds and six digits."""
        times = {"start": _seconds(self.start), "end": _seconds(self.end)}
        return {"text": self.text, **times, "posterior": round(self.posterior, 6)}


MOMENT_COLUMNS = ("video", "start", "end", "score", "false_alarm", "evidence")


@dataclass(frozen=True)
class Moment(Displayed):
    """A part of a video that matches a query.

    Attributes:
        video: path.
        start, end: seconds.
        score: higher is better.
        sentences: of a paragraph in temporal order, with their times; empty for any other moment.
        false_alarm: how often a text that no video of the index shows finds a moment that scores this high; None if it
            was not measured.
        evidence: "strong", "weak" or "none", by that rate; None likewise.

    Example:
        >>> Moment("film.mp4", 2.5, 6.0, score=0.75).to_json()
        {'video': 'film.mp4', 'start': 2.5, 'end': 6.0, 'score': 0.75}
    """

    video: str
    start: float
    end: float
    score: float
    sentences: tuple[MomentSentence, ...] = ()
    false_alarm: float | None = None
    evidence: str | None = None

    def __post_init__(self) -> None:
        Span(self.start, self.end)
        _require_finite(self.score)

    def to_json(self) -> dict[str, Any]:
        """Return video, start, end and score, to milliseconds and six digits; rate and word, and sentences, if any."""
        values: dict[str, Any] = {
            "video": self.video,
            "start": _seconds(self.start),
            "end": _seconds(self.end),
            "score": round(self.score, 6),
        }
        if self.false_alarm is not None:
            values |= {"false_alarm": round(self.false_alarm, 6), "evidence": self.evidence}
        if self.sentences:
            values["sentences"] = [row.to_json() for row in self.sentences]
        return values

    def rows(self) -> list[dict[str, Any]]:
        """Return one row."""
        return [{name: getattr(self, name) for name in MOMENT_COLUMNS}]


@dataclass(frozen=True, eq=False)
class SentenceTimeline:
    """A sentence on the time axis of a video.

    Attributes:
        text: the sentence.
        relevance: float32, (T,), how well each sampled frame shows it.
        spans: the spans that it describes, in order of time.
        posterior: float32, (T,), probability that each frame shows it; None if it was not computed.
        shown: probability that the video shows it at all; None likewise.
        false_alarm: how often a sentence that the video does not show scores as high on its best frame; None likewise.
        likely: of a sentence without spans, which is probably not shown: the most probable place if it is; None
            likewise.

    Example:
        >>> row = SentenceTimeline("A dog runs.", np.float32([0.1, 0.7]), (ScoredSpan(Span(1.0, 2.0), 0.7),))
        >>> row.to_json(curves=False)
        {'text': 'A dog runs.', 'spans': [{'start': 1.0, 'end': 2.0, 'score': 0.7}]}
    """

    text: str
    relevance: npt.NDArray[np.float32]
    spans: tuple[ScoredSpan, ...]
    posterior: npt.NDArray[np.float32] | None = None
    shown: float | None = None
    false_alarm: float | None = None
    likely: ScoredSpan | None = None

    def to_json(self, curves: bool = True) -> dict[str, Any]:
        """Return text, spans and probability, with the curves (four digits) unless they are left out."""
        document: dict[str, Any] = {"text": self.text}
        if curves:
            document["relevance"] = _rounded(self.relevance)
        document["spans"] = [span.to_json() for span in self.spans]
        if self.shown is not None:
            document["shown"] = round(self.shown, 6)
        if self.likely is not None:
            document["likely"] = self.likely.to_json()
        if self.false_alarm is not None:
            document["false_alarm"] = round(self.false_alarm, 6)
        if curves and self.posterior is not None:
            document["posterior"] = _rounded(self.posterior)
        return document


@dataclass(frozen=True)
class OrderChoice:
    """Whether the sentences of a caption are in temporal order.

    Attributes:
        choice: "ordered", "partly" or "free".
        evidence: log-evidence of every hypothesis that was compared, in nats, the prior included.
        free: indices of the sentences outside the order.

    Example:
        >>> OrderChoice("partly", {"partly": 6.0104, "free": 5.2691}, free=(2,)).to_json()
        {'choice': 'partly', 'evidence': {'partly': 6.01, 'free': 5.269}, 'free': [2]}
    """

    choice: str
    evidence: Mapping[str, float] = field(default_factory=dict)
    free: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return `{"choice", "evidence", "free"}`, evidence with three digits."""
        evidence = {name: round(value, 3) for name, value in self.evidence.items()}
        return {"choice": self.choice, "evidence": evidence, "free": list(self.free)}


@dataclass(frozen=True, eq=False)
class Timeline(Displayed):
    """A caption aligned with a video.

    Attributes:
        video: path or name of the video.
        duration: seconds.
        times: (T,) seconds of the sampled frames.
        sentences: one row per sentence, with relevance of length T.
        irrelevant: spans that no sentence describes, without those for which there are no pictures.
        order: whether the sentences are in temporal order; None if that was not decided.
        step: seconds between sampled frames, where it is known: where more is missing, there are no pictures.

    Example:
        >>> row = SentenceTimeline("A dog runs.", np.float32([0.1, 0.7]), (ScoredSpan(Span(1.0, 2.0), 0.7),))
        >>> timeline = Timeline("film.mp4", 2.0, np.array([0.0, 1.0]), (row,), irrelevant=(Span(0.0, 1.0),))
        >>> [(sentence.text, scored.span.start) for sentence in timeline.sentences for scored in sentence.spans]
        [('A dog runs.', 1.0)]
        >>> timeline.to_json(curves=False)["irrelevant"]
        [{'start': 0.0, 'end': 1.0}]
    """

    video: str
    duration: float
    times: npt.NDArray[np.float64]
    sentences: tuple[SentenceTimeline, ...]
    irrelevant: tuple[Span, ...]
    order: OrderChoice | None = None
    step: float | None = None

    def __post_init__(self) -> None:
        for row in self.sentences:
            for name, curve in (("relevance", row.relevance), ("posterior", row.posterior)):
                if curve is not None and curve.shape != self.times.shape:
                    raise ValueError(
                        f"{name} {curve.shape} and times {self.times.shape} differ in length for {row.text!r}"
                    )

    def to_json(self, curves: bool = True) -> dict[str, Any]:
        """Return the document that `mova align --json` prints.

        Args:
            curves: with times, relevance and posterior of every frame.
        """
        document: dict[str, Any] = {"video": self.video, "duration": _seconds(self.duration)}
        if curves:
            document["times"] = [_seconds(t) for t in self.times]
        document["sentences"] = [row.to_json(curves) for row in self.sentences]
        document["irrelevant"] = [{"start": _seconds(s.start), "end": _seconds(s.end)} for s in self.irrelevant]
        if self.order is not None:
            document["order"] = self.order.to_json()
        return document

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per span, and one without times per sentence that is not shown. Sentences count from 1."""
        rows = []
        for number, row in enumerate(self.sentences, start=1):
            known: dict[str, Any] = {"video": self.video, "sentence": number, "text": row.text}
            for scored in row.spans or (None,):
                start, end = (None, None) if scored is None else (scored.span.start, scored.span.end)
                score, posterior = (None, None) if scored is None else (scored.score, scored.posterior)
                found = {"start": start, "end": end, "score": score, "posterior": posterior}
                rows.append({**known, **found, "shown": row.shown, "false_alarm": row.false_alarm})
        return rows


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


def _rounded(curve: npt.NDArray[np.float32]) -> list[float]:
    values: list[float] = np.round(curve.astype(np.float64), 4).tolist()
    return values


def _seconds(value: float) -> float:
    return round(float(value), 3)
