"""Relation galleries: single moments whose facts are known, and sentences about every value of a factor.

Two moments share a factor if its value is equal; everything else differs at random, style and nuisances included.

Shape legend: N moments, K values of a factor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mova.worlds.batches import SECONDS, label_matrix
from mova.worlds.captions import Claim, describe, holds
from mova.worlds.factors import FACTORS, Event, alternatives, differing, facts, sample_event
from mova.worlds.galleries import RATE, Short, easy_gallery
from mova.worlds.negatives import Line
from mova.worlds.nuisance import sample_nuisance
from mova.worlds.render import render_event

SENTENCES = 12
"""Sentences per value."""
COMPARED = {"colour": "in {} colour", "size": "of {} size", "motion": "with {} motion", "place": "in {} place"}
"""Factors that sentences compare, and how."""


def relation_clips(
    rng: np.random.Generator, count: int, styles: Sequence[str], size: int = 64
) -> tuple[npt.NDArray[np.uint8], dict[str, npt.NDArray[np.int64]]]:
    """Render moments of random events, each with its neighbors, a style and nuisances of its own.

    Returns:
        uint8 (N, 9, size, size), and per factor the index (N,) of the value, -1 where it does not apply.
    """
    stacks = np.empty((count, 9, size, size), dtype=np.uint8)
    events = [sample_event(rng) for _ in range(count)]
    for stack, event in zip(stacks, events, strict=True):
        duration = rng.uniform(*SECONDS)
        times = np.clip(rng.uniform(0, duration) + np.arange(-1, 2) / RATE, 0, duration)
        style = styles[int(rng.integers(len(styles)))]
        frames = render_event(event, sample_nuisance(rng), style, times, duration, size)
        stack[:] = frames.transpose(0, 3, 1, 2).reshape(9, size, size)
    table = label_matrix(events)
    return stacks, {name: table[:, column] for column, name in enumerate(FACTORS)}


def value_sentences(
    rng: np.random.Generator,
    factor: str,
    values: Sequence[str],
    named: Mapping[str, Collection[str]] | None = None,
    count: int = SENTENCES,
) -> list[list[str]]:
    """Write sentences about each value of a factor; sentence i of all values differs in that factor and the wording.

    Args:
        rng: draws events and wordings.
        factor: a name in `FACTORS`.
        values: values of the factor, in order.
        named: for any factors, the only values that sentences may mention.
        count: sentences per value.

    Example:
        >>> value_sentences(np.random.default_rng(0), "place", ["sea", "room"], count=1)
        [['A heart appears on the open sea.'], ['There is one heart inside the house.']]
    """
    allowed = {**(named or {}), factor: values}
    rows: list[list[str]] = [[] for _ in values]
    while len(rows[0]) < count:
        event = sample_event(rng)
        if any(facts(event)[name] not in (None, *options) for name, options in allowed.items() if name != factor):
            continue
        if (events := _with_every_value(event, factor, values)) is None:
            continue
        for row, variant in zip(rows, events, strict=True):
            row.append(describe(variant, rng, mention=(factor,)).text)
    return rows


def _with_every_value(event: Event, factor: str, values: Sequence[str]) -> list[Event] | None:
    """Return the event with each value of a factor, or None if one of them is not possible."""
    if facts(event)[factor] is None:
        return None
    variants = {facts(variant)[factor]: variant for variant in (event, *alternatives(event, factor))}
    return [variants[value] for value in values] if set(values) <= set(variants) else None


def comparison_pairs(
    rng: np.random.Generator, concept: str, count: int, values: Sequence[str] | None = None
) -> list[Short]:
    """Draw pairs of videos that differ in one thing: whether two events share the value of a factor.

    Neither sentence of a caption names the factor; the second says that it is the same, or another, as in "A heart
    appears in the same place." So no sentence alone fits one video of a pair better than the other.

    Args:
        rng: draws events and wordings.
        concept: a factor that a sentence may leave out: "colour", "size", "motion" or "place".
        count: pairs.
        values: the only values of the factor in the two events; default: all.

    Returns:
        2 `count` videos: of each pair first the one with the same value, then the one with another.

    Example:
        >>> same, other = comparison_pairs(np.random.default_rng(4), "place", 1)
        >>> same.sentences[1]
        'There is a little blue star moving in a circle in the same place.'
        >>> other.sentences[1]
        'There is a little blue star moving in a circle in another place.'
    """
    if concept not in COMPARED:
        raise ValueError(f"{concept!r} cannot be left out of a sentence; choose one of {', '.join(COMPARED)}")
    allowed = FACTORS[concept] if values is None else values
    shorts: list[Short] = []
    while len(shorts) < 2 * count:
        shorts += _comparison(rng, concept, allowed) or []
    return shorts


def _comparison(rng: np.random.Generator, concept: str, values: Sequence[str]) -> list[Short] | None:
    """Draw a pair; None if the drawn events do not allow it."""
    [base] = easy_gallery(rng, 1, most=2, least=2)
    first, second = (base.events[i] for i in base.captioned)
    told = tuple(name for name in FACTORS if name != concept)
    if differing(first, second) in ((), (concept,)) or facts(first)[concept] not in values:
        return None
    variants = {facts(event)[concept]: event for event in (second, *alternatives(second, concept))}
    others = [value for value in values if value in variants and value != facts(first)[concept]]
    if facts(first)[concept] not in variants or not others:
        return None
    chosen = (facts(first)[concept], others[int(rng.integers(len(others)))])
    wordings = [int(rng.integers(2**31)) for _ in range(2)]
    pair = []
    for value, word in zip(chosen, ("the same", "another"), strict=True):
        events = list(base.events)
        events[base.captioned[1]] = variants[value]
        lines = []
        for index, wording in zip(base.captioned, wordings, strict=True):
            claim = Claim(events[index], describe(events[index], rng, mention=told).mentioned)
            if any(holds(other, claim) for i, other in enumerate(events) if i != index):
                return None
            lines.append(Line(claim, wording))
        lines[1] = replace(lines[1], ending=COMPARED[concept].format(word))
        pair.append(replace(base, events=tuple(events), lines=tuple(lines), member=word))
    return pair
