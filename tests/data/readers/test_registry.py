"""Conversion as a whole: real originals against the published counts, videos found or missing, leaks, the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.data.manifest import fingerprint, read_manifest
from mova.data.readers.registry import DATA_SETS, VideoFiles, convert
from mova.errors import DataError, UsageError

REAL = {
    "activitynet": ("activitynet_captions", {"val_1": 4917}, 4917),
    "activitynet-val2": ("activitynet_captions", {"val_2": 4885}, 4885),
    "msrvtt-1ka": ("msrvtt", {"test": 1000}, 1000),
    "msrvtt-7k": ("msrvtt", {"test": 1000}, 1000),
    "didemo": ("didemo", {"val": 1065, "test": 1004}, 2069),
    "lsmdc": ("lsmdc", {"val": 40, "test": 40}, 80),
    "charades-sta": ("charades_sta", {"train": 5338, "test": 1334}, 12408 + 3720),
    "tacos": ("tacos", {"train": 75, "val": 27, "test": 25}, 9790 + 4436 + 4001),
    "qvhighlights": ("qvhighlights", {"val": 1550, "test": 1542}, 3092),
    "nextqa": ("nextqa", {"val": 4996}, 4996),
    "atp-hard": ("videocon", {"test": 2269}, 2269),
    "atp-hard-statements": ("videocon", {"test": 1846}, 1846),
    "ssv2-temporal": ("videocon", {"test": 216}, 216),
    "how2qa": ("how2qa", {"val": 2852, "test": 2937}, 5789),
}
"""Name -> folder, rows of each part, captions. LSMDC's files beside the repository are cut to 40 lines."""


@pytest.mark.parametrize("name", REAL)
def test_real_originals_give_the_published_counts(name: str, shared_data: Path, tmp_path: Path) -> None:
    folder, parts, captions = REAL[name]
    done = convert(name, shared_data / "annotations" / folder, tmp_path, splits=list(parts))
    report = done.to_json()
    assert {part: count["rows"] for part, count in report["splits"].items()} == parts
    assert report["captions"] == captions
    if name != "lsmdc":
        assert all(count["published"] == count["rows"] for count in report["splits"].values())
    rows = read_manifest(done.manifest)
    assert rows == list(done.rows)
    assert fingerprint(rows) == report["fingerprint"]
    assert {row.source for row in rows} == {name}


def test_known_defects_of_published_files_are_reported_and_the_text_is_kept(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "annotations" / "activitynet_captions"
    done = convert("activitynet", path, tmp_path, splits=["train"])
    assert len(done.rows) == 10009 == DATA_SETS["activitynet"].published["train"]
    (which,) = done.notes.values()
    assert len(which) == 4
    assert any("v_rhOtqArO-3Y" in line for line in which)
    document = json.loads((path / "train.json").read_text())
    for row in done.rows:
        entry = document[row.id]
        (caption,) = row.captions
        assert caption.text == " ".join(text.strip() for text in entry["sentences"])
        times = [[s.start, s.end] if s.start is not None else None for s in caption.sentences]
        assert times == [span if span[0] < span[1] else None for span in entry["timestamps"]]
        assert row.duration == entry["duration"]
        assert row.meta["source_video"] == row.id.removeprefix("v_")


def table(folder: Path, *lines: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "table.csv"
    path.write_text("\n".join(("video,caption", *lines)) + "\n")
    return path


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_videos_are_matched_by_any_known_name_and_the_rest_is_reported(tmp_path: Path) -> None:
    source = table(tmp_path, "a.avi,one", "0101/77,two", "x.0,three", "no.mp4,four", "z.,five")
    videos = touch(tmp_path / "out" / "videos", "a.mp4", "deep/0101/77.WEBM", "x.0.mkv", "x.1.mkv", "z.mov", "z.txt")
    done = convert("folder", source, tmp_path / "out", videos=videos)
    assert [row.video for row in done.rows] == [
        *("videos/a.mp4", "videos/deep/0101/77.WEBM", "videos/x.0.mkv", "no.mp4", "videos/z.mov")
    ]
    assert done.missing == ("no.mp4",)
    elsewhere = convert("folder", source, tmp_path / "other" / "m.jsonl", videos=videos, missing="omit")
    assert [row.id for row in elsewhere.rows] == ["a.avi", "0101/77", "x.0", "z."]
    assert elsewhere.rows[0].video == str(videos / "a.mp4")
    assert elsewhere.missing == ("no.mp4",)
    assert elsewhere.fingerprint != done.fingerprint
    with pytest.raises(DataError, match=r"1 videos are missing, such as no\.mp4"):
        convert("folder", source, tmp_path / "third", videos=videos, missing="fail")
    assert not (tmp_path / "third").exists()


def test_the_fingerprint_does_not_depend_on_missing_videos(tmp_path: Path) -> None:
    source = table(tmp_path, "a,one", "b,two")
    plain = convert("folder", source, tmp_path / "1")
    partial = convert("folder", source, tmp_path / "2", videos=touch(tmp_path / "v", "a.mp4"))
    assert plain.fingerprint == partial.fingerprint
    assert plain.missing is None
    assert partial.missing == ("b",)


def test_two_files_for_one_video_are_an_error(tmp_path: Path) -> None:
    videos = touch(tmp_path / "v", "a.mp4", "sub/a.avi")
    with pytest.raises(DataError, match=r"may be .*a\.mp4 or .*a\.avi"):
        VideoFiles(videos).find("a")
    assert VideoFiles(videos).find("sub/a.avi") == videos / "sub" / "a.avi"


def test_none_of_the_videos_is_an_error_only_where_rows_are_left_out(tmp_path: Path) -> None:
    source, empty = table(tmp_path, "a,one"), tmp_path / "v"
    empty.mkdir()
    assert len(convert("folder", source, tmp_path / "o", videos=empty).rows) == 1
    with pytest.raises(DataError, match="has none of the 1 videos"):
        convert("folder", source, tmp_path / "o", videos=empty, missing="omit")
    with pytest.raises(UsageError, match="is not a folder of videos"):
        convert("folder", source, tmp_path / "o", videos=tmp_path / "nowhere")


def test_class_folders_with_splits_and_names(tmp_path: Path) -> None:
    names = ("train/n1/a.jpg", "train/n2/b.PNG", "val/n1/deep/a.webp", "val/n2/c.mp4", "train/notes.txt", "stray.jpg")
    source = touch(tmp_path / "in", *names)
    done = convert("class-folders", source, source / "manifest.jsonl")
    assert [(row.id, row.split, row.meta["label"], row.meta["name"]) for row in done.rows] == [
        ("train/n1/a.jpg", "train", "n1", "n1"),
        ("train/n2/b.PNG", "train", "n2", "n2"),
        ("val/n1/deep/a.webp", "val", "n1", "n1"),
        ("val/n2/c.mp4", "val", "n2", "n2"),
    ]
    assert [row.video for row in done.rows] == [row.id for row in done.rows]
    assert done.missing == ()
    assert {note: list(which) for note, which in done.notes.items()} == {
        "is not in a class folder; excluded": ["stray.jpg"],
        "neither an image nor a video by its file extension; excluded": ["train/notes.txt"],
    }
    (source / "classes.txt").write_text("n1 a tench, a fish\nn2 a tench, a fish\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"'n1' and 'n2' both have the name 'a tench, a fish'.*classes\.txt"):
        convert("class-folders", source, tmp_path / "out")
    (source / "classes.txt").write_text("n1 a tench, a fish\n", encoding="utf-8")
    with pytest.raises(DataError, match="the list of classes does not have 'n2'"):
        convert("class-folders", source, tmp_path / "out")
    (source / "classes.txt").write_text("n1 a tench, a fish\nn2 a ring\n", encoding="utf-8")
    named = convert("class-folders", source, tmp_path / "out", splits=["val"]).rows
    assert [row.meta["name"] for row in named] == ["a tench, a fish", "a ring"]


def test_a_class_folder_may_have_the_name_of_a_split(tmp_path: Path) -> None:
    done = convert("class-folders", touch(tmp_path / "in", "train/a.jpg", "hot_dog/b.jpg"), tmp_path / "out")
    assert [(row.split, row.meta["name"]) for row in done.rows] == [("test", "hot dog"), ("test", "train")]


def test_invalid_requests_are_explained(tmp_path: Path) -> None:
    source = table(tmp_path / "in", "a,one")
    with pytest.raises(UsageError, match="unknown data set 'msrvtt'; choose from msrvtt-1ka, "):
        convert("msrvtt", source, tmp_path)
    with pytest.raises(UsageError, match="--missing must be one of keep, omit, fail"):
        convert("folder", source, tmp_path, missing="maybe")
    with pytest.raises(DataError, match="no such file or directory"):
        convert("folder", tmp_path / "nowhere", tmp_path)
    with pytest.raises(DataError, match="has no split 'test' of folder"):
        convert("folder", source, tmp_path, splits=["train", "test"])
    with pytest.raises(DataError, match=r"has no rows of activitynet \(split not read.*train\.json"):
        convert("activitynet", tmp_path / "in", tmp_path)


def test_leaks_between_sets_are_found_by_source_video(tmp_path: Path) -> None:
    train = convert("folder", table(tmp_path / "a", "v_abc.mp4,one", "def_3_7.avi,two"), tmp_path / "a")
    other_set = table(tmp_path / "b", "https/abc.mkv,x", "def_10.5_20.mp4,y", "ghi,z")
    done = convert("folder", other_set, tmp_path / "b", against=[train.manifest])
    assert done.leaks == {str(train.manifest): ["abc", "def"]}
    assert convert("folder", table(tmp_path / "c", "ghi,z"), tmp_path / "c", against=[train.manifest]).leaks == {}


def test_every_reader_is_documented() -> None:
    for name, data_set in DATA_SETS.items():
        assert data_set.reader.__doc__, name
        assert all((data_set.terms, *data_set.shares)), name
    assert "ActivityNet's validation" not in DATA_SETS["msvd"].shares
    assert any("validation" in shared for shared in DATA_SETS["videocon-human"].shares)


def test_the_command_reports(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    source = table(tmp_path, "a,one", "b,two")
    videos = touch(tmp_path / "v", "a.mp4")
    code, out, err = call("data", "convert", "folder", source, tmp_path / "o", "--videos", videos, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["rows"] == 2
    assert report["missing"] == {"count": 1, "videos": ["b"]}
    assert "missing videos: 1 (b)" in err
    code, out, err = call("data", "convert", "folder", source, tmp_path / "p.jsonl", "--against", report["manifest"])
    assert code == 0
    assert "train: 2" in out
    assert report["fingerprint"] in out
    assert "LEAK: 2 source videos" in err
    code, _, err = call("data", "convert", "folders", source, tmp_path)
    assert code == 2
    assert "unknown data set" in err
    code, _, err = call("data", "convert", "folder", table(tmp_path / "x", "a,one", "a,one"), tmp_path)
    assert code == 1
    assert "line 3" in err
