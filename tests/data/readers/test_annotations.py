"""Strict reading: invalid values are errors that name the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mova.data.readers.annotations import (
    AnnotationSource,
    Collector,
    clock_seconds,
    source_video,
    to_captions,
    to_number,
    without_suffix,
)
from mova.errors import DataError


def written(tmp_path: Path, text: str | bytes, name: str = "x") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("value", [None, "", "one", True, float("nan"), "inf", [1], {}])
def test_values_that_are_not_numbers_are_errors(value: object) -> None:
    with pytest.raises(DataError, match="here: expected a"):
        to_number("here", value)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59_999))
def test_clock_readings_are_seconds(hours: int, minutes: int, thousandths: int) -> None:
    text = f"{hours:02}:{minutes:02}:{thousandths // 1000:02}.{thousandths % 1000:03}"
    assert clock_seconds("", text) == pytest.approx(hours * 3600 + minutes * 60 + thousandths / 1000)


@pytest.mark.parametrize("text", ["1:2:3", "00:01", "-00:00:01", "00:00:1x"])
def test_invalid_clock_readings_are_errors(text: str) -> None:
    with pytest.raises(DataError, match="expected a time such as"):
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
def test_names_keep_their_dots_and_lose_a_video_extension(name: str, plain: str, origin: str) -> None:
    assert without_suffix(name) == plain
    assert source_video(name) == origin


def test_files_of_a_split_are_required_only_if_it_is_requested(tmp_path: Path) -> None:
    written(tmp_path, "", "train.json")
    source = AnnotationSource(tmp_path)
    assert source.split_files("train", "train.json") == [tmp_path / "train.json"]
    assert source.split_files("val", ("val.json", "valid.json"), "more.json") is None
    assert source.notes == {"split not read: missing file": ["val: val.json or valid.json and more.json"]}
    assert AnnotationSource(tmp_path, ["val"]).split_files("train", "train.json") is None
    with pytest.raises(DataError, match=r"split 'val' needs val\.json"):
        AnnotationSource(tmp_path, ["val"]).split_files("val", "val.json")
    (tmp_path / "sub").mkdir()
    written(tmp_path / "sub", "", "train.json")
    with pytest.raises(DataError, match="has several files"):
        AnnotationSource(tmp_path).find("train.json")


def test_errors_of_rows_name_the_location(tmp_path: Path) -> None:
    source = AnnotationSource(tmp_path)
    rows = Collector("x", source)
    rows.add("f, line 1", id="a", split="train", captions=to_captions("f", " one "))
    assert rows.rows[0].captions[0].text == "one"
    with pytest.raises(DataError, match="f, line 2: duplicate id 'a', first used in f, line 1"):
        rows.add("f, line 2", id="a", split="train", captions=())
    with pytest.raises(DataError, match="f, line 3: the clip needs 0 <= start < end"):
        rows.add("f, line 3", id="b", split="train", captions=(), clip=(3.0, 2.0))
    with pytest.raises(DataError, match="f, line 4: expected a non-empty text"):
        to_captions("f, line 4", " ")
    with pytest.raises(DataError, match=r"f, line 5: sentence 'x' needs 0 <= start"):
        rows.sentence("f, line 5", "x", -1, 2)
    assert source.notes == {}
    untimed = rows.sentence("f, line 6", "x", 5, 5)
    assert (untimed.start, untimed.end) == (None, None)
    assert len(source.notes) == 1
