"""Moments with a model: windows of known curves, saliency, queries of every form of manifest, figures by counting."""

from __future__ import annotations

import numpy as np
import pytest

from mova.data.manifest import Row
from mova.errors import DataError, UsageError
from mova.eval.metrics.spans import MomentTruth
from mova.eval.protocols import find_protocol
from mova.eval.tasks.moments import Query, evaluate_moment_retrieval, predict, queries_of
from mova.models.encoder import VideoEmbedding
from tests.support.known import Clips, KnownEncoder, known_split, row

ANY = find_protocol("moments")
MATCHING, UNRELATED = [1.0, 0.0] + [0.0] * 14, [0.0, 1.0] + [0.0] * 14
TEXT = "It is shown."


def clip(seconds: int, *windows: tuple[int, int]) -> list[list[float]]:
    """One frame per second, which shows the text within the windows."""
    return [MATCHING if any(a <= t < b for a, b in windows) else UNRELATED for t in range(seconds)]


def measured(rows: list[Row], frames: dict[str, list[list[float]]], broken: tuple[str, ...] = ()) -> dict:  # type: ignore[type-arg]
    model = KnownEncoder({TEXT: MATCHING})
    return evaluate_moment_retrieval(known_split(rows, clips=Clips(frames, broken), model=model), ANY).to_json()


def test_a_perfect_curve_gives_perfect_windows_and_a_shifted_one_its_overlap() -> None:
    rows = [row("a", (TEXT, 3.0, 7.0)), row("b", (TEXT, 3.0, 7.0)), row("c", (TEXT, 0.0, 2.0))]
    frames = {"a.mp4": clip(12, (3, 7)), "b.mp4": clip(12, (5, 9)), "c.mp4": clip(12, (9, 12))}
    report = measured(rows, frames)
    assert report["places"]["moments"]["mIoU"] == pytest.approx([100.0, 100 / 3, 0.0])
    assert report["figures"]["moments"]["R1@0.3"] == pytest.approx(200 / 3)
    assert report["figures"]["moments"]["R1@0.5"] == pytest.approx(100 / 3)
    assert report["moments"]["full"]["R1"]["0.5"] == pytest.approx(100 / 3)
    assert report["figures"]["moments"]["mAP"] == pytest.approx(report["moments"]["full"]["mAP"]["average"])
    assert (report["queries"], report["candidates"]) == (3, 3)
    assert "form" not in report["settings"]


def test_several_windows_and_saliency_as_qvhighlights_has_them() -> None:
    windows, clips = [[2.0, 6.0], [10.0, 14.0]], [1, 2, 5, 6]
    full = Row("7", "v.mp4", 20.0, "test", row("7", TEXT).captions, meta={
        "windows": windows, "relevant_clip_ids": clips, "saliency_scores": [[4, 4, 3]] * 4,
    })  # fmt: skip
    report = measured([full], {"v.mp4": clip(20, (2, 6), (10, 14))})
    assert report["figures"]["moments"]["mAP"] == pytest.approx(100.0)
    assert report["figures"]["highlights, VeryGood"]["Hit1"] == 100.0
    assert report["highlights"]["Good"]["mAP"] == pytest.approx(100.0)
    assert report["places"]["highlights, Good"]["mAP"] == pytest.approx([report["highlights"]["Good"]["mAP"]])
    with pytest.raises(UsageError, match="1 texts instead of 1550"):
        evaluate_moment_retrieval(known_split([full]), find_protocol("qvhighlights"))


def test_saliency_is_the_mean_of_a_clips_frames_or_the_frame_on_display() -> None:
    truth = MomentTruth(np.array([[0.0, 2.0]]), np.zeros((4, 3), dtype=np.int64))
    curve = np.array([0.1, 0.3, 0.9, 0.5])
    video = VideoEmbedding(KnownEncoder().encode_text(["x"] * 4).pooled, np.array([0.0, 1.0, 2.5, 7.0]), 8.0)
    saliency = predict(curve, video, Query("q", TEXT, truth)).saliency
    np.testing.assert_allclose(saliency, [0.2, 0.9, 0.9, 0.5])


def test_queries_are_the_sentences_whose_windows_are_known() -> None:
    several = row("a", ("First.", 0.0, 2.0), "No times.", ("Second.", 3.0, 4.0))
    assert [(q.id, q.text, q.truth.windows.tolist()) for q in queries_of(several)] == [
        ("a/0/0", "First.", [[0.0, 2.0]]),
        ("a/2/0", "Second.", [[3.0, 4.0]]),
    ]
    spans = row("b", ("Twice.", 0.0, 2.0), spans=[[[[0, 2], [5, 6]]]])
    assert next(queries_of(spans)).truth.windows.tolist() == [[0, 2], [5, 6]]
    assert not list(queries_of(row("b", "Nowhere.", windows=[])))
    for bad in ({"windows": [[0, 1, 2, 3, 4]]}, {"windows": "soon"}, {"spans": []}):
        with pytest.raises(DataError, match="times cannot be read"):
            list(queries_of(row("c", ("Text.", 0.0, 1.0), **bad)))
    with pytest.raises(DataError, match="belongs to one caption"):
        list(queries_of(row("c", "One.", "Two.", windows=[[0, 1]])))


def test_excluded_rows_are_named() -> None:
    rows = [row("a", (TEXT, 0.0, 2.0)), row("b", TEXT), row("c", (TEXT, 0.0, 2.0))]
    report = measured(rows, {"a.mp4": clip(8, (0, 2))}, broken=("c.mp4",))
    assert [entry["id"] for entry in report["excluded"]] == ["b", "c"]
    assert report["queries"] == 1
    half = measured([row("a", (TEXT, 0.0, 2.0), "No times.")], {})
    assert (half["queries"], half["settings"]["sentences_without_times"]) == (1, 1)
    with pytest.raises(DataError, match="no sentence with known times"):
        measured([row("b", TEXT)], {})
