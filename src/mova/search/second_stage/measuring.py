"""Measure what another model adds to an index, with queries whose moments are known, and choose its weight.

The weight is chosen by the mean reciprocal rank of the first correct moment. Its gain is measured on queries of videos
that it was not chosen on (five folds of videos). A gain within two standard errors of zero is none: the weight is 0.

Shape legend: Q queries, n moments of a query, W weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mova.errors import DataError
from mova.search.second_stage.mixing import EQUAL, Mixing, mixed_scores
from mova.search.second_stage.reranker import Reranker
from mova.types import Moment

if TYPE_CHECKING:
    from mova.data.manifest import Row
    from mova.search.index import Index

WEIGHTS = tuple(round(step / 10, 1) for step in range(11))
FOLDS = 5
OVERLAP = 0.5
"""Least intersection over union with the known moment of a correct one."""

_F64 = npt.NDArray[np.float64]


class KnownQuery(NamedTuple):
    """A sentence, and every moment that it is known to describe.

    Attributes:
        text: the sentence.
        moments: (path, start, end); a moment without times is the whole file.
        group: the video it is from; videos are divided into folds.

    >>> KnownQuery("A dog runs.", (("film.mp4", 1.0, 3.0),), "film.mp4").text
    'A dog runs.'
    """

    text: str
    moments: tuple[tuple[str, float | None, float | None], ...]
    group: str


class ScoredQuery(NamedTuple):
    """The moments of one query that both stages scored, in the order of the first.

    Attributes:
        first, second: scores (n,).
        correct: (n,).
        group: see `KnownQuery`.

    >>> ScoredQuery(np.array([0.5, 0.4]), np.array([-1.0, 2.0]), np.array([False, True]), "film.mp4").correct.sum()
    np.int64(1)
    """

    first: _F64
    second: _F64
    correct: npt.NDArray[np.bool_]
    group: str


def known_queries(rows: Sequence[Row], folder: Path) -> list[KnownQuery]:
    """Return the sentences of a manifest as queries. A sentence of several videos is one query with several moments.

    Args:
        rows: of the manifest; rows of several clips are passed over.
        folder: of the manifest.

    >>> import mova
    >>> queries = known_queries(mova.read_manifest("films/manifest.jsonl"), Path("films").resolve())
    >>> queries[0].moments[0][1:]
    (2.625, 6.25)
    """
    moments: dict[str, dict[tuple[str, float | None, float | None], None]] = {}
    groups: dict[str, str] = {}
    for row in rows:
        if row.parts:
            continue
        path, begin = str((folder / row.video).resolve()), row.start or 0.0
        for caption in row.captions:
            for sentence in caption.sentences:
                text = sentence.text.strip()
                start, end = sentence.start, sentence.end
                if start is not None and end is not None:
                    start, end = begin + start, begin + end
                elif row.start is not None or row.end is not None:
                    start, end = begin, row.end
                moments.setdefault(text, {})[path, start, end] = None
                groups.setdefault(text, path)
    return [KnownQuery(text, tuple(found), groups[text]) for text, found in moments.items()]


def score_queries(
    index: Index,
    queries: Sequence[KnownQuery],
    reranker: Reranker,
    overlap: float = OVERLAP,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[ScoredQuery], float]:
    """Search every query, and ask the second model about its first moments.

    Args:
        index: the index, which has the videos of the queries.
        queries: from `known_queries`.
        reranker: the second stage; its weight does not matter.
        overlap: see `OVERLAP`.
        progress: called after every query with the number done, and of all.

    Returns:
        One row per query with moments, and the seconds that the second model took per moment.

    >>> import mova
    >>> index = mova.Index("films.mova", "mova-worlds-tiny")
    >>> len(index.add("films").indexed)
    2
    >>> queries = known_queries(mova.read_manifest("films/manifest.jsonl"), Path("films").resolve())[:2]
    >>> scored, seconds = score_queries(index, queries, Reranker("mova-worlds-tiny", top=3))
    >>> [len(query.correct) for query in scored]
    [3, 3]
    """
    contents = {record.path: record.content for record in index.videos()}
    scored, seconds, clips = list[ScoredQuery](), 0.0, 0
    for number, query in enumerate(queries, start=1):
        found = list(index.search(query.text, reranker.top))
        began = time.perf_counter()
        scores, _ = reranker.ask(found, [query.text])
        seconds, clips = seconds + time.perf_counter() - began, clips + len(scores)
        kept = sorted(scores)
        if kept:
            correct = np.array([_is_correct(found[i], query, contents, overlap) for i in kept])
            first = np.array([found[i].score for i in kept])
            scored.append(ScoredQuery(first, np.array([scores[i] for i in kept]), correct, query.group))
        if progress is not None:
            progress(number, len(queries))
    return scored, seconds / max(clips, 1)


def _is_correct(moment: Moment, query: KnownQuery, contents: Mapping[str, str], overlap: float) -> bool:
    """Return whether a moment is one of those that a query is known to describe, under any path of their file."""
    for path, start, end in query.moments:
        if contents.get(path, path) != contents.get(moment.video, moment.video):
            continue
        if start is None or end is None:
            return True
        shared = min(end, moment.end) - max(start, moment.start)
        if shared / (max(end, moment.end) - min(start, moment.start)) >= overlap:
            return True
    return False


@dataclass(frozen=True)
class Measured:
    """What a second stage adds.

    Attributes:
        mixing: weight and gain.
        figures: name of an order -> {"MRR", "R@1"} in percent: the first stage, the second alone, both equally, and
            "measured" (each query with the weight chosen on other videos); "chance" is a random order of the same
            moments, "best" the best order of them.

    >>> Measured(Mixing(0.0, 0.0, 0.1, 60, 20), {"first stage": {"MRR": 50.0, "R@1": 40.0}}).to_json()["weight"]
    0.0
    """

    mixing: Mixing
    figures: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Return all numbers."""
        return {**vars(self.mixing), "figures": {name: dict(row) for name, row in self.figures.items()}}


def measure(scored: Sequence[ScoredQuery], top: int) -> Measured:
    """Choose the weight of a second stage, and measure its gain on videos that it was not chosen on.

    Args:
        scored: from `score_queries`.
        top: moments per query that were asked about.

    Raises:
        DataError: the queries are of fewer than `FOLDS` videos.

    >>> rng, correct = np.random.default_rng(0), np.eye(5, dtype=bool)
    >>> guesses = [ScoredQuery(rng.random(5), rng.random(5), correct[q % 5], str(q)) for q in range(40)]
    >>> measure(guesses, top=5).mixing.weight
    0.0
    >>> knows = [query._replace(second=query.correct + rng.random(5)) for query in guesses]
    >>> measure(knows, top=5).figures["measured"]["R@1"] > 90
    True
    """
    groups = sorted({query.group for query in scored})
    if len(groups) < FOLDS:
        raise DataError(
            f"only {len(groups)} videos with known sentences have moments in this index, and {FOLDS} are needed: index "
            "the videos of the manifest first"
        )
    ranks = np.array([[reciprocal_rank(query, weight) for weight in WEIGHTS] for query in scored])  # (Q, W)
    order = np.random.default_rng(0).permutation(len(groups))
    fold_of = {groups[j]: place % FOLDS for place, j in enumerate(order.tolist())}
    folds = np.array([fold_of[query.group] for query in scored])
    chosen = np.array([int(ranks[folds != fold].mean(axis=0).argmax()) for fold in range(FOLDS)])[folds]
    held_out = ranks[np.arange(len(ranks)), chosen]
    gains = held_out - ranks[:, 0]
    gain = float(gains.mean())
    offsets = dict.fromkeys(groups, 0.0)
    for query, value in zip(scored, (gains - gain).tolist(), strict=True):
        offsets[query.group] += value
    error = float(np.sqrt(sum(value**2 for value in offsets.values())) / len(scored))
    helps = gain > 2 * error
    weight = WEIGHTS[int(ranks.mean(axis=0).argmax())] if helps else 0.0
    columns = {"first stage": ranks[:, 0], "second alone": ranks[:, -1], "equal": ranks[:, WEIGHTS.index(EQUAL)]}
    columns["measured"] = held_out if helps else ranks[:, 0]
    figures = {name: _figures(column) for name, column in columns.items()}
    chance = [_chance(len(query.correct), int(query.correct.sum())) for query in scored]
    ranked, first = (100 * float(np.mean([pair[k] for pair in chance])) for k in (0, 1))
    figures["chance"] = {"MRR": ranked, "R@1": first}
    figures["best"] = _figures(np.array([float(query.correct.any()) for query in scored]))
    return Measured(Mixing(weight, gain, error, len(scored), top), figures)


def reciprocal_rank(query: ScoredQuery, weight: float) -> float:
    """Return one over the rank of the first correct moment, 0 if there is none; ties in the order of the first stage.

    >>> query = ScoredQuery(np.array([2.0, 1.0]), np.array([0.0, 1.0]), np.array([False, True]), "a")
    >>> reciprocal_rank(query, 0.0), reciprocal_rank(query, 1.0)
    (0.5, 1.0)
    """
    mixed = mixed_scores(query.first, query.second, weight).round(9)
    ranked = query.correct[np.argsort(-mixed, kind="stable")]
    return 1.0 / (1 + int(ranked.argmax())) if ranked.any() else 0.0


def _figures(ranks: _F64) -> dict[str, float]:
    return {"MRR": 100 * float(ranks.mean()), "R@1": 100 * float((ranks == 1).mean())}


def _chance(count: int, correct: int) -> tuple[float, float]:
    """Return the expected reciprocal rank of the first of some correct moments in a random order, and R@1."""
    if not correct:
        return 0.0, 0.0
    first = [comb(count - place, correct - 1) / comb(count, correct) for place in range(1, count - correct + 2)]
    return sum(share / place for place, share in enumerate(first, start=1)), correct / count
