"""Score files of other systems: small files in their formats, and malformed ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mova.errors import DataError
from mova.eval.protocols import find_protocol
from mova.eval.score_files import ScoreMatrix, read_entailment, read_ids, read_matrix
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


TABLE = np.array([[0.9, 0.25, 3.0], [0.125, -0.5, 1.0], [2.0, 0.0, 0.75]])
NAMED = ",11,12,13\n12,0.9,0.25,3\n13,0.125,-0.5,1\n11,2,0,0.75\n"


@pytest.mark.parametrize(
    ("text", "texts", "videos"),
    [
        (NAMED, ("12", "13", "11"), ("11", "12", "13")),
        ("\ufeff" + NAMED.replace("\n", "\r\n"), ("12", "13", "11"), ("11", "12", "13")),
        ("\ufeff0.9,0.25,3\n0.125,-0.5,1\n2,0,0.75\n", None, None),
        (",a,b,c\n0,0.9,0.25,3\n1,0.125,-0.5,1\n2,2,0,0.75\n", ("0", "1", "2"), ("a", "b", "c")),
        ("a,b,c\n0.9,0.25,3\n0.125,-0.5,1\n2,0,0.75\n", None, ("a", "b", "c")),
        ('x,0.9,0.25,3\n"y, z",0.125,-0.5,1\nw,2,0,0.75\n', ("x", "y, z", "w"), None),
        ("text,a,b,c\nx,0.9,0.25,3\ny,0.125,-0.5,1\nw,2,0,0.75\n", ("x", "y", "w"), ("a", "b", "c")),
    ],
)
def test_names_of_a_csv_matrix_may_be_numbers(
    tmp_path: Path, text: str, texts: tuple[str, ...] | None, videos: tuple[str, ...] | None
) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(text.encode())
    matrix = read_matrix(path)
    assert (matrix.texts, matrix.videos) == (texts, videos)
    np.testing.assert_array_equal(matrix.scores, TABLE)


def test_texts_and_videos_with_numbers_as_names_are_paired_by_name(tmp_path: Path) -> None:
    (path,) = write(tmp_path, **{"m.csv": ",11,12,13\n12,0,9.5,0\n13,0,0,9.5\n11,9.5,0,0\n"})
    report = report_matrix(read_matrix(path), find_protocol("pairs"))
    assert report.directions["t2v"].figures["R@1"] == 100.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("11,12,13\n0.5,0.6,0.7\n0.5,0.6,0.7\n", "line 1: the first line may have names of videos or scores"),
        ("id,11,12,13\nx,0.5,0.6,0.7\ny,0.5,0.6,0.7\n", "line 1: the first line may have names of videos or scores"),
        ("id,a,b\n1,0.5,0.6\n2,0.5,0.6\n3,0.5,0.6\n", "line 1: the first column may have names of texts or scores"),
        ("0,0.5,0.6\n1,0.5,0.6\n2,0.5,0.6\n3,0.1,0.1\n", "the first column may have names of texts or scores"),
        (",a,b\n0.25,0.5\n0.5,0.5\n", "line 2: has 2 columns instead of 3"),
        (",a,b\n0.25,0.5,1\n0.5,0.5,2\n", "the first cell is empty, but the first column has scores"),
        (",7,7\n1,0.5,0.5\n2,0.5,0.6\n", "duplicate video '7'"),
        (",7,8\n1,0.5,0.5\n1,0.5,0.6\n", "duplicate text '1'"),
        ("0.5;0.25\n0.5;1\n", "columns are separated by semicolons"),
        ("a;b\n0,5;0,25\n", "columns are separated by semicolons"),
        ("0.5,0.25\n0.5,\n", "line 2: expected a number, not ''"),
        ("a,b\n0.5,0.25\n0.5,0.25,1\n", "line 3: has 3 columns instead of 2"),
        ('0.5,"0.25\n', "line 1: not CSV"),
        ("", "it is empty"),
    ],
)
def test_csv_matrices_that_cannot_be_read_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    (path,) = write(tmp_path, **{"m.csv": text})
    with pytest.raises(DataError, match=message):
        read_matrix(path)


def test_ids_may_begin_with_a_mark_and_be_numbers(tmp_path: Path) -> None:
    (path,) = write(tmp_path, **{"ids.json": '\ufeff{"videos": [1, "b"], "texts": ["b", 1]}'})
    ids = read_ids(path)
    assert (ids.videos, ids.owners) == (("1", "b"), ("b", "1"))
    for videos in ("[null]", '[["a"]]', '["\\ud800"]'):
        path.write_text(f'{{"videos": {videos}, "texts": []}}')
        with pytest.raises(DataError, match="an id must be a text or a whole number"):
            read_ids(path)


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
