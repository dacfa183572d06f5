"""Score files of other systems: small files in their formats, and malformed ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mova.errors import DataError
from mova.eval.protocols import find_protocol
from mova.eval.score_files import ScoreMatrix, read_entailment, read_ids, read_moments
from mova.eval.score_reports import QueryBank, report_matrix

LABELS = "videopath,caption,match\na,x,1\nb,x,0\na,y,0\nb,y,1\n"
SCORES = "b,x,0.25,0.25,0.75\na,x,0.5,0.5,0.5\na,y,0.125,0,0\nb,y,1,1,0\n"


def write(folder: Path, **files: str) -> list[Path]:
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def test_entailment_tables_become_a_matrix_of_sorted_names(tmp_path: Path) -> None:
    scores, labels = write(tmp_path, scores=SCORES + "b,y,1,1,0\n", labels=LABELS)
    table = read_entailment(scores, labels)
    assert (table.texts, table.videos) == (("x", "y"), ("a", "b"))
    assert table.scores.tolist() == [[0.5, 0.25], [0.125, 1.0]]
    assert table.right.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (SCORES + "b,y,0.5,1,0\n", LABELS, "two values"),
        (SCORES[:-10], LABELS, "1 pairs are missing"),
        (SCORES + "c,x,1,1,0\n", LABELS, "not among the labels"),
        (SCORES.replace("0.125", "nan"), LABELS, "line 3"),
        (SCORES, LABELS.replace("a,x,1", "a,x,2"), "0 or 1"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, scores: str, labels: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_entailment(*write(tmp_path, scores=scores, labels=labels))


def test_moments_need_every_query_once(tmp_path: Path) -> None:
    row = {"qid": 1, "query": "x", "duration": 4, "relevant_windows": [[0, 2]]}
    marked = {**row, "relevant_clip_ids": [1], "saliency_scores": [[4, 3, 2]]}
    prediction = {"qid": 1, "pred_relevant_windows": [[0, 2, 0.5]], "pred_saliency_scores": [0.1, 0.2]}
    predictions, truth = write(tmp_path, p=json.dumps(prediction) + "\n", t=json.dumps(marked) + "\n")
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


def test_ids_refuse_duplicates_and_unknown_videos(tmp_path: Path) -> None:
    path = tmp_path / "ids.json"
    for document, message in (
        ({"videos": ["a", "a"], "texts": ["a"]}, "duplicate video 'a'"),
        ({"videos": ["a"], "texts": ["b"]}, "belongs to 'b', which is not in the list of videos"),
        ({"videos": ["a"]}, "expected"),
    ):
        path.write_text(json.dumps(document))
        with pytest.raises(DataError, match=message):
            read_ids(path)


def test_a_bank_of_test_texts_is_refused() -> None:
    matrix = ScoreMatrix(np.eye(3), texts=("p", "q", "r"))
    protocol = find_protocol("pairs")
    training = QueryBank(ScoreMatrix(np.ones((2, 3)), texts=("s", "t")))
    (row,) = report_matrix(matrix, protocol, bank=training).transductive.values()
    assert row["bank"]["texts"] == 2
    with pytest.raises(DataError, match="must contain training texts only"):
        report_matrix(matrix, protocol, bank=QueryBank(ScoreMatrix(np.ones((1, 3)), texts=("p",))))
