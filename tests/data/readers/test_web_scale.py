"""Web-scale sets and your own table: small files of the published shape, and mova's split by source."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mova.data.readers.web_scale import ULTRAVIDEO_TEXTS, split_of
from mova.errors import DataError
from tests.support.readers_files import jsonl, read, texts


def test_the_held_out_percent_is_fixed() -> None:
    counts = Counter(split_of(f"video{n}") for n in range(20_000))
    assert counts["train"] > 19_400
    assert 140 < counts["val"] < 260
    assert 140 < counts["test"] < 260
    assert [split_of(name) for name in ("---MaV1RQGE", "b169", "b54")] == ["train", "val", "test"]


def test_videoufo_keeps_clips_of_one_source_together(tmp_path: Path) -> None:
    lines = [
        "ID,Topic,Brief Caption,Detailed Caption",
        *(f"b54.{n},x,brief,A long one." for n in range(3)),
        "z.0,x,b,d",
    ]
    rows = read("videoufo", tmp_path, {"VideoUFO.csv": "\n".join(lines)})
    assert {row.split for row in rows.values() if row.meta["source_video"] == "b54"} == {"test"}
    assert texts(rows["b54.1"]) == ["A long one.", "brief"]
    assert list(read("videoufo", tmp_path, {}, splits=["test"])) == ["b54.0", "b54.1", "b54.2"]


def test_ultravideo_has_three_captions_and_aspects(tmp_path: Path) -> None:
    header = ["clip_id", "url", "duration", "Lighting", *ULTRAVIDEO_TEXTS]
    text = ",".join(header) + "\n7a0f.mp4,BJRpaB,3.2,soft,brief,detailed,summarised\n8b.mp4,BJRpaB,3.2,,brief,,\n"
    rows = read("ultravideo", tmp_path, {"short.csv": text})
    row = rows["7a0f.mp4"]
    assert texts(row) == ["summarised", "detailed", "brief"]
    assert (row.duration, row.meta["Lighting"], row.meta["source_video"]) == (3.2, "soft", "BJRpaB")
    assert texts(rows["8b.mp4"]) == ["brief"]
    with pytest.raises(DataError, match=r"long\.csv, line 2: has no caption"):
        read("ultravideo", tmp_path, {"long.csv": ",".join(header) + "\nx.mp4,y,1,,,,\n"})


def test_sharegpt4video_takes_the_caption_of_the_full_video(tmp_path: Path) -> None:
    parts = [{"idx": "0", "content": "first"}, {"idx": "-1", "content": "All of it."}]
    entry = {"video_id": "abc", "video_path": "panda/abc.mp4", "captions": parts}
    row = read("sharegpt4video", tmp_path, {"sharegpt4video_40k.jsonl": jsonl(entry)})["abc"]
    assert (texts(row), row.video) == (["All of it."], "panda/abc.mp4")
    assert row.meta["keyframe_captions"] == parts[:1]
    with pytest.raises(DataError, match="line 1: has 0 captions of the whole video"):
        read("sharegpt4video", tmp_path, {"sharegpt4video_40k.jsonl": jsonl({**entry, "captions": parts[:1]})})


def clip(**changes: Any) -> dict[str, Any]:
    entry = {
        "YoutubeID": "HdYo",
        "Start_timestamp": "00:03:10.567",
        "End_timestamp": "00:03:11.200",
        "Caption": "a mouse",
    }
    return {**entry, "UMT_Score": 0.39, **changes}


def test_internvid_clips_have_seconds(tmp_path: Path) -> None:
    (row,) = read("internvid", tmp_path, {"10M.jsonl": jsonl(clip())}).values()
    assert (row.video, row.start, row.end, texts(row)) == ("HdYo", pytest.approx(190.567), 191.2, ["a mouse"])
    assert row.meta["UMT_Score"] == 0.39
    with pytest.raises(DataError, match=r"line 2: duplicate id .*, first used in .*line 1"):
        read("internvid", tmp_path, {"10M.jsonl": jsonl(clip(), clip())})
    with pytest.raises(DataError, match="line 1: the clip needs 0 <= start < end"):
        read("internvid", tmp_path, {"10M.jsonl": jsonl(clip(End_timestamp="00:00:01"))})


def test_a_custom_table_as_csv_or_json_lines(tmp_path: Path) -> None:
    text = "video,caption,start,end,split,who\na.mp4,one,0,2.5,test,me\na.mp4,two,0,2.5,test,me\nb.mp4,three,,,,\n"
    rows = read("folder", tmp_path, {"table.csv": text})
    a = rows["a.mp4_0_2.5"]
    assert (texts(a), a.start, a.end, a.split) == (["one", "two"], 0, 2.5, "test")
    assert a.meta["who"] == "me"
    assert (rows["b.mp4"].split, rows["b.mp4"].start) == ("train", None)
    (tmp_path / "in" / "table.csv").unlink()
    lines = jsonl({"video": "a.mp4", "caption": "one", "id": 5, "duration": 9, "tags": ["x"]})
    (row,) = read("folder", tmp_path, {"t.jsonl": lines}).values()
    assert (row.id, row.duration, row.meta["tags"]) == ("5", 9, ["x"])
    with pytest.raises(DataError, match=r"must have one \.csv or \.jsonl table, not 2"):
        read("folder", tmp_path, {"table.csv": text})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a,one,,,train\na,one,,,train\n", "line 3: duplicate caption 'one' of 'a'"),
        ("a,one,,,train\na,two,,,test\n", "line 3: contradicts .*line 2 about 'a'"),
        ("a,one,1,,train\n", "line 2: 'start' and 'end' must be given together"),
        ("a,one,3,2,train\n", "line 2: the clip needs 0 <= start < end"),
        ("a,one,x,2,train\n", "line 2: expected a number, not 'x'"),
        ("a,,,,train\n", "line 2: expected a non-empty text"),
        (",one,,,train\n", "line 2: expected a non-empty text"),
    ],
)
def test_errors_of_a_custom_table_are_explained(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read("folder", tmp_path, {"table.csv": "video,caption,start,end,split\n" + lines})
