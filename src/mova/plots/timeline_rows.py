"""The rows of a timeline as both pictures show them: color, number, spans as text, and spans that are not certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mova.types import ScoredSpan, SentenceTimeline, Timeline
from mova.utils.time_format import clock

COLORS = ("#2b6cb0", "#a8481f", "#2f7d55", "#8a3ea6", "#0f7684", "#a62f68", "#7d6a0c", "#5448c4")
"""Colors of the sentences in turn, all dark enough for white text."""
CERTAIN = 0.5
"""Posterior of a span, and probability of a sentence, below which they are not shown by default."""


@dataclass(frozen=True)
class PictureOptions:
    """Choices for the picture of a timeline.

    Attributes:
        common_scale: one color scale for the relevance of all sentences; default: one per sentence, from its lowest to
            its highest relevance.
        all_spans: also show spans with a posterior below 50 %.
    """

    common_scale: bool = False
    all_spans: bool = False


@dataclass(frozen=True, eq=False)
class PictureRow:
    """A sentence in a picture.

    Attributes:
        number: from 1, in the order of the caption.
        timeline: the sentence with its curves.
        spans: those that are probably right.
        uncertain: the others.
    """

    number: int
    timeline: SentenceTimeline
    spans: tuple[ScoredSpan, ...]
    uncertain: tuple[ScoredSpan, ...]

    @property
    def color(self) -> str:
        """The color of the sentence."""
        return COLORS[(self.number - 1) % len(COLORS)]

    @property
    def absent(self) -> bool:
        """Whether the video probably does not show the sentence."""
        return self.timeline.shown is not None and self.timeline.shown < CERTAIN

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest relevance; the highest is above the lowest."""
        low = float(self.timeline.relevance.min())
        return low, max(float(self.timeline.relevance.max()), low + 1e-6)

    @property
    def status(self) -> str:
        """One phrase for a sentence without probable spans; empty if it has any."""
        if self.spans:
            return ""
        if self.timeline.shown is None:
            return "no span"
        phrase = f"{'probably not shown' if self.absent else 'unclear when'} (shown: {self.timeline.shown:.0%})"
        likely = self.timeline.likely
        return phrase if likely is None else f"{phrase}; if at all, {span_text(likely)}"


def picture_rows(timeline: Timeline) -> list[PictureRow]:
    """Return the rows of a timeline.

    Example:
        >>> from mova.types import Span
        >>> spans = (ScoredSpan(Span(0.0, 2.0), 0.9, 0.8), ScoredSpan(Span(5.0, 6.0), 0.4, 0.3))
        >>> row = SentenceTimeline("Rain.", np.zeros(6, np.float32), spans)
        >>> (view,) = picture_rows(Timeline("a.mp4", 6.0, np.arange(6.0), (row,), ()))
        >>> len(view.spans), len(view.uncertain)
        (1, 1)
    """
    rows = []
    for number, row in enumerate(timeline.sentences, start=1):
        sure = tuple(span for span in row.spans if span.posterior is None or span.posterior >= CERTAIN)
        unsure = tuple(span for span in row.spans if span not in sure)
        rows.append(PictureRow(number, row, sure, unsure))
    return rows


def span_text(scored: ScoredSpan) -> str:
    """Return a span as text: its times, and its posterior if any.

    Example:
        >>> from mova.types import Span
        >>> span_text(ScoredSpan(Span(62.0, 66.5), 0.9, 0.871))
        '1:02.0 to 1:06.5, 87%'
    """
    times = f"{clock(scored.span.start, 1)} to {clock(scored.span.end, 1)}"
    return times if scored.posterior is None else f"{times}, {scored.posterior:.0%}"


def lanes(rows: Sequence[PictureRow]) -> list[list[tuple[PictureRow, ScoredSpan]]]:
    """Return all probable spans of all sentences in as few lanes as possible, so that none overlap in a lane.

    Example:
        >>> from mova.types import Span
        >>> def view(start, end):
        ...     scored = ScoredSpan(Span(start, end), 0.9, 0.8)
        ...     return PictureRow(1, SentenceTimeline("", np.zeros(1, np.float32), ()), (scored,), ())
        >>> [len(lane) for lane in lanes([view(0, 4), view(3, 5), view(4, 6)])]
        [2, 1]
    """
    spans = sorted(((row, span) for row in rows for span in row.spans), key=lambda pair: pair[1].span)
    made: list[list[tuple[PictureRow, ScoredSpan]]] = []
    ends: list[float] = []
    for row, scored in spans:
        free = next((i for i, end in enumerate(ends) if end <= scored.span.start + 1e-9), len(made))
        if free == len(made):
            made.append([])
            ends.append(0.0)
        made[free].append((row, scored))
        ends[free] = scored.span.end
    return made


def common_range(rows: Sequence[PictureRow]) -> tuple[float, float]:
    """Return the lowest and highest relevance of all sentences."""
    ranges = np.array([row.range for row in rows])
    return float(ranges[:, 0].min()), float(ranges[:, 1].max())
