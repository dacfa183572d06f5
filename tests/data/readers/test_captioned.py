"""Captioned images and clips: manifest, tables, and folders with text files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mova.data.manifest import Caption, Row, write_manifest
from mova.data.readers.captioned import read_captioned
from mova.errors import DataError, UsageError


def texts(source: Path) -> dict[str, list[str]]:
    return {row.id: [caption.text for caption in row.captions] for row in read_captioned(source).rows}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "file_name,caption\none.jpg,A dog.\ntwo.mp4,A cat.\none.jpg,A dog runs.\none.jpg,A dog.\n"),
        ("a.csv", "image;text\none.jpg;A dog.\ntwo.mp4;A cat.\none.jpg;A dog runs.\n"),
        (
            "metadata.jsonl",
            '{"file_name": "one.jpg", "text": "A dog."}\n\n{"file_name": "two.mp4", "text": "A cat."}\n'
            '{"file_name": "one.jpg", "text": "A dog runs."}\n',
        ),
    ],
)
def test_tables_of_files_and_texts(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    expected = {"one.jpg": ["A dog.", "A dog runs."], "two.mp4": ["A cat."]}
    assert texts(tmp_path / name) == expected
    assert texts(tmp_path) == expected, "the only table of a folder"
    assert read_captioned(tmp_path).folder == tmp_path


def test_clips_and_splits_of_a_table(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        "video,caption,start,end,split\nf.mp4,A dog.,0,2.5,val\nf.mp4,A cat.,2.5,5,train\ng.png,A hen.,,,\n",
        encoding="utf-8",
    )
    rows = read_captioned(table).rows
    assert [(row.id, row.start, row.end, row.split) for row in rows] == [
        ("f.mp4_0_2.5", 0.0, 2.5, "val"),
        ("f.mp4_2.5_5", 2.5, 5.0, "train"),
        ("g.png", None, None, "train"),
    ]


def test_a_manifest_keeps_its_rows_with_captions(tmp_path: Path) -> None:
    rows = [
        Row("a", "a.jpg", None, "train", (Caption("A dog."), Caption("A dog."))),
        Row("b", "b.mp4", 3.0, "val", ()),
        Row("c", "b.mp4", 3.0, "val", (Caption("A cat."),), start=1.0, end=2.0),
    ]
    path = write_manifest(tmp_path / "m.jsonl", rows)
    assert read_captioned(path).rows == (rows[0], rows[2])


def test_text_files_next_to_images_and_clips(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("a.JPG", "b.txt", "inner/c.mp4", "inner/d.png", "e.webp", ".f.jpg"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.txt").write_text("A dog.\n\n A dog runs. \nA dog.\n", encoding="utf-8")
    (tmp_path / "inner/c.txt").write_text("A cat.", encoding="utf-8")
    (tmp_path / "e.txt").write_text("\n", encoding="utf-8")
    assert texts(tmp_path) == {"a.JPG": ["A dog.", "A dog runs."], "inner/c.mp4": ["A cat."]}
    assert read_captioned(tmp_path).bare == 2, "d has no text, e an empty one"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,caption\na.jpg,A dog.\n", r"line 2: missing column 'video' or 'image' .*the columns are: name, caption"),
        ("image,words\na.jpg,A dog.\n", r"line 2: missing column 'caption' or 'text'"),
        ("image,caption\na.jpg,nan\n", r"line 2: the text is 'nan', a missing value"),
        ("image,caption\n../a.jpg,A dog.\n", r"line 2: .* leads out of the folder"),
        ("video,caption,start,end\na.mp4,A dog.,1,\n", r"line 2: 'start' and 'end' must be given together"),
        ("video,caption,start,end\na.mp4,A dog.,3,1\n", r"line 2: .*start"),
        ("image,caption\n", r"no row has a caption"),
    ],
)
def test_invalid_lines_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_captioned(tmp_path / "t.csv")


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        read_captioned(tmp_path / "missing")
    with pytest.raises(DataError, match=r"no file has a caption; captions are read from a manifest"):
        read_captioned(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match="unknown format"):
        read_captioned(tmp_path / "a.mp4")
    for name in ("a.csv", "b.jsonl"):
        (tmp_path / name).write_text(json.dumps({"file_name": "a.mp4", "text": "A dog."}), encoding="utf-8")
    with pytest.raises(UsageError, match=r"several tables \(a.csv, b.jsonl\); name one"):
        read_captioned(tmp_path)
    parts = '{"id": "a", "parts": [{"video": "a.mp4", "start": 0, "end": 1}], "duration": 1, "split": "t", "captions": '
    (tmp_path / "b.jsonl").write_text(parts + '[{"text": "A dog."}]}', encoding="utf-8")
    with pytest.raises(UsageError, match="consists of several clips"):
        read_captioned(tmp_path / "b.jsonl")
