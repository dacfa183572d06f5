"""Search and relevance over time, as the page and the API show them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mova.search.index import Index
from mova.search.like.example import Example, stored_vector
from mova.search.narrow.filter import Filter
from mova.search.narrow.trim import Trim
from mova.search.query import has_passages, query_sentences
from mova.search.second_stage.moment import Reranking
from mova.search.second_stage.reranker import Reranker
from mova.serve.held import HeldIndex
from mova.serve.library.catalog import Catalog, Entry
from mova.serve.problems import Gone
from mova.types import Moment
from mova.video.limits import TIME_LIMIT

if TYPE_CHECKING:
    import torch

KEPT = 64
"""Answers remembered, so that a next page and a heat strip need no new search."""
MOST = 500
"""Moments that one query can page through."""
FIRST = 101
"""Moments that are searched at first, for any size of a page."""
FEW = 25
"""The same for a single sentence: the first moments do not depend on how many are searched."""
BINS = 480
"""Points of a relevance curve that are sent."""

EVERY_VIDEO, AS_FOUND = Filter(), Trim()

_F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Ask:
    """What to search for.

    Attributes:
        text: a sentence or a paragraph; empty with an example alone.
        like: moment of a video that the results resemble.
        words: weight of the text beside an example, from 0 to 1.
        filter: which videos are searched, and which of their moments count.
        by: what the moments share with the example, and nothing else; without a text.
        trim: time around the moments.
        second: asks another model about the first moments.
    """

    text: str
    like: Example | None = None
    words: float = 0.5
    filter: Filter = EVERY_VIDEO
    by: str | None = None
    trim: Trim = AS_FOUND
    second: Reranker | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """The moments found for a query, best first.

    Attributes:
        moments: at most `asked` of them.
        asked: the number of moments that was searched for.
        seconds: time that the search took.
        reranking: what a second model was asked.
    """

    moments: tuple[Moment, ...]
    asked: int
    seconds: float
    reranking: Reranking | None = None

    @property
    def complete(self) -> bool:
        """Whether there are no further moments."""
        return len(self.moments) < self.asked


class Finder:
    """Searches an index, and remembers the last answers. Its methods run in the engine's thread."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._answers: OrderedDict[tuple[Any, ...], Found] = OrderedDict()
        self._lock = threading.Lock()

    def search(
        self, index: HeldIndex, ask: Ask, count: int
    ) -> tuple[list[Moment], bool, float | None, Reranking | None]:
        """Return the best moments, whether there are more, the lowest false-alarm rate of all, and the second stage.

        Args:
            index: from the engine.
            ask: what to search for.
            count: moments to return; at most `MOST`.
        """
        count = min(count, MOST)
        for asked in (_first_step(ask), FIRST, MOST + 1):  # fixed steps, so that pages are parts of one list
            answer = self._answer(index, ask, asked)
            moments = list(answer.moments)
            if len(moments) > count or answer.complete:
                break
        rates = [moment.false_alarm for moment in answer.moments if moment.false_alarm is not None]
        return moments[:count], len(moments) > count, min(rates, default=None), answer.reranking

    def _answer(self, index: HeldIndex, ask: Ask, asked: int) -> Found:
        self._catalog.entries()
        key = (ask, self._catalog.version)
        with self._lock:
            known = self._answers.get(key)
            if known is not None and (known.asked >= asked or known.complete):
                self._answers.move_to_end(key)
                return known
        began = time.perf_counter()
        moments: list[Moment]
        if ask.like is None:
            second = ask.second
            with nullcontext() if second is None else second.isolated(TIME_LIMIT):
                moments = index.search(ask.text, k=asked, filter=ask.filter, trim=ask.trim, rerank=second)
        else:
            moments = index.search_like(
                ask.like, ask.text, k=asked, words=ask.words, by=ask.by, filter=ask.filter, trim=ask.trim
            )
        reranking = getattr(moments, "reranking", None)
        answer = Found(tuple(moments), asked, time.perf_counter() - began, reranking)
        with self._lock:
            self._answers[key] = answer
            while len(self._answers) > KEPT:
                self._answers.popitem(last=False)
        return answer

    def relevance(self, index: HeldIndex, ask: Ask, entry: Entry) -> dict[str, Any]:
        """Return how well each part of a video shows a text, or resembles an example.

        Returns:
            `times` (start of each bin, seconds), `values` (highest cosine in it; for a paragraph, of its best
            sentence), and a scale for them: `low` (mean over all indexed frames) and `high` (best moment anywhere).

        Raises:
            Gone: the video is no longer there.
        """
        stored = index.stored(entry.record.path)
        if stored is None:
            raise Gone(f"{entry.name}: was moved, deleted or changed since it was indexed")
        vectors = self._vectors(index, ask)
        mean = self._catalog.mean()
        if ask.by is not None:
            floor, curves = _in_one_respect(index, ask.by, vectors, stored.frames, mean)
        else:
            floor = vectors @ mean if mean is not None else np.zeros(len(vectors), np.float32)
            curves = vectors @ stored.frames.numpy().T
        lifted = (curves - floor[:, None]).max(axis=0) + floor.mean()
        best = self._answer(index, ask, _first_step(ask)).moments
        times, values = binned(stored.times, lifted, stored.duration)
        high = max([float(values.max()), *(moment.score for moment in best[:1])])
        return {
            "times": [round(float(t), 3) for t in times],
            "values": [round(float(v), 4) for v in values],
            "low": round(float(floor.mean()), 4),
            "high": round(high, 4),
        }

    def _vectors(self, index: HeldIndex, ask: Ask) -> _F32:
        """Return unit vectors of the sentences, or of the example."""
        if ask.like is not None:
            vector = stored_vector(ask.like, index.stored(ask.like.place, vanished=True))
            if vector is None:
                raise Gone("the example was moved, deleted or changed since it was indexed")
            return vector[None]
        vectors: _F32 = index.encoder(ask.text).encode_sentences(query_sentences(ask.text)).unit_vectors()
        return vectors


def _in_one_respect(index: Index, by: str, vectors: _F32, frames: torch.Tensor, mean: _F32 | None) -> tuple[_F32, _F32]:
    """Return the level of no relation (N,), and the cosines (N, T) of examples (N, d) with frames (T, d)."""
    import torch

    center = None if mean is None else torch.from_numpy(mean.astype(np.float32))
    curves: _F32 = index.model.respect(by, center).similarity(torch.from_numpy(vectors), frames).numpy()
    return np.zeros(len(vectors), np.float32), curves


def binned(times: npt.NDArray[np.float64], values: _F32, duration: float) -> tuple[npt.NDArray[np.float64], _F32]:
    """Return frame times and values (T,), or, for more than `BINS` frames, the highest value in each of equal parts.

    Parts without frames take the value of the frame before them.

    Example:
        >>> binned(np.array([0.0, 1.0, 2.0]), np.array([1, 3, 2], np.float32), 3.0)
        (array([0., 1., 2.]), array([1., 3., 2.], dtype=float32))
    """
    if len(times) <= BINS:
        return times, values
    starts = np.linspace(0.0, duration, BINS, endpoint=False)
    rows = np.clip((times / (duration / BINS)).astype(int), 0, BINS - 1)
    highest = np.full(BINS, -np.inf, np.float32)
    np.maximum.at(highest, rows, values.astype(np.float32))
    last = values[0]
    for row in range(BINS):
        if np.isfinite(highest[row]):
            last = highest[row]
        highest[row] = last
    return starts, highest


def _first_step(ask: Ask) -> int:
    """Return the number of moments to search for at first. A second model is asked once for all pages, if it can be."""
    if ask.like is not None or ask.trim != AS_FOUND or has_passages(ask.text):
        return FIRST
    return FEW if ask.second is None else MOST + 1
