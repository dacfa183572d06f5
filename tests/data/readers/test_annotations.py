"""Strict reading: what cannot be right is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mova.data.readers.annotations import (
    Collector,
    Source,
    captioned,
    clock_seconds,
    number,
    read_csv,
    read_json,
    read_jsonl,
    read_list,
    read_table,
    source_video,
    without_ending,
)
from mova.errors import DataError


def written(tmp_path: Path, text: str | bytes, name: str = "x") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", "line 3: has 1 columns instead of 2"),
        ("a,b\n1,2,3\n", "line 2: has 3 columns instead of 2"),
        ("a,c\n1,2\n", "line 1: lacks column 'b'; it has a, c"),
        ("a,b,b\n1,2,3\n", "line 1: a column stands twice"),
        ('a,b\n"x\ny",2\n3\n', "line 4: has 1 columns"),
        ('a,b\n1,"2"3\n', "line 2: not CSV"),
        ("", "lacks column"),
        (b"a,b\n\xff,2\n", "is not UTF-8"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(read_csv(written(tmp_path, text), "a", "b"))


def test_tables_are_read_as_spreadsheets_write_them(tmp_path: Path) -> None:
    path = written(tmp_path, b'\xef\xbb\xbfa,b\r\n"x, ""y""\r\nz",2\r\n\r\n3,\r\n')
    assert list(read_csv(path, "a")) == [
        (f"{path}, line 2", {"a": 'x, "y"\r\nz', "b": "2"}),
        (f"{path}, line 5", {"a": "3", "b": ""}),
    ]
    tabbed = written(tmp_path, 'a\t"b\n', "tabs")
    assert list(read_table(tabbed, 2, "\t")) == [(f"{tabbed}, line 1", ["a", '"b'])]


def test_documents_and_lists_are_refused_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="entry 'a' stands twice"):
        read_json(written(tmp_path, '{"b": {"a": 1, "a": 2}}'))
    with pytest.raises(DataError, match="not JSON"):
        read_json(written(tmp_path, "{"))
    with pytest.raises(DataError, match="line 3: not JSON"):
        list(read_jsonl(written(tmp_path, "1\n\n{\n")))
    with pytest.raises(DataError, match=r"line 4: 'a' stands at .*line 2 already"):
        read_list(written(tmp_path, "id\na\nb\na\n"), header="id")
    with pytest.raises(DataError, match="holds no ids"):
        read_list(written(tmp_path, "\n"))
    with pytest.raises(DataError, match="cannot be read"):
        read_json(tmp_path / "nowhere")
    assert list(read_list(written(tmp_path, "a\r\n\r\nb"))) == ["a", "b"]


@pytest.mark.parametrize("value", [None, "", "one", True, float("nan"), "inf", [1], {}])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="here: needs a"):
        number("here", value)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59_999))
def test_clock_readings_are_seconds(hours: int, minutes: int, thousandths: int) -> None:
    text = f"{hours:02}:{minutes:02}:{thousandths // 1000:02}.{thousandths % 1000:03}"
    assert clock_seconds("", text) == pytest.approx(hours * 3600 + minutes * 60 + thousandths / 1000)


@pytest.mark.parametrize("text", ["1:2:3", "00:01", "-00:00:01", "00:00:1x"])
def test_other_clock_readings_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="needs a time like"):
        clock_seconds("here", text)


@pytest.mark.parametrize(
    ("name", "plain", "origin"),
    [
        ("v_abc.mp4", "v_abc", "abc"),
        ("dir/abc_000012_000022", "dir/abc_000012_000022", "abc"),
        ("NUsG9BgSes0_210.0_360.0.WEBM", "NUsG9BgSes0_210.0_360.0", "NUsG9BgSes0"),
        ("---MaV1RQGE.0", "---MaV1RQGE.0", "---MaV1RQGE.0"),
        ("x_00.02.42.000-00.02.44.821", "x_00.02.42.000-00.02.44.821", "x_00.02.42.000-00.02.44.821"),
        ("52_7585070382_57621.", "52_7585070382_57621", "52"),
        ("v_", "v_", "v_"),
    ],
)
def test_names_keep_their_dots_and_lose_a_videos_ending(name: str, plain: str, origin: str) -> None:
    assert without_ending(name) == plain
    assert source_video(name) == origin


def test_a_part_needs_its_files_only_where_it_is_asked_for(tmp_path: Path) -> None:
    written(tmp_path, "", "train.json")
    source = Source(tmp_path)
    assert source.part("train", "train.json") == [tmp_path / "train.json"]
    assert source.part("val", ("val.json", "valid.json"), "more.json") is None
    assert source.notes == {"split not read, for want of a file": ["val: val.json or valid.json and more.json"]}
    assert Source(tmp_path, ["val"]).part("train", "train.json") is None
    with pytest.raises(DataError, match=r"split 'val' needs val\.json"):
        Source(tmp_path, ["val"]).part("val", "val.json")
    (tmp_path / "sub").mkdir()
    written(tmp_path / "sub", "", "train.json")
    with pytest.raises(DataError, match="is there more than once"):
        Source(tmp_path).find("train.json")


def test_rows_know_their_place(tmp_path: Path) -> None:
    source = Source(tmp_path)
    rows = Collector("x", source)
    rows.add("f, line 1", id="a", split="train", captions=captioned("f", " one "))
    assert rows.rows[0].captions[0].text == "one"
    with pytest.raises(DataError, match="f, line 2: id 'a' stands at f, line 1 already"):
        rows.add("f, line 2", id="a", split="train", captions=())
    with pytest.raises(DataError, match="f, line 3: the clip needs 0 <= start < end"):
        rows.add("f, line 3", id="b", split="train", captions=(), clip=(3.0, 2.0))
    with pytest.raises(DataError, match="f, line 4: needs a text that is not empty"):
        captioned("f, line 4", " ")
    with pytest.raises(DataError, match=r"f, line 5: sentence 'x' needs 0 <= start"):
        rows.sentence("f, line 5", "x", -1, 2)
    assert source.notes == {}
    untimed = rows.sentence("f, line 6", "x", 5, 5)
    assert (untimed.start, untimed.end) == (None, None)
    assert len(source.notes) == 1
