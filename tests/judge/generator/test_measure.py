"""`mova eval generation`: videos that must score high and low on every axis, VBench's files in and out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mova
from mova.errors import DataError, UsageError
from mova.judge.generator.axes import AXES, parse_axes
from mova.judge.generator.consistency import consistency, separate
from mova.judge.generator.measure import measure_video
from mova.judge.generator.prompts import read_prompt_list
from mova.models.encoder import DualEncoder
from mova.video.writer import write_mp4
from tests.support.constructed_videos import EXAMPLES, RATE, STEADY, moving

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model() -> DualEncoder:
    return mova.load("mova-worlds-tiny", device="cpu", precision="fp32")


@pytest.mark.parametrize("axis", sorted(EXAMPLES))
def test_constructed_videos_score_high_and_low(axis: str, model: DualEncoder, tmp_path: Path) -> None:
    values = []
    for name, frames in zip(("high", "low"), EXAMPLES[axis], strict=True):
        path = tmp_path / f"{name}.mp4"
        write_mp4(path, [frames], fps=RATE)
        values.append(measure_video(model, path, "A red disc moves.", [axis])[axis])
    high, low = values
    assert high is not None
    assert low is not None
    assert 1 >= high > low + 0.005
    assert low >= 0


def test_axes_of_the_prompt(model: DualEncoder, worlds_manifest: Path) -> None:
    row = json.loads(worlds_manifest.read_text(encoding="utf-8").splitlines()[0])
    video = worlds_manifest.parent / row["video"]
    axes = ["overall_consistency", "sentence_consistency"]
    right = measure_video(model, video, row["captions"][0]["text"], axes)
    wrong = measure_video(model, video, "Seven plaid ellipses dissolve. A cube yawns at noon.", axes)
    assert all((right[axis] or 0) > (wrong[axis] or 0) for axis in axes)


def test_subject_and_background_are_told_apart() -> None:
    parts = separate(moving(STEADY))
    assert parts.separated
    assert np.abs(parts.background.astype(int) - parts.background[0]).mean() < 1, "the shape is gone"
    assert (parts.subject[:, 48, 48, 0] > 200).all(), "the shape is in the middle"
    cut = separate(moving(STEADY, backgrounds=(0, 1, 2, 3)))
    assert not cut.separated
    still = separate(moving(np.full(9, 48.0)))
    assert not still.separated
    assert np.array_equal(still.subject, still.background)


def test_consistency_is_vbench_s_formula() -> None:
    vectors = np.random.default_rng(0).normal(size=(7, 5)) + 0.5
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = np.mean(
        [(max(0.0, unit[i] @ unit[0]) + max(0.0, unit[i] @ unit[i - 1])) / 2 for i in range(1, len(unit))]
    )
    assert consistency(vectors) == pytest.approx(expected)
    assert consistency(vectors[:1]) is None


def prompts_of(folder: Path) -> Path:
    """VBench's list of three prompts; two of them have videos, one of them two."""
    for name, frames in (("a red disc moves-0", 0), ("a red disc moves-1", 1), ("a disc, still_-0", 1), ("other-0", 0)):
        write_mp4(folder / f"{name}.mp4", [EXAMPLES["dynamic_degree"][frames][:9]], fps=RATE)
    rows = [
        {"prompt_en": "a red disc moves", "dimension": ["dynamic_degree", "human_action"]},
        {"prompt_en": "a red disc moves", "dimension": ["temporal_flickering"]},
        {"prompt_en": "a disc, still!", "dimension": ["temporal_flickering"]},
        {"prompt_en": "nothing", "dimension": ["dynamic_degree"]},
    ]
    path = folder / "VBench_full_info.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_vbench_files_in_and_out(call: Call, tmp_path: Path) -> None:
    prompts, results = prompts_of(tmp_path), tmp_path / "results" / "x_eval_results.json"
    results.parent.mkdir()
    words = ["eval", "generation", prompts, "--model", "mova-worlds-tiny", "--vbench", results, "--json"]
    words += ["--axis", "dynamic_degree", "--axis", "temporal_flickering", "--axis", "sentence_consistency"]
    code, printed, _ = call(*words)
    report = json.loads(printed)
    assert code == 0
    assert report["without_video"] == ["nothing"]
    assert report["without_prompt"] == ["other-0.mp4"]
    assert report["generators"][""]["dynamic_degree"]["value"] == 0.5
    assert len(report["videos"]) == 3
    written = json.loads(results.read_text(encoding="utf-8"))
    assert set(written) == {"dynamic_degree", "temporal_flickering", "sentence_consistency"}
    mean, videos = written["dynamic_degree"]
    assert [Path(row["video_path"]).name for row in videos] == ["a red disc moves-0.mp4", "a red disc moves-1.mp4"]
    assert [row["video_results"] for row in videos] == [1.0, 0.0]
    assert mean == 0.5
    assert len(written["temporal_flickering"][1]) == 3


def test_generators_side_by_side_and_what_cannot_be_measured(call: Call, tmp_path: Path) -> None:
    prompts_of(tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    table = tmp_path / "renders.csv"
    names = ("a red disc moves-0.mp4", "a red disc moves-1.mp4", "broken.mp4")
    lines = [f"{name},a disc,{kind}" for name, kind in zip(names, ("first", "second", "second"), strict=True)]
    table.write_text("\n".join(["video,prompt,generator", *lines]) + "\n", encoding="utf-8")
    words = ["eval", "generation", table, "--model", "mova-worlds-tiny", "--axis", "dynamic_degree"]
    code, printed, noted = call(*words)
    assert code == 0
    assert "first" in printed
    assert "2 of 3 videos measured" in printed
    assert "not measured: broken.mp4" in noted


def test_wrong_input(call: Call, tmp_path: Path) -> None:
    assert parse_axes(None) == tuple(AXES)
    with pytest.raises(UsageError, match="unknown axis beauty; choose from subject_consistency"):
        parse_axes(["beauty"])
    bad = tmp_path / "bad.json"
    for content in ('[{"prompt": "x"}]', "[3]", "[]"):
        bad.write_text(content, encoding="utf-8")
        with pytest.raises(DataError):
            read_prompt_list(bad)
    (tmp_path / "a.txt").write_text("a dog\n", encoding="utf-8")
    with pytest.raises(DataError, match="no video is named after a prompt"):
        read_prompt_list(tmp_path / "a.txt")
    with pytest.raises(UsageError, match="no such folder of videos"):
        read_prompt_list(tmp_path / "a.txt", tmp_path / "none")
    assert call("eval", "generation", tmp_path / "a.txt", "--axis", "beauty")[0] == 2
