"""Scripts of whole Worlds videos: a timeline of events, captions of some of them, and false captions.

A video is a sequence of segments without gaps. Captioned events are scattered among segments that no caption describes:
near duplicates of captioned events, other events, fillers, and sometimes a repeat of a captioned event.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mova.data.negatives.kinds import KINDS
from mova.errors import UsageError
from mova.types import Span
from mova.worlds.captions import OPENINGS, Claim, describe
from mova.worlds.factors import (
    FACTORS,
    Event,
    Filler,
    differing,
    draw_factor,
    mutate,
    sample_event,
    sample_filler,
)
from mova.worlds.negatives import Line, Negative, make_negative, paragraph_text, spans_of
from mova.worlds.nuisance import Nuisance, sample_nuisance
from mova.worlds.render import STYLES

SECONDS = (10.0, 1200.0)
"""Shortest and longest video."""
EVENT_SECONDS = (2.5, 6.0)
DISTRACTOR_SECONDS = (2.5, 10.0)
MAX_CAPTIONED = 12
REPEAT_SHARE = 0.3
"""Share of videos that show a captioned event a second time."""
OPENING_SHARE = {"first": 0.6, "middle": 0.85, "last": 1.0}
PARAGRAPHS = 2
_ATTEMPTS = 20


@dataclass(frozen=True)
class Segment:
    """A part of a video.

    Attributes:
        span: seconds of the video.
        role: "told" (captioned), "repeat" (of a captioned event), "near" (one factor away from a captioned event),
            "random" or "filler".
        content: what happens.
        nuisance: variation that no caption mentions.
    """

    span: Span
    role: str
    content: Event | Filler
    nuisance: Nuisance


@dataclass(frozen=True)
class World:
    """A video before it is rendered.

    Attributes:
        seed, index: together with style, duration and fps they determine everything else.
        style: one of `mova.worlds.render.STYLES`.
        duration: seconds.
        fps: frames per second of the file; segments begin and end on frames.
        segments: cover the video in order, without gaps.
        paragraphs: several wordings of the same captioned events, in order of time.
        singles: one more sentence about each captioned event, without a connective.
        negatives: false forms of the first paragraph.
    """

    seed: int
    index: int
    style: str
    duration: float
    fps: float
    segments: tuple[Segment, ...]
    paragraphs: tuple[tuple[Line, ...], ...]
    singles: tuple[Line, ...]
    negatives: tuple[Negative, ...]

    @property
    def id(self) -> str:
        """Name of the video."""
        return f"world-{self.style}-{self.seed}-{self.index:05d}"

    @cached_property
    def events(self) -> tuple[tuple[Span, Event], ...]:
        """Every event with its span, captioned or not, in order."""
        return tuple((s.span, s.content) for s in self.segments if isinstance(s.content, Event))

    @property
    def paragraph(self) -> str:
        """The first paragraph's text."""
        return paragraph_text(self.paragraphs[0])

    @property
    def annotations(self) -> list[tuple[str, tuple[Span, ...]]]:
        """Each sentence of the first paragraph with all spans in which it is true."""
        return [(line.text, spans_of(line.claim, self.events)) for line in self.paragraphs[0]]


def sample_world(seed: int, seconds: float, style: str, *, index: int = 0, fps: float = 8.0) -> World:
    """Draw video `index` of a seed, independently of how many others are drawn.

    Args:
        seed: not negative.
        seconds: length, within `SECONDS`; rounded to whole frames.
        style: one of `mova.worlds.render.STYLES`.
        index: not negative.
        fps: frames per second, 1 to 60.

    Raises:
        UsageError: an argument is out of range.

    Example:
        >>> world = sample_world(0, 60.0, "flat")
        >>> world.id, world.duration, len(world.annotations)
        ('world-flat-0-00000', 60.0, 5)
        >>> world.annotations[0]
        ('...', (Span(start=..., end=...),))
    """
    check_request(seed, seconds, style, index, fps)
    rng = np.random.default_rng([seed, index])
    frames = round(seconds * fps)
    lengths = _lengths(frames, fps, rng)
    captioned = _distinct_events(sum(is_captioned for _, is_captioned in lengths), rng)
    segments = _segments(lengths, captioned, fps, rng)
    events = tuple((s.span, s.content) for s in segments if isinstance(s.content, Event))
    paragraphs = tuple(_paragraph(captioned, events, rng) for _ in range(PARAGRAPHS))
    singles = tuple(_line(event, events, rng) for event in captioned)
    drawn = (make_negative(paragraphs[0], kind, rng, events) for kind in KINDS)
    negatives = tuple(false for false in drawn if false is not None)
    return World(seed, index, style, frames / fps, fps, segments, paragraphs, singles, negatives)


def check_request(seed: int, seconds: float, style: str, index: int, fps: float) -> None:
    """Raise a UsageError if `sample_world` would not accept these arguments."""
    if style not in STYLES:
        raise UsageError(f"unknown style {style!r}; choose one of {', '.join(STYLES)}")
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise UsageError(f"a Worlds video lasts {SECONDS[0]:.0f} to {SECONDS[1]:.0f} seconds, not {seconds}")
    if seed < 0 or index < 0:
        raise UsageError(f"seed and index must be 0 or more, not {seed} and {index}")
    if not 1 <= fps <= 60:
        raise UsageError(f"fps must be between 1 and 60, not {fps}")


def _lengths(frames: int, fps: float, rng: np.random.Generator) -> list[tuple[int, bool]]:
    """Draw the lengths of all segments in frames, and whether each is captioned; at least one is not."""
    seconds = frames / fps
    shortest, longest = (int(np.ceil(bound * fps)) for bound in EVENT_SECONDS)
    least = int(np.ceil(DISTRACTOR_SECONDS[0] * fps))
    most = int(min(MAX_CAPTIONED, 2 + seconds / 12, 4 + seconds / 60))
    captioned = [int(rng.integers(shortest, longest + 1)) for _ in range(int(rng.integers(min(2, most), most + 1)))]
    while frames - sum(captioned) < least:
        captioned = [max(shortest, length - 1) for length in captioned]
    rest = frames - sum(captioned)
    gaps = np.floor(rng.dirichlet(np.full(len(captioned) + 1, 0.8)) * rest).astype(int)
    gaps[gaps < least] = 0
    gaps[int(rng.integers(len(gaps))) if gaps.max() == 0 else int(gaps.argmax())] += rest - gaps.sum()
    result: list[tuple[int, bool]] = []
    for i, gap in enumerate(gaps.tolist()):
        result += [(length, False) for length in _cut(gap, fps, rng)]
        if i < len(captioned):
            result.append((captioned[i], True))
    return result


def _cut(gap: int, fps: float, rng: np.random.Generator) -> list[int]:
    """Cut a gap, in frames, into distractors, none of them too short."""
    least, most = (int(np.ceil(bound * fps)) for bound in DISTRACTOR_SECONDS)
    parts = []
    while gap >= 2 * least:
        parts.append(int(rng.integers(least, min(most, gap - least) + 1)))
        gap -= parts[-1]
    return [*parts, gap] if gap else parts


def _distinct_events(count: int, rng: np.random.Generator) -> list[Event]:
    """Draw events that sentences can tell apart."""
    events: list[Event] = []
    while len(events) < count:
        event = sample_event(rng)
        if not any(_has_all_of(event, other) or _has_all_of(other, event) for other in events):
            events.append(event)
    return events


def _has_all_of(event: Event, other: Event) -> bool:
    """Return whether all that is said of another event is true of this one: no sentence denies a relation."""
    return event == other or (other.relation is None and replace(event, relation=None) == other)


def _segments(
    lengths: list[tuple[int, bool]], captioned: list[Event], fps: float, rng: np.random.Generator
) -> tuple[Segment, ...]:
    """Decide the content of each segment."""
    free = [i for i, (_, is_captioned) in enumerate(lengths) if not is_captioned]
    first = next(i for i, (_, is_captioned) in enumerate(lengths) if is_captioned)
    later = [i for i in free if i > first + 1]
    repeat = int(rng.choice(later)) if later and rng.random() < REPEAT_SHARE else -1
    segments: list[Segment] = []
    cursor, number = 0, 0
    for i, (length, is_captioned) in enumerate(lengths):
        span = Span(cursor / fps, (cursor + length) / fps)
        content: Event | Filler
        if is_captioned:
            role, content, number = "told", captioned[number], number + 1
        elif i == repeat:
            role, content = "repeat", captioned[int(rng.integers(number))]
        else:
            role, content = _distractor(captioned, rng)
        segments.append(Segment(span, role, content, sample_nuisance(rng)))
        cursor += length
    return tuple(segments)


def _distractor(captioned: list[Event], rng: np.random.Generator) -> tuple[str, Event | Filler]:
    """Draw content that no caption describes, and its role."""
    while True:
        draw = rng.random()
        if draw < 0.3:
            return "filler", sample_filler(rng)
        if draw < 0.6:
            role, event = "random", sample_event(rng)
        else:
            near = captioned[int(rng.integers(len(captioned)))]
            role, event = "near", mutate(near, draw_factor(near, rng), rng)
        if not any(_has_all_of(event, other) for other in captioned):
            return role, event


def _line(event: Event, events: tuple[tuple[Span, Event], ...], rng: np.random.Generator) -> Line:
    """Draw a sentence that is true only of this very event.

    The factors that separate the event from its near duplicates are always mentioned. If that is not enough, all are.
    """
    spans = tuple(span for span, other in events if other == event)
    apart = [differing(event, other) for _, other in events]
    must = {names[0] for names in apart if len(names) == 1}
    wording = int(rng.integers(2**31))
    for _ in range(_ATTEMPTS):
        claim = Claim(event, describe(event, rng, must=must).mentioned)
        if spans_of(claim, events) == spans:
            return Line(claim, wording)
    everything = Claim(event, describe(event, rng, mention=tuple(FACTORS)).mentioned)
    assert spans_of(everything, events) == spans
    return Line(everything, wording)


def _paragraph(
    captioned: list[Event], events: tuple[tuple[Span, Event], ...], rng: np.random.Generator
) -> tuple[Line, ...]:
    """Describe all captioned events in order, most sentences with a temporal connective."""
    lines = []
    for i, event in enumerate(captioned):
        position = "first" if i == 0 else "last" if i == len(captioned) - 1 else "middle"
        line = _line(event, events, rng)
        opening = OPENINGS[position][int(rng.integers(len(OPENINGS[position])))]
        if len(captioned) > 1 and rng.random() < OPENING_SHARE[position]:
            line = replace(line, opening=opening)
        lines.append(line)
    return tuple(lines)
