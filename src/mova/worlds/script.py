"""Scripts of whole Worlds videos: what happens when, what is told of it, and what is false.

A video is a row of stretches without gaps. Told events are scattered among stretches that no caption tells: near
duplicates of told events, other events, fillers, and now and then a told event once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mova.errors import UsageError
from mova.types import Span
from mova.worlds.captions import OPENINGS, Claim, tell
from mova.worlds.factors import (
    FACTORS,
    Event,
    Filler,
    differing,
    facts,
    mutate,
    sample_event,
    sample_filler,
)
from mova.worlds.negatives import KINDS, Line, Negative, negative, paragraph_text, spans_of
from mova.worlds.nuisance import Nuisance, sample_nuisance
from mova.worlds.render import STYLES

SECONDS = (10.0, 1200.0)
"""Shortest and longest video."""
EVENT_SECONDS = (2.5, 6.0)
DISTRACTOR_SECONDS = (2.5, 10.0)
MOST_TOLD = 12
REPEAT_SHARE = 0.3
"""Share of videos that show a told event a second time."""
OPENING_SHARE = {"first": 0.6, "middle": 0.85, "last": 1.0}
PARAGRAPHS = 2
_ATTEMPTS = 20


@dataclass(frozen=True)
class Stretch:
    """A part of a video.

    Attributes:
        span: seconds of the video.
        role: "told", "repeat" (of a told event), "near" (one factor away from a told event), "random" or "filler".
        shows: what happens.
        nuisance: what varies untold.
    """

    span: Span
    role: str
    shows: Event | Filler
    nuisance: Nuisance


@dataclass(frozen=True)
class World:
    """A video before it is rendered.

    Attributes:
        seed, index: all that it depends on, with the four below.
        style: of `worlds_render.STYLES`.
        duration: seconds.
        fps: frames per second of the file; stretches begin and end on frames.
        stretches: cover the video in order, without gaps.
        paragraphs: the same told events in several wordings, in order of time.
        singles: one more sentence about each told event, without a connective.
        negatives: false forms of the first paragraph.
    """

    seed: int
    index: int
    style: str
    duration: float
    fps: float
    stretches: tuple[Stretch, ...]
    paragraphs: tuple[tuple[Line, ...], ...]
    singles: tuple[Line, ...]
    negatives: tuple[Negative, ...]

    @property
    def id(self) -> str:
        """Name of the video."""
        return f"world-{self.style}-{self.seed}-{self.index:05d}"

    @cached_property
    def shown(self) -> tuple[tuple[Span, Event], ...]:
        """Every event with its span, told or not, in order."""
        return tuple((s.span, s.shows) for s in self.stretches if isinstance(s.shows, Event))

    @property
    def paragraph(self) -> str:
        """The first paragraph's text."""
        return paragraph_text(self.paragraphs[0])

    @property
    def told(self) -> list[tuple[str, tuple[Span, ...]]]:
        """Each sentence of the first paragraph with all spans in which it is true."""
        return [(line.text, spans_of(line.claim, self.shown)) for line in self.paragraphs[0]]


def sample_world(seed: int, seconds: float, style: str, *, index: int = 0, fps: float = 8.0) -> World:
    """Video `index` of a seed; it does not depend on how many others are drawn.

    Args:
        seed: not negative.
        seconds: length, within `SECONDS`; rounded to whole frames.
        style: one of `worlds_render.STYLES`.
        index: not negative.
        fps: frames per second, 1 to 60.

    Raises:
        UsageError: an argument out of its range.
    """
    check_request(seed, seconds, style, index, fps)
    rng = np.random.default_rng([seed, index])
    frames = round(seconds * fps)
    lengths = _lengths(frames, fps, rng)
    told = _distinct_events(sum(is_told for _, is_told in lengths), rng)
    stretches = _stretches(lengths, told, fps, rng)
    shown = tuple((s.span, s.shows) for s in stretches if isinstance(s.shows, Event))
    paragraphs = tuple(_paragraph(told, shown, rng) for _ in range(PARAGRAPHS))
    singles = tuple(_line(event, shown, rng) for event in told)
    drawn = (negative(paragraphs[0], kind, rng, shown) for kind in KINDS)
    negatives = tuple(false for false in drawn if false is not None)
    return World(seed, index, style, frames / fps, fps, stretches, paragraphs, singles, negatives)


def check_request(seed: int, seconds: float, style: str, index: int, fps: float) -> None:
    """Raise a UsageError where `sample_world` could not do what is asked."""
    if style not in STYLES:
        raise UsageError(f"no style {style!r}; choose one of {', '.join(STYLES)}")
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise UsageError(f"a Worlds video lasts {SECONDS[0]:.0f} to {SECONDS[1]:.0f} seconds, not {seconds}")
    if seed < 0 or index < 0:
        raise UsageError(f"seed and index must be 0 or more, not {seed} and {index}")
    if not 1 <= fps <= 60:
        raise UsageError(f"fps must lie between 1 and 60, not {fps}")


def _lengths(frames: int, fps: float, rng: np.random.Generator) -> list[tuple[int, bool]]:
    """Lengths of all stretches in frames, and whether each is told; at least one is not."""
    seconds = frames / fps
    shortest, longest = (int(np.ceil(bound * fps)) for bound in EVENT_SECONDS)
    least = int(np.ceil(DISTRACTOR_SECONDS[0] * fps))
    most = int(min(MOST_TOLD, 2 + seconds / 12, 4 + seconds / 60))
    told = [int(rng.integers(shortest, longest + 1)) for _ in range(int(rng.integers(min(2, most), most + 1)))]
    while frames - sum(told) < least:
        told = [max(shortest, length - 1) for length in told]
    rest = frames - sum(told)
    gaps = np.floor(rng.dirichlet(np.full(len(told) + 1, 0.8)) * rest).astype(int)
    gaps[gaps < least] = 0
    gaps[int(rng.integers(len(gaps))) if gaps.max() == 0 else int(gaps.argmax())] += rest - gaps.sum()
    result: list[tuple[int, bool]] = []
    for i, gap in enumerate(gaps.tolist()):
        result += [(length, False) for length in _cut(gap, fps, rng)]
        if i < len(told):
            result.append((told[i], True))
    return result


def _cut(gap: int, fps: float, rng: np.random.Generator) -> list[int]:
    """Cut a gap, in frames, into distractors none of which is too short."""
    least, most = (int(np.ceil(bound * fps)) for bound in DISTRACTOR_SECONDS)
    parts = []
    while gap >= 2 * least:
        parts.append(int(rng.integers(least, min(most, gap - least) + 1)))
        gap -= parts[-1]
    return [*parts, gap] if gap else parts


def _distinct_events(count: int, rng: np.random.Generator) -> list[Event]:
    """Events of which no two are equal."""
    events: list[Event] = []
    while len(events) < count:
        event = sample_event(rng)
        if event not in events:
            events.append(event)
    return events


def _stretches(
    lengths: list[tuple[int, bool]], told: list[Event], fps: float, rng: np.random.Generator
) -> tuple[Stretch, ...]:
    """Decide what each stretch shows."""
    free = [i for i, (_, is_told) in enumerate(lengths) if not is_told]
    first = next(i for i, (_, is_told) in enumerate(lengths) if is_told)
    later = [i for i in free if i > first + 1]
    repeat = int(rng.choice(later)) if later and rng.random() < REPEAT_SHARE else -1
    stretches: list[Stretch] = []
    cursor, number = 0, 0
    for i, (length, is_told) in enumerate(lengths):
        span = Span(cursor / fps, (cursor + length) / fps)
        shows: Event | Filler
        if is_told:
            role, shows, number = "told", told[number], number + 1
        elif i == repeat:
            role, shows = "repeat", told[int(rng.integers(number))]
        else:
            role, shows = _distractor(told, rng)
        stretches.append(Stretch(span, role, shows, sample_nuisance(rng)))
        cursor += length
    return tuple(stretches)


def _distractor(told: list[Event], rng: np.random.Generator) -> tuple[str, Event | Filler]:
    """Something that no caption tells, and its role."""
    while True:
        draw = rng.random()
        if draw < 0.3:
            return "filler", sample_filler(rng)
        if draw < 0.6:
            role, event = "random", sample_event(rng)
        else:
            near = told[int(rng.integers(len(told)))]
            names = [name for name, value in facts(near).items() if value is not None]
            role, event = "near", mutate(near, names[int(rng.integers(len(names)))], rng)
        if event not in told:
            return role, event


def _line(event: Event, shown: tuple[tuple[Span, Event], ...], rng: np.random.Generator) -> Line:
    """A sentence that is true only where this very event is shown.

    What tells the event from its near duplicates is always mentioned; should that not do, everything is.
    """
    own = tuple(span for span, other in shown if other == event)
    apart = [differing(event, other) for _, other in shown]
    must = {names[0] for names in apart if len(names) == 1}
    wording = int(rng.integers(2**31))
    for _ in range(_ATTEMPTS):
        claim = Claim(event, tell(event, rng, must=must).mentioned)
        if spans_of(claim, shown) == own:
            return Line(claim, wording)
    everything = Claim(event, tell(event, rng, mention=tuple(FACTORS)).mentioned)
    assert spans_of(everything, shown) == own
    return Line(everything, wording)


def _paragraph(told: list[Event], shown: tuple[tuple[Span, Event], ...], rng: np.random.Generator) -> tuple[Line, ...]:
    """All told events in order, most sentences with a temporal connective."""
    lines = []
    for i, event in enumerate(told):
        position = "first" if i == 0 else "last" if i == len(told) - 1 else "middle"
        line = _line(event, shown, rng)
        opening = OPENINGS[position][int(rng.integers(len(OPENINGS[position])))]
        if len(told) > 1 and rng.random() < OPENING_SHARE[position]:
            line = replace(line, opening=opening)
        lines.append(line)
    return tuple(lines)
