"""Weights of synthetic videos in a manifest, and the picture of the scores behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mova.data.manifest import Caption, Row, read_manifest, write_manifest
from mova.data.synthetic import Synthetic, synthetic_videos, with_synthetic
from mova.errors import DataError, UsageError
from mova.models.video_llm.model import VideoLLM
from mova.plots.generator_agreement import draw_misalignments, spreads
from mova.text_to_video.score_cache import ScoreCache
from mova.text_to_video.weighting import FigureScorer, Loader, weigh
from mova.video.reader import read_count
from mova.video.writer import write_mp4

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three triplets; the first has two synthetic videos, the second also has one of its positive caption."""
    folder = tmp_path_factory.mktemp("synthetic")
    rng = np.random.default_rng(0)
    rows = []
    for i, kind in enumerate(("action", "flip", None)):
        videos = []
        for at, role in enumerate((("negative",) * 2, ("negative", "positive"), ("negative",))[i]):
            name = f"{i}-{at}.mp4"
            write_mp4(folder / name, [rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)], fps=8)
            videos.append(Synthetic(name, f"false {i}", role, 0, at, 9 / 8, kind))  # type: ignore[arg-type]
        row = Row(f"v{i}", "real.mp4", None, "train", (Caption(f"true {i}"),))
        rows.append(with_synthetic(row, videos))
    return write_manifest(folder / "manifest.jsonl", rows)


def loader_of(table: dict[str, tuple[float, float]], calls: list[str], key: str = "k") -> Loader:
    """A model whose scores come from a table: name of the video -> (own, other)."""

    def score(video: Path, texts: Sequence[str]) -> list[float]:
        calls.append(video.name)
        read_count(video, 1)
        return [table[video.name]["false" not in text] for text in texts]

    return lambda: (key, score)


FIRST_SCORES = {"0-0.mp4": (0.9, 0.2), "0-1.mp4": (0.5, 0.5), "1-0.mp4": (0.1, 0.7), "2-0.mp4": (1.0, 0.0)}
SECOND_SCORES = {name: (own / 2, other / 2) for name, (own, other) in FIRST_SCORES.items()}


def test_weights_are_written_to_the_rows_and_scores_are_cached(manifest: Path, tmp_path: Path) -> None:
    rows = read_manifest(manifest)
    calls: list[str] = []
    models = {"one": loader_of(FIRST_SCORES, calls, "1"), "two": loader_of(SECOND_SCORES, calls, "2")}
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        result = weigh(rows, manifest.parent, models, "difference", cache)
        assert calls == [*FIRST_SCORES, *FIRST_SCORES]
        again = weigh(rows, manifest.parent, models, "product", cache)
        assert len(calls) == 8
    expected = {name: ((own + own / 2) / 2, (other + other / 2) / 2) for name, (own, other) in FIRST_SCORES.items()}
    assert np.allclose(result.own, [own for own, _ in expected.values()])
    assert np.allclose(result.weights, [max(0.0, own - other) for own, other in expected.values()])
    assert np.allclose(again.weights, [own * (1 - other) for own, other in expected.values()])
    first, second = synthetic_videos(result.rows[0])
    assert first.weight == pytest.approx(0.525)
    assert second.weight == 0
    assert first.weighing["strategy"] == "difference"
    assert first.weighing["models"] == ["one", "two"]
    assert first.weighing["own"] == pytest.approx(0.675)
    assert result.positives == 1
    assert synthetic_videos(result.rows[1])[1].weight is None
    assert [case.misalignment for case in result.cases] == ["action", "action", "flip", None]


def test_unreadable_videos_are_reported_and_lose_their_weight(manifest: Path) -> None:
    rows = read_manifest(manifest)
    lost = [replace(synthetic, video="gone.mp4", weight=0.5) for synthetic in synthetic_videos(rows[2])]
    rows[2] = with_synthetic(rows[2], lost)
    result = weigh(rows, manifest.parent, {"one": loader_of(FIRST_SCORES, [])})
    assert [Path(video).name for video, _ in result.broken] == ["gone.mp4"]
    assert len(result.weights) == 3
    (video,) = synthetic_videos(result.rows[2])
    assert video.weight is None
    assert video.weighing == {"broken": result.broken[0][1]}
    with pytest.raises(
        DataError, match=r"none of 1 synthetic videos can be read; the first is .*/gone\.mp4: no such file"
    ):
        weigh(rows[2:], manifest.parent, {"one": loader_of(FIRST_SCORES, [])})


def test_invalid_requests_name_the_cause(manifest: Path) -> None:
    rows = read_manifest(manifest)
    with pytest.raises(UsageError, match="at least one VQA model"):
        weigh(rows, manifest.parent, {})
    with pytest.raises(UsageError, match="unknown weighting strategy"):
        weigh(rows, manifest.parent, {"one": loader_of(FIRST_SCORES, [])}, "best")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="synthesize"):
        weigh([with_synthetic(rows[0], [])], manifest.parent, {"one": loader_of(FIRST_SCORES, [])})
    two = replace(rows[0], captions=(Caption("a"), Caption("b")))
    with pytest.raises(DataError, match="2 captions"):
        weigh([two], manifest.parent, {"one": loader_of(FIRST_SCORES, [])})


@pytest.fixture(scope="module")
def vqa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny_videollms import build

    return build("llava_onevision", tmp_path_factory.mktemp("vqa"))


def test_a_video_llm_is_asked_about_four_frames(manifest: Path, vqa: Path) -> None:
    model = VideoLLM.from_pretrained(vqa, precision="fp32", device="cpu")
    scorer = FigureScorer(model)
    video, texts = manifest.parent / "0-0.mp4", ["false 0", "true 0"]
    frames = read_count(video, 4, rule="segment_midpoint")
    per_frame = torch.stack([model.figure_scores([picture], texts)[0] for picture in frames.pixels])
    assert per_frame.shape == (4, 2)
    assert np.allclose(scorer(video, texts), per_frame.mean(dim=0).numpy(), atol=1e-6)
    assert scorer.key != FigureScorer(model, frames=2).key
    with pytest.raises(UsageError, match="at least one frame"):
        FigureScorer(model, frames=0)


def test_weights_from_the_command_line(call: Call, manifest: Path, vqa: Path, tmp_path: Path) -> None:
    words = ["data", "weights", manifest, tmp_path / "out.jsonl", "--vqa", vqa, "--precision", "fp32", "--frames", 2]
    code, printed, _ = call(*words, "--plot", tmp_path / "2.png", "--strategy", "own", "--json")
    report = json.loads(printed)
    assert (code, report["videos"], report["positives"]) == (0, 4, 1)
    assert [entry["kind"] for entry in report["differences"]] == ["all", "action", "flip", "unknown"]
    rows = read_manifest(tmp_path / "out.jsonl")
    videos = [entry for row in rows for entry in synthetic_videos(row)]
    assert all(entry.weight == entry.weighing["own"] for entry in videos if entry.role == "negative")
    assert videos[0].video == str(manifest.parent / "0-0.mp4")
    assert (tmp_path / "scores.sqlite").is_file()
    assert json.loads((tmp_path / "2.json").read_text()) == report["differences"]
    assert Image.open(tmp_path / "2.png").width > 1000
    assert call(*words, "--strategy", "best")[0] == 2


def test_spreads_equal_plain_loops(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    own, other = rng.random(500), rng.random(500)
    own[:20] = other[:20]
    kinds = rng.choice(["flip", "action", None], 500).tolist()  # type: ignore[arg-type]
    result = {of_kind.kind: of_kind for of_kind in spreads(kinds, own, other)}
    assert list(result) == ["all", "action", "flip", "unknown"]
    for name, spread in result.items():
        values = [a - b for a, b, k in zip(own, other, kinds, strict=True) if name in ("all", k or "unknown")]
        mean = sum(values) / len(values)
        assert spread.count == len(values) == sum(spread.bars)
        assert spread.mean == pytest.approx(mean)
        assert spread.std == pytest.approx((sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5)
        assert spread.quartiles[1] == pytest.approx(sorted(values)[len(values) // 2], abs=0.05)
        assert spread.below == pytest.approx(sum(v < 0 for v in values) / len(values))
        assert spread.ties == pytest.approx(sum(v == 0 for v in values) / len(values))
    path = draw_misalignments(list(result.values()), tmp_path / "two.png")
    assert np.asarray(Image.open(path)).std() > 10


@pytest.mark.parametrize("values", [[0.0], [1.0], [0.5], [0.05, 0.95]])
def test_extremes_are_inside_the_bins(values: list[float]) -> None:
    (spread, _) = spreads(["flip"] * len(values), values, values[::-1])
    assert sum(spread.bars) == len(values)
    assert 0.0 in spread.edges


def test_invalid_scores_raise() -> None:
    for kinds, own, other in (([], [], []), (["a"], [0.1, 0.2], [0.1]), (["a"], [np.nan], [0.1]), (["a"], [1.1], [0])):
        with pytest.raises(DataError):
            spreads(kinds, own, other)
