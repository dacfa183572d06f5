"""`mova search --queries FILE`: the answers of single searches, found together; refusals name file and line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.cli import query_file
from mova.search.index import Index

Call = Callable[..., tuple[int, str, str]]
QUERIES = ["a red star moves left", "a blue square grows", "A red star moves left. Then a blue square grows.", "a disc"]


@pytest.fixture(scope="module")
def folder(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("queries") / "index"
    Index(target, "mova-worlds-tiny").add([worlds_manifest.parent])
    return target


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "queries.txt"
    path.write_text("\ufeff" + "\n\n".join(QUERIES) + "\n \n", encoding="utf-8")
    return path


def test_the_answers_are_those_of_single_searches(
    folder: Path, queries: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_file, "BLOCK", 3)
    options = ("--index", folder, "-k", "4", "--longer", "1", "--skip", "1")
    code, out, err = call("search", "--queries", queries, "--json", *options)
    assert code == 0, err
    document = json.loads(out)
    assert [row["query"] for row in document["queries"]] == QUERIES
    assert [row["id"] for row in document["queries"]] == ["1", "3", "5", "7"]
    for row in document["queries"]:
        single = json.loads(call("search", row["query"], "--json", "--local", *options)[1])
        assert single.pop("model") == document["model"]
        del single["elapsed_seconds"], row["id"]
        for mine, other in zip(row.pop("results"), single.pop("results"), strict=True):
            assert mine.pop("score") == pytest.approx(other.pop("score"), abs=2e-5)
            assert mine.pop("false_alarm") == pytest.approx(other.pop("false_alarm"), rel=1e-2)
            assert mine == other
        assert row.pop("false_alarm") == pytest.approx(single.pop("false_alarm"), rel=1e-2)
        assert row == single


def test_a_table_for_people_and_one_for_spreadsheets(folder: Path, queries: Path, tmp_path: Path, call: Call) -> None:
    code, out, err = call("search", "--queries", queries, "--index", folder)
    assert code == 0
    assert out.count("world-") == len(QUERIES)
    assert "4 queries in" in err
    code, out, err = call("search", "--queries", queries, "--index", folder, "-k", "2", "--csv", tmp_path / "a.csv")
    assert (code, out) == (0, "")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["query"], row["rank"]) for row in rows][:4] == [
        (QUERIES[0], "1"),
        (QUERIES[0], "2"),
        (QUERIES[1], "1"),
        (QUERIES[1], "2"),
    ]
    assert all(float(row["start"]) < float(row["end"]) and Path(row["video"]).is_file() for row in rows)


def test_lines_of_json_have_names(folder: Path, tmp_path: Path, call: Call) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": "x7", "query": "a disc"}\n"a star"\n{"text": "a square", "id": 3}\n', encoding="utf-8")
    rows = json.loads(call("search", "--queries", path, "--index", folder, "--json", "-k", "1")[1])["queries"]
    assert [(row["id"], row["query"]) for row in rows] == [("x7", "a disc"), ("2", "a star"), ("3", "a square")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.txt", "", "has no queries"),
        ("q.txt", " \n\n", "has no queries"),
        ("q.txt", "a star\n...\n", "q.txt, line 2: "),
        ("q.txt", "a\n" * 10_001, "has 10,001 queries, at most 10,000"),
        ("q.txt", "x" * 250_001, "line 1: the query has 250,001 characters"),
        ("q.jsonl", '"a star"\n{"id": 1}\n', "q.jsonl, line 2: must be a text, or an object"),
        ("q.jsonl", "a star\n", "line 1: is not JSON"),
        ("q.jsonl", '{"query": "a star", "id": [1]}\n', "line 1: must be a text"),
    ],
)
def test_a_file_that_cannot_be_answered_is_refused_with_its_line(
    name: str, content: str, message: str, tmp_path: Path, call: Call
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    code, out, err = call("search", "--queries", tmp_path / name, "--index", tmp_path / "nowhere")
    assert (code, out) == (2, "")
    assert message in err
    assert "no index here" not in err, "the file is checked first"


def test_what_is_for_one_query_is_refused(folder: Path, queries: Path, tmp_path: Path, call: Call) -> None:
    for options, name in (
        (("a", "star"), "a TEXT"),
        (("--text-file", queries), "--text-file"),
        (("--export", tmp_path / "clips"), "--export"),
        (("--srt", tmp_path / "a.srt"), "--srt"),
    ):
        code, _, err = call("search", *options, "--queries", queries, "--index", folder)
        assert code == 2
        assert f"{name} is for one query; omit it with --queries" in err
    assert "no such file" in call("search", "--queries", tmp_path / "none.txt", "--index", folder)[2].lower()
