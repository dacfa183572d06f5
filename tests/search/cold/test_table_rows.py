"""Rows of vectors in files of the tables: found by their bytes, mapped in order, refused where they cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mova.search.cold.table_rows import Extent, Finder, TableRows, merged

DIM = 4
ROWS = np.random.default_rng(0).normal(size=(20, DIM)).astype(np.float16)


def written(folder: Path, files: dict[str, bytes]) -> Path:
    data = folder / "frames.lance" / "data"
    data.mkdir(parents=True)
    for age, (name, content) in enumerate(files.items()):
        (data / name).write_bytes(content)
        os.utime(data / name, (age, age))
    return folder


def found(folder: Path, rows: np.ndarray, first: int = 0) -> list[Extent]:
    extents = Finder(folder, DIM).find(rows, first)
    assert extents is not None
    return merged(extents, DIM)


def test_rows_are_found_in_pages_of_several_files_in_any_order(tmp_path: Path) -> None:
    a, b, c = ROWS[:8].tobytes(), ROWS[8:11].tobytes(), ROWS[11:].tobytes()
    folder = written(tmp_path, {"1.lance": b"head" + c + b"tail", "2.lance": a + bytes(6) + b, "empty.lance": b""})
    extents = found(folder, ROWS)
    assert [(e.path[-7:], e.offset, e.first, e.rows) for e in extents] == [
        ("2.lance", 0, 0, 8),
        ("2.lance", 70, 8, 3),
        ("1.lance", 4, 11, 9),
    ]
    rows = TableRows(folder, extents, DIM)
    assert len(rows) == 20
    for start, stop in ((0, 20), (3, 5), (7, 9), (8, 11), (10, 20), (5, 5), (19, 99)):
        np.testing.assert_array_equal(rows[start:stop], ROWS[start:stop])
    for chosen in ([], [0], [7, 8], [0, 3, 9, 10, 11, 19], list(range(20))):
        np.testing.assert_array_equal(rows[np.array(chosen, np.int64)], ROWS[chosen])


def test_equal_rows_are_taken_from_anywhere_and_only_whole(tmp_path: Path) -> None:
    once = ROWS[:1].tobytes()
    folder = written(tmp_path, {"1.lance": once + ROWS[:6].tobytes(), "2.lance": b"x" + once})
    repeated = np.concatenate([ROWS[:1], ROWS[:1], ROWS[:6]])
    np.testing.assert_array_equal(TableRows(folder, found(folder, repeated), DIM)[:], repeated)
    assert Finder(folder, DIM).find(ROWS[5:7], 0) is None
    assert Finder(tmp_path / "nowhere", DIM).find(ROWS, 0) is None
    odd = written(tmp_path / "odd", {"1.lance": b"x" + once})
    assert Finder(odd, DIM).find(ROWS[:1], 0) is None, "numbers of half precision start at even places"
    assert found(folder, ROWS[:0]) == []


@pytest.mark.parametrize(
    "extents",
    [
        [("frames.lance/data/1.lance", 0, 0, 21)],
        [("frames.lance/data/1.lance", 8, 0, 20)],
        [("frames.lance/data/1.lance", -8, 0, 2)],
        [("frames.lance/data/1.lance", 0, 1, 3)],
        [("frames.lance/data/1.lance", 0, 0, 3), ("frames.lance/data/1.lance", 0, 4, 3)],
        [("frames.lance/data/1.lance", 0, 0, 0)],
    ],
)
def test_places_that_cannot_be_are_refused(extents: list[tuple[str, int, int, int]], tmp_path: Path) -> None:
    folder = written(tmp_path, {"1.lance": ROWS.tobytes()})
    with pytest.raises(ValueError, match="has no rows"):
        TableRows(folder, extents, DIM)
    with pytest.raises(OSError, match="No such file"):
        TableRows(folder, [("frames.lance/data/9.lance", 0, 0, 1)], DIM)
