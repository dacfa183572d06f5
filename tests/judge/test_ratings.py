"""Agreement with ratings: known correlations, tests under no agreement, and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mova.errors import DataError, UsageError
from mova.judge.ratings import agreement, read_ratings

Call = Callable[..., tuple[int, str, str]]


def test_rank_correlations_by_hand() -> None:
    scores = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0}
    ratings = {"a": [1.0], "b": [3.0, 1.0], "c": [5.0, 1.0], "d": [5.0], "e": [4.0]}  # means 1, 2, 3, 5, 4
    found = agreement(scores, ratings)
    assert found.spearman.value == pytest.approx(1 - 6 * 2 / (5 * 24))
    assert found.kendall.value == pytest.approx((9 - 1) / 10)
    assert (found.videos, found.ratings) == (5, 7)
    assert found.spearman.low <= found.spearman.value <= found.spearman.high


def test_no_agreement_is_not_significant_and_some_is() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    for strength, significant in ((0.0, False), (1.0, True)):
        y = strength * x + rng.normal(size=40)
        rated = {f"{i}": [float(v)] for i, v in enumerate(y)}
        found = agreement({f"{i}": float(v) for i, v in enumerate(x)}, rated)
        for interval in (found.spearman, found.kendall):
            assert interval.p is not None
            assert (interval.p < 0.01) == significant
            assert (interval.low > 0) == significant


def test_files_and_names(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    path.write_text('{"video": "x/a.mp4", "mos": 3}\n{"video": "x/a.mp4", "mos": null}\n', encoding="utf-8")
    assert read_ratings(path) == {"x/a.mp4": [3.0]}
    scores = {f"videos/{n}.mp4": float(n) for n in range(6)}
    found = agreement(scores, {f"{n}.mp4": [float(n)] for n in range(1, 8)})
    assert (found.videos, found.unrated, found.unknown) == (5, ("videos/0.mp4",), ("6.mp4", "7.mp4"))
    table = tmp_path / "ratings.csv"
    for content in ("video,rating\na.mp4,good\n", "video,stars\na.mp4,3\n", "video,rating\na.mp4,nan\n"):
        table.write_text(content, encoding="utf-8")
        with pytest.raises(DataError):
            read_ratings(table)
    with pytest.raises(UsageError, match="only 1 of 1 videos"):
        agreement({"a": 1.0}, {"a": [1.0]})
    with pytest.raises(UsageError, match="equal"):
        agreement(dict.fromkeys("abcde", 1.0), {name: [float(i)] for i, name in enumerate("abcde")})


def test_a_file_name_that_stands_for_several_videos_is_refused() -> None:
    """Generators name their videos alike: a rating of another generator's video must not count."""
    scores = {f"{model}/{n}.mp4": float(n) for model in "ab" for n in range(5)}
    exact = {f"{model}/{n}.mp4": [float(n)] for model in "ab" for n in range(5)}
    assert agreement(scores, exact).spearman.value == pytest.approx(1.0)
    for ratings in (
        {f"x/{model}/{n}.mp4": [1.0 + n] for model in "ab" for n in range(5)},
        {f"{n}.mp4": [1.0 + n] for n in range(5)},
        {f"a/{n}.mp4": [1.0 + n] for n in range(5)},
    ):
        with pytest.raises(UsageError, match=r"0\.mp4: the ratings do not say which video"):
            agreement(scores, ratings)


def test_judge_reports_the_agreement(call: Call, tmp_path: Path, worlds_manifest: Path) -> None:
    row = json.loads(worlds_manifest.read_text(encoding="utf-8").splitlines()[0])
    video, truth = worlds_manifest.parent / row["video"], row["captions"][0]["text"]
    wrong = "Seven plaid ellipses dissolve."
    rows = ["video,prompt"]
    for n in range(5):
        (tmp_path / f"{n}.mp4").symlink_to(video)
        rows.append(f'{n}.mp4,"{truth if n > 2 else wrong}"')
    (tmp_path / "prompts.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    lines = ["video,rating", *(f"{n}.mp4,{n}" for n in range(5))]
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ["judge", "--prompts", tmp_path / "prompts.csv", "--model", "mova-worlds-tiny"]
    code, printed, _ = call(*words, "--ratings", tmp_path / "ratings.csv", "--json")
    assert code == 0
    assert json.loads(printed)["agreement"]["spearman"]["value"] > 0.8
    assert call(*words, "--ratings", tmp_path / "none.csv")[0] == 2
    assert call("judge", video, "x", "--ratings", tmp_path / "ratings.csv")[0] == 2
