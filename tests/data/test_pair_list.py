"""Lists of pairs as other programs write them: marks, separators, missing values."""

from __future__ import annotations

from pathlib import Path

import pytest

from mova.data.pair_list import read_pairs
from mova.data.readers.registry import convert
from mova.errors import DataError


@pytest.mark.parametrize(
    "content",
    [
        'video,caption\na.mp4,One.\nb.mp4,"Two, three."\n',
        '\ufeffvideo,caption\r\na.mp4,One.\r\nb.mp4,"Two, three."\r\n',
        "video;caption\na.mp4;One.\nb.mp4;Two, three.\n",
        '"video";"caption"\n"a.mp4";"One."\n"b.mp4";"Two, three."\n',
    ],
)
def test_tables_of_other_programs_are_the_same_pairs(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode())
    assert [(pair.video, pair.text) for pair in read_pairs(path)] == [("a.mp4", "One."), ("b.mp4", "Two, three.")]
    rows = convert("folder", path, tmp_path / "out").rows
    assert [(row.video, row.captions[0].text) for row in rows] == [("a.mp4", "One."), ("b.mp4", "Two, three.")]


@pytest.mark.parametrize("text", ["nan", "NaN", "None", " none ", "NULL", "N/A", "<NA>", "", " "])
def test_missing_captions_are_refused_with_the_row(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"video,caption\na.mp4,One.\nb.mp4,{text}\n")
    with pytest.raises(DataError, match=r"t\.csv, line 3: "):
        read_pairs(path)
    with pytest.raises(DataError, match=r"t\.csv, line 3: "):
        convert("folder", path, tmp_path / "out")


@pytest.mark.parametrize("value", ["null", "NaN", '"nan"', '"None"', "[]", '""', "1.5"])
def test_missing_captions_of_json_lines_are_refused_with_the_row(tmp_path: Path, value: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(f'{{"video": "a.mp4", "caption": "One."}}\n{{"video": "b.mp4", "caption": {value}}}\n')
    with pytest.raises(DataError, match=r"t\.jsonl, line 2: "):
        read_pairs(path)
    with pytest.raises(DataError, match=r"t\.jsonl, line 2: "):
        convert("folder", path, tmp_path / "out")


def test_public_captions_that_may_be_missing_are_kept_and_noted(tmp_path: Path) -> None:
    (tmp_path / "VideoUFO.csv").write_text("ID,Brief Caption,Detailed Caption\na.0,None,A long one.\nb.1,One.,Two.\n")
    done = convert("videoufo", tmp_path, tmp_path / "out")
    assert [row.id for row in done.rows] == ["a.0", "b.1"]
    (which,) = done.notes["caption is 'None', perhaps a missing value; kept"]
    assert which.endswith("VideoUFO.csv, line 2")


def test_values_that_a_manifest_cannot_hold_are_refused_with_the_row(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    for value in ("NaN", "[Infinity]", '"\\ud800"'):
        path.write_text(f'{{"video": "a.mp4", "caption": "One.", "more": {value}}}\n')
        with pytest.raises(DataError, match=r"t\.jsonl, line 1: cannot be stored in a manifest"):
            convert("folder", path, tmp_path / "out")


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_paths_that_lead_out_of_the_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lines = {"p.csv": "video,text\na/../b.mp4,One.\n../c.mp4,Two.\n"}
    lines["p.jsonl"] = '{"video": "a/../b.mp4", "text": "One."}\n{"video": "../c.mp4", "text": "Two."}\n'
    path = tmp_path / name
    path.write_text(lines[name])
    for videos in (None, tmp_path):
        with pytest.raises(DataError, match=rf"{name}, line (2|3): the path '\.\./c\.mp4' leads out"):
            read_pairs(path, videos)
    monkeypatch.setenv("MOVA_MANIFEST_OUTSIDE", "1")
    assert [pair.video for pair in read_pairs(path)] == ["a/../b.mp4", "../c.mp4"]
