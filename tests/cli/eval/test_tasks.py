"""`mova eval TASK` on the command line: the shipped model on rendered Worlds, files, output formats, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mova.data.manifest import read_manifest, write_manifest
from mova.worlds.writer import write_worlds

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four Worlds of 10 s in split test, each with a question, and one missing video."""
    path = write_worlds(tmp_path_factory.mktemp("worlds"), 4, 10, "flat", seed=5, size=64)
    rows = []
    for number, row in enumerate(read_manifest(path)):
        options = [row.captions[0].text, row.meta["negatives"][0]["text"]]
        meta = {"question": "What happens?", "options": options, "answer": 0, "label": f"world {number}"}
        rows.append(replace(row, split="test", meta={**row.meta, **meta}))
    rows.append(replace(rows[0], id="lost", video="lost.mp4"))
    return write_manifest(path, rows)


@pytest.fixture
def measure(call: Call, manifest: Path) -> Callable[..., dict[str, Any]]:
    def run(task: str, *words: object) -> dict[str, Any]:
        code, out, err = call("eval", task, "--manifest", manifest, "--model", "mova-worlds-tiny", *words, "--json")
        assert code == 0, err
        assert "lost (lost.mp4)" in err
        report: dict[str, Any] = json.loads(out)
        assert {"protocol", "fingerprint", "queries", "candidates", "model", "excluded"} <= report.keys()
        assert [row["id"] for row in report["excluded"]] == ["lost"]
        assert report["task"] == task
        return report

    return run


def test_the_shipped_model_does_every_task_far_above_chance(
    measure: Callable[..., dict[str, Any]], call: Call, tmp_path: Path
) -> None:
    report = measure(
        "retrieval", "--protocol", "paragraphs", "--out", tmp_path / "a.json", "--scores", tmp_path / "s.npy"
    )
    assert report["t2v"]["R@1"] == 100.0
    assert measure("retrieval", "--protocol", "paragraphs", "--form", "global", "--out", tmp_path / "b.json")
    code, out, _ = call("eval", "compare", tmp_path / "a.json", tmp_path / "b.json", "--json")
    assert code == 0
    assert json.loads(out)["t2v"].keys() == {"R@1", "R@5", "R@10", "R@50", "MdR", "MnR"}
    matrix = json.loads(call("eval", "matrix", tmp_path / "s.npy", "--json")[1])
    assert matrix["t2v"] == report["t2v"]
    assert measure("entailment")["figures"]["all"]["AUC"] > 70
    assert measure("moments")["figures"]["moments"]["mIoU"] > 70
    assert measure("choice", "--template", "{option}")["queries"] == 4
    assert measure("classify", "--template", "{label}")["counts"]["all"]["classes"] == 4


def test_tables_and_markdown(call: Call, manifest: Path) -> None:
    words = ("--manifest", manifest, "--model", "mova-worlds-tiny")
    code, out, err = call("eval", "moments", *words)
    assert code == 0
    assert "mIoU" in out
    assert "1 rows were excluded" in err
    code, out, _ = call("eval", "choice", *words, "--markdown")
    assert code == 0
    assert out.startswith("| mova-worlds-tiny | choice |")
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["retrieval", "--protocol", "lsmdc"], 2, "captions, but the protocol takes one"),
        (["retrieval", "--protocol", "didemo"], 2, "instead of 1004"),
        (["retrieval", "--protocol", "how2qa-val"], 2, "is for `mova eval choice`"),
        (["moments", "--split", "dev"], 2, "no split 'dev'"),
        (["choice", "--form", "best"], 2, "unknown form"),
        (["choice", "--json", "--markdown"], 2, "both write to stdout"),
        (["choice", "--out", "none/a.json"], 2, "no such directory: none"),
        (["matrix", "x.npy", "--protocol", "classify"], 2, "see `mova eval classify`"),
    ],
)
def test_invalid_requests_are_rejected(call: Call, manifest: Path, words: list[str], code: int, message: str) -> None:
    task = words[0]
    more = () if task == "matrix" else ("--manifest", manifest, "--model", "mova-worlds-tiny")
    exit_code, out, err = call("eval", *words, *more)
    assert (exit_code, out) == (code, "")
    assert message in err.replace("\n", " ")
