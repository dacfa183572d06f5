"""The snapshot of an index: equal to the tables, refused in another state, appended to, rewritten, checked."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from mova.search import query
from mova.search.cold import snapshot_writer
from mova.search.cold.snapshot import Snapshot
from mova.search.cold.snapshot_writer import damaged_files, write_snapshot
from mova.search.cold.state import SNAPSHOT_FOLDER, SNAPSHOT_NAME, read_signed, tables_state, write_signed
from mova.search.query import Query
from mova.search.storage.damage import IndexDamagedError
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store
from mova.types import Span

DIM = 16


def name(number: int) -> str:
    return f"{number:032x}"


def vectors(seed: int, frames: int) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(frames, DIM)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def add(store: Store, number: int, frames: int = 30, gaps: tuple[Span, ...] = ()) -> None:
    stored = vectors(number, frames)
    store.append([name(number)], [StoredFrames(np.arange(frames) / 2, stored)])
    record = VideoRecord(f"/v/{number}.mp4", name(number), 1, number, frames / 2, frames, stored.mean(axis=0), gaps)
    store.commit([record])


@pytest.fixture(params=["shared", "copied"])
def store(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An index whose snapshot uses the vectors of the tables, or has a copy of them."""
    monkeypatch.setattr(snapshot_writer, "can_share", lambda: request.param == "shared")
    made = Store(tmp_path / "index")
    made.create(Meta("m", "f", DIM, 2.0))
    for number in range(4):
        add(made, number, 30 + number, (Span(1.0, 2.5), Span(4.0, 4.5)) if number == 2 else ())
    assert write_snapshot(made)
    return made


@pytest.fixture
def folder(store: Store) -> Path:
    assert store.folder is not None
    return store.folder


def opened(folder: Path) -> Snapshot:
    snapshot = Snapshot.open(folder)
    assert snapshot is not None
    return snapshot


def is_shared(folder: Path) -> bool:
    """Return whether the snapshot has no copy of the vectors."""
    shared = "extents" in opened(folder).document
    assert shared != bool(list((folder / "snapshot").glob("frames-*")))
    return shared


def assert_equal(snapshot: Snapshot, store: Store) -> None:
    """Everything that a search reads is that of the tables."""
    assert snapshot.meta == store.meta
    assert snapshot.count_frames() == store.count_frames()
    expected = store.records()
    assert list(snapshot.records()) == list(expected)
    for path, record in snapshot.records().items():
        other = expected[path]
        assert (record.content, record.size, record.mtime_ns) == (other.content, other.size, other.mtime_ns)
        assert (record.duration, record.frames, record.gaps) == (other.duration, other.frames, other.gaps)
        np.testing.assert_array_equal(record.mean, other.mean)
    contents = [*{record.content: 0 for record in expected.values()}, "missing"]
    stored, others = snapshot.fetch(contents), store.fetch(contents)
    assert stored.keys() == others.keys()
    for content, frames in stored.items():
        np.testing.assert_array_equal(frames.times, others[content].times)
        np.testing.assert_array_equal(frames.vectors, others[content].vectors)
    owner = [content for content, frames in others.items() for _ in frames.times]
    everything = np.concatenate([frames.vectors for frames in others.values()]).astype(np.float64)
    for seed in range(3):
        direction = vectors(100 + seed, 1)[0]
        truth = everything @ direction
        order = np.argsort(-truth)
        for limit in (1, 7, 10_000):
            owners, cosines = snapshot.nearest(direction, limit)
            assert owners == [owner[i] for i in order[:limit]]
            np.testing.assert_allclose(cosines, truth[order[:limit]], atol=1e-6)
            tables = store.nearest(direction, limit, exact=True)[1]
            np.testing.assert_allclose(cosines, tables, atol=1e-3)  # LanceDB rounds the query to half precision
        request = Query("x", ("x",), direction[None], "none")
        found, expected_moments = query.search(snapshot, request, 5), query.search(store, request, 5)
        assert found == expected_moments


def test_a_snapshot_has_what_the_tables_have(folder: Path, store: Store) -> None:
    assert_equal(opened(folder), store)
    assert damaged_files(folder) == []
    snapshot = opened(folder)
    assert Snapshot.open(folder, snapshot) is snapshot
    with pytest.raises(IndexDamagedError):
        snapshot.require_complete(3)


def test_every_write_makes_it_stale_and_the_next_one_appends(folder: Path, store: Store) -> None:
    before = opened(folder)
    files = before.document["codes"], before.document["times"]
    add(store, 9)
    assert Snapshot.open(folder) is None
    assert write_snapshot(store)
    after = opened(folder)
    assert (after.document["codes"], after.document["times"]) == files
    assert after.document["rows"] == before.document["rows"] + 30
    assert len(after.document["segments"]) == 2
    assert_equal(after, store)
    assert len(list((folder / "snapshot").iterdir())) == 6 - is_shared(folder)
    assert damaged_files(folder) == []
    assert write_snapshot(store)  # nothing to do
    assert opened(folder).document == after.document
    assert before.fetch([name(1)])[name(1)].times[-1] == 15.0  # the older one can still be read


def test_removed_contents_leave_holes_until_there_are_too_many(folder: Path, store: Store) -> None:
    first = opened(folder).document
    store.drop(["/v/1.mp4"])
    store.sweep()
    snapshot_writer.WASTE, waste = 0.5, snapshot_writer.WASTE
    try:
        assert write_snapshot(store)
    finally:
        snapshot_writer.WASTE = waste
    assert opened(folder).document["codes"] == first["codes"]
    assert opened(folder).document["rows"] == first["rows"]
    assert_equal(opened(folder), store)
    store.drop(["/v/0.mp4"])
    store.sweep()
    assert write_snapshot(store)
    assert opened(folder).document["codes"] != first["codes"]
    assert opened(folder).document["rows"] == 32 + 33
    assert_equal(opened(folder), store)


def test_copies_share_their_frames_and_an_empty_index_has_a_snapshot(folder: Path, store: Store) -> None:
    record = store.records()["/v/1.mp4"]
    store.commit([VideoRecord("/v/copy.mp4", record.content, 1, 1, record.duration, record.frames, record.mean)])
    assert write_snapshot(store)
    assert opened(folder).count_frames() == 30 + 31 + 32 + 33
    assert_equal(opened(folder), store)
    store.drop(list(store.records()))
    store.sweep()
    assert write_snapshot(store)
    assert opened(folder).records() == {}
    assert opened(folder).nearest(vectors(1, 1)[0], 3)[0] == []


@pytest.mark.parametrize("change", ["touch", "delete", "cut"])
def test_any_change_of_a_file_of_the_tables_makes_it_stale(change: str, folder: Path) -> None:
    state = tables_state(folder)
    path = next((folder / "frames.lance" / "data").glob("*.lance"))
    if change == "touch":
        os.utime(path, ns=(1, 1))
    elif change == "delete":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    assert tables_state(folder) != state
    assert Snapshot.open(folder) is None


def test_frames_that_are_missing_make_no_snapshot(folder: Path, store: Store) -> None:
    store.discard([name(2)])
    assert not write_snapshot(store)
    store.drop(["/v/2.mp4"])
    add(store, 5)
    store.discard([name(5)])
    assert not write_snapshot(store)
    assert Snapshot.open(folder) is None


@pytest.mark.parametrize("pattern", ["frames-*", "times-*", "codes-*", "scales-*", "videos-*", "snapshot.json"])
@pytest.mark.parametrize("harm", ["delete", "cut", "flip"])
def test_a_damaged_snapshot_is_not_used_or_named(pattern: str, harm: str, folder: Path, store: Store) -> None:
    if pattern == "frames-*" and is_shared(folder):
        pytest.skip("the vectors are those of the tables")
    path = next((folder / "snapshot").glob(pattern))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    if harm == "delete":
        path.unlink()
    else:
        path.write_bytes(data if harm == "flip" else data[: len(data) // 2])
    if harm == "flip" and pattern[:5] in (
        "frame",
        "times",
        "codes",
        "scale",
    ):  # too large to be read whole before every search
        assert damaged_files(folder) == [f"snapshot/{path.name}"]
        return
    assert Snapshot.open(folder) is None
    assert damaged_files(folder) == (
        [] if harm == "delete" and pattern == "snapshot.json" else [f"snapshot/{path.name}"]
    )
    (folder / "snapshot" / "snapshot.json").unlink(missing_ok=True)
    assert write_snapshot(store)
    assert_equal(opened(folder), store)


def test_a_failure_leaves_no_files_and_the_last_snapshot(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in (folder / "snapshot").iterdir()}
    add(store, 9)
    store.drop(["/v/0.mp4", "/v/1.mp4"])  # so many rows are removed that all files are written anew
    store.sweep()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for step in ("_write_rows", "write_videos"):
        with monkeypatch.context() as full:
            full.setattr(snapshot_writer, step, fail)
            with pytest.raises(OSError, match="No space"):
                write_snapshot(store)
        assert {path.name: path.read_bytes() for path in (folder / "snapshot").iterdir()} == before
    assert write_snapshot(store)
    assert_equal(opened(folder), store)


@pytest.mark.parametrize("store", ["copied"], indirect=True)
def test_vectors_that_are_not_of_unit_length_are_damage(folder: Path) -> None:
    path = next((folder / "snapshot").glob("frames-*"))
    path.write_bytes(np.full(path.stat().st_size // 2, np.nan, np.float16).tobytes())
    with pytest.raises(IndexDamagedError, match="unit length"):
        opened(folder).nearest(vectors(1, 1)[0], 3)
    with pytest.raises(IndexDamagedError, match="unit length"):
        opened(folder).fetch([name(1)])


def test_a_snapshot_of_an_earlier_version_is_neither_read_nor_damage(folder: Path, store: Store) -> None:
    path = folder / SNAPSHOT_FOLDER / SNAPSHOT_NAME
    document = read_signed(path)
    assert document is not None
    earlier = {key: value for key, value in document.items() if key not in ("codes", "scales")}
    write_signed(path, {**earlier, "format": 1})
    assert Snapshot.open(folder) is None
    assert damaged_files(folder) == []
    assert write_snapshot(store)
    assert len(opened(folder).records()) == 4
    assert len(list(path.parent.iterdir())) == 6 - is_shared(folder), "the files of the earlier version are removed"


def test_a_table_made_anew_drops_the_snapshot(folder: Path, store: Store) -> None:
    Store(folder).create(Meta("m", "g", DIM, 2.0))
    assert not (folder / "snapshot" / "snapshot.json").exists()


@pytest.mark.parametrize("store", ["shared"], indirect=True)
def test_vectors_are_found_again_in_files_that_were_joined(folder: Path, store: Store) -> None:
    assert is_shared(folder)
    before = opened(folder)
    expected = before.fetch([name(number) for number in range(4)])
    store._frames.optimize(cleanup_older_than=timedelta(0))
    assert len(list((folder / "frames.lance" / "data").iterdir())) == 1
    assert Snapshot.open(folder) is None
    for number, frames in before.fetch(list(expected)).items():  # its files are removed, and still mapped
        np.testing.assert_array_equal(frames.vectors, expected[number].vectors)
    assert write_snapshot(store)
    assert is_shared(folder)
    assert len({extent[0] for extent in opened(folder).document["extents"]}) == 1
    assert_equal(opened(folder), store)


@pytest.mark.parametrize("store", ["shared"], indirect=True)
@pytest.mark.parametrize("cause", ["not found", "many places"])
def test_vectors_that_cannot_be_shared_are_copied(
    cause: str, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_shared(folder)
    add(store, 9)
    with monkeypatch.context() as patch:
        if cause == "not found":
            patch.setattr(snapshot_writer.Finder, "find", lambda *_: None)
        else:
            patch.setattr(snapshot_writer, "MOST_EXTENTS", 0)
        assert write_snapshot(store)
    assert not is_shared(folder)
    assert_equal(opened(folder), store)
    add(store, 10)
    assert write_snapshot(store)
    assert not is_shared(folder)
    assert_equal(opened(folder), store)
    assert damaged_files(folder) == []
