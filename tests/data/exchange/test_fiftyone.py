"""FiftyOne's format of temporal detections, as its documentation has it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mova.data.exchange.fiftyone import write_fiftyone
from mova.data.manifest import Caption, Row, Segment, TimedSentence
from mova.data.readers.registry import convert
from mova.errors import DataError

SENTENCES = (TimedSentence("A dog runs.", 0.0, 2.5), TimedSentence("It stops.", 2.0, 4.0))
ROWS = [
    Row(
        "a", "a.mp4", 60.0, "val", (Caption("A dog runs. It stops.", SENTENCES), Caption("In short: a dog.", SENTENCES))
    ),
    Row("c", "sub/c.mp4", 30.0, "test", (Caption("A cat."),), start=1.0, end=2.0),
]


def test_a_manifest_survives_both_ways(tmp_path: Path) -> None:
    write_fiftyone(ROWS, tmp_path / "set", base=tmp_path)
    read = convert("fiftyone", tmp_path / "set", tmp_path / "m.jsonl").rows
    assert [replace(row, source=None, meta={}) for row in read] == [
        replace(row, video=str(tmp_path / row.video)) for row in ROWS
    ]


def test_the_files_have_the_documented_layout(tmp_path: Path) -> None:
    exported = write_fiftyone([*ROWS, Row("e", "e.mp4", None, "train", (Caption("No times."),))], tmp_path / "set")
    assert (exported.videos, exported.detections, exported.untimed) == (3, 5, 1)
    document = json.loads((tmp_path / "set" / "labels.json").read_text(encoding="utf-8"))
    assert set(document) == {"classes", "labels"}
    assert document["classes"] is None
    assert document["labels"]["e"] is None, "an unlabeled video"
    first = document["labels"]["a"][0]
    assert (first["label"], first["timestamps"]) == ("A dog runs.", [0.0, 2.5])
    assert set(first) <= {"label", "timestamps", "support", "confidence", "attributes"}
    media = json.loads((tmp_path / "set" / "data.json").read_text(encoding="utf-8"))
    assert media.keys() == document["labels"].keys()
    assert all(Path(path).is_absolute() for path in media.values())


def test_rows_that_the_format_cannot_hold_are_counted(tmp_path: Path) -> None:
    parts = Row("d", "", 5.0, "val", (), parts=(Segment("a.mp4", 0.0, 2.0), Segment("c.mp4", 1.0, 4.0)))
    assert write_fiftyone([*ROWS, parts], tmp_path).parts == 1
    with pytest.raises(DataError, match="no rows of one video"):
        write_fiftyone([parts], tmp_path)


def test_what_fiftyone_exports_is_read(tmp_path: Path, worlds_manifest: Path) -> None:
    """Frame numbers count from 1, both ends included; labels are indices of classes; videos are in data/."""
    video = next(worlds_manifest.parent.glob("*.mp4"))  # 4 frames per second
    (tmp_path / "data").mkdir()
    shutil.copy(video, tmp_path / "data" / "one.mp4")
    detections = [
        {"label": 1, "support": [9, 12], "confidence": 0.9},
        {"label": 0, "timestamps": [0.25, 1.0], "attributes": {"iscrowd": 0}},
    ]
    labels = {"classes": ["a disc shrinks", "a star turns"], "labels": {"one": detections}}
    (tmp_path / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    result = convert("fiftyone", tmp_path, tmp_path / "m.jsonl", videos=tmp_path / "data", missing="fail")
    (row,) = result.rows
    assert row.video == "data/one.mp4"
    assert [(s.text, s.start, s.end) for s in row.captions[0].sentences] == [
        ("a disc shrinks", 0.25, 1.0),
        ("a star turns", 2.0, 3.0),
    ]
    assert any("frame numbers" in note for note in result.notes)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "an object with 'labels'"),
        ({"labels": {"a": [{"label": "x"}]}}, "detection 1: has neither"),
        ({"labels": {"a": [{"label": "x", "timestamps": [1]}]}}, "detection 1"),
        ({"labels": {"a": [{"label": "x", "timestamps": [3, 1]}]}}, "'a'"),
        ({"classes": ["x"], "labels": {"a": [{"label": 4, "timestamps": [0, 1]}]}}, "label 4 is not the number"),
        ({"labels": {"a": [7]}}, "an object expected"),
        ({"labels": {"a": [{"label": "x", "timestamps": [0, 1], "attributes": 3}]}}, "'attributes'"),
    ],
    ids=str,
)
def test_malformed_files_are_named(tmp_path: Path, labels: Any, message: str) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        convert("fiftyone", tmp_path, tmp_path / "m.jsonl")
