"""Tables of Hugging Face datasets, against that library."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mova.data.exchange.hub import write_datasets
from mova.data.manifest import Caption, Row, Segment, TimedSentence, read_manifest
from mova.data.readers.registry import convert
from mova.errors import DataError

SENTENCES = (TimedSentence("A dog runs.", 0.0, 2.5), TimedSentence("It stops."))
ROWS = [
    Row("a", "a.mp4", 60.0, "train", (Caption("A dog runs. It stops.", SENTENCES), Caption("Ein Hund — läuft."))),
    Row("b", "sub/b.mp4", None, "train", (), source="own", meta={"label": [1, {"x": None}]}),
    Row("c", "c.mp4", 30.0, "test", (Caption("A cat."),), start=1.0, end=2.0, source="own"),
    Row("d", "", 5.0, "val", (Caption("Both."),), parts=(Segment("a.mp4", 0.0, 2.0), Segment("c.mp4", 1.0, 4.0))),
]


def absolute(row: Row, base: Path) -> Row:
    if row.parts:
        return replace(row, parts=tuple(replace(part, video=str(base / part.video)) for part in row.parts))
    return replace(row, video=str(base / row.video))


def test_a_manifest_survives_both_ways(tmp_path: Path) -> None:
    write_datasets(ROWS, tmp_path / "hub", base=tmp_path)
    read = {row.id: row for row in convert("datasets", tmp_path / "hub", tmp_path / "again.jsonl").rows}
    assert list(read_manifest(tmp_path / "again.jsonl")) == list(read.values())
    for row in ROWS:
        expected = absolute(row, tmp_path)
        found = read[row.id]
        if row.source is None and not row.parts:  # a row without a source gets the name of the reader
            assert found.source == "datasets"
            found = replace(found, source=None, meta=row.meta)
        assert found == expected


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    write_datasets(ROWS, tmp_path / "hub", base=tmp_path)
    loaded = datasets.load_dataset(str(tmp_path / "hub"), cache_dir=str(tmp_path / "cache"))
    assert {name: part["id"] for name, part in loaded.items()} == {"train": ["a", "b"], "test": ["c"], "val": ["d"]}
    first = loaded["train"][0]
    assert first["video"] == str(tmp_path / "a.mp4")
    assert first["captions"][0]["sentences"][1] == {"text": "It stops.", "start": None, "end": None}
    assert json.loads(loaded["train"][1]["meta"]) == {"label": [1, {"x": None}]}


def library_rows(tmp_path: Path, form: str) -> Path:
    """Write three captions of two videos with the library itself."""
    datasets = pytest.importorskip("datasets")
    columns = {
        "video": ["/v/a.mp4", "/v/a.mp4", "/v/b.mp4"],
        "caption": ["A dog.", "A dog runs.", "A cat."],
        "extra": [1, 1, 2],
    }
    table = datasets.Dataset.from_dict(columns)
    target = tmp_path / "set"
    if form == "save_to_disk":
        table.save_to_disk(str(target))
    elif form == "splits":
        datasets.DatasetDict({"train": table.select([0, 1]), "validation": table.select([2])}).save_to_disk(str(target))
    else:
        target.mkdir()
        table.to_parquet(str(target / "test.parquet"))
    return target


@pytest.mark.parametrize(
    ("form", "splits"), [("save_to_disk", "train train"), ("splits", "train val"), ("parquet", "test test")]
)
def test_what_the_library_writes_is_read(tmp_path: Path, form: str, splits: str) -> None:
    rows = convert("datasets", library_rows(tmp_path, form), tmp_path / "m.jsonl").rows
    assert [(row.video, [c.text for c in row.captions]) for row in rows] == [
        ("/v/a.mp4", ["A dog.", "A dog runs."]),
        ("/v/b.mp4", ["A cat."]),
    ]
    assert [row.split for row in rows] == splits.split()
    assert [row.meta["extra"] for row in rows] == [1, 2]


def test_a_videofolder_is_read_with_paths_beside_its_table(tmp_path: Path, worlds_manifest: Path) -> None:
    video = next(worlds_manifest.parent.glob("*.mp4"))
    folder = tmp_path / "set" / "test"
    folder.mkdir(parents=True)
    shutil.copy(video, folder / "x.mp4")
    (folder / "metadata.csv").write_text("file_name,text\nx.mp4,Discs move.\n", encoding="utf-8")
    result = convert("datasets", tmp_path / "set", tmp_path / "m.jsonl", videos=tmp_path / "set", missing="fail")
    assert [(row.video, row.split) for row in result.rows] == [("set/test/x.mp4", "test")]
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset("videofolder", data_dir=str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    raw = loaded["test"].cast_column("video", datasets.Video(decode=False))[0]
    assert (Path(raw["video"]["path"]).name, raw["text"]) == ("x.mp4", "Discs move.")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"caption": "A dog."}, "has no video, file_name, image, path; the columns are: caption"),
        ({"video": {"bytes": "AAAA", "path": None}, "caption": "A dog."}, "in the table itself"),
        ({"video": "a.mp4", "caption": "nan"}, "missing value"),
        ({"video": "a.mp4", "caption": 3}, "expected a non-empty text"),
        ({"video": "a.mp4", "caption": "A dog.", "start": 1.0}, "given together"),
        ({"video": "a.mp4", "caption": "A dog.", "meta": "{"}, "'meta' is not JSON"),
        (
            {"video": "a.mp4", "captions": [{"text": "A.", "sentences": [{"text": "A.", "start": 3, "end": 1}]}]},
            "line 1",
        ),
        ([1], "must be an object"),
    ],
    ids=str,
)
def test_malformed_rows_are_named(tmp_path: Path, line: Any, message: str) -> None:
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        convert("datasets", tmp_path, tmp_path / "out" / "m.jsonl")


def test_files_that_are_no_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="save_to_disk"):
        convert("datasets", tmp_path, tmp_path / "m.jsonl")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 but no table")
    with pytest.raises(DataError, match=r"train.parquet: cannot be read as a table"):
        convert("datasets", tmp_path, tmp_path / "m.jsonl")
    with pytest.raises(DataError, match="no rows"):
        write_datasets([], tmp_path)
    with pytest.raises(DataError, match="'a b' cannot be the name of a split"):
        write_datasets([Row("a", "a.mp4", None, "a b", ())], tmp_path)
