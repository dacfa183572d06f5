"""SynViTA triplets on Worlds: a video with its caption, a hard negative, and the video of a simulated generator.

The generator is deliberately unreliable. It receives only the negative caption, invents everything that the caption
does not mention, and follows the caption with a probability that depends on the kind (`FOLLOWS`). If it fails, it shows
the caption of the real video (`original`), or something that neither caption describes (`neither`). The outcome is
known exactly.

As in VideoCon, real videos of the training set lack some concepts that negative captions mention (`ABSENT`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mova.data.negatives.kinds import KINDS, Kind
from mova.types import Span
from mova.worlds.captions import OPENINGS, Claim, holds
from mova.worlds.factors import FACTORS, Event, facts, is_possible, mutate, sample_event
from mova.worlds.galleries import NEAR_SHARE, Short, true_line
from mova.worlds.negatives import Line, Negative, make_negative
from mova.worlds.script import OPENING_SHARE

EVENTS = 3
ABSENT = {
    "shape": ("heart", "crescent"),
    "shape2": ("heart", "crescent"),
    "colour": ("orange", "purple"),
    "colour2": ("orange", "purple"),
    "motion": ("growing", "blinking"),
}
"""Values that never occur in real videos of a biased set, but in negative captions and generated videos."""
FOLLOWS: dict[Kind, float] = {
    "action": 0.45,
    "attribute": 0.7,
    "count": 0.5,
    "flip": 0.2,
    "hallucination": 0.2,
    "object": 0.7,
    "relation": 0.5,
}
"""Probability that the generator follows the negative caption. Fig. 2 of SynViTA has mean differences of
0.15 for attribute and object, 0.09 for action, -0.03 for flip and -0.05 for hallucination; those of count and
relation are only known to be above 0. The order is that of the figure; the probabilities are our choice."""
ORIGINAL_SHARE = 0.6
"""Share of the failures that show the real video's caption."""


@dataclass(frozen=True)
class Triplet:
    """One row of the training set.

    Attributes:
        real: a video; its lines are its caption t^r.
        false: the hard negative t^s.
        synthetic: the generated video.
        outcome: "followed", "original" or "neither".
    """

    real: Short
    false: Negative
    synthetic: Short
    outcome: str

    @property
    def useful(self) -> bool:
        """Whether the synthetic video matches t^s but not t^r, as Eq. 3 assumes."""
        return is_true(self.synthetic.events, self.false.lines) and not is_true(self.synthetic.events, self.real.lines)


def is_true(events: Sequence[Event], lines: Sequence[Line]) -> bool:
    """Return whether a caption is true of a video: its sentences match different events, in order."""
    remaining = iter(events)
    return all(any(holds(event, line.claim) for event in remaining) for line in lines)


def sample_triplets(rng: np.random.Generator, count: int, biased: bool) -> list[Triplet]:
    """Draw triplets of all kinds in turn; `biased` triplets have real videos without `ABSENT` concepts."""
    triplets = []
    for i in range(count):
        real, false = sample_pair(rng, KINDS[i % len(KINDS)], biased)
        synthetic, outcome = generate(real.lines, false, rng)
        triplets.append(Triplet(real, false, synthetic, outcome))
    return triplets


def sample_pair(rng: np.random.Generator, kind: Kind, biased: bool) -> tuple[Short, Negative]:
    """Draw a real video and a hard negative of its caption."""
    while True:
        real = sample_video(rng, biased)
        false = false_caption(real, kind, rng)
        if false is not None:
            return real, false


def false_caption(real: Short, kind: Kind, rng: np.random.Generator) -> Negative | None:
    """Draw a hard negative of a video's caption; None if it has none of this kind."""
    timed = [(Span(float(i), i + 1.0), event) for i, event in enumerate(real.events)]
    return make_negative(real.lines, kind, rng, timed)


def sample_video(rng: np.random.Generator, biased: bool) -> Short:
    """Draw a video of `EVENTS` events, one or two of them captioned; others are often near duplicates of those."""

    def draw(make: Callable[[], Event]) -> Event:
        while True:
            event = make()
            if event not in events and (not biased or is_common(event)):
                return event

    def near() -> Event:
        base = events[int(rng.integers(len(captioned)))]
        applicable = [name for name, value in facts(base).items() if value is not None]
        return mutate(base, applicable[int(rng.integers(len(applicable)))], rng)

    captioned = sorted(rng.permutation(EVENTS)[: int(rng.integers(1, 3))].tolist())
    events: list[Event] = []
    for _ in captioned:
        events.append(draw(lambda: sample_event(rng)))
    for _ in range(EVENTS - len(captioned)):
        events.append(draw(near if rng.random() < NEAR_SHARE else lambda: sample_event(rng)))
    row = dict(zip([*captioned, *(i for i in range(EVENTS) if i not in captioned)], events, strict=True))
    ordered = tuple(row[i] for i in range(EVENTS))
    return Short(ordered, tuple(captioned), _caption([row[i] for i in captioned], ordered, rng))


def new_caption(video: Short, rng: np.random.Generator) -> Short:
    """Return the same video with another caption, possibly of other events."""
    captioned = tuple(sorted(rng.permutation(EVENTS)[: int(rng.integers(1, 3))].tolist()))
    return Short(video.events, captioned, _caption([video.events[i] for i in captioned], video.events, rng))


def is_common(event: Event) -> bool:
    """Return whether an event has no `ABSENT` value."""
    values = facts(event)
    return not any(values[name] in absent for name, absent in ABSENT.items())


def faithful_video(real: Short, false: Negative) -> Short:
    """Return the video that a negative describes: captioned events as in the negative, all others unchanged.

    Raises:
        ValueError: a hallucination, which describes more events.
    """
    changed = dict(zip(real.captioned, (line.claim.event for line in false.lines), strict=True))
    events = tuple(changed.get(i, event) for i, event in enumerate(real.events))
    return Short(events, real.captioned, false.lines)


def generate(caption: Sequence[Line], false: Negative, rng: np.random.Generator) -> tuple[Short, str]:
    """Generate a video from a negative caption; return it and the outcome.

    Args:
        caption: caption of the real video, for failures.
        false: the requested caption.
        rng: draws success, kind of failure, and everything that captions leave open.
    """
    if rng.random() < FOLLOWS[false.kind]:
        return _film(lambda: false.lines, lambda events: is_true(events, false.lines), rng), "followed"
    if rng.random() < ORIGINAL_SHARE:
        return _film(lambda: caption, lambda e: is_true(e, caption) and not is_true(e, false.lines), rng), "original"

    def neither(events: Sequence[Event]) -> bool:
        return not is_true(events, false.lines) and not is_true(events, caption)

    return _film(lambda: _garbled(false.lines, rng), neither, rng), "neither"


def _garbled(lines: Sequence[Line], rng: np.random.Generator) -> list[Line]:
    """Change one factor of one sentence."""
    at = int(rng.integers(len(lines)))
    claim = lines[at].claim
    factor = claim.mentioned[int(rng.integers(len(claim.mentioned)))]
    changed = list(lines)
    changed[at] = replace(lines[at], claim=Claim(mutate(claim.event, factor, rng), claim.mentioned))
    return changed


def _film(
    script: Callable[[], Sequence[Line]], accept: Callable[[Sequence[Event]], bool], rng: np.random.Generator
) -> Short:
    """Draw videos of the sentences of a script, with invented events in between, until one is accepted."""
    while True:
        lines = script()
        captioned = tuple(sorted(rng.permutation(EVENTS)[: len(lines)].tolist()))
        scripted = dict(zip(captioned, (_imagine(line.claim, rng) for line in lines), strict=True))
        events = tuple(scripted.get(i) or sample_event(rng) for i in range(EVENTS))
        if accept(events):
            return Short(events, captioned, tuple(lines))


def _imagine(claim: Claim, rng: np.random.Generator) -> Event:
    """Draw an event of which a claim is true, with random values for factors that it does not mention."""
    while True:
        claimed = {name: value for name, value in facts(claim.event).items() if name in claim.mentioned}
        draw = {name: values[int(rng.integers(len(values)))] for name, values in FACTORS.items()} | claimed
        second = (draw["relation"], draw["shape2"], draw["colour2"]) if "relation" in claimed else None
        plain = {name: draw[name] for name in ("shape", "colour", "size", "motion", "place")}
        event = Event(**plain, count=int(draw["count"]), relation=second)
        if is_possible(event):
            return event


def _caption(captioned: Sequence[Event], events: Sequence[Event], rng: np.random.Generator) -> tuple[Line, ...]:
    """Draw a sentence per captioned event; two sentences usually have connectives."""
    lines = [true_line(event, events, rng) for event in captioned]
    for i, position in enumerate(("first", "last") if len(lines) > 1 else ()):
        if rng.random() < OPENING_SHARE[position]:
            openings = OPENINGS[position]
            lines[i] = replace(lines[i], opening=openings[int(rng.integers(len(openings)))])
    return tuple(lines)
