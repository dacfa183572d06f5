"""`mova data export`, and `mova data convert` back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.data.manifest import read_manifest

Call = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("form", ["datasets", "fiftyone"])
def test_a_manifest_is_exported_and_read_back(call: Call, worlds_manifest: Path, tmp_path: Path, form: str) -> None:
    code, out, err = call("data", "export", form, worlds_manifest, tmp_path / "out", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["format"] == form
    code, _, err = call("data", "convert", form, tmp_path / "out", tmp_path / "again.jsonl")
    assert code == 0, err
    before, after = (
        sorted(read_manifest(p), key=lambda row: row.id) for p in (worlds_manifest, tmp_path / "again.jsonl")
    )
    assert [(row.id, row.split, row.duration) for row in before] == [(row.id, row.split, row.duration) for row in after]
    assert [row.captions for row in before if form == "datasets"] == [
        row.captions for row in after if form == "datasets"
    ]
    assert all(Path(row.video).is_file() for row in after)


def test_one_split_can_be_exported(call: Call, worlds_manifest: Path, tmp_path: Path) -> None:
    code, out, _ = call("data", "export", "datasets", worlds_manifest, tmp_path, "--split", "test")
    assert code == 0
    assert "2 rows in 1 files" in out
    code, _, err = call("data", "export", "datasets", worlds_manifest, tmp_path, "--split", "nothing")
    assert (code, "has no split 'nothing'" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fiftyone", "missing.jsonl", "out"], "missing.jsonl: no such file"),
        (["datasets", "missing.jsonl", "out", "--faiss"], "--faiss is for clip-retrieval only"),
        (["clip-retrieval", "films.mova", "out"], "no index here"),
        (["clip-retrieval", "films.mova", "out", "--split", "test"], "--split is for manifests"),
    ],
    ids=str,
)
def test_wrong_use_is_one_message(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call("data", "export", *words)
    assert (code != 0, out) == (True, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []
