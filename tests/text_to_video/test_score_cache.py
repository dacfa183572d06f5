"""SynViTA's weights: the five rows of Table 4, the ensemble, and the cache."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mova.data.synthetic_weights import compute_weights, ensemble
from mova.errors import DataError, ModelError, UsageError
from mova.text_to_video.score_cache import ScoreCache, cached_scores


class Counting:
    """A scorer that records its calls."""

    def __init__(self, value: float = 0.5) -> None:
        self.value = value
        self.asked: list[str] = []

    def __call__(self, video: Path, texts: Sequence[str]) -> list[float]:
        self.asked += texts
        return [self.value / len(text) for text in texts]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"frames")
    return path


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("fixed", [1, 1, 1, 1]),
        ("own", [0.8, 0.3, 0.5, 0]),
        ("product", [0.8 * 0.9, 0.3 * 0.4, 0.25, 0]),
        ("indicator", [1, 0, 0, 0]),
        ("difference", [0.7, 0, 0, 0]),
    ],
)
def test_the_five_strategies(strategy: str, expected: list[float]) -> None:
    weights = compute_weights([0.8, 0.3, 0.5, 0.0], [0.1, 0.6, 0.5, 1.0], strategy)  # type: ignore[arg-type]
    np.testing.assert_allclose(weights, expected, atol=1e-15)


def test_values_outside_zero_to_one_raise_with_their_position() -> None:
    with pytest.raises(DataError, match=r"nan at index \(1,\)"):
        compute_weights([0.2, np.nan], [0.1, 0.2])
    with pytest.raises(DataError, match="not a probability"):
        compute_weights([0.2], [1.2], "fixed")
    with pytest.raises(DataError, match="shape"):
        compute_weights([0.2], [0.1, 0.2])
    with pytest.raises(UsageError, match="difference"):
        compute_weights([0.2], [0.1], "best")  # type: ignore[arg-type]


def test_the_ensemble_is_the_mean_over_models() -> None:
    np.testing.assert_allclose(ensemble([[0.2, 0.4], [0.6, 0.0], [0.1, 0.2]]), [0.3, 0.2])
    for wrong in (np.zeros((0, 3)), [[0.1, np.nan]], 0.5):
        with pytest.raises(DataError):
            ensemble(wrong)


def test_nothing_is_scored_twice_even_after_renaming(video: Path, tmp_path: Path) -> None:
    models = {"a": Counting(), "b": Counting(1.0)}
    with ScoreCache(tmp_path / "deep" / "scores.db") as cache:
        first = cached_scores(video, ["xy", "x", "xy"], models, cache)
    np.testing.assert_allclose(first, [[0.25, 0.5, 0.25], [0.5, 1.0, 0.5]])
    assert models["a"].asked == ["xy", "x"]
    moved = video.rename(video.with_name("b.mp4"))
    with ScoreCache(tmp_path / "deep" / "scores.db") as cache:
        again = cached_scores(moved, ["x", "xyz", "xy"], models, cache)
        assert models["a"].asked == ["xy", "x", "xyz"]
        np.testing.assert_allclose(again[0], [0.5, 0.5 / 3, 0.25])
        moved.write_bytes(b"other frames")
        cached_scores(moved, ["x"], {"a": models["a"]}, cache)
    assert models["a"].asked == ["xy", "x", "xyz", "x"]
    assert cached_scores(moved, ["x"], {"a": models["a"]}).shape == (1, 1)


def test_a_failing_scorer_stores_nothing(video: Path, tmp_path: Path) -> None:
    with ScoreCache(tmp_path / "scores.db") as cache:
        with pytest.raises(ModelError, match=r"m: .*a\.mp4.*probability"):
            cached_scores(video, ["x"], {"m": Counting(7.0)}, cache)
        with pytest.raises(ModelError, match="shape"):
            cached_scores(video, ["x", "y"], {"m": lambda video, texts: [0.5]}, cache)
    rows = sqlite3.connect(tmp_path / "scores.db").execute("SELECT count(*) FROM scores").fetchone()
    assert rows == (0,)


def test_a_file_that_is_not_a_cache_raises(video: Path) -> None:
    video.write_bytes(b"this is not a database at all, " * 64)
    with pytest.raises(DataError, match="cache of scores"):
        ScoreCache(video)
