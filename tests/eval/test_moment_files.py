"""QVHighlights' files: small ones, and malformed ones, whose errors name file, line and query."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova.errors import DataError
from mova.eval.moment_files import MomentScores, read_moments
from mova.eval.protocols import find_protocol
from mova.eval.score_reports import report_moments

ROW = {"qid": 1, "query": "x", "duration": 4, "relevant_windows": [[0, 2]]}
MARKED = {**ROW, "relevant_clip_ids": [1], "saliency_scores": [[4, 3, 2]]}
PREDICTION = {"qid": 1, "pred_relevant_windows": [[0, 2, 0.5]], "pred_saliency_scores": [0.1, 0.2]}


def written(folder: Path, predictions: list[Any], truth: list[Any]) -> tuple[Path, Path]:
    paths = folder / "p.jsonl", folder / "t.jsonl"
    for path, rows in zip(paths, (predictions, truth), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return paths


def lacking(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in keys}


def test_moments_need_every_query_once(tmp_path: Path) -> None:
    row = {"qid": 1, "query": "x", "duration": 4, "relevant_windows": [[0, 2]]}
    marked = {**row, "relevant_clip_ids": [1], "saliency_scores": [[4, 3, 2]]}
    prediction = {"qid": 1, "pred_relevant_windows": [[0, 2, 0.5]], "pred_saliency_scores": [0.1, 0.2]}
    predictions, truth = written(tmp_path, [prediction], [marked])
    moments = read_moments(predictions, truth)
    assert moments.ids == ["1"]
    assert moments.predictions[0].windows is not None
    saliency = moments.truths[0].saliency
    assert saliency is not None
    assert saliency.tolist() == [[0, 0, 0], [4, 3, 2]]
    for text, message in (
        (json.dumps(prediction) * 1 + "\n" + json.dumps(prediction), "duplicate query 1"),
        (json.dumps({**prediction, "qid": 2}), "have no prediction"),
        (json.dumps({**prediction, "pred_relevant_windows": [[0, 2]]}), "query 1"),
        ("{", "not JSON"),
    ):
        predictions.write_text(text)
        with pytest.raises(DataError, match=message):
            read_moments(predictions, truth)


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (
            {"pred_relevant_windows": [[30, 10, 0.9]]},
            r"p\.jsonl, line 2, query 2: window \[30.0, 10.0, 0.9\] ends",
        ),
        ({"pred_relevant_windows": [[1, 2]]}, r"p\.jsonl, line 2, query 2: must be a list of 3"),
        ({"pred_relevant_windows": [1, 2, 3]}, r"p\.jsonl, line 2, query 2: must be a list of 3"),
        ({"pred_relevant_windows": {"a": 1}}, r"p\.jsonl, line 2, query 2: must be a list"),
        ({"pred_relevant_windows": [[0, 1, float("nan")]]}, r"p\.jsonl, line 2, query 2: expected a finite number"),
        ({"pred_relevant_windows": []}, r"p\.jsonl, line 2, query 2: 'pred_relevant_windows' is empty"),
        ({"pred_relevant_windows": None}, r"p\.jsonl, line 2, query 2: has no 'pred_relevant_windows', as 1 of 3"),
        ({"pred_saliency_scores": None}, r"p\.jsonl, line 2, query 2: has no 'pred_saliency_scores', as 1 of 3"),
        ({"pred_saliency_scores": [0.5, "high"]}, r"p\.jsonl, line 2, query 2: expected a number, not 'high'"),
        ({"pred_saliency_scores": [10**400]}, r"p\.jsonl, line 2, query 2: expected a number"),
        ({"qid": [2]}, r"p\.jsonl, line 2: an object with 'qid' expected"),
    ],
)
def test_malformed_predictions_name_line_and_query(tmp_path: Path, prediction: dict[str, Any], message: str) -> None:
    rows = [{**PREDICTION, "qid": qid} for qid in (1, 2, 3)]
    rows[1] |= prediction
    with pytest.raises(DataError, match=message):
        read_moments(*written(tmp_path, rows, [{**MARKED, "qid": qid} for qid in (1, 2, 3)]))


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ({"relevant_windows": [[2, 1]]}, r"t\.jsonl, line 1, query 1: window \[2.0, 1.0\] ends before it begins"),
        ({"relevant_windows": None}, r"t\.jsonl, line 1, query 1: must be a list"),
        ({"duration": 1e300}, r"t\.jsonl, line 1, query 1: ValueError: the duration must be"),
        ({"duration": "long"}, r"t\.jsonl, line 1, query 1: TypeError"),
        ({"relevant_clip_ids": [-1]}, r"t\.jsonl, line 1, query 1: ValueError: a clip has the number -1"),
        (
            {"relevant_clip_ids": [0, 1, 2, 3]},
            r"t\.jsonl, line 1, query 1: ValueError: 'saliency_scores' must have one",
        ),
        ({"saliency_scores": [1]}, r"t\.jsonl, line 1, query 1: ValueError: 'saliency_scores' must have one"),
        (
            {"saliency_scores": [[4, 2.5, 2]]},
            r"line 1, query 1: ValueError: .saliency_scores. must be whole .*2\.5",
        ),
        (
            {"saliency_scores": [[4, float("nan"), 2]]},
            r"query 1: ValueError: .saliency_scores. must be whole .*nan",
        ),
        ({"relevant_clip_ids": [0.5]}, r"query 1: ValueError: 'relevant_clip_ids' must be whole numbers, not 0\.5"),
        ({"relevant_clip_ids": [7]}, r"t\.jsonl, line 1, query 1: IndexError"),
        ({"saliency_scores": [[10**30] * 3]}, r"t\.jsonl, line 1, query 1: OverflowError"),
    ],
)
def test_malformed_annotations_name_line_and_query(tmp_path: Path, truth: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_moments(*written(tmp_path, [PREDICTION], [{**MARKED, **truth}]))


def test_highlights_never_vanish_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    protocol = find_protocol("moments")
    rows = [{**PREDICTION, "qid": qid} for qid in (1, 2)]
    whole = read_moments(*written(tmp_path, rows, [MARKED, {**MARKED, "qid": 2}]))
    assert report_moments(whole, protocol).highlights
    partly = MomentScores(
        [whole.predictions[0], type(whole.predictions[1])(whole.predictions[1].windows)], whole.truths, whole.ids, ""
    )
    with pytest.raises(DataError, match="query 2: has no saliency scores, as 1 of 2 predictions"):
        report_moments(partly, protocol)
    unmarked = {**lacking(MARKED, "saliency_scores"), "qid": 2}
    with pytest.raises(DataError, match="query 2: has no annotated saliency scores, as 1 of 2 queries"):
        report_moments(read_moments(*written(tmp_path, rows, [MARKED, unmarked])), protocol)
    with caplog.at_level(logging.WARNING):
        bare = [{**unmarked, "qid": qid} for qid in (1, 2)]
        report = report_moments(read_moments(*written(tmp_path, rows, bare)), protocol)
    assert not report.highlights
    assert "highlights are not evaluated: none of the queries has annotated saliency" in caplog.text
    caplog.clear()
    without = [lacking(row, "pred_saliency_scores") for row in rows]
    report = report_moments(read_moments(*written(tmp_path, without, [MARKED, unmarked])), protocol)
    assert not caplog.text
    np.testing.assert_allclose(report.groups["moments"].figures["R1@0.5"], 100.0)


def test_one_reversed_window_among_many_is_named(shared_data: Path) -> None:
    folder = shared_data / "cases"
    if not (folder / "predictions_reversed.jsonl").is_file():
        pytest.skip("the cases are not in the shared data")
    with pytest.raises(DataError, match=r"predictions_reversed\.jsonl, line 1, query 0: window .* ends"):
        read_moments(folder / "predictions_reversed.jsonl", folder / "predictions_truth.jsonl")
