"""Data sets with timed annotations: small files of the published shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mova.errors import DataError
from mova.eval.tasks.paragraphs import paragraphs_of
from tests.support.readers_files import jsonl, read, texts


def query(**changes: Any) -> dict[str, Any]:
    entry = {"qid": 7, "query": "A dog runs.", "duration": 150, "vid": "NUsG9BgSes0_210.0_360.0"}
    truth = {"relevant_windows": [[82, 150]], "relevant_clip_ids": [41], "saliency_scores": [[1, 1, 2]]}
    return {key: value for key, value in {**entry, **truth, **changes}.items() if value is not ...}


def test_qvhighlights_has_one_row_per_query(tmp_path: Path) -> None:
    entries = [query(), query(qid=8, relevant_windows=[[0, 2], [10, 14]])]
    rows = read("qvhighlights", tmp_path, {"highlight_val_release.jsonl": jsonl(*entries)})
    first, second = rows["7"], rows["8"]
    assert [(s.text, s.start, s.end) for s in first.captions[0].sentences] == [("A dog runs.", 82, 150)]
    assert second.captions[0].sentences[0].start is None
    assert second.meta["windows"] == [[0, 2], [10, 14]]
    assert (first.video, first.duration, first.meta["source_video"]) == ("NUsG9BgSes0_210.0_360.0", 150, "NUsG9BgSes0")
    assert first.meta["saliency_scores"] == [[1, 1, 2]]


def test_qvhighlights_test_without_truth_has_no_windows(tmp_path: Path) -> None:
    hidden = query(relevant_windows=..., relevant_clip_ids=..., saliency_scores=...)
    row = read("qvhighlights", tmp_path, {"highlight_test_release.jsonl": jsonl(hidden)})["7"]
    assert "windows" not in row.meta
    assert row.split == "test"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"relevant_windows": [[5, 5]]}, "is not within"),
        ({"relevant_windows": [[0, 151]]}, "is not within"),
        ({"relevant_windows": [[0]]}, "must be a list of 2"),
        ({"vid": ...}, "missing 'vid'"),
        ({"query": ""}, "expected a non-empty text"),
        ({"qid": 6}, "duplicate id '6', first used in"),
    ],
)
def test_a_malformed_query_is_named(tmp_path: Path, changes: Any, message: str) -> None:
    entries = [query(qid=6), query(**changes)]
    with pytest.raises(DataError, match=rf"val_release\.jsonl, line 2: .*{message}"):
        read("qvhighlights", tmp_path, {"highlight_val_release.jsonl": jsonl(*entries)})


def test_charades_sta_has_one_row_per_video(tmp_path: Path) -> None:
    lines = 'A 1.5 3##a person "sits.\nB 0.0 2.0##b\nA 2 9.9##he stands ## up\nB 8.0 7.0##c\n'
    lengths = "id,length\nA,9.5\nB,5\n"
    rows = read("charades-sta", tmp_path, {"charades_sta_test.txt": lines, "Charades_v1_test.csv": lengths})
    a, b = rows["A"], rows["B"]
    assert texts(a) == ['a person "sits.', "he stands ## up"]
    assert [(c.sentences[0].start, c.sentences[0].end) for c in a.captions] == [(1.5, 3), (2, 9.9)]
    assert (a.duration, b.duration) == (9.5, 5)
    assert b.captions[1].sentences[0].start is None
    late = read("charades-sta", tmp_path, {"Charades_v1_test.csv": "id,length\nA,9.3\nB,5\n"})["A"]
    assert (late.duration, late.meta["stated_duration"]) == (None, 9.3)
    with pytest.raises(DataError, match="line 1: expected VIDEO START END##SENTENCE"):
        read("charades-sta", tmp_path, {"charades_sta_test.txt": "A 1.5##x\n"})


def test_tacos_frames_become_seconds(tmp_path: Path) -> None:
    entry = {
        "timestamps": [[147, 294], [0, 147]],
        "sentences": ["He cuts.", "He cuts."],
        "fps": 29.4,
        "num_frames": 300,
    }
    row = read("tacos", tmp_path, {"train.json": {"s1-d1.avi": entry}})["s1-d1.avi"]
    assert [(c.sentences[0].start, c.sentences[0].end) for c in row.captions] == [(5, 10), (0, 5)]
    assert row.duration == pytest.approx(300 / 29.4)
    assert row.meta["paragraphs"] == [1, 1]
    four = {**entry, "timestamps": [[0, 9], [0, 5], [6, 9], [5, 9]], "sentences": ["One.", "Two.", "Three.", "Four."]}
    assert read("tacos", tmp_path, {"train.json": {"s1-d1.avi": four}})["s1-d1.avi"].meta["paragraphs"] == [3, 1]
    with pytest.raises(DataError, match="'fps' must be positive"):
        read("tacos", tmp_path, {"train.json": {"s": {**entry, "fps": 0}}})


def test_coin_steps_are_one_caption(tmp_path: Path) -> None:
    steps = [
        {"id": "212", "segment": [60.0, 69.0], "label": "take out the drive"},
        {"id": "216", "segment": [71.0, 82.0], "label": "insert the disk"},
    ]
    entry = {"duration": 131.03, "class": "ReplaceDrive", "subset": "training", "annotation": steps, "recipe_type": 131}
    row = read("coin", tmp_path, {"COIN.json": {"database": {"LtRSn": entry}}})["LtRSn"]
    assert texts(row) == ["take out the drive. insert the disk"]
    assert [(s.start, s.end) for s in row.captions[0].sentences] == [(60, 69), (71, 82)]
    assert (row.split, row.meta["label"], row.meta["step_ids"]) == ("train", "ReplaceDrive", ["212", "216"])
    with pytest.raises(DataError, match="'subset' must be one of training, validation, testing"):
        read("coin", tmp_path, {"COIN.json": {"database": {"x": {**entry, "subset": "all"}}}})
    with pytest.raises(DataError, match="'database': must be an object"):
        read("coin", tmp_path, {"COIN.json": {"database": []}})


def test_charades_ego_knows_view_and_actions(tmp_path: Path) -> None:
    line = "id,script,actions,length\nA{0},A person cooks.,{1},30.1\n"
    files = {
        "CharadesEgo_v1_test_only1st.csv": line.format("EGO", "c092 11.90 21.20;c147 0 12.6"),
        "CharadesEgo_v1_test_only3rd.csv": line.format("", ""),
        "Charades_v1_classes.txt": "c092 Opening a window\nc147 Cooking something\n",
    }
    rows = read("charades-ego", tmp_path, files)
    assert [(row.id, row.meta["view"], texts(row)) for row in rows.values()] == [
        ("AEGO", "first", ["A person cooks."]),
        ("A", "third", ["A person cooks."]),
    ]
    assert rows["AEGO"].meta["actions"][1] == {"class": "c147", "name": "Cooking something", "start": 0, "end": 12.6}
    with pytest.raises(DataError, match="line 2: 'c000' is not in Charades_v1_classes"):
        read("charades-ego", tmp_path, {"CharadesEgo_v1_test_only3rd.csv": line.format("", "c000 1 2")})


def test_youcook2_has_one_row_per_video_with_its_steps(tmp_path: Path) -> None:
    step = {"id": 0, "segment": [25, 37], "sentence": "cut the onion"}
    entry = {"duration": 241.6, "subset": "validation", "recipe_type": "212", "annotations": [step]}
    entry["annotations"].append({"id": 1, "segment": [37, 50], "sentence": "peel the carrots"})  # type: ignore[attr-defined]
    train = {**entry, "subset": "training"}
    file = {"youcookii_annotations_trainval.json": {"database": {"abc": entry, "def": train}}}
    rows = read("youcook2", tmp_path, file)
    assert (rows["abc"].split, rows["def"].split, rows["abc"].duration) == ("val", "train", 241.6)
    assert texts(rows["abc"]) == ["cut the onion. peel the carrots"]
    assert [(s.text, s.start, s.end) for s in rows["abc"].captions[0].sentences] == [
        ("cut the onion", 25, 37),
        ("peel the carrots", 37, 50),
    ]
    assert rows["abc"].meta["step_ids"] == [0, 1]
    with pytest.raises(DataError, match="'subset' must be one of training, validation"):
        read("youcook2", tmp_path / "bad", {next(iter(file)): {"database": {"x": {**entry, "subset": "testing"}}}})


def test_synopground_has_one_row_per_episode_with_its_paragraphs_in_order(tmp_path: Path) -> None:
    line = {
        "qid": "d1-e2",
        "paragraph_number": 1,
        "query": "She runs.",
        "duration": 7800,
        "relevant_windows": [[300, 600]],
    }
    first = {
        **line,
        "paragraph_number": 0,
        "query": "Ann comes home. She sits.",
        "relevant_windows": [[0, 90], [120, 150]],
    }
    other = {**line, "qid": "d1-e3", "vid": "d1_e3", "fps": 6}
    rows = read("synopground", tmp_path, {"val.jsonl": jsonl(line, first, other)})
    row, named = rows["d1-e2"], rows["d1_e3"]
    assert (row.split, row.duration, texts(row)) == ("val", 2600, ["Ann comes home. She sits.", "She runs."])
    assert [[(s.start, s.end) for s in caption.sentences] for caption in row.captions] == [[(None, None)], [(100, 200)]]
    assert [[truth.windows.tolist() for truth in paragraph.truths if truth] for paragraph in paragraphs_of(row)] == [
        [[[0, 30], [40, 50]], [[100, 200]]]
    ]
    assert (named.duration, named.captions[0].sentences[0].start) == (1300, 50)
    with pytest.raises(DataError, match="is not within"):
        read("synopground", tmp_path / "bad", {"val.jsonl": jsonl({**line, "relevant_windows": [[0, 7801]]})})


def test_htm_align_keeps_the_times_of_alignable_sentences_only(tmp_path: Path) -> None:
    lines = [[0, 1.0, 4.0, "hello everyone"], [1, 10.739, 17.535, "add extra virgin olive oil"]]
    rows = read("htm-align", tmp_path, {"htm_align.json": {"-3CEg4y7mQM": lines}})
    (row,) = rows.values()
    assert [(s.start, s.end) for s in row.captions[0].sentences] == [(None, None), (10.739, 17.535)]
    assert (row.split, row.meta["alignable"]) == ("test", [0, 1])
    with pytest.raises(DataError, match="alignable must be 0 or 1"):
        read("htm-align", tmp_path / "bad", {"htm_align.json": {"x": [[2, 0, 1, "a"]]}})
