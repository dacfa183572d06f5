"""The scan of codes: bounds that hold, and the nearest frames of an exact scan."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mova.search.cold import codes, snapshot
from mova.search.cold.codes import encode, highest, scan
from mova.search.cold.halves import widened
from mova.search.cold.snapshot import Snapshot
from mova.search.cold.snapshot_writer import write_snapshot
from mova.search.storage.damage import IndexDamagedError
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float16).astype(np.float32)


def kinds(rng: np.random.Generator, dim: int) -> dict[str, np.ndarray]:
    """Rows that are spread, alike, with one component that is much larger (as CLIP's), and with few components."""
    spread = rng.normal(size=(600, dim))
    outlier = spread.copy()
    outlier[:, 0] += 20
    return {
        "spread": unit(spread),
        "alike": unit(rng.normal(size=dim) + 0.01 * spread),
        "outlier": unit(outlier),
        "axes": unit(np.eye(dim)[rng.integers(0, dim, 600)]),
        "signs": unit(np.sign(spread)),
    }


def test_every_finite_half_is_widened_exactly_and_the_others_are_no_cosines() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = np.isfinite(halves)
    np.testing.assert_array_equal(widened(halves)[finite], halves[finite].astype(np.float32))
    assert np.abs(widened(halves)[~finite]).min() > 1000
    np.testing.assert_array_equal(widened(halves.reshape(256, 256)[::3, ::5]).shape, (86, 52))
    assert widened(np.empty((0, 7), np.float16)).shape == (0, 7)


@pytest.mark.parametrize("library", ["simsimd", "numpy"])
@pytest.mark.parametrize("dim", [1, 16, 96, 129, 512, 768, 1152])
def test_no_cosine_is_above_its_bound(dim: int, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if library == "simsimd":
        pytest.importorskip("simsimd")
    else:
        monkeypatch.setattr(codes, "_simsimd", lambda: None)
    rng = np.random.default_rng(dim)
    for rows in kinds(rng, dim).values():
        coded = encode(rows)
        assert np.abs(coded.values.astype(int)).max() <= 127
        for query in unit(np.concatenate([rng.normal(size=(5, dim)), rows[:3], -rows[:1], np.eye(dim)[:1]])):
            bounds, exact = scan(coded, query), rows.astype(np.float64) @ query
            assert np.all(exact <= bounds.upper)
            assert np.all(exact >= 2 * bounds.estimate - bounds.upper)  # the bound has two sides
            assert np.all(bounds.upper - bounds.estimate < 0.05)


def test_both_libraries_scan_alike_over_several_blocks_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simsimd")
    rng = np.random.default_rng(0)
    coded, query = encode(unit(rng.normal(size=(5000, 64)))), unit(rng.normal(size=64))
    whole = scan(coded, query)
    monkeypatch.setattr(codes, "BLOCK_ROWS", 999)
    monkeypatch.setattr(codes, "THREAD_ROWS", 1)
    parts = scan(coded, query)
    monkeypatch.setattr(codes, "_simsimd", lambda: None)
    for other in (parts, scan(coded, query)):
        np.testing.assert_array_equal(other.estimate, whole.estimate)
        np.testing.assert_array_equal(other.upper, whole.upper)


def test_scans_release_no_reference_that_they_do_not_own() -> None:
    """A library that returns None without a new reference ends the process after some thousand calls."""
    coded, query = encode(unit(np.random.default_rng(0).normal(size=(8, 64)))), unit(np.ones(64))
    before = sys.getrefcount(None)
    for _ in range(1000):
        scan(coded, query)
    assert sys.getrefcount(None) > before - 500


def test_the_highest_values_are_those_of_a_sort() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 31, 32, 33, 1000, 5000):
        values = rng.normal(size=size).astype(np.float32).round(2)  # with ties
        for count in (1, 7, 300, size):
            near = highest(values, min(count, size))
            assert len(set(near.tolist())) == min(count, size)
            np.testing.assert_array_equal(np.sort(values[near]), np.sort(values)[-min(count, size) :])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index whose videos have scenes of nearly equal frames, exact ties, and one video of equal frames."""
    rng = np.random.default_rng(1)
    store = Store(tmp_path / "index")
    store.create(Meta("m", "f", 64, 1.0))
    for number in range(30):
        rows = unit(np.repeat(rng.normal(size=(30, 64)), 10, axis=0) + 0.1 * rng.normal(size=(300, 64)))
        if number == 7:
            rows[:] = rows[0]
        if number == 9:
            rows[:150] = rows[150:]
        name = f"{number:032x}"
        store.append([name], [StoredFrames(np.arange(300.0), rows)])
        store.commit([VideoRecord(f"/v/{number}.mp4", name, 1, 1, 300.0, 300, rows.mean(axis=0))])
    store.drop(["/v/3.mp4", "/v/29.mp4"])
    store.sweep()
    assert write_snapshot(store)
    store.drop(["/v/0.mp4", "/v/12.mp4"])  # leaves holes in the files
    store.sweep()
    assert write_snapshot(store)
    return tmp_path / "index"


def test_the_nearest_frames_are_those_of_an_exact_scan(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Snapshot.open(folder)
    assert read is not None
    assert len(read.vectors) == 28 * 300
    assert read.count_frames() == 26 * 300
    rng = np.random.default_rng(2)
    stored = read.fetch([record.content for record in read.records().values()])
    queries = [*unit(rng.normal(size=(10, 64))), *(frames.vectors[5] for frames in stored.values())]
    answers = [read.nearest(query, limit) for query in queries for limit in (1, 10, 256)]
    assert read._last is not None  # so the codes were scanned
    monkeypatch.setattr(snapshot, "CODED_ROWS", 1 << 40)
    exact = [read.nearest(query, limit) for query in queries for limit in (1, 10, 256)]
    for (owners, cosines), (others, truth) in zip(answers, exact, strict=True):
        assert owners == others
        np.testing.assert_allclose(cosines, truth, atol=1e-6)


def test_queries_that_are_compared_together_find_what_each_finds_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, read = Snapshot.open(folder), Snapshot(folder, Snapshot.open(folder).document)  # type: ignore[union-attr]
    assert alone is not None
    rng = np.random.default_rng(3)
    queries = unit(np.concatenate([rng.normal(size=(6, 64)), alone.vectors[600:602].astype(np.float32)]))
    for exact_rows, kept in ((1 << 40, 8), (0, 8), (1 << 40, 3)):
        monkeypatch.setattr(snapshot, "EXACT_ROWS", exact_rows)
        monkeypatch.setattr(snapshot, "AHEAD", kept * len(alone.vectors))
        read.look_ahead(queries[:0])
        read.look_ahead(queries)
        assert len(read._ahead) == kept
        assert len(read._ahead_exact) == (kept if exact_rows else 0)
        for query in queries:
            for limit in (1, 40, 3000):
                owners, cosines = read.nearest(query, limit)
                expected, truth = alone.nearest(query, limit)
                np.testing.assert_allclose(cosines, truth, atol=1e-6)
                assert sum(a != b for a, b in zip(owners, expected, strict=True)) <= limit // 10  # ties
    found = read._ahead
    read.look_ahead(queries[1:2])
    assert read._ahead is found  # it is among those that are known
    read.look_ahead(queries[:0])
    assert not read._ahead


@pytest.mark.parametrize("rows", [64, 333, 1 << 20])
def test_the_best_cosines_of_every_content_are_those_of_its_frames(
    folder: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Snapshot.open(folder)
    assert whole is not None
    queries = unit(np.random.default_rng(5).normal(size=(3, 64)))
    monkeypatch.setattr(snapshot, "MOST_PRODUCTS", rows * len(queries))
    for read in (whole, whole.restricted(dict(list(whole.records().items())[1::3]))):
        contents, best = read.best_cosines(queries)
        stored = read.fetch(contents)
        assert sorted(contents) == sorted(record.content for record in read.records().values())
        for content, cosines in zip(contents, best, strict=True):
            np.testing.assert_allclose(cosines, (stored[content].vectors @ queries.T).max(axis=0), atol=1e-6)


@pytest.mark.parametrize("count", [2, 20])
def test_queries_of_some_videos_are_compared_together(count: int, folder: Path) -> None:
    whole = Snapshot.open(folder)
    assert whole is not None
    records = dict(list(whole.records().items())[:count])
    read, alone = whole.restricted(records), whole.restricted(records)
    queries = unit(np.random.default_rng(5).normal(size=(4, 64)))
    read.look_ahead(queries)
    assert len(read._ahead) == (4 if count * 300 >= snapshot.CODED_ROWS else 0), "a few frames need no scan of all"
    assert len(read._ahead_exact) == 4
    assert not whole._ahead
    for query in queries:
        owners, cosines = read.nearest(query, 40)
        expected, truth = alone.nearest(query, 40)
        assert owners == expected
        assert set(owners) <= {record.content for record in records.values()}
        np.testing.assert_allclose(cosines, truth, atol=1e-6)


def test_a_search_of_another_thread_does_not_change_the_bounds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = unit(np.random.default_rng(4).normal(size=(2, 64)))
    read = Snapshot.open(folder)
    assert read is not None
    expected, other = read._bounded(mine), read._bounded(theirs)
    always_theirs = property(lambda _: (theirs.tobytes(), other), lambda *_: None)
    monkeypatch.setattr(Snapshot, "_last", always_theirs, raising=False)
    np.testing.assert_array_equal(Snapshot(folder, read.document)._bounded(mine).upper, expected.upper)


def test_memory_does_not_grow_with_the_number_of_candidates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Snapshot.open(folder)
    assert read is not None
    widest = []
    monkeypatch.setattr(snapshot, "BLOCK_ROWS", 512)
    monkeypatch.setattr(snapshot, "widened", lambda halves: (widest.append(len(halves)), widened(halves))[1])
    query = unit(np.random.default_rng(5).normal(size=64))
    owners, cosines = read.nearest(query, read.count_frames())
    assert (len(owners), max(widest)) == (26 * 300, 512)
    rows = np.concatenate([frames.vectors for frames in read.fetch(list(set(owners))).values()])
    np.testing.assert_allclose(cosines, np.sort(rows @ query)[::-1], atol=1e-6)


def test_a_vector_that_is_not_of_unit_length_is_found_by_any_query(folder: Path) -> None:
    rows = unit(np.random.default_rng(3).normal(size=(50, 64)))
    rows[10], rows[20], rows[30] = np.nan, 3 * rows[20], 0
    bounds = scan(encode(rows), rows[0])
    assert np.all(bounds.upper[[10, 20, 30]] > 1)
    read = Snapshot.open(folder)
    assert read is not None
    for path, offset, _, count in read.document["extents"]:
        with (folder / path).open("r+b") as file:
            file.seek(offset)
            file.write(np.full(count * 64, np.nan, np.float16).tobytes())
    with pytest.raises(IndexDamagedError, match="unit length"):
        Snapshot(folder, read.document).nearest(rows[0], 3)
