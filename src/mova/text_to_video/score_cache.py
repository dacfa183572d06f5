"""Scores that SynViTA's weights follow from, kept on disk (Zanella et al., papers/synvita.txt, Section 3).

The scores are an ensemble: the mean over several VQA models of P(Yes) for "Does this figure show [t]?", itself a mean
over four uniform frames. A scorer is any callable. The arithmetic of weights: `data/synthetic_weights.py`.

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

from mova.data.synthetic_weights import Array, require_probabilities
from mova.errors import DataError, ModelError
from mova.utils.hashing import content_hash


class Scorer(Protocol):
    """One model's scores of a video with several texts: mean over its frames of P(Yes), in [0, 1]."""

    def __call__(self, video: Path, texts: Sequence[str], /) -> Sequence[float]:
        """(K,) scores of K texts."""


class ScoreCache:
    """Scores on disk by content of the video, text and model, so that nothing is scored twice.

    Several processes may use one file. What was scored is on disk when `put` returns.

    Args:
        path: of an SQLite file; made if it is not there, with its folder.

    Raises:
        DataError: the file is something else.
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
            raise DataError(f"{path}: cannot be used as a cache of scores: {error}; name another file") from error

    def get(self, video: str, texts: Sequence[str], model: str) -> dict[str, float]:
        """Known scores by text; unknown ones are absent."""
        found = {}
        with closing(self._file.cursor()) as cursor:
            for text in texts:
                query = "SELECT score FROM scores WHERE video = ? AND text = ? AND model = ?"
                row = cursor.execute(query, (video, text, model)).fetchone()
                if row is not None:
                    found[text] = float(row[0])
        return found

    def put(self, video: str, scores: Mapping[str, float], model: str) -> None:
        """Keep scores by text."""
        with self._file:
            rows = [(video, text, model, score) for text, score in scores.items()]
            self._file.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Close the file; nothing is lost without it."""
        self._file.close()

    def __enter__(self) -> ScoreCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def cached_scores(
    video: str | Path, texts: Sequence[str], scorers: Mapping[str, Scorer], cache: ScoreCache | None = None
) -> Array:
    """Scores of a video with texts by several models; each is asked only for what the cache lacks, each text once.

    Args:
        video: file; the cache knows it by its content, so a video that was rendered again is scored again.
        texts: K texts, which may repeat.
        scorers: M models by name. The name stands for everything that changes a score: weights, prompt, frames.
        cache: None to score everything.

    Returns:
        (M, K); `ensemble` takes it.

    Raises:
        ModelError: a scorer returned something else than one probability a text.
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


def _ask(name: str, scorer: Scorer, video: Path, texts: Sequence[str]) -> dict[str, float]:
    scores = np.asarray(scorer(video, texts), dtype=np.float64)
    if scores.shape != (len(texts),):
        raise ModelError(f"{name}: gave scores of shape {scores.shape} for {len(texts)} texts of {video}")
    try:
        require_probabilities(scores)
    except DataError as error:
        raise ModelError(f"{name}: {video}: {error}") from error
    return dict(zip(texts, scores.tolist(), strict=True))
