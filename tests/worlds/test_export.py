"""Worlds exported in public formats: every reader returns the captions, times and splits that were written."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mova.data.manifest import read_manifest
from mova.data.readers.registry import convert, held_out_rows, shared_videos
from mova.data.row_texts import row_labels
from mova.errors import DataError, UsageError
from mova.video.probe import probe
from mova.worlds.export import FORMATS, LABELS, ExportedWorlds, export_worlds
from tests.support.readers_files import read, texts

TIMED = {"activitynet": 0.0, "didemo": 5.0}
"""Data sets whose sentences have times, and the resolution of those times in seconds."""


@pytest.fixture(scope="module")
def native(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportedWorlds]:
    folder = tmp_path_factory.mktemp("native")
    return {name: export_worlds(name, worlds_manifest, folder / name) for name in FORMATS}


@pytest.mark.parametrize("name", FORMATS)
def test_the_reader_returns_what_was_written(
    name: str, native: dict[str, ExportedWorlds], worlds_manifest: Path, tmp_path: Path
) -> None:
    made = native[name]
    converted = convert(
        name,
        made.annotations,
        tmp_path,
        videos=made.videos,
        hold_out="val" if name in ("activitynet", "msrvtt-1ka") else None,
    )
    assert converted.missing == ()
    assert not converted.notes
    rows = {row.id.removesuffix(FORMATS[name].extension): row for row in converted.rows}
    worlds = read_manifest(worlds_manifest)
    parts = dict(zip(("train", "val", "test"), FORMATS[name].splits, strict=True))
    assert len(rows) == len(worlds)
    for wrote, world in zip(made.rows, worlds, strict=True):
        row = rows[wrote.id]
        assert row.split == parts[world.split]
        paragraph = next(caption for caption in world.captions if len(caption.sentences) > 1)
        if name == "msvd":
            sentences = {s.text for caption in world.captions for s in caption.sentences}
            assert set(texts(row)) == sentences
            assert len(row.captions) == len(sentences)
        else:
            assert row.captions[0].text == paragraph.text
        if name in TIMED:
            spans = [(s.text, s.start, s.end) for s in paragraph.sentences]
            grid = TIMED[name]
            if grid:
                spans = [(t, math.floor(a / grid) * grid, math.ceil(b / grid) * grid) for t, a, b in spans]  # type: ignore[operator]
            assert [(s.text, s.start, s.end) for s in row.captions[0].sentences] == spans
        length = probe(tmp_path / row.video).duration
        assert length == pytest.approx(world.duration, abs=0.3) if FORMATS[name].extension == ".mp4" else length < 1


def test_rows_held_out_of_train_share_no_source_and_do_not_depend_on_other_rows(
    native: dict[str, ExportedWorlds], tmp_path: Path
) -> None:
    made = native["activitynet"]
    plain = convert("activitynet", made.annotations, tmp_path / "a").rows
    held_out = held_out_rows(plain, "val")
    assert {row.split for row in held_out} == {"train", "val", "val_1"}
    by_part = {part: [row for row in held_out if row.split == part] for part in ("train", "val")}
    assert shared_videos(by_part["train"], by_part["val"]) == []
    fewer = held_out_rows([row for row in plain if row.id != by_part["train"][0].id], "val")
    assert {row.id: row.split for row in fewer}.items() <= {row.id: row.split for row in held_out}.items()
    with pytest.raises(UsageError, match="'val_1' already exists"):
        held_out_rows(plain, "val_1")
    with pytest.raises(UsageError, match="1 to 99"):
        held_out_rows(plain, "val", 0)
    with pytest.raises(DataError, match="'val' is empty"):
        held_out_rows([row for row in plain if row.id in {r.id for r in by_part["train"]}], "val")


def test_only_worlds_rows_in_known_formats_are_exported(
    worlds_manifest: Path, tmp_path: Path, native: dict[str, ExportedWorlds]
) -> None:
    with pytest.raises(UsageError, match="exported as 'vatex'; choose one of activitynet, "):
        export_worlds("vatex", worlds_manifest, tmp_path)
    converted = convert("msvd", native["msvd"].annotations, tmp_path / "m")
    with pytest.raises(UsageError, match="is not a Worlds row"):
        export_worlds("msvd", converted.manifest, tmp_path)


def test_sharegpt4v_reads_the_single_answer_of_each_image(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": " A meal. "}]
    entry = {"id": "9", "image": "coco/train2017/9.jpg", "conversations": turns}
    name = "sharegpt4v_instruct_gpt4-vision_cap100k.json"
    (row,) = read("sharegpt4v", tmp_path, {name: [entry]}).values()
    assert (row.id, row.video, texts(row)) == (entry["image"], entry["image"], ["A meal."])
    with pytest.raises(DataError, match="entry 1: has 2 answers instead of one"):
        read("sharegpt4v", tmp_path, {name: [{**entry, "conversations": [*turns, turns[1]]}]})


def test_videocon_human_shares_videos_with_the_activitynet_validation_split(
    native: dict[str, ExportedWorlds], tmp_path: Path
) -> None:
    made = native["activitynet"]
    validation = next(row for row in made.rows if row.split == "val_1")
    anet = convert("activitynet", made.annotations, tmp_path / "anet")
    header = "video_url,caption,neg_caption,nle,hard"
    url = f"https://a.host/videos/{validation.id}.mp4?token=1"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "videocon_human.csv").write_text(f"{header}\n{url},a,b,c,True\n")
    converted = convert("videocon-human", tmp_path / "in", tmp_path / "out", against=[anet.manifest])
    assert converted.leaks == {str(anet.manifest): [validation.id.removeprefix("v_")]}


@pytest.mark.parametrize("name", LABELS)
def test_made_up_labels_are_read_again(name: str, worlds_manifest: Path, tmp_path: Path) -> None:
    made = export_worlds(name, worlds_manifest, tmp_path / name)
    converted = convert(
        name, made.annotations, tmp_path, videos=made.videos, hold_out="val" if name == "coin" else None
    )
    assert converted.missing == ()
    assert set(converted.notes) <= {"split not read: missing file"}
    rows = {Path(row.video).stem: row for row in converted.rows}
    assert {id: row.split for id, row in rows.items()} == {row.id: row.split for row in made.rows}
    for i, wrote in enumerate(made.rows):
        row = rows[wrote.id]
        if name == "how2qa":
            assert row.meta["options"][row.meta["answer"]] == wrote.captions[0].text
            assert len(set(row.meta["options"])) == 4
        else:
            assert row_labels(row) == (("first", "second")[i % 2],)
