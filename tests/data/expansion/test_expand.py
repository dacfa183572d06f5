"""Expansion of manifests: grouping, unused input, leaks between splits, resuming after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mova.data.expansion import levels as expand_levels
from mova.data.expansion.expand import Expansion, expand
from mova.data.expansion.operations import parse_operations, plan
from mova.data.expansion.rows import cut_segments, integrate
from mova.data.expansion.workspace import StoredRow, Workspace
from mova.data.manifest import Caption, Row, Segment, TimedSentence, read_manifest, write_manifest
from mova.data.readers.registry import convert
from mova.errors import DataError, UsageError
from mova.text.summarize import Summary


def clip(source: str, number: int, start: float, split: str = "train", **changes: object) -> Row:
    text = f"{source} does thing {number}"
    row = Row(f"{source}{number}", f"{source}.mp4", 100.0, split, (Caption(text),), start, start + 3.0, "mine")
    return replace(row, **changes)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """a: five clips out of order; b: two; c: four, of split val."""
    rows = [clip("a", n, start) for n, start in enumerate((20.0, 0.0, 3.5, 40.0, 10.0))]
    rows += [clip("b", n, 5.0 * n) for n in range(2)] + [clip("c", n, 4.0 * n, "val") for n in range(4)]
    return write_manifest(tmp_path / "clips.jsonl", rows)


def expanded(clips: Path, words: str, **settings: object) -> tuple[Expansion, dict[str, list[Row]]]:
    done = expand(clips, clips.parent / "out", parse_operations([words]), **settings)
    rows: dict[str, list[Row]] = {}
    for row in read_manifest(done.manifest):
        rows.setdefault(row.meta["granularity"], []).append(row)
    return done, rows


def test_clips_of_a_source_are_joined_in_order_of_time(clips: Path) -> None:
    done, rows = expanded(clips, "integrate:source,min=4")
    assert [row.meta["members"] for row in rows["LVLT"]] == [["a1", "a2", "a4", "a0", "a3"], ["c0", "c1", "c2", "c3"]]
    long = rows["LVLT"][0]
    assert (long.id, long.split, long.source, long.duration) == ("LVLT/train/a/0", "train", "mine", 15.0)
    assert [(part.start, part.end) for part in long.parts] == [(0, 3), (3.5, 6.5), (10, 13), (20, 23), (40, 43)]
    assert long.captions[0].text.startswith("a does thing 1. a does thing 2. a does thing 4.")
    sentences = long.captions[0].sentences
    assert [(s.start, s.end) for s in sentences] == [(3.0 * n, 3.0 * n + 3.0) for n in range(5)]
    assert long.meta["source_video"] == "a"
    assert rows["LVLT"][1].split == "val"
    assert len(rows["SVST"]) == 11
    assert done.left_out["LVLT"] == {expand_levels.TOO_FEW_CLIPS: {"count": 2, "first": ["b0"], "kept": False}}
    assert done.statistics["LVLT"]["seconds"]["mean"] == 13.5
    assert done.statistics["LVLT"]["splits"] == {"train": 1, "val": 1}


def test_paths_are_relative_to_the_new_folder(clips: Path) -> None:
    _, rows = expanded(clips, "integrate")
    assert rows["SVST"][0].video == str(clips.parent / "a.mp4")
    beside = expand(clips, clips.parent / "beside.jsonl", parse_operations(["integrate"]))
    assert read_manifest(beside.manifest)[-1].parts[0].video == "c.mp4"


def test_adjacent_clips_are_joined_across_short_gaps(clips: Path) -> None:
    _, rows = expanded(clips, "integrate:adjacent,min=2,gap=1")
    assert [row.meta["members"] for row in rows["LVLT"]] == [["a1", "a2"], ["c0", "c1", "c2", "c3"]]
    _, rows = expanded(clips, "integrate:adjacent,min=2,gap=4")
    assert rows["LVLT"][0].meta["members"] == ["a1", "a2", "a4"]


def test_a_long_clip_spans_short_ones_within_it(tmp_path: Path) -> None:
    rows = [clip("a", 0, 0.0, end=30.0), clip("a", 1, 5.0), clip("a", 2, 30.5), clip("a", 3, 60.0), clip("a", 4, 61.0)]
    _, levels = expanded(write_manifest(tmp_path / "m.jsonl", rows), "integrate:adjacent,min=2,gap=1")
    assert [row.meta["members"] for row in levels["LVLT"]] == [["a0", "a1", "a2"], ["a3", "a4"]]


def test_every_summarizer_takes_the_options_of_its_operation() -> None:
    words = (
        "compress:extractive,words=7 compress:transformers,model=m,device=meta compress:endpoint,url=http://h,model=n"
    )
    made = [expand_levels.summarizer_of(level) for level in plan(parse_operations([words]), "SVST")]
    assert [summarizer.name for summarizer in made] == [
        "extractive,words=7",
        "transformers,model=m,words=20",
        "endpoint,model=n,words=20",
    ]
    assert [summarizer.batch for summarizer in made] == [500, 8, 32]


def test_positions_in_the_source_come_from_file_names(tmp_path: Path) -> None:
    spans = [(30, 40), (0, 10), (10, 20), (20, 30)]
    rows = [Row(f"{a}", f"v_x_{a}_{b}.mp4", 10.0, "train", (Caption("It."),)) for a, b in spans]
    _, levels = expanded(write_manifest(tmp_path / "m.jsonl", rows), "integrate:adjacent,min=4,gap=0")
    assert levels["LVLT"][0].meta["members"] == ["0", "10", "20", "30"]


def test_files_of_one_name_in_several_folders_are_several_sources(tmp_path: Path) -> None:
    rows = [Row(f"{f}{n}", f"{f}/01.mp4", 9.0, "t", (Caption("It."),), n, n + 1) for n in range(4) for f in "ab"]
    _, levels = expanded(write_manifest(tmp_path / "m.jsonl", rows), "integrate integrate:source,min=1")
    assert [row.meta["members"] for row in levels["LVLT"]] == [[f"{f}{n}" for n in range(4)] for f in "ab"]
    assert [row.meta["members"] for row in levels["LVLT2"]] == [["LVLT/t/01/0"], ["LVLT/t/01/1"]]
    cut_out = [replace(row, video=f"{row.id[0]}/x_{n}_{n + 1}.mp4", start=None, end=None) for n, row in enumerate(rows)]
    _, levels = expanded(write_manifest(tmp_path / "m.jsonl", cut_out), "integrate")
    assert [row.meta["members"] for row in levels["LVLT"]] == [[row.id for row in rows]]


def test_files_of_unknown_position_are_ordered_by_name_and_never_adjacent(tmp_path: Path) -> None:
    rows = [
        Row(f"{n}-{k}", f"scene{n}.mp4", 9.0, "t", (Caption("It."),), k, k + 1.0, meta={"source_video": "film"})
        for k in (0, 1)
        for n in (10, 2, 1)
    ]
    manifest = write_manifest(tmp_path / "m.jsonl", rows)
    _, levels = expanded(manifest, "integrate")
    assert levels["LVLT"][0].meta["members"] == ["1-0", "1-1", "2-0", "2-1", "10-0", "10-1"]
    _, levels = expanded(manifest, "integrate:adjacent,min=2")
    assert [row.meta["members"] for row in levels["LVLT"]] == [["1-0", "1-1"], ["2-0", "2-1"], ["10-0", "10-1"]]


def test_no_long_video_repeats_a_clip(tmp_path: Path) -> None:
    rows = [clip("a", n, start) for n, start in enumerate((0.0, 4.0, 0.0, 8.0, 12.0, 4.0))]
    done, levels = expanded(write_manifest(tmp_path / "m.jsonl", rows), "integrate")
    assert [row.meta["members"] for row in levels["LVLT"]] == [["a0", "a1", "a3", "a4"]]
    assert done.left_out["LVLT"] == {expand_levels.DUPLICATE_CLIP: {"count": 2, "first": ["a2", "a5"], "kept": False}}


def test_sentences_of_the_same_seconds_are_captions_of_one_clip(tmp_path: Path) -> None:
    spans = [(0.0, 3.0), (3.0, 5.0)]
    captions = tuple(
        Caption("X.", tuple(TimedSentence(f"{word} {a:.0f}.", a, b) for a, b in spans)) for word in ("One", "Two")
    )
    rows = [Row("x", "x.mp4", 9.0, "t", (*captions, Caption("Y.", (TimedSentence("Y.", 0.0, 4.0),))))]
    done, levels = expanded(write_manifest(tmp_path / "m.jsonl", rows), "segments,name=CUT integrate:source,min=2")
    assert [(row.start, row.end, [c.text for c in row.captions]) for row in levels["CUT"]] == [
        (0.0, 3.0, ["One 0.", "Two 0."]),
        (3.0, 5.0, ["One 3.", "Two 3."]),
        (0.0, 4.0, ["Y."]),
    ]
    assert not done.left_out["CUT"]
    assert levels["LVLT"][0].duration == 9.0


def test_an_invalid_granularity_is_an_error_and_null_is_the_default(tmp_path: Path) -> None:
    rows = [clip("a", n, 5.0 * n, meta={"granularity": None}) for n in range(4)]
    assert len(expanded(write_manifest(tmp_path / "m.jsonl", rows), "integrate")[1]["SVST"]) == 4
    rows[2] = clip("a", 2, 9.0, meta={"granularity": 3})
    with pytest.raises(DataError, match=r"m\.jsonl: row 'a2': meta.granularity must be a non-empty string"):
        expanded(write_manifest(tmp_path / "m.jsonl", rows), "integrate")


def test_random_groups_take_every_clip_once_and_never_mix_splits(clips: Path) -> None:
    done, rows = expanded(clips, "integrate:random,min=2,max=3,seed=5")
    members = [row.meta["members"] for row in rows["LVLT"]]
    used = [member for group in members for member in group]
    left_out = sum(entry["count"] for entry in done.left_out["LVLT"].values())
    assert len(used) == len(set(used)) == 11 - left_out
    assert {len(group) for group in members} <= {2, 3}
    split_of = {row.id: row.split for row in rows["SVST"]}
    assert all({split_of[m] for m in row.meta["members"]} == {row.split} for row in rows["LVLT"])
    assert [row.meta["members"] for row in expanded(clips, "integrate:random,min=2,max=3,seed=5")[1]["LVLT"]] == members
    assert [row.meta["members"] for row in expanded(clips, "integrate:random,min=2,max=3,seed=6")[1]["LVLT"]] != members


@pytest.mark.parametrize(("size", "least", "most", "sizes", "left_out"), [
    (9, 4, None, [9], 0), (9, 4, 6, [4, 5], 0), (7, 4, 5, [5], 2), (12, 4, 4, [4, 4, 4], 0), (3, 4, None, [], 3),
])  # fmt: skip
def test_long_sources_are_cut_evenly(
    tmp_path: Path, size: int, least: int, most: int | None, sizes: list[int], left_out: int
) -> None:
    rows = [clip("a", n, 5.0 * n) for n in range(size)] + [clip("z", n, 5.0 * n) for n in range(4)]
    limit = "" if most is None else f",max={most}"
    done, levels = expanded(write_manifest(tmp_path / "m.jsonl", rows), f"integrate:source,min={least}{limit}")
    assert [len(row.parts) for row in levels["LVLT"]] == [*sizes, 4]
    assert sum(entry["count"] for entry in done.left_out["LVLT"].values()) == left_out


def test_operations_compose_and_recurse(clips: Path) -> None:
    words = "integrate:source,min=4 compress:extractive,words=8 image:middle,of=SVST integrate:random,min=2,of=LVST"
    clips.write_text(clips.read_text().replace('"split": "val"', '"split": "train"'))
    _, rows = expanded(clips, words)
    assert {name: len(level) for name, level in rows.items()} == {
        "SVST": 11,
        "LVLT": 2,
        "LVST": 2,
        "IT": 11,
        "LVLT2": 1,
    }
    short, (huge,) = rows["LVST"], rows["LVLT2"]
    for long, level in zip(rows["LVLT"], short, strict=True):
        assert level.parts == long.parts
        assert level.meta["of"] == long.id
        assert len(level.captions[0].text.split()) == 8
        assert set(level.captions[0].sentences) <= set(long.captions[0].sentences)
    assert len(huge.parts) == 9
    assert huge.duration == 27.0
    assert sorted(huge.meta["source_videos"]) == ["a", "c"]
    second = next(row for row in short if row.id == huge.meta["members"][1])
    offset = 27.0 - second.duration
    moved = [(s.start - offset, s.end - offset) for s in huge.captions[0].sentences if s.start >= offset]
    assert moved == [(s.start, s.end) for s in second.captions[0].sentences]
    image = rows["IT"][0]
    assert (image.video, image.start, image.end) == (str(clips.parent / "a.mp4"), 21.5, 21.501)
    again, more = expanded(clips.parent / "out" / "manifest.jsonl", "compress:extractive,of=LVLT2,words=4,name=TINY")
    assert len(more["TINY"]) == 1
    assert again.statistics.keys() == {"SVST", "LVLT", "LVST", "IT", "LVLT2", "TINY"}
    named = "integrate:source,min=4,name=LONG image:middle,of=LONG"
    assert expanded(clips, named, leave_out=["SVST"])[1].keys() == {"LONG", "IT"}


def test_paragraphs_are_cut_at_their_timed_sentences(tmp_path: Path) -> None:
    sentences = (TimedSentence("A.", 2.0, 4.0), TimedSentence("B."), TimedSentence("C.", 3.0, 9.0))
    rows = [Row("x", "v_x.mp4", 10.0, "train", (Caption("A. B. C.", sentences),), 1.0, 8.0)]
    done, levels = expanded(
        write_manifest(tmp_path / "m.jsonl", rows), "segments integrate:source,min=2", base="P", leave_out=["P"]
    )
    assert [(row.id, row.start, row.end, row.captions[0].text) for row in levels["SVST"]] == [
        ("x#0", 2.0, 4.0, "A."),
        ("x#1", 3.0, 8.0, "C."),
    ]
    assert done.left_out["SVST"]["sentence without known times"]["count"] == 1
    assert levels["LVLT"][0].meta["source_video"] == "x"
    assert "P" not in levels


def test_times_of_rows_of_unknown_length_stay_unknown() -> None:
    timed = Row("a", "a.mp4", 4.0, "t", (Caption("A.", (TimedSentence("A.", 1.0, 2.0),)),))
    unknown = Row("b", "b.mp4", None, "t", (Caption("B.", (TimedSentence("B.", 1.0, 2.0),)), Caption("B2.")))
    row = integrate([timed, unknown, timed], "x", "LVLT", "test")
    assert row.duration is None
    assert [(s.start, s.end) for s in row.captions[0].sentences] == [(1.0, 2.0), (5.0, 6.0), (None, None)]
    assert len(row.captions) == 1
    assert row.parts[1] == Segment("b.mp4", 0.0, None)
    assert cut_segments(row.parts, 3.0, 6.0) == (Segment("a.mp4", 3.0, 4.0), Segment("b.mp4", 0.0, 2.0))
    with pytest.raises(DataError, match=r"rows of several splits \(t, u\)"):
        integrate([timed, replace(timed, split="u")], "x", "LVLT", "test")


def test_sources_in_several_splits_are_an_error(clips: Path) -> None:
    rows = [*read_manifest(clips), clip("a", 9, 50.0, "val"), clip("c", 9, 50.0, "test")]
    write_manifest(clips, rows)
    with pytest.raises(
        DataError, match=r"2 source videos are in several splits \(a in train, val; c in .*--shared-sources"
    ):
        expanded(clips, "integrate")
    done, levels = expanded(clips, "integrate", shared_sources=True)
    assert done.shared_sources == 2
    assert all(
        len({m[0] for m in row.meta["members"]}) == 1 and "a9" not in row.meta["members"] for row in levels["LVLT"]
    )


def test_errors_name_the_cause(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"integrate:source,min=9.*makes no rows from SVST \(clips of a source.*: 11"):
        expanded(clips, "integrate:source,min=9")
    with pytest.raises(UsageError, match="unknown granularity 'XY'; choose from SVST, LVLT"):
        expanded(clips, "integrate", leave_out=["XY"])
    with pytest.raises(UsageError, match="leaves nothing"):
        expanded(clips, "integrate", leave_out=["SVST", "LVLT"])
    with pytest.raises(UsageError, match="is the input manifest"):
        expand(clips, clips, parse_operations(["integrate"]))
    with pytest.raises(DataError, match="no rows"):
        expanded(write_manifest(tmp_path / "empty.jsonl", []), "integrate")
    with pytest.raises(DataError, match=r"twice\.jsonl.*duplicate id 'a1'"):
        expanded(write_manifest(tmp_path / "twice.jsonl", [clip("a", 1, 0.0)] * 2), "integrate")
    with pytest.raises(DataError, match="cannot be read"):
        expanded(tmp_path / "none.jsonl", "integrate")
    broken = clip("a", 1, 0.0, meta={"note": "Half a \ud800 pair."})
    line = json.dumps(broken.to_json())
    (tmp_path / "half.jsonl").write_text(line)
    with pytest.raises(DataError, match=r"half\.jsonl: a row has text that is not valid Unicode: .*Half a .ud800 pair"):
        expanded(tmp_path / "half.jsonl", "integrate")
    silent = [*read_manifest(clips), Row("s", "s.mp4", 3.0, "train", ())]
    done, _ = expanded(write_manifest(clips, silent), "integrate")
    assert done.left_out["LVLT"][expand_levels.NO_CAPTION] == {"count": 1, "first": ["s"], "kept": False}


WORDS = "integrate:source,min=4 compress:transformers,model=m,words=3 image:middle,of=LVST"


def test_long_texts_are_compressed_sentence_by_sentence(tmp_path: Path) -> None:
    text = "Dr. Lee opens a red car. The red car of Dr. Lee leaves. It rains."
    untimed = Row("a", "a.mp4", 9.0, "t", (Caption(text),))
    timed = Row("b", "b.mp4", 9.0, "t", (Caption(text, (TimedSentence(text, 1.0, 5.0),)),))
    mute = Row("c", "c.mp4", 9.0, "t", (Caption("..."),))
    done, levels = expanded(write_manifest(tmp_path / "m.jsonl", [untimed, timed, mute]), "compress:extractive,words=7")
    captions = [row.captions[0] for row in levels["SVST2"]]
    assert captions[0] == Caption("Dr. Lee opens a red car.", (TimedSentence("Dr. Lee opens a red car."),))
    assert captions[1].sentences == (TimedSentence("Dr. Lee opens a red car.", 1.0, 5.0),)
    assert done.left_out["SVST2"] == {"the summariser gave no words": {"count": 1, "first": ["c"], "kept": False}}


class Parrot:
    """A summarizer that returns the first words, and fails once after a given number of texts."""

    name, batch = "parrot", 1
    asked = 0
    dies_at: int | None = None

    def summarize(self, texts: list[tuple[str, ...]]) -> list[Summary]:
        Parrot.asked += len(texts)
        if Parrot.asked == Parrot.dies_at:
            raise KeyboardInterrupt
        return [Summary(" ".join(" ".join(text).split()[:3])) for text in texts]


def test_a_stopped_run_resumes_and_requests_no_summary_twice(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expand_levels, "summarizer_of", lambda level: Parrot())
    monkeypatch.setattr(Parrot, "asked", 0)
    expected = expanded(clips, WORDS)[0].manifest.read_bytes()
    assert Parrot.asked == 2
    (clips.parent / "out" / "manifest.jsonl").unlink()
    monkeypatch.setattr(Parrot, "asked", 0)
    monkeypatch.setattr(Parrot, "dies_at", 2)
    with pytest.raises(KeyboardInterrupt):
        expanded(clips, WORDS)
    assert (clips.parent / "out" / ".manifest.jsonl.expand").exists()
    assert not (clips.parent / "out" / "manifest.jsonl").exists()
    assert expanded(clips, WORDS)[0].manifest.read_bytes() == expected
    assert Parrot.asked == 3
    assert sorted(path.name for path in (clips.parent / "out").iterdir()) == ["manifest.jsonl"]


def test_a_failure_after_the_expansion_loses_no_summary(
    clips: Path, call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expand_levels, "summarizer_of", lambda level: Parrot())
    monkeypatch.setattr(Parrot, "asked", 0)
    out, folder = clips.parent / "out", clips.parent / "real"
    words = ("data", "expand", clips, out, "--ops", WORDS, "--materialize", folder)
    code, _, stderr = call(*words)
    assert code == 1
    assert "the video of no row can be read" in stderr
    assert Parrot.asked == 2
    call(*words)
    assert Parrot.asked == 2
    assert (out / ".manifest.jsonl.expand").exists()
    assert call(*words[:-2])[0] == 0
    assert Parrot.asked == 2
    assert not (out / ".manifest.jsonl.expand").exists()


def test_no_manifest_is_overwritten(clips: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    manifest = clips.rename(clips.parent / "manifest.jsonl")
    before = manifest.read_bytes()
    for folder in (manifest.parent, manifest.parent / "out"):
        words = (manifest, manifest.parent / "out", "--ops", "integrate", "--materialize", folder)
        code, _, stderr = call("data", "expand", *words)
        assert code == 2
        assert "choose another folder" in stderr
    assert manifest.read_bytes() == before
    assert not (manifest.parent / "out").exists()


def test_a_killed_run_is_resumed(clips: Path) -> None:
    words = "integrate:source,min=4 compress:extractive,words=8"
    expected = expanded(clips, words)[0].manifest.read_bytes()
    target = clips.parent / "killed"
    code = f"""
import os, signal
from mova.data.expansion import workspace
add = workspace.Workspace.add
def dying(self, entries):
    entries = list(entries)
    if entries[0].level == "LVST":
        add(self, entries[:1])
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, entries)
workspace.Workspace.add = dying
from mova.data.expansion.expand import expand
from mova.data.expansion.operations import parse_operations, plan
expand({str(clips)!r}, {str(target)!r}, parse_operations([{words!r}]))
"""
    stopped = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True)
    assert stopped.returncode == -signal.SIGKILL, stopped.stderr
    assert not (target / "manifest.jsonl").exists()
    assert expand(clips, target, parse_operations([words])).manifest.read_bytes() == expected


def fill(store: Workspace) -> None:
    with store:
        store._database.execute("PRAGMA max_page_count=30")
        store.add(StoredRow("SVST", str(n), "t", "s", 0.0, "x" * 4000) for n in range(100))


def test_another_manifest_or_file_is_not_resumed(clips: Path, tmp_path: Path) -> None:
    with Workspace(tmp_path / "work", "one") as store:
        store.finish("LVLT", {"x": 1})
        store.cache_answers([(b"k", "answer")])
        assert store.find_result("LVLT") == {"x": 1}
    with Workspace(tmp_path / "work", "other") as store:
        assert store.find_result("LVLT") is None
        assert store.cached_answer(b"k") == "answer"
    with pytest.raises(DataError, match=r"work: .*full; .*run the same command again"):
        fill(Workspace(tmp_path / "work", "x"))
    (tmp_path / "bad").write_bytes(b"no database at all, but long enough to look at" * 50)
    with pytest.raises(DataError, match=r"bad: cannot be used as a workspace .*delete it"):
        Workspace(tmp_path / "bad", "x")


def test_activitynet_from_its_segments(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "annotations" / "activitynet_captions"
    paragraphs = convert("activitynet", source, tmp_path, splits=["val_1"]).rows[::8]
    manifest = write_manifest(tmp_path / "some.jsonl", paragraphs)
    words = "segments integrate:source,min=4 compress:extractive,words=20"
    done, rows = expanded(manifest, words, base="PARAGRAPH", leave_out=["PARAGRAPH"])
    timed = [s for row in paragraphs for c in row.captions for s in c.sentences if s.start is not None]
    assert len(rows["SVST"]) == len(timed)
    several = [row for row in paragraphs if sum(s.start is not None for s in row.captions[0].sentences) >= 4]
    assert len(rows["LVLT"]) == len(rows["LVST"]) == len(several)
    by_source = {row.meta["source_video"]: row for row in rows["LVLT"]}
    for row in several[::20]:
        long = by_source[row.meta["source_video"]]
        assert sorted(s.text.strip(". ") for s in long.captions[0].sentences) == sorted(
            s.text.strip(". ") for s in row.captions[0].sentences if s.start is not None
        )
        lengths = [s.end - s.start for s in row.captions[0].sentences if s.start is not None]
        assert long.duration == pytest.approx(sum(lengths), abs=0.6 * len(lengths))
    assert all(row.meta["source_video"] in by_source for row in rows["LVST"])
    assert done.statistics["LVST"]["words"]["most"] <= 20
    assert np.mean([len(row.captions[0].text.split()) for row in rows["LVLT"]]) > 60


def test_the_command_reports_and_draws(clips: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    out = clips.parent / "out"
    words = ("--ops", "integrate:source,min=2", "--ops", "compress:extractive,words=8")
    code, stdout, stderr = call("data", "expand", clips, out, *words, "--json")
    assert code == 0, stderr
    report = json.loads(stdout)
    assert report == json.loads((out / "manifest-report.json").read_text())
    assert {name: entry["rows"] for name, entry in report["granularities"].items()} == {
        "SVST": 11,
        "LVLT": 3,
        "LVST": 3,
    }
    agreed = report["similarity"]["LVST"]
    assert agreed["own"]["count"] == 3
    assert 0 < agreed["own"]["mean"] <= 1
    assert agreed["map"] is None
    assert (out / "manifest-report.png").read_bytes()[:4] == b"\x89PNG"
    code, stdout, stderr = call("data", "expand", clips, out, *words)
    assert code == 0
    assert "LVLT" in stdout
    code, stdout, stderr = call("data", "expand", clips, out, "--ops", "integrate:sauce")
    assert code == 2
    assert "no method 'sauce'" in stderr
    code, stdout, stderr = call("data", "expand", clips.parent / "no.jsonl", out, "--ops", "integrate")
    assert code == 1
