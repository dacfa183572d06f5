"""Triplets of SynViTA on Worlds: a video and its caption, a hard negative, and what a generator made of that.

The generator is unreliable on purpose. It is given the negative caption alone, invents whatever that does not say, and
follows it with a probability that depends on the kind (`FOLLOWS`). Where it fails it shows the caption of the real
video (`original`), or something of which neither caption is true (`neither`). What came of it is known exactly.

As in VideoCon, real videos of the training set lack some concepts that negative captions name: `ABSENT`.

Shape legend: E events a video.
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
"""Values that no real video of a biased set shows; negative captions and the generator know them."""
FOLLOWS: dict[Kind, float] = {
    "action": 0.45,
    "attribute": 0.7,
    "count": 0.5,
    "flip": 0.2,
    "hallucination": 0.2,
    "object": 0.7,
    "relation": 0.5,
}
"""How often the generator shows what the negative caption says. Fig. 2 (papers/synvita.txt) has mean differences of
0.15 for attribute and object, 0.09 for action, -0.03 for flip and -0.05 for hallucination; of count and relation it is
only known that they are above 0. The order is the figure's; the probabilities are ours."""
ORIGINAL_SHARE = 0.6
"""Of the failures, those that show the real video's caption."""


@dataclass(frozen=True)
class Triplet:
    """What one row of the training set holds.

    Attributes:
        real: a video; its lines are its caption t^r.
        false: the hard negative t^s.
        synthetic: what the generator showed for it.
        outcome: "followed", "original" or "neither": what the generator did.
    """

    real: Short
    false: Negative
    synthetic: Short
    outcome: str

    @property
    def useful(self) -> bool:
        """Whether the synthetic video really shows t^s and does not show t^r: what Eq. 3 takes for granted."""
        return tells(self.synthetic.events, self.false.lines) and not tells(self.synthetic.events, self.real.lines)


def tells(events: Sequence[Event], lines: Sequence[Line]) -> bool:
    """Whether a caption is true of a video: every sentence of an event of its own, in this order."""
    found = iter(events)
    return all(any(holds(event, line.claim) for event in found) for line in lines)


def sample_triplets(rng: np.random.Generator, count: int, biased: bool) -> list[Triplet]:
    """Triplets of all kinds in turn; `biased` ones have real videos without `ABSENT` concepts."""
    found = []
    for i in range(count):
        real, false = sample_pair(rng, KINDS[i % len(KINDS)], biased)
        synthetic, outcome = generate(real.lines, false, rng)
        found.append(Triplet(real, false, synthetic, outcome))
    return found


def sample_pair(rng: np.random.Generator, kind: Kind, biased: bool) -> tuple[Short, Negative]:
    """A real video and a hard negative of its caption."""
    while True:
        real = sample_video(rng, biased)
        false = false_caption(real, kind, rng)
        if false is not None:
            return real, false


def false_caption(real: Short, kind: Kind, rng: np.random.Generator) -> Negative | None:
    """A hard negative of a video's caption, None where it has none of that kind."""
    shown = [(Span(float(i), i + 1.0), event) for i, event in enumerate(real.events)]
    return make_negative(real.lines, kind, rng, shown)


def sample_video(rng: np.random.Generator, biased: bool) -> Short:
    """A video of `EVENTS` events, of which one or two are told; others are often near duplicates of told ones."""

    def draw(make: Callable[[], Event]) -> Event:
        while True:
            event = make()
            if event not in events and (not biased or is_common(event)):
                return event

    def near() -> Event:
        base = events[int(rng.integers(len(told)))]
        applicable = [name for name, value in facts(base).items() if value is not None]
        return mutate(base, applicable[int(rng.integers(len(applicable)))], rng)

    told = sorted(rng.permutation(EVENTS)[: int(rng.integers(1, 3))].tolist())
    events: list[Event] = []
    for _ in told:
        events.append(draw(lambda: sample_event(rng)))
    for _ in range(EVENTS - len(told)):
        events.append(draw(near if rng.random() < NEAR_SHARE else lambda: sample_event(rng)))
    row = dict(zip([*told, *(i for i in range(EVENTS) if i not in told)], events, strict=True))
    shown = tuple(row[i] for i in range(EVENTS))
    return Short(shown, tuple(told), _caption([row[i] for i in told], shown, rng))


def tell_again(video: Short, rng: np.random.Generator) -> Short:
    """The same video with another caption, which may tell other events."""
    told = tuple(sorted(rng.permutation(EVENTS)[: int(rng.integers(1, 3))].tolist()))
    return Short(video.events, told, _caption([video.events[i] for i in told], video.events, rng))


def is_common(event: Event) -> bool:
    """Whether an event holds no `ABSENT` value."""
    values = facts(event)
    return not any(values[name] in absent for name, absent in ABSENT.items())


def shown_faithfully(real: Short, false: Negative) -> Short:
    """The video of which a negative is the caption: the told events as it says, all others as they were.

    Raises:
        ValueError: a hallucination, which tells of more events.
    """
    changed = dict(zip(real.captioned, (line.claim.event for line in false.lines), strict=True))
    events = tuple(changed.get(i, event) for i, event in enumerate(real.events))
    return Short(events, real.captioned, false.lines)


def generate(caption: Sequence[Line], false: Negative, rng: np.random.Generator) -> tuple[Short, str]:
    """The video that the generator makes of a negative caption, and what it did.

    Args:
        caption: of the real video: what it falls back on.
        false: what it was asked for.
        rng: draws success, kind of failure, and all that captions leave open.
    """
    if rng.random() < FOLLOWS[false.kind]:
        return _film(lambda: false.lines, lambda events: tells(events, false.lines), rng), "followed"
    if rng.random() < ORIGINAL_SHARE:
        return _film(lambda: caption, lambda e: tells(e, caption) and not tells(e, false.lines), rng), "original"

    def neither(events: Sequence[Event]) -> bool:
        return not tells(events, false.lines) and not tells(events, caption)

    return _film(lambda: _garbled(false.lines, rng), neither, rng), "neither"


def _garbled(lines: Sequence[Line], rng: np.random.Generator) -> list[Line]:
    """Sentences of which one says something else."""
    at = int(rng.integers(len(lines)))
    claim = lines[at].claim
    factor = claim.mentioned[int(rng.integers(len(claim.mentioned)))]
    changed = list(lines)
    changed[at] = replace(lines[at], claim=Claim(mutate(claim.event, factor, rng), claim.mentioned))
    return changed


def _film(
    script: Callable[[], Sequence[Line]], accept: Callable[[Sequence[Event]], bool], rng: np.random.Generator
) -> Short:
    """A video that tells the sentences of a script, drawn until accepted, with invented events in the other places."""
    while True:
        lines = script()
        told = tuple(sorted(rng.permutation(EVENTS)[: len(lines)].tolist()))
        wanted = dict(zip(told, (_imagine(line.claim, rng) for line in lines), strict=True))
        events = tuple(wanted.get(i) or sample_event(rng) for i in range(EVENTS))
        if accept(events):
            return Short(events, told, tuple(lines))


def _imagine(claim: Claim, rng: np.random.Generator) -> Event:
    """An event of which a claim is true; what it does not mention is invented."""
    while True:
        given = {name: value for name, value in facts(claim.event).items() if name in claim.mentioned}
        draw = {name: values[int(rng.integers(len(values)))] for name, values in FACTORS.items()} | given
        second = (draw["relation"], draw["shape2"], draw["colour2"]) if "relation" in given else None
        plain = {name: draw[name] for name in ("shape", "colour", "size", "motion", "place")}
        event = Event(**plain, count=int(draw["count"]), relation=second)
        if is_possible(event):
            return event


def _caption(told: Sequence[Event], shown: Sequence[Event], rng: np.random.Generator) -> tuple[Line, ...]:
    """A sentence for each told event; two are connected more often than not."""
    lines = [true_line(event, shown, rng) for event in told]
    for i, position in enumerate(("first", "last") if len(lines) > 1 else ()):
        if rng.random() < OPENING_SHARE[position]:
            openings = OPENINGS[position]
            lines[i] = replace(lines[i], opening=openings[int(rng.integers(len(openings)))])
    return tuple(lines)
