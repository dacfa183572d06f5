"""Multiple choice from score files: NExT-QA's predictions by its own arithmetic, subsets, and malformed files."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova.data.manifest import Row, write_manifest
from mova.errors import DataError, UsageError
from mova.eval.choices import read_choices, report_choice
from mova.eval.protocols import find_protocol

Call = Callable[..., tuple[int, str, str]]
HEADER = "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4"
LINES = (
    "10,1,1,1,why run,0,0,CW,a,b,c,d,e",
    "10,1,1,1,what next,1,1,TN,a,b,c,d,e",
    "11,1,1,1,what before,1,2,TP,a,b,c,d,e",
    "12,1,1,1,how many,3,3,DC,a,b,c,d,e",
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "val.csv"
    path.write_text("\n".join((HEADER, *LINES)) + "\n", encoding="utf-8")
    return path


def published_arithmetic(questions: list[dict[str, str]], predictions: dict[str, dict[str, int]]) -> dict[str, float]:
    """NExT-QA's `eval_mc.py` (doc-doc/NExT-QA): TP counts as TN; accuracy by type, by its first letter, and in all."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for row in questions:
        type = "TN" if row["type"] == "TP" else row["type"]
        entry = predictions[f"{row['video']}_{row['qid']}"]
        for name in (type, {"C": "causal", "T": "temporal", "D": "descriptive"}[type[0]], "all"):
            hits[name].append(entry["prediction"] == entry["answer"])
    return {name: 100 * float(np.mean(values)) for name, values in hits.items()}


def test_nextqas_predictions_have_its_own_figures(shared_data: Path, call: Call, tmp_path: Path) -> None:
    table = shared_data / "annotations" / "nextqa" / "val.csv"
    if not table.is_file():
        pytest.skip("NExT-QA's questions are not in the shared data")
    with table.open(encoding="utf-8") as file:
        questions = list(csv.DictReader(file))
    rng = np.random.default_rng(0)
    predictions = {
        f"{row['video']}_{row['qid']}": {"prediction": int(choice), "answer": int(row["answer"])}
        for row, choice in zip(questions, rng.integers(0, 5, len(questions)), strict=True)
    }
    (tmp_path / "predictions.json").write_text(json.dumps(predictions))
    words = ("eval", "matrix", tmp_path / "predictions.json", "--protocol", "nextqa-val", "--truth", table, "--json")
    code, out, err = call(*words)
    assert code == 0, err
    report = json.loads(out)
    assert (report["protocol"], report["queries"], report["ties"]) == ("nextqa-val", 4996, 0)
    expected = published_arithmetic(questions, predictions)
    figures = {name: group["accuracy"] for name, group in report["figures"].items()}
    joined = {"TN": "TN and TP"} if "TN and TP" in figures else {}
    for name, value in expected.items():
        assert figures[joined.get(name, name)] == pytest.approx(value), name


def test_scores_per_option_are_named_or_in_order(table: Path, tmp_path: Path) -> None:
    scores = np.array([[5, 4, 3, 2, 1], [1, 1, 0, 0, 0], [0, 1, 2, 3, 4], [0, 0, 0, 9, 0]], dtype=float)
    np.save(tmp_path / "scores.npy", scores)
    report = report_choice(read_choices(tmp_path / "scores.npy", table), find_protocol("choice"))
    figures = {name: group.figures["accuracy"] for name, group in report.groups.items()}
    assert figures["all"] == pytest.approx(100 * (1 + 0.5 + 0 + 1) / 4)  # a tie of two counts half
    assert (figures["causal"], figures["TN and TP"], figures["descriptive"]) == (100.0, 25.0, 100.0)
    assert report.ties == 1
    ids, turned = ("12_3", "10_0", "10_1", "11_2"), np.roll(scores, 1, axis=0)
    lines = [",a0,a1,a2,a3,a4", *(f"{i},{','.join(map(str, row))}" for i, row in zip(ids, turned, strict=True))]
    (tmp_path / "scores.csv").write_text("\n".join(lines) + "\n")
    named = report_choice(read_choices(tmp_path / "scores.csv", table), find_protocol("choice"))
    assert {name: group.figures["accuracy"] for name, group in named.groups.items()} == figures
    assert named.head.fingerprint == report.head.fingerprint


def test_a_subset_is_another_test_with_a_note(table: Path, tmp_path: Path, call: Call) -> None:
    predictions = {"10_0": {"prediction": 0, "answer": 0}, "11_2": {"prediction": 0, "answer": 1}}
    path = tmp_path / "some.json"
    path.write_text(json.dumps(predictions))
    code, out, err = call("eval", "matrix", path, "--protocol", "choice", "--truth", table, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["settings"]["note"] == "2 of 4 questions have scores; the others do not count"
    assert (report["queries"], report["figures"]["all"]["accuracy"]) == (2, 50.0)
    whole = {**predictions, "10_1": {"prediction": 1}, "12_3": 3}
    path.write_text(json.dumps(whole))
    code, out, _ = call("eval", "matrix", path, "--protocol", "choice", "--truth", table, "--json")
    assert json.loads(out)["fingerprint"] != report["fingerprint"]
    with pytest.raises(UsageError, match="4 texts instead of 2269"):
        report_choice(read_choices(path, table), find_protocol("atp-hard"))


def test_a_subset_of_a_named_protocol_is_incomplete(shared_data: Path, tmp_path: Path) -> None:
    table = shared_data / "annotations" / "videocon" / "nextqa-atphard.csv"
    if not table.is_file():
        pytest.skip("ATP-Hard is not in the shared data")
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:1844]
    (tmp_path / "p.json").write_text(json.dumps({f"{r['video']}_{r['qid']}": int(r["answer"]) for r in rows}))
    report = report_choice(read_choices(tmp_path / "p.json", table), find_protocol("atp-hard"))
    assert report.head.protocol == "atp-hard-incomplete"
    assert report.head.settings["note"].startswith("1844 of 2269 questions")
    assert report.groups["all"].figures["accuracy"] == 100.0


def test_videocons_statements_are_a_legal_subset_with_a_note(tmp_path: Path, call: Call) -> None:
    truth = ["videopath,question,answer,option,caption"]
    scores = []
    for number, (video, question) in enumerate(
        (("n/1.mp4", "q"), ("n/1.mp4", "r"), ("n/2.mp4", "s"), ("n/3.mp4", "t"))
    ):
        for option in range(5):
            caption = "shared" if (number, option) in ((1, 0), (3, 0)) else f"c{number}{option}"
            truth.append(f"{video},{question},{number},{option},{caption}")
            if (number, option) != (2, 4):  # one statement of the third question was not scored
                scores.append(f"{video},{caption},{0.1 * option if number else 1 - 0.1 * option},0,0")
    scores += [scores[0], "n/3.mp4,shared,0.9,0,0"]  # a row twice, and a second score for a statement
    (tmp_path / "truth.csv").write_text("\n".join(truth) + "\n")
    (tmp_path / "scores.csv").write_text("\n".join(scores) + "\n")
    (tmp_path / "nextqa-atphard.csv").write_text("video,question,type\n1,q,CW\n1,r,TN\n")
    words = ("eval", "matrix", tmp_path / "scores.csv", "--truth", tmp_path / "truth.csv", "--json")
    code, out, err = call(*words, "--protocol", "atp-hard")
    assert code == 0, err
    report = json.loads(out)
    assert report["protocol"] == "atp-hard-incomplete"
    note = "VideoCon's statements: 2 of 4 questions have scores; the others do not count"
    assert (report["queries"], report["settings"]["note"]) == (2, note)
    accuracies = {name: figures["accuracy"] for name, figures in report["figures"].items()}
    assert accuracies == {"all": 50.0, "causal": 100.0, "temporal": 0.0, "CW": 100.0, "TN": 0.0}


def test_a_manifest_has_the_questions_too(tmp_path: Path) -> None:
    metas = [{"question": "Who?", "options": ["a", "b"], "answer": 1}, {"options": ["x", "y", "z"], "answer": 2}, {}]
    rows = [Row(f"q{i}", "v.mp4", None, "test", (), meta=meta) for i, meta in enumerate(metas)]
    manifest = write_manifest(tmp_path / "m.jsonl", rows)
    (tmp_path / "s.csv").write_text(",0,1,2\nq0,0.1,0.2,-inf\nq1,0.3,0.2,0.1\n")
    choices = read_choices(tmp_path / "s.csv", manifest)
    assert choices.total == 2
    assert report_choice(choices, find_protocol("choice")).groups["all"].figures["accuracy"] == 50.0


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"99_9": {"prediction": 0}}, "1 questions are not in .*'99_9'"),
        ({"10_0": {"prediction": 7, "answer": 0}}, "question '10_0' has options 0 to 4, not 7"),
        ({"10_0": {"prediction": "dog", "answer": "cat"}}, "index of an option, not 'dog'"),
        ({"10_0": {"prediction": 0, "answer": 3}}, "has the answer 3, but 0 in the question file"),
        ([], "expected"),
    ],
)
def test_malformed_predictions_name_the_question(document: Any, message: str, table: Path, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=message):
        read_choices(tmp_path / "p.json", table)


def test_malformed_scores_and_questions_are_named(table: Path, tmp_path: Path, call: Call) -> None:
    np.save(tmp_path / "few.npy", np.ones((3, 5)))
    with pytest.raises(DataError, match=r"has 3 rows for 4 questions; name the rows .*'10_0'"):
        read_choices(tmp_path / "few.npy", table)
    np.save(tmp_path / "narrow.npy", np.ones((4, 4)))
    with pytest.raises(DataError, match="question '10_0' has 5 options, and the file has 4 scores"):
        read_choices(tmp_path / "narrow.npy", table)
    table.write_text("\n".join((HEADER, LINES[0], LINES[0])) + "\n")
    np.save(tmp_path / "two.npy", np.ones((2, 5)))
    with pytest.raises(DataError, match="duplicate question '10_0'"):
        read_choices(tmp_path / "two.npy", table)
    table.write_text("\n".join((HEADER, LINES[0].replace("why run,0", "why run,9"))) + "\n")
    with pytest.raises(DataError, match=r"line 2: the answer must be 0 to 4, not '9'"):
        read_choices(tmp_path / "two.npy", table)
    code, _, err = call("eval", "matrix", tmp_path / "two.npy", "--protocol", "nextqa-val")
    assert code == 2
    assert "--truth is required" in " ".join(err.split())
