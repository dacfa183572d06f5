"""Relation galleries: single moments whose facts are known, and sentences about every value of a factor.

Two moments share a factor if its value is equal; everything else differs at random, style and nuisances included.

Shape legend: N moments, K values of a factor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mova.worlds.batches import SECONDS, label_matrix
from mova.worlds.captions import describe
from mova.worlds.factors import FACTORS, Event, alternatives, facts, sample_event
from mova.worlds.galleries import RATE
from mova.worlds.nuisance import sample_nuisance
from mova.worlds.render import render_event

SENTENCES = 12
"""Sentences per value."""


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
