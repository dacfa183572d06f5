"""The vectors of a snapshot where they already lie, in the files of the tables, so that they are stored once.

LanceDB writes vectors of one length one after the other. Nothing else of its format is assumed: `Finder` compares every
byte, and where a row is not found as it is (compressed, say), the snapshot keeps a copy of all vectors. Files of the
tables are never changed once written, and a snapshot is only used in the state of the tables that it was made from.

Shape legend: R rows, T frames, d width of the model's space.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

MOST_EXTENTS = 4096
"""Stretches from which a copy is kept instead: each takes time whenever the snapshot is opened."""
TYPE = np.dtype(np.float16)

_F16 = npt.NDArray[np.float16]


class Extent(NamedTuple):
    """A stretch of rows that lie one after the other in a file."""

    path: str
    """Relative to the index."""
    offset: int
    """Bytes before its first row in the file."""
    first: int
    """Its first row in the snapshot."""
    rows: int


class TableRows:
    """Vectors (R, d) in half precision, mapped from files of the tables.

    Args:
        folder: of the index.
        extents: in order of rows, from row 0 without a gap.
        dim: d.

    Raises:
        OSError: a file cannot be opened.
        ValueError: a stretch is not inside its file, or rows are missing.
    """

    def __init__(self, folder: Path, extents: Iterable[Sequence[Any]], dim: int) -> None:
        self._parts: list[_F16] = []
        self._rows, size = 0, dim * TYPE.itemsize
        maps: dict[str, npt.NDArray[np.uint8]] = {}
        starts = []
        for path, offset, first, rows in extents:
            if path not in maps:
                maps[path] = np.memmap(folder / path, np.uint8, mode="r")
            if first != self._rows or rows < 1 or offset < 0 or offset + rows * size > len(maps[path]):
                raise ValueError(f"{path}: has no rows {first} to {first + rows}")
            self._parts.append(maps[path][offset : offset + rows * size].view(TYPE).reshape(rows, dim))
            starts.append(first)
            self._rows += rows
        self._starts = np.array(starts, np.int64)
        self._dim = dim

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> _F16:
        """Return the vectors (T, d) of some rows: a slice without a step, or an array in ascending order."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self._rows)
            pieces = [
                part[max(start - first, 0) : max(stop - first, 0)]
                for first, part in zip(self._starts.tolist(), self._parts, strict=True)
                if first < stop and first + len(part) > start
            ]
            return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty((0, self._dim), TYPE), *pieces])
        found = np.empty((len(rows), self._dim), TYPE)
        edges = [*np.searchsorted(rows, self._starts).tolist(), len(rows)]
        for number, part in enumerate(self._parts):
            chosen = slice(edges[number], edges[number + 1])
            if chosen.start < chosen.stop:
                found[chosen] = part[rows[chosen] - self._starts[number]]
        return found


class Finder:
    """Finds rows in the files of the table of frames.

    Args:
        folder: of the index.
        dim: d.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self._size = dim * TYPE.itemsize
        paths = (folder / "frames.lance" / "data").glob("*.lance")
        newest = sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)
        self._files = [(path.relative_to(folder).as_posix(), _mapped(path)) for path in newest if path.stat().st_size]
        self._file, self._offset = 0, 0  # where the next row is expected

    def find(self, vectors: _F16, first: int) -> list[Extent] | None:
        """Return where rows (T, d) lie, in order; None if one is not found.

        Args:
            vectors: the rows.
            first: row of the snapshot that the first of them is.
        """
        found: list[Extent] = []
        rows = np.ascontiguousarray(vectors, TYPE).view(np.uint8).reshape(len(vectors), self._size)
        at = 0
        while at < len(rows):
            count = self._equal(rows[at:])
            if not count:
                if not self._search(rows[at].tobytes()):
                    return None
                count = self._equal(rows[at:])
            found.append(Extent(self._files[self._file][0], self._offset, first + at, count))
            self._offset += count * self._size
            at += count
        return found

    def _equal(self, rows: npt.NDArray[np.uint8]) -> int:
        """Return how many rows lie at the present place."""
        if not self._files:
            return 0
        data = self._files[self._file][1]
        count = min(len(rows), (len(data) - self._offset) // self._size)
        if count < 1:
            return 0
        there = np.frombuffer(data, np.uint8, count * self._size, self._offset).reshape(count, self._size)
        different = np.flatnonzero((there != rows[:count]).any(axis=1))
        return int(different[0]) if len(different) else count

    def _search(self, row: bytes) -> bool:
        """Go to the next place where a row lies: first in the present file, then in the others, newest first."""
        for step in range(len(self._files) + 1 if self._files else 0):
            number = (self._file + step) % len(self._files)
            place = self._files[number][1].find(row, self._offset if step == 0 else 0)
            while place >= 0 and place % TYPE.itemsize:
                place = self._files[number][1].find(row, place + 1)
            if place >= 0:
                self._file, self._offset = number, place
                return True
        return False


def merged(extents: Iterable[Extent], dim: int) -> list[Extent]:
    """Return extents in order of rows, those that continue another one joined to it.

    Example:
        >>> merged([Extent("a", 20, 2, 1), Extent("a", 0, 0, 2), Extent("a", 24, 3, 1)], dim=2)
        [Extent(path='a', offset=0, first=0, rows=2), Extent(path='a', offset=20, first=2, rows=2)]
    """
    joined: list[Extent] = []
    for extent in sorted(extents, key=lambda extent: extent.first):
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.path == extent.path
            and last.offset + last.rows * dim * TYPE.itemsize == extent.offset
        ):
            joined[-1] = last._replace(rows=last.rows + extent.rows)
        else:
            joined.append(extent)
    return joined


def can_share() -> bool:
    """Return whether files that are mapped can be removed meanwhile, as LanceDB does; not on Windows."""
    return os.name == "posix"


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
