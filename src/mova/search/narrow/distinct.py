"""Leave out moments that show nearly the same as a better one: copies, other takes, one shot of a resting camera.

Two moments are compared by the means of their frame vectors, after the mean of all indexed frames is subtracted: what
all frames of an index share would otherwise make any two of them alike, to a degree that depends on the model.

Shape legend: T frames, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from mova.search.narrow.filter import Filter
from mova.search.narrow.selection import Reader
from mova.types import Moment

MOST_ROUNDS = 6
"""How often more moments are looked for, four times as many each time."""

_F64 = npt.NDArray[np.float64]


def first_distinct(
    find: Callable[[int], list[Moment]], store: Reader, count: int, candidates: int, wanted: Filter
) -> list[Moment]:
    """Return the `count` best moments, of which none is near-equal to a better one if a filter says so.

    Args:
        find, store, count, candidates: see `distinct`.
        wanted: the filter.
    """
    if not wanted.dedupe:
        return find(candidates)[:count]
    return distinct(find, store, count, candidates, wanted.threshold)


def distinct(
    find: Callable[[int], list[Moment]], store: Reader, count: int, candidates: int, threshold: float
) -> list[Moment]:
    """Return the `count` best moments of which none is near-equal to a better one.

    Args:
        find: returns that many of the best moments, best first.
        store: the index.
        count: number of moments to return, at most.
        candidates: number of moments that are looked for at first.
        threshold: least cosine of near-equal moments.
    """
    kept: list[Moment] = []
    for _ in range(MOST_ROUNDS):
        found = find(candidates)
        kept = drop_near_equal(store, found, threshold, count)
        if len(kept) >= count or len(found) < candidates:
            break
        candidates *= 4
    return kept


def drop_near_equal(store: Reader, moments: Sequence[Moment], threshold: float, count: int) -> list[Moment]:
    """Return the first `count` moments, in the order given, without those that are near-equal to one before them.

    A moment whose frames another process has just removed is kept.
    """
    records = store.records()
    center = _center(store)
    kept: list[Moment] = []
    signatures = np.empty((0, len(center)))
    for moment in moments:
        record = records.get(moment.video)
        signature = None if record is None else _signature(store, record.content, moment, center)
        if signature is not None:
            if len(signatures) and float((signatures @ signature).max()) >= threshold:
                continue
            signatures = np.concatenate([signatures, signature[None]])
        kept.append(moment)
        if len(kept) == count:
            break
    return kept


def _center(store: Reader) -> _F64:
    """Return the mean vector (d,) of all frames."""
    videos = list({record.content: record for record in store.records().values()}.values())
    frames = [float(store.meta.frames_of(video)) for video in videos]
    center: _F64 = np.average(np.stack([video.mean for video in videos]).astype(np.float64), axis=0, weights=frames)
    return center


def _signature(store: Reader, content: str, moment: Moment, center: _F64) -> _F64 | None:
    """Return a unit vector (d,) of what a moment shows."""
    frames = store.fetch([content]).get(content)
    if frames is None:
        return None
    inside = (frames.times >= moment.start) & (frames.times < moment.end)
    if not inside.any():
        return None
    offset = frames.vectors[inside].mean(axis=0).astype(np.float64) - center
    length = float(np.linalg.norm(offset))
    return offset / length if length > 0 else None
