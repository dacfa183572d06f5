"""Content of Worlds videos: the factors of an event, sampling, and how two events may differ.

In an event one kind of object (one to three copies) does one thing in one place for a few seconds, sometimes next to a
second object. Combinations that cannot be seen are never sampled: a circle that spins, an object that moves along the
axis of its relation, a second object that looks like the first.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "crescent")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "black", "white")
SIZES = ("small", "large")
MOTIONS = (
    "left_to_right",
    "right_to_left",
    "rising",
    "falling",
    "bouncing",
    "spinning",
    "circling",
    "growing",
    "shrinking",
    "blinking",
)
PLACES = ("beach", "night", "forest", "snow", "desert", "sea", "city", "room")
COUNTS = ("1", "2", "3")
RELATIONS = ("above", "below", "left_of", "right_of")

FACTORS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": COLOURS,
    "size": SIZES,
    "motion": MOTIONS,
    "place": PLACES,
    "count": COUNTS,
    "relation": RELATIONS,
    "shape2": SHAPES,
    "colour2": COLOURS,
}
"""Every factor and its values; the last three apply only to events with a second object."""

OTHER_SHAPES = ("arrow", "hourglass", "corner")
"""Shapes that no caption names; they appear in fillers."""

RELATION_SHARE = 0.4
"""Share of events with a second object."""

_ROUND = ("circle", "ring")
_ACROSS = ("left_to_right", "right_to_left")
_UPRIGHT = ("rising", "falling", "bouncing")
_VERTICAL = ("above", "below")


@dataclass(frozen=True)
class Event:
    """One thing that happens.

    Attributes:
        shape, colour, size, motion, place: values of `FACTORS`.
        count: how many equal objects, 1 to 3 (1 or 2 beside a second object).
        relation: None, or (relation, shape2, colour2): the position of the objects relative to a second object, which
            does not move and differs in shape and colour.
    """

    shape: str
    colour: str
    size: str
    motion: str
    place: str
    count: int = 1
    relation: tuple[str, str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all fields by name; `relation` as a list or null."""
        row = {field.name: getattr(self, field.name) for field in fields(self)}
        row["relation"] = None if self.relation is None else list(self.relation)
        return row

    @staticmethod
    def from_json(row: dict[str, Any]) -> Event:
        """Return the event that `to_json` wrote."""
        relation = row["relation"]
        return Event(**{**row, "relation": None if relation is None else tuple(relation)})


def facts(event: Event) -> dict[str, str | None]:
    """Return the value of every factor, None where it does not apply."""
    relation, shape2, colour2 = event.relation or (None, None, None)
    return {
        "shape": event.shape,
        "colour": event.colour,
        "size": event.size,
        "motion": event.motion,
        "place": event.place,
        "count": str(event.count),
        "relation": relation,
        "shape2": shape2,
        "colour2": colour2,
    }


def labels(event: Event) -> dict[str, int]:
    """Return the index of every factor's value in `FACTORS`, -1 where it does not apply."""
    return {name: -1 if value is None else FACTORS[name].index(value) for name, value in facts(event).items()}


def is_possible(event: Event) -> bool:
    """Return whether every factor of the event can be seen (see the module's description).

    Example:
        >>> is_possible(Event("circle", "red", "small", "spinning", "room"))
        False
    """
    if event.motion == "spinning" and event.shape in _ROUND:
        return False
    if event.relation is None:
        return True
    relation, shape2, colour2 = event.relation
    along = _UPRIGHT if relation in _VERTICAL else _ACROSS
    if event.motion in along or event.motion == "circling" or event.count > 2:
        return False
    return shape2 != event.shape and colour2 != event.colour


def sample_event(rng: np.random.Generator) -> Event:
    """Draw a possible event; each factor is close to uniform, and a share `RELATION_SHARE` has a second object."""
    related = rng.random() < RELATION_SHARE
    while True:
        draw = {name: values[int(rng.integers(len(values)))] for name, values in FACTORS.items()}
        event = _event(draw if related else {**draw, "relation": None})
        if is_possible(event):
            return event


def alternatives(event: Event, factor: str) -> list[Event]:
    """Return all possible events that differ from this one in exactly that factor.

    Raises:
        ValueError: unknown factor, or it does not apply to the event (the relation of a single object).
    """
    current = facts(event)
    if current.get(factor) is None:
        raise ValueError(f"factor {factor!r} does not apply to {event}")
    candidates = [_event({**current, factor: value}) for value in FACTORS[factor] if value != current[factor]]
    return [candidate for candidate in candidates if is_possible(candidate)]


def mutate(event: Event, factor: str, rng: np.random.Generator) -> Event:
    """Draw a possible event that differs from this one in exactly that factor.

    Raises:
        ValueError: see `alternatives`.

    Example:
        >>> event = Event("star", "red", "small", "rising", "room")
        >>> differing(event, mutate(event, "colour", np.random.default_rng(0)))
        ('colour',)
    """
    possible = alternatives(event, factor)
    return possible[int(rng.integers(len(possible)))]


def draw_factor(event: Event, rng: np.random.Generator) -> str:
    """Draw one of the factors that apply to an event, all with the same probability."""
    names = [name for name, value in facts(event).items() if value is not None]
    return names[int(rng.integers(len(names)))]


def differing(event: Event, other: Event) -> tuple[str, ...]:
    """Return the names of the factors in which two events differ."""
    second = facts(other)
    return tuple(name for name, value in facts(event).items() if value != second[name])


def _event(values: dict[str, Any]) -> Event:
    relation = None
    if values["relation"] is not None:
        relation = (values["relation"], values["shape2"], values["colour2"])
    plain = {name: values[name] for name in ("shape", "colour", "size", "motion", "place")}
    return Event(**plain, count=int(values["count"]), relation=relation)


@dataclass(frozen=True)
class Filler:
    """Scenery that no caption describes: empty, or with an object whose shape is not in `FACTORS`."""

    place: str
    stranger: Event | None

    def to_json(self) -> dict[str, Any]:
        """Return both fields by name."""
        return {"place": self.place, "stranger": None if self.stranger is None else self.stranger.to_json()}


def sample_filler(rng: np.random.Generator) -> Filler:
    """Draw a filler; half of all fillers are empty."""
    event = sample_event(rng)
    if rng.random() < 0.5:
        return Filler(event.place, None)
    shape = OTHER_SHAPES[int(rng.integers(len(OTHER_SHAPES)))]
    return Filler(event.place, replace(event, shape=shape, relation=None))
