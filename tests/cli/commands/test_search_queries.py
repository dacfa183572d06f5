"""`mova search --queries FILE`: the answers of single searches, found together; refusals name file and line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.cli import query_file
from mova.data.manifest import read_manifest
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


def test_predictions_have_the_ids_and_the_videos_of_the_file_and_are_evaluated(
    folder: Path, worlds_manifest: Path, tmp_path: Path, call: Call
) -> None:
    """Each query of the file is about one video, as in QVHighlights."""
    rows = read_manifest(worlds_manifest)
    events = [(row, event) for row in rows for event in row.captions[0].sentences if event.start is not None]
    lines = [
        {
            "qid": number,
            "query": event.text,
            "vid": Path(str(row.video)).stem,
            "relevant_windows": [[event.start, event.end]],
        }
        for number, (row, event) in enumerate(events[:6], start=70)
    ]
    queries, found = tmp_path / "q.jsonl", tmp_path / "p.jsonl"
    queries.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    words = ("search", "--queries", queries, "--index", folder)
    code, out, err = call(*words, "--predictions", found, "--csv", tmp_path / "a.csv")
    assert (code, out) == (0, ""), err
    written = [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]
    assert [(row["qid"], row["vid"]) for row in written] == [(row["qid"], row["vid"]) for row in lines]
    assert all(row["pred_relevant_windows"] for row in written)
    table = list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8")))
    assert {(row["id"], Path(row["video"]).stem) for row in table} == {(str(r["qid"]), r["vid"]) for r in lines}
    code, out, err = call("eval", "matrix", found, "--protocol", "moments", "--truth", queries, "--json")
    assert code == 0, err
    assert json.loads(out)["queries"] == 6
    code, _, err = call(*words, "--predictions", tmp_path / "p.json")
    assert code == 0, err
    results = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))["results"]
    assert set(results) == {row["vid"] for row in lines}


def test_a_query_about_any_video_has_one_line_and_in_activitynet_all_videos(
    folder: Path, tmp_path: Path, call: Call
) -> None:
    (tmp_path / "q.jsonl").write_text(
        '{"id": "a", "query": "a disc"}\n{"id": "b", "query": "a star"}\n', encoding="utf-8"
    )
    words = ("search", "--queries", tmp_path / "q.jsonl", "--index", folder, "--one-per-video")
    assert call(*words, "--predictions", tmp_path / "p.jsonl")[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["qid"] for line in lines] == ["a", "b"]
    assert call(*words, "--predictions", tmp_path / "p.json")[0] == 0
    assert len(json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))["results"]) > 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": "a", "query": "a disc", "vid": "nobody"}', "query a: no video that is searched has the name nobody"),
        ('{"id": 1, "query": "a disc"}\n{"id": 1, "query": "a star"}', "2 queries have the id 1"),
    ],
)
def test_names_that_cannot_be_written_are_refused(
    lines: str, message: str, folder: Path, tmp_path: Path, call: Call
) -> None:
    (tmp_path / "q.jsonl").write_text(lines, encoding="utf-8")
    words = ("search", "--queries", tmp_path / "q.jsonl", "--index", folder, "--predictions", tmp_path / "p.jsonl")
    code, out, err = call(*words)
    assert (code, out, message in err) == (2, "", True), err


def test_a_dash_reads_standard_input(folder: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = tmp_path / "piped"
    piped.write_text('a disc\n{"id": "x", "query": "a star"}\n', encoding="utf-8")
    monkeypatch.setattr(query_file, "STANDARD_INPUT", piped)
    code, out, err = call("search", "--queries", "-", "--index", folder, "--json")
    assert code == 0, err
    assert [(row["id"], row["query"]) for row in json.loads(out)["queries"]] == [("1", "a disc"), ("x", "a star")]


def test_one_query_and_many_have_the_same_columns(folder: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "q.txt").write_text("a disc\n", encoding="utf-8")
    tables = []
    for name, words in (("one", ("a disc", "--local")), ("many", ("--queries", tmp_path / "q.txt"))):
        path = tmp_path / f"{name}.csv"
        assert call("search", *words, "--index", folder, "--skip", "1", "-k", "2", "--csv", path)[0] == 0
        tables.append(list(csv.DictReader(path.open(encoding="utf-8"))))
    assert tables[0] == tables[1]
    assert list(tables[0][0]) == ["id", "query", "rank", "video", "start", "end", "score", "false_alarm", "evidence"]
    assert [row["rank"] for row in tables[0]] == ["2", "3"]
