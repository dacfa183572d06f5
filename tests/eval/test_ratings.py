"""Scores against ratings: files of T2VScore and VBench, groups by model and prompt, and names that do not match."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from mova.errors import DataError, UsageError
from mova.eval.metrics.agreement import pairwise_accuracy
from mova.eval.protocols import find_protocol
from mova.eval.ratings import Rated, match_videos, read_rated, read_video_scores, report_ratings
from mova.judge.ratings import read_ratings

Call = Callable[..., tuple[int, str, str]]
MODELS, PROMPTS = ("gen2", "pika", "zeroscope"), 12


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    """T2VScore's ratings and results of 12 prompts by 3 models, and the numbers in them (prompts, models)."""
    rng = np.random.default_rng(0)
    ratings = np.round(rng.uniform(1, 5, (PROMPTS, 3)), 1)
    scores = np.round(ratings + rng.normal(size=(PROMPTS, 3)), 3)
    document = {
        str(p): {"prompt": f"a dog {p}", "models": {m: [ratings[p, k]] for k, m in enumerate(MODELS)}}
        for p in range(PROMPTS)
    }
    (tmp_path / "ratings.json").write_text(json.dumps(document, indent=4))
    lines = ["model_name,video_id,prompt,CLIP Score,BLIP-BLEU"]
    lines += [f"{m},{p},a dog {p},{scores[p, k]},{-scores[p, k]}" for p in range(PROMPTS) for k, m in enumerate(MODELS)]
    (tmp_path / "results.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "ratings.json", tmp_path / "results.csv", ratings, scores


def test_t2vscores_files_have_the_correlations_of_scipy(
    files: tuple[Path, Path, np.ndarray, np.ndarray], call: Call
) -> None:
    truth, results, ratings, scores = files
    words = ("eval", "matrix", results, "--protocol", "ratings", "--truth", truth, "--json")
    code, _, err = call(*words)
    assert code == 2
    assert "name one with --column; the columns of scores are: CLIP Score, BLIP-BLEU" in " ".join(err.split())
    code, out, err = call(*words, "--column", "CLIP Score")
    assert code == 0, err
    report = json.loads(out)
    figures = report["figures"]
    assert list(figures) == ["all", *MODELS, "per prompt"]
    x, y = scores.ravel(), ratings.ravel()
    for name, chosen in (("all", slice(None)), *((m, slice(k, None, 3)) for k, m in enumerate(MODELS))):
        assert figures[name]["Spearman"] == pytest.approx(100 * spearmanr(x[chosen], y[chosen]).statistic)
        assert figures[name]["Kendall"] == pytest.approx(100 * kendalltau(x[chosen], y[chosen]).statistic)
        assert figures[name]["Pearson"] == pytest.approx(100 * np.corrcoef(x[chosen], y[chosen])[0, 1])
        assert figures[name]["pairwise accuracy"] == pytest.approx(100 * pairwise_accuracy(x[chosen], y[chosen]).value)
    by_prompt = [kendalltau(a, b).statistic for a, b in zip(scores, ratings, strict=True)]
    assert figures["per prompt"]["Kendall"] == pytest.approx(100 * np.nanmean(by_prompt))
    items = np.repeat(np.arange(PROMPTS), 3).tolist()
    assert figures["per prompt"]["pairwise accuracy"] == pytest.approx(100 * pairwise_accuracy(x, y, items).value)
    interval = report["intervals"]["all"]["Kendall"]
    assert interval["low"] < figures["all"]["Kendall"] < interval["high"]


def test_vbenchs_results_are_scores_by_dimension(
    files: tuple[Path, Path, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    truth, _, _, scores = files
    entries = [
        {"video_path": f"sampled/{m}/{p:04d}.mp4", "video_results": scores[p, k]}
        for p in range(PROMPTS)
        for k, m in enumerate(MODELS)
    ]
    path = tmp_path / "eval_results.json"
    path.write_text(json.dumps({"overall_consistency": [0.5, entries], "dynamic_degree": [1.0, []]}))
    found = report_ratings(read_video_scores(path, "overall_consistency"), read_rated(truth), find_protocol("ratings"))
    assert found.head.queries == 3 * PROMPTS
    assert "pika" in found.groups
    with pytest.raises(UsageError, match="name a dimension with --column; it has overall_consistency, dynamic_degree"):
        read_video_scores(path)
    with pytest.raises(DataError, match="has no scores"):
        read_video_scores(path, "dynamic_degree")
    path.write_text(json.dumps({"x": [0.5, [{"video_path": "a.mp4"}]]}))
    with pytest.raises(DataError, match=r"dimension 'x', video 1: .video_path. and .video_results. expected"):
        read_video_scores(path)


def test_the_judge_reads_t2vscores_ratings_too(files: tuple[Path, Path, np.ndarray, np.ndarray]) -> None:
    assert read_ratings(files[0])["pika/0003.mp4"] == [files[2][3, 1]]


def test_tables_may_state_model_and_prompt(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("video,rating,model,prompt\na.mp4,1,gen2,p\na.mp4,3,gen2,p\nb.mp4,,gen2,p\n")
    assert read_rated(path) == {"a.mp4": Rated((1.0, 3.0), "gen2", "p")}
    path.write_text("video,rating,model\na.mp4,1,gen2\na.mp4,3,pika\n")
    with pytest.raises(DataError, match=r"line 3: a\.mp4 has another model"):
        read_rated(path)
    (tmp_path / "s.jsonl").write_text('{"video": "a.mp4", "score": 0.5}\n{"video": "a.mp4", "score": 0.6}\n')
    with pytest.raises(DataError, match=r"line 2: a\.mp4 has two scores"):
        read_video_scores(tmp_path / "s.jsonl")


def test_videos_are_matched_by_the_most_of_their_names() -> None:
    assert match_videos(["a/1.mp4", "b/1.mp4"], ["x/b/1.mp4", "a/1.mp4"]) == {
        "a/1.mp4": "a/1.mp4",
        "b/1.mp4": "x/b/1.mp4",
    }
    assert match_videos(["1.mp4", "2.mp4"], ["y/2.mp4"]) == {"2.mp4": "y/2.mp4"}
    for names, others in ((["a/1.mp4", "b/1.mp4"], ["1.mp4"]), (["1.mp4"], ["a/1.mp4", "b/1.mp4"])):
        with pytest.raises(UsageError, match=r"1\.mp4: the ratings do not say which video"):
            match_videos(names, others)
    with pytest.raises(UsageError, match="only 1 of 2 rated videos have a score"):
        report_ratings({"1.mp4": 1.0}, {"1.mp4": Rated((1.0,)), "2.mp4": Rated((2.0,))}, find_protocol("ratings"))
