"""Upkeep of the tables: few files, nothing superseded is left at the end of a run, readers of other processes go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mova.errors import MovaError
from mova.search.storage import upkeep
from mova.search.storage.damage import IndexDamagedError
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store

DIM, FRAMES = 8, 5


def filled(folder: Path, writes: int, frames: int = FRAMES) -> Store:
    store = Store(folder)
    store.create(Meta("m", "f", DIM, 1.0))
    for number in range(writes):
        add(store, number, frames)
    return store


def add(store: Store, number: int, frames: int = FRAMES) -> None:
    vectors = np.random.default_rng(number).normal(size=(frames, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    content = f"{number:032x}"
    store.append([content], [StoredFrames(np.arange(float(frames)), vectors)])
    store.commit([VideoRecord(f"/{number}", content, 1, 1, float(frames), frames, vectors.mean(axis=0))])


def data_files(folder: Path) -> int:
    return len(list((folder / "frames.lance" / "data").iterdir()))


def test_the_end_of_a_run_leaves_no_superseded_data_and_readers_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SMALL_FRAGMENTS", 3)
    store, reader = filled(tmp_path, 4), Store(tmp_path)
    before, records = reader.fetch([f"{k:032x}" for k in range(4)]), reader.records()
    store.tidy()
    assert data_files(tmp_path) == 5, "the earlier files stay for a while"
    store.tidy(last=True)
    assert data_files(tmp_path) == 1
    assert list(reader.records()) == list(records)
    for content, frames in reader.fetch(list(before)).items():
        np.testing.assert_array_equal(frames.vectors, before[content].vectors)
    names = [path.name for path in (tmp_path / "frames.lance" / "data").iterdir()]
    store.tidy(last=True)
    assert [path.name for path in (tmp_path / "frames.lance" / "data").iterdir()] == names, "nothing is written again"


def test_many_fragments_that_are_not_small_on_average_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "SMALL_FRAGMENTS", 1)
    monkeypatch.setattr(upkeep, "SMALL_ROWS", FRAMES)
    store = filled(tmp_path, 3)
    store.tidy(last=True)
    assert data_files(tmp_path) == 3
    add(store, 3, FRAMES - 1)
    store.tidy(last=True)
    assert data_files(tmp_path) == 1


def test_a_read_that_fails_once_is_repeated_and_a_scan_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 2)
    calls: list[Store] = []

    def fail(self: Store, *_: object) -> object:
        calls.append(self)
        raise OSError("Not found: data/1.lance")

    monkeypatch.setattr("mova.search.storage.arrow_rows.vectors_of", lambda column: fail(store))
    with pytest.raises(IndexDamagedError, match="Not found"):
        store.fetch([f"{0:032x}"])
    assert len(calls) == 2
    with pytest.raises(IndexDamagedError, match="Not found"):
        list(store.scan())

    def changed(column: object) -> object:
        add(Store(tmp_path), 7)
        return fail(store)

    monkeypatch.setattr("mova.search.storage.arrow_rows.vectors_of", changed)
    with pytest.raises(MovaError, match="another process wrote to this index") as caught:
        list(store.scan())
    assert not isinstance(caught.value, IndexDamagedError)
