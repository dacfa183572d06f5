"""Videos inside tar files and Lance tables: the same frames, orders that follow the shards, errors with the member."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mova.data.columns.table import RowTable, write_table
from mova.data.dataset import BrokenVideo, Draw, Pair, PairDataset, PairSampler
from mova.data.granularity_batches import GranularityBatchSampler
from mova.data.manifest import Row, Segment, read_manifest, write_manifest
from mova.data.readers.registry import convert
from mova.data.shards.members import split_path, video_file
from mova.data.shards.order import shard_numbers, shuffled
from mova.data.shards.pack import pack
from mova.data.validation import check_rows
from mova.errors import DataError, UsageError, VideoError
from mova.video.reader import FrameRule

RULE = FrameRule(3, rule="head")


def pairs(manifest: Path) -> list[Pair | BrokenVideo]:
    dataset = PairDataset(manifest, split="train", sampling=RULE)
    return [dataset[index] for index in range(len(dataset))]


@pytest.mark.parametrize("form", ["tar", "lance"])
def test_packed_videos_give_the_same_pairs(worlds_manifest: Path, tmp_path: Path, form: str) -> None:
    packed = pack(worlds_manifest, tmp_path, form, shard_bytes=20_000)  # type: ignore[arg-type]
    assert (packed.rows, packed.videos, packed.missing) == (10, 10, [])
    assert packed.shards == (1 if form == "lance" else len(list(tmp_path.glob("*.tar"))))
    before, after = read_manifest(worlds_manifest), read_manifest(packed.manifest)
    assert [replace(row, video="x") for row in after] == [replace(row, video="x") for row in before]
    for row, original in zip(after, before, strict=True):
        assert (tmp_path / row.video).suffix == ".mp4"
        with video_file(tmp_path / row.video) as file:
            assert file.read_bytes() == (worlds_manifest.parent / original.video).read_bytes()
        assert not file.exists()
    for pair, other in zip(pairs(packed.manifest), pairs(worlds_manifest), strict=True):
        assert isinstance(pair, Pair)
        assert isinstance(other, Pair)
        assert (pair.id, pair.group, pair.text) == (other.id, other.group, other.text)
        np.testing.assert_array_equal(pair.frames.pixels, other.frames.pixels)  # type: ignore[union-attr]


def test_a_file_of_several_rows_is_packed_once_and_parts_are_read(worlds_manifest: Path, tmp_path: Path) -> None:
    first, second = read_manifest(worlds_manifest)[:2]
    parts = (Segment(first.video, 0.0, 2.0), Segment(second.video, 3.0), Segment(first.video, 4.0, 5.0))
    rows = [
        replace(first, id="a", start=1.0, end=3.0),
        replace(first, id="b"),
        Row("c", "", None, "train", first.captions[:1], parts=parts),
    ]
    source = write_manifest(worlds_manifest.parent / "clips.jsonl", rows)
    packed = pack(source, tmp_path)
    assert (packed.rows, packed.videos) == (3, 2)
    for pair, other in zip(pairs(packed.manifest), pairs(source), strict=True):
        np.testing.assert_array_equal(pair.frames.pixels, other.frames.pixels)  # type: ignore[union-attr]
    source.unlink()


def test_errors_name_the_member(worlds_manifest: Path, tmp_path: Path) -> None:
    packed = pack(worlds_manifest, tmp_path / "a")
    video = read_manifest(packed.manifest)[0].video
    shard, member = split_path(tmp_path / "a" / video) or (None, "")
    assert shard is not None
    with pytest.raises(VideoError, match=r"has no member 'x\.mp4'"), video_file(shard / "x.mp4"):
        pass
    (tmp_path / "a" / "not.tar").write_text("no tar")
    with (
        pytest.raises(VideoError, match="not a tar file without compression"),
        video_file(tmp_path / "a/not.tar/x.mp4"),
    ):
        pass
    content = shard.read_bytes()
    with tarfile.open(shard) as tar:
        offset, size = tar.getmember(member).offset_data, tar.getmember(member).size
    shard.write_bytes(content[:offset] + bytes(size) + content[offset + size :])
    check = check_rows(read_manifest(packed.manifest)[:2], tmp_path / "a")
    assert [(fault.id, fault.kind) for fault in check.quarantined] == [(check.quarantined[0].id, "unreadable")]
    broken = pairs(packed.manifest)[0]
    assert isinstance(broken, BrokenVideo)
    assert broken.path == str(tmp_path.resolve() / "a" / video)
    with pytest.raises(VideoError, match="such file"), video_file(tmp_path / "none.tar" / "x.mp4") as file:
        RULE.read(file)
    with pytest.raises(UsageError, match="has a manifest"):
        pack(worlds_manifest, tmp_path / "a")
    rows = [replace(row, video="gone.mp4") for row in read_manifest(worlds_manifest)[:2]]
    with pytest.raises(DataError, match=r"none of its 2 rows .* No such file"):
        pack(write_manifest(tmp_path / "gone.jsonl", rows), tmp_path / "b")
    assert list((tmp_path / "b").iterdir()) == []


def test_rows_of_a_lance_table(worlds_manifest: Path, tmp_path: Path) -> None:
    pack(worlds_manifest, tmp_path, "lance")
    for name, message in {"10.mp4": "has 10 rows", "x.mp4": "named by its number"}.items():
        with pytest.raises(VideoError, match=message), video_file(tmp_path / "clips.lance" / name):
            pass


def test_an_order_reads_groups_of_shards_one_after_another() -> None:
    shards = np.repeat(np.arange(10), 20).astype(np.int32)
    np.random.default_rng(0).shuffle(shards)
    order = shuffled(np.random.default_rng(1), 200, shards, together=2)
    assert sorted(order.tolist()) == list(range(200))
    groups = [frozenset(shards[order[at : at + 40]].tolist()) for at in range(0, 200, 40)]
    assert [len(group) for group in groups] == [2] * 5
    assert len(frozenset.union(*groups)) == 10
    assert shards[order[:40]].tolist() != sorted(shards[order[:40]].tolist())
    whole = shuffled(np.random.default_rng(1), 200, shards, together=0)
    assert whole.tolist() == np.random.default_rng(1).permutation(200).tolist()
    sampler = PairSampler(200, seed=5, shards=shards, together=2)
    first = list(sampler)
    sampler.set_epoch(1)
    assert [draw.item for draw in sampler] != [draw.item for draw in first]
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_batches_of_a_granularity_follow_the_shards() -> None:
    shards = np.repeat(np.arange(4), 10).astype(np.int32)
    sampler = GranularityBatchSampler({"SVST": 40}, 10, seed=0, shards=[shards], together=1)
    batches = np.array([draw.item for draw in sampler]).reshape(4, 10)
    assert sorted(map(tuple, shards[batches].tolist())) == [(number,) * 10 for number in range(4)]


def test_a_table_has_the_shards_of_its_manifest(worlds_manifest: Path, tmp_path: Path) -> None:
    packed = pack(worlds_manifest, tmp_path, shard_bytes=20_000)
    rows = read_manifest(packed.manifest)
    joined = Row("parts", "", None, "train", rows[0].captions, parts=(Segment(rows[5].video), Segment(rows[0].video)))
    outside = replace(rows[0], id="file", video="plain.mp4")
    manifest = write_manifest(tmp_path / "more.jsonl", [outside, *rows[::-1], joined])
    write_table(manifest, tmp_path / "more.arrow")
    table, listed = RowTable(tmp_path / "more.arrow"), read_manifest(manifest)
    for part in (slice(None), slice(3, None), slice(0, 1)):
        numbers, expected = shard_numbers(table[part]), shard_numbers(listed[part])
        assert (numbers is None) == (expected is None) == (part == slice(0, 1))
        if expected is not None:
            assert numbers is not None
            assert numbers.tolist() == expected.tolist()
    assert shard_numbers(read_manifest(worlds_manifest)) is None
    datasets = [
        PairDataset(path, split="train", sampling=RULE, captions="caption")
        for path in (manifest, tmp_path / "more.arrow")
    ]
    first, second = (dataset.shards() for dataset in datasets)
    assert first is not None
    assert second is not None
    assert first.tolist() == second.tolist()
    assert isinstance(datasets[1][Draw(len(datasets[1]) - 1, 0)], Pair)


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_shards_of_other_programs_become_a_manifest(
    worlds_manifest: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    video = next(worlds_manifest.parent.glob("*.mp4")).read_bytes()
    about = {"caption": "A red ball falls.", "url": "https://videos/7", "clips": [[0, 1]]}
    files = {"a.mp4": video, "a.txt": b"A ball.", "./b.mp4": video, "./b.json": json.dumps(about).encode()}
    write_tar(tmp_path / "set/train/000.tar", files | {"c.mp4": video, "d.txt": b"No video."})
    write_tar(tmp_path / "set/val-000.tar", {"x/a.MP4": video, "x/a.txt": b"A cat."})
    code, out, _ = call("data", "convert", "webdataset", tmp_path / "set", tmp_path / "set", "--json")
    assert code == 0
    assert [note["count"] for note in json.loads(out)["notes"].values()] == [1, 1]
    rows = read_manifest(tmp_path / "set" / "manifest.jsonl")
    found = {row.id: (row.split, row.captions[0].text, row.video, row.meta["source_video"]) for row in rows}
    assert found == {
        "000/a": ("train", "A ball.", "train/000.tar/a.mp4", "000/a"),
        "000/b": ("train", "A red ball falls.", "train/000.tar/b.mp4", "https://videos/7"),
        "val-000/x/a": ("val", "A cat.", "val-000.tar/x/a.MP4", "val-000/x/a"),
    }
    for row in rows:
        with video_file(tmp_path / "set" / row.video) as file:
            assert file.read_bytes() == video
    write_tar(tmp_path / "bad/000.tar", {"a.mp4": video, "a.json": b"{"})
    with pytest.raises(DataError, match=r"000\.tar: a: its \.json"):
        convert("webdataset", tmp_path / "bad", tmp_path / "bad")


def test_packed_shards_are_read_by_the_same_reader(
    worlds_manifest: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = call("data", "shards", worlds_manifest, tmp_path / "shards", "--json")
    assert code == 0
    assert json.loads(out)["videos"] == 10
    rows = convert("webdataset", tmp_path / "shards", tmp_path / "again.jsonl").rows
    for row, original in zip(rows, read_manifest(worlds_manifest), strict=True):
        assert (row.id, row.split, row.captions[0].text) == (original.id, original.split, original.captions[0].text)
