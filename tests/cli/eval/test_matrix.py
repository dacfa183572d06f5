"""`mova eval matrix` and `compare`: documents, files of every kind, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Call = Callable[..., tuple[int, str, str]]
SCORES = np.random.default_rng(0).normal(size=(12, 12)) + 1.5 * np.eye(12)


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    np.save(tmp_path / "sim.npy", SCORES)
    return tmp_path / "sim.npy"


def test_the_document_has_the_documented_keys(call: Call, matrix: Path) -> None:
    code, out, _ = call("eval", "matrix", matrix, "--json", "--compat", "clip4clip", "--dual-softmax")
    report = json.loads(out)
    assert code == 0
    assert {"protocol", "fingerprint", "queries", "candidates", "ties", "t2v", "v2t"} <= report.keys()
    assert {"R@1", "R@5", "R@10", "R@50", "MdR", "MnR"} == report["t2v"].keys()
    ranks = 1 + (np.diag(SCORES)[:, None] < SCORES).sum(axis=1)
    assert report["t2v"]["R@1"] == pytest.approx(100 * (ranks == 1).mean())
    assert report["t2v"]["MnR"] == pytest.approx(ranks.mean())
    assert report["compat"]["clip4clip"]["t2v"]["R@1"] == pytest.approx(report["t2v"]["R@1"])
    assert any("dual softmax" in name for name in report["transductive"])
    assert call("eval", "matrix", matrix)[0] == 0


def test_csv_and_parquet_by_names_give_what_npy_gives(call: Call, matrix: Path, tmp_path: Path) -> None:
    names, order = [f"v{i}" for i in range(12)], np.random.default_rng(1).permutation(12)
    columns = {names[i]: SCORES[:, i] for i in order}
    rows = [["", *columns], *([names[t], *(repr(float(c[t])) for c in columns.values())] for t in range(12))]
    (tmp_path / "sim.csv").write_text("\n".join(",".join(row) for row in rows))
    pq.write_table(pa.table({"text": names, **columns}), tmp_path / "sim.parquet")
    plain = json.loads(call("eval", "matrix", matrix, "--json")[1])
    for name in ("sim.csv", "sim.parquet"):
        report = json.loads(call("eval", "matrix", tmp_path / name, "--json")[1])
        assert report["t2v"] == pytest.approx(plain["t2v"])
        assert report["v2t"] == pytest.approx(plain["v2t"])


def test_texts_named_by_their_videos_may_be_in_any_order(call: Call, tmp_path: Path) -> None:
    videos = [f"v{i}" for i in range(4)]
    (tmp_path / "ids.json").write_text(json.dumps({"videos": videos, "texts": videos}))
    scores = np.eye(4) + 0.1 * np.arange(4)
    lines = [",".join(["", *videos]), *(f"v{i}," + ",".join(map(str, scores[i])) for i in (2, 0, 3, 1))]
    (tmp_path / "sim.csv").write_text("\n".join(lines) + "\n")
    report = json.loads(call("eval", "matrix", tmp_path / "sim.csv", "--ids", tmp_path / "ids.json", "--json")[1])
    assert (report["t2v"]["R@1"], report["v2t"]["R@1"]) == (100.0, 100.0)


def test_several_captions_report_both_conventions(call: Call, tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.3], [0.4, 0.8]])
    np.save(tmp_path / "sim.npy", scores)
    (tmp_path / "ids.json").write_text(json.dumps({"videos": ["a", "b"], "texts": ["a", "a", "b"]}))
    code, _, err = call("eval", "matrix", tmp_path / "sim.npy", "--protocol", "pairs", "--ids", tmp_path / "ids.json")
    assert code == 2
    assert "protocol pairs has one text per video, and the ids name 3 texts of 2 videos" in err
    words = ("eval", "matrix", tmp_path / "sim.npy", "--protocol", "captions", "--ids", tmp_path / "ids.json", "--json")
    report = json.loads(call(*words)[1])
    assert report["t2v"]["R@1"] == pytest.approx(200 / 3)
    assert report["conventions"].keys() == {"any-caption", "max-over-captions"}
    assert report["v2t"]["R@1"] == 100.0


def test_compare_pairs_queries_and_refuses_other_tests(call: Call, matrix: Path, tmp_path: Path) -> None:
    better = tmp_path / "better.npy"
    np.save(better, SCORES + 3 * np.eye(12))
    for source, name in ((matrix, "a.json"), (better, "b.json")):
        assert call("eval", "matrix", source, "--output", tmp_path / name)[0] == 0
    code, out, _ = call("eval", "compare", tmp_path / "a.json", tmp_path / "b.json", "--json")
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    difference = json.loads(out)["t2v"]["R@1"]
    assert code == 0
    assert difference["value"] == pytest.approx(second["t2v"]["R@1"] - first["t2v"]["R@1"])
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert call("eval", "compare", tmp_path / "a.json", tmp_path / "b.json")[0] == 0
    (tmp_path / "b.json").write_text(json.dumps({**second, "fingerprint": "other"}))
    code, _, err = call("eval", "compare", tmp_path / "a.json", tmp_path / "b.json")
    assert code == 1
    assert "fingerprint" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["{sim}", "--protocol", "msrvtt-1ka"], 2, "12 texts instead of 1000"),
        (["{sim}", "--protocol", "none"], 2, "no such protocol"),
        (["{sim}", "--protocol", "captions"], 2, "--ids"),
        (["{sim}", "--protocol", "qvhighlights"], 2, "--truth is required"),
        (["{sim}", "--compat", "argsort"], 2, "--compat argsort"),
        (["{sim}", "--out", "{tmp}"], 2, "is a directory; name a file in it"),
        (["{tmp}/nan.npy"], 1, "query 3 contain NaN"),
        (["{tmp}/none.npy"], 2, "no such file"),
        (["{tmp}/sim.txt"], 2, ".parquet"),
        (["{tmp}/double.csv"], 1, "duplicate video 'b'"),
    ],
)
def test_unusable_scores_get_a_clear_error(
    call: Call, matrix: Path, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    broken = SCORES.copy()
    broken[3, 4] = np.nan
    np.save(tmp_path / "nan.npy", broken)
    (tmp_path / "double.csv").write_text("b,b\n0.1,0.2\n0.3,0.4\n")
    got, out, err = call(
        "eval", "matrix", *(w.replace("{sim}", str(matrix)).replace("{tmp}", str(tmp_path)) for w in words)
    )
    assert (got, out) == (code, "")
    assert message in err.replace("\n", " ")
