"""Score synthetic videos with VQA models, and cache the scores on disk: SynViTA (Zanella et al. 2025), Section 3.

The score of an ensemble is the mean over several VQA models of P(Yes) for "Does this figure show [t]?", itself a mean
over four uniform frames. A scorer is any callable. `data/synthetic_weights.py` computes weights from the scores.

Shape legend: M models, K texts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from mova.data.synthetic_weights import Scores, require_probabilities
from mova.errors import DataError, ModelError, VideoError
from mova.utils.hashing import content_hash


class Scorer(Protocol):
    """A model that scores a video with several texts: the mean of P(Yes) over frames, in [0, 1]."""

    def __call__(self, video: Path, texts: Sequence[str], /) -> Sequence[float]:
        """Return the scores of K texts, (K,)."""


class ScoreCache:
    """Scores on disk, keyed by content of the video, text and model, so that nothing is scored twice.

    Several processes may use one file. Scores are on disk when `put` returns.

    Args:
        path: an SQLite file; created with its folder if missing.

    Raises:
        DataError: the file is not an SQLite database.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(self.path, timeout=60.0)
        try:
            with self._file:
                self._file.execute(
                    "CREATE TABLE IF NOT EXISTS scores (video TEXT, text TEXT, model TEXT, score REAL NOT NULL, "
                    "PRIMARY KEY (video, text, model)) WITHOUT ROWID"
                )
        except sqlite3.DatabaseError as error:
            self._file.close()
            raise DataError(f"{path}: cannot be used as a cache of scores: {error}; choose another file") from error

    def get(self, video: str, texts: Sequence[str], model: str) -> dict[str, float]:
        """Return cached scores by text; texts without a score are absent."""
        scores = {}
        with closing(self._file.cursor()) as cursor:
            for text in texts:
                query = "SELECT score FROM scores WHERE video = ? AND text = ? AND model = ?"
                row = cursor.execute(query, (video, text, model)).fetchone()
                if row is not None:
                    scores[text] = float(row[0])
        return scores

    def put(self, video: str, scores: Mapping[str, float], model: str) -> None:
        """Store scores by text."""
        with self._file:
            rows = [(video, text, model, score) for text, score in scores.items()]
            self._file.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)

    def __len__(self) -> int:
        return int(self._file.execute("SELECT count(*) FROM scores").fetchone()[0])

    def close(self) -> None:
        """Close the file. Nothing is lost if it is never called."""
        self._file.close()

    def __enter__(self) -> ScoreCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def cached_scores(
    video: str | Path, texts: Sequence[str], scorers: Mapping[str, Scorer], cache: ScoreCache | None = None
) -> Scores:
    """Score a video with texts by several models, each asked only for texts that are not cached, and once per text.

    Args:
        video: a file; the cache identifies it by content, so a video that was rendered again is scored again.
        texts: K texts; may contain duplicates.
        scorers: M models by name. The name must identify everything that affects a score: weights, prompt, frames.
        cache: None to score everything.

    Returns:
        (M, K), as expected by `mova.data.synthetic_weights.ensemble`.

    Raises:
        ModelError: a scorer did not return one probability per text.
    """
    key = content_hash(video) if cache is not None else ""
    rows = []
    for name, scorer in scorers.items():
        known = cache.get(key, texts, name) if cache is not None else {}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            scored = _ask(name, scorer, Path(video), missing)
            if cache is not None:
                cache.put(key, scored, name)
            known |= scored
        rows.append([known[text] for text in texts])
    return np.asarray(rows, dtype=np.float64).reshape(len(scorers), len(texts))


def cached_batch(
    pairs: Sequence[tuple[Path, Sequence[str]]], name: str, scorer: Scorer, cache: ScoreCache | None = None
) -> list[list[float] | VideoError]:
    """Return the scores of several videos, each with its texts; the error of a video that cannot be read.

    Videos that are not cached are asked about together if there are several and the scorer has `score_many`.

    Args:
        pairs: each video with K texts.
        name, scorer, cache: as for `cached_scores`.
    """
    results: list[list[float] | VideoError] = [[] for _ in pairs]
    many = getattr(scorer, "score_many", None)
    waiting: list[int] = []
    for i, (video, texts) in enumerate(pairs):
        try:
            key = content_hash(video) if cache is not None else ""
            known = cache.get(key, texts, name) if cache is not None else {}
            if many is None or len(pairs) == 1 or all(text in known for text in texts):
                results[i] = cached_scores(video, texts, {name: scorer}, cache)[0].tolist()
            else:
                waiting.append(i)
        except (VideoError, OSError) as error:
            results[i] = error if isinstance(error, VideoError) else VideoError(video, str(error))
    if waiting and many is not None:
        videos, asked = [pairs[i][0] for i in waiting], [list(dict.fromkeys(pairs[i][1])) for i in waiting]
        for i, video, texts, scored in zip(waiting, videos, asked, many(videos, asked), strict=True):
            if isinstance(scored, VideoError):
                results[i] = scored
                continue
            named = _checked(name, scored, video, texts)
            if cache is not None:
                cache.put(content_hash(video), named, name)
            results[i] = [named[text] for text in pairs[i][1]]
    return results


def _ask(name: str, scorer: Scorer, video: Path, texts: Sequence[str]) -> dict[str, float]:
    return _checked(name, scorer(video, texts), video, texts)


def _checked(name: str, values: Sequence[float], video: Path, texts: Sequence[str]) -> dict[str, float]:
    """Return scores by text, which must be probabilities."""
    scores = np.asarray(values, dtype=np.float64)
    if scores.shape != (len(texts),):
        raise ModelError(f"{name}: returned scores of shape {scores.shape} for {len(texts)} texts of {video}")
    try:
        require_probabilities(scores)
    except DataError as error:
        raise ModelError(f"{name}: {video}: {error}") from error
    return dict(zip(texts, scores.tolist(), strict=True))
