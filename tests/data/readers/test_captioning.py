"""The standard retrieval sets: small files of the published shape, and MSR-VTT's real lists."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from mova.data.readers.registry import convert
from mova.errors import DataError
from tests.support.readers_files import read, texts


def msrvtt_data(ids: list[str]) -> dict[str, Any]:
    sentences = [{"caption": f"{id} {k} ", "video_id": id, "sen_id": k} for k in range(2) for id in ids]
    return {"sentences": sentences, "videos": []}


def test_msrvtt_splits_from_the_real_lists(shared_data: Path, tmp_path: Path) -> None:
    """1k-A, 7k, 1k-B and full with captions made up: counts as published, overlaps as warned of."""
    real = shared_data / "annotations" / "msrvtt"
    for path in (real, real / "splits_ce"):
        for file in path.glob("*.[ct]*"):
            if file.name != "milnce_msrvtt_test.csv":
                (tmp_path / file.name).symlink_to(file)
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps(msrvtt_data([f"video{n}" for n in range(10_000)])))
    parts: dict[str, dict[str, set[str]]] = {}
    for name in ("msrvtt-1ka", "msrvtt-7k", "msrvtt-1kb", "msrvtt-full"):
        done = convert(name, tmp_path, tmp_path / "out")
        assert all(count["rows"] == count["published"] for count in done.to_json()["splits"].values())
        parts[name] = {}
        for row in done.rows:
            parts[name].setdefault(row.split, set()).add(row.id)
            if row.split == "train":
                assert texts(row) == [f"{row.id} 0", f"{row.id} 1"]
    for split in ("train", "test"):
        assert parts["msrvtt-full"][split] == set((tmp_path / f"{split}_list_full.txt").read_text().split())
    test = parts["msrvtt-1ka"]["test"]
    assert test == parts["msrvtt-7k"]["test"] < parts["msrvtt-full"]["test"]
    assert not test & parts["msrvtt-1ka"]["train"]
    assert len(parts["msrvtt-full"]["test"] & parts["msrvtt-1ka"]["train"]) == 1990


def test_msrvtt_needs_a_caption_for_every_listed_video(tmp_path: Path) -> None:
    files = {"MSRVTT_train.9k.csv": "video_id\nvideo1\nvideo2\n", "MSRVTT_data.json": msrvtt_data(["video1"])}
    with pytest.raises(DataError, match=r"train\.9k\.csv, line 3: 'video2' has no caption"):
        read("msrvtt-1ka", tmp_path, files)
    files = {"MSRVTT_JSFUSION_test.csv": "key,vid_key,video_id,sentence\nret0,msr1,video1,a dog\nret1,msr1,video1,b\n"}
    with pytest.raises(DataError, match=r"line 3: duplicate id 'video1', first used in .*line 2"):
        read("msrvtt-1ka", tmp_path, files, splits=["test"])


MSVD_LISTS = {"train_list.txt": "a_1_2\n", "val_list.txt": "b_1_2\n", "test_list.txt": "c_3_4\n"}


def test_msvd_reads_both_caption_files_alike(tmp_path: Path) -> None:
    words = {"a_1_2": [["a", "dog"], ["it", "runs"]], "b_1_2": [["b"]], "c_3_4": [["c"]], "unlisted": [["d"]]}
    lines = "# by people\n\na_1_2 a dog\nb_1_2 b\na_1_2 it runs\nc_3_4 c\n"
    pickled = read("msvd", tmp_path, {**MSVD_LISTS, "raw-captions.pkl": pickle.dumps(words, 2)})
    (tmp_path / "in" / "raw-captions.pkl").unlink()
    plain = read("msvd", tmp_path, {"AllVideoDescriptions.txt": lines})
    assert pickled == plain
    assert [(row.split, texts(row), row.meta["source_video"]) for row in plain.values()] == [
        ("train", ["a dog", "it runs"], "a"),
        ("val", ["b"], "b"),
        ("test", ["c"], "c"),
    ]


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("harm",))


def test_a_pickle_with_code_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="only lists and texts are allowed"):
        read("msvd", tmp_path, {**MSVD_LISTS, "raw-captions.pkl": pickle.dumps({"a": Harmful()})})
    assert not (tmp_path / "harm").exists()
    with pytest.raises(DataError, match="cannot be read as a pickle"):
        read("msvd", tmp_path, {"raw-captions.pkl": b"no"})
    with pytest.raises(DataError, match="must be a dictionary"):
        read("msvd", tmp_path, {"raw-captions.pkl": pickle.dumps([])})


def anet(**changes: Any) -> dict[str, Any]:
    entry = {"duration": 10.0, "timestamps": [[0, 4.5], [3, 10.4]], "sentences": ["One. ", " Two."]}
    return {"train.json": {"v_x": {**entry, **changes}}}


def test_activitynet_is_a_paragraph_with_times(tmp_path: Path) -> None:
    row = read("activitynet", tmp_path, anet())["v_x"]
    assert texts(row) == ["One. Two."]
    assert [(s.text, s.start, s.end) for s in row.captions[0].sentences] == [("One.", 0, 4.5), ("Two.", 3, 10.4)]
    assert row.duration == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sentences": ["One."]}, "must be a list of 1"),
        ({"timestamps": [[0, 1], [2]]}, "must be a list of 2"),
        ({"timestamps": [[0, 1], [2, "x"]]}, "expected a number, not 'x'"),
        ({"sentences": ["One.", " "]}, "expected a non-empty text"),
        ({"duration": -1}, "'duration' must be a positive number"),
        ({"timestamps": None}, "must be a list"),
    ],
)
def test_a_malformed_activitynet_entry_is_named(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"train\.json, entry 'v_x': .*{message}"):
        read("activitynet", tmp_path, anet(**changes))


def test_a_duration_that_spans_contradict_is_left_unknown(tmp_path: Path) -> None:
    row = read("activitynet", tmp_path, anet(duration=9.8))["v_x"]
    assert row.duration is None
    assert row.meta["stated_duration"] == 9.8
    assert row.captions[0].sentences[1].end == 10.4


def test_didemo_joins_descriptions_and_keeps_every_annotator(tmp_path: Path) -> None:
    data = [
        {"video": "u_1_a.mov", "description": "it jumps", "times": [[1, 2], [0, 0], [1, 2], [0, 0]]},
        {"video": "u_2_b.", "description": "other", "times": [[5, 5]]},
        {"video": "u_1_a.mov", "description": "it lands ", "times": [[3, 3], [4, 4], [3, 3]]},
    ]
    rows = read("didemo", tmp_path, {"train_data.json": data})
    row = rows["u_1_a.mov"]
    assert texts(row) == ["it jumps it lands"]
    assert [(s.start, s.end) for s in row.captions[0].sentences] == [(0, 5), (15, 20)]
    assert (row.start, row.end, row.duration) == (0, 30, None)
    assert row.meta["annotated_segments"] == [[[1, 2], [0, 0], [1, 2], [0, 0]], [[3, 3], [4, 4], [3, 3]]]
    assert list(read("didemo", tmp_path, {"train_list.txt": "u_2_b.\n"})) == ["u_2_b."]
    with pytest.raises(DataError, match=r"line 1: 'u_3' has no description in train_data\.json"):
        read("didemo", tmp_path, {"train_list.txt": "u_3\n"})


def test_lsmdc_has_one_row_per_clip(tmp_path: Path) -> None:
    clip = "3009_A_FILM_00.03.07.170-00.03.09.675"
    times = "00.03.07.170\t00.03.09.675\t00.03.07.000\t00.03.09.700"
    lines = f'{clip}\t{times}\tSOMEONE says "stop.\n{clip}\t{times}\tHe stops.\n'
    row = read("lsmdc", tmp_path, {"LSMDC16_annos_val.csv": lines})[clip]
    assert texts(row) == ['SOMEONE says "stop.', "He stops."]
    assert row.meta["source_video"] == "3009_A_FILM"
    assert row.meta["extracted"] == ["00.03.07.000", "00.03.09.700"]
    with pytest.raises(DataError, match="line 2: has 5 columns instead of 6"):
        read("lsmdc", tmp_path, {"LSMDC16_annos_val.csv": f"{clip}\t{times}\tx\n{clip}\t{times}\n"})


def test_vatex_lists_split_the_validation_clips(tmp_path: Path) -> None:
    def entry(id: str) -> dict[str, Any]:
        return {"videoID": id, "enCap": [f"{id} {k}" for k in range(10)], "chCap": []}

    files = {
        "vatex_training_v1.0.json": [entry("a_000001_000011")],
        "vatex_validation_v1.0.json": [entry("b_000001_000011"), entry("c_000001_000011")],
        **{f"{split}_list.txt": f"{id}_000001_000011\n" for split, id in (("train", "a"), ("val", "b"), ("test", "c"))},
    }
    rows = read("vatex", tmp_path, files)
    assert [(row.split, len(row.captions), row.meta["source_video"]) for row in rows.values()] == [
        ("train", 10, "a"),
        ("val", 10, "b"),
        ("test", 10, "c"),
    ]
    with pytest.raises(DataError, match=r"entry 2: duplicate video 'a_000001_000011'"):
        read("vatex", tmp_path, {"vatex_training_v1.0.json": [entry("a_000001_000011")] * 2})
