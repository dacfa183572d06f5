"""A manifest as a memory-mapped table: a sequence of rows that are built when they are asked for.

Processes on one machine share the pages of the file. A selection of rows is an array of their numbers, 4 bytes each.

Shape legend: R rows of a selection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from mova.data.columns.layout import ROWS_PER_BATCH, SCHEMA, to_batch, to_row
from mova.data.manifest import Row, duplicate_id, iter_manifest, rebased
from mova.data.manifest_paths import require_inside
from mova.errors import DataError, UsageError
from mova.utils.replacing import replacing

Mask = npt.NDArray[np.bool_]


class RowTable(Sequence[Row]):
    """Rows of a table, all or some of them.

    Args:
        path: of the table.
        numbers: int32 (R,), numbers of the selected rows in the file. Default: all.

    Raises:
        DataError: the file cannot be read, or is another table.

    >>> _ = write_table("films/manifest.jsonl", "films/manifest.arrow")
    >>> table = RowTable("films/manifest.arrow")
    >>> len(table), table[1].id, len(table.select(table.equal("split", "train")))
    (2, 'world-flat-1-00001', 2)
    """

    def __init__(self, path: str | Path, numbers: npt.NDArray[np.int32] | None = None) -> None:
        self.path = str(path)
        try:
            reader = ipc.open_file(pa.memory_map(self.path))
            self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: cannot be read as a table of a manifest: {error}") from error
        if (reader.schema.metadata or {}).get(b"mova") != SCHEMA.metadata[b"mova"]:
            raise DataError(f"{path}: is not a table of a manifest; write one with `mova data table`")
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        self.numbers = numbers

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the path, not the rows, to another process."""
        return RowTable, (self.path, self.numbers)

    def __len__(self) -> int:
        return int(self._starts[-1]) if self.numbers is None else len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> RowTable: ...
    def __getitem__(self, place: int | slice) -> Row | RowTable:
        """Return a row, or a part of the selection."""
        if isinstance(place, slice):
            return RowTable(self.path, self._all()[place])
        size = len(self)
        if not -size <= place < size:
            raise IndexError(f"row {place} of {size}")
        number = place % size if self.numbers is None else int(self.numbers[place])
        batch = int(np.searchsorted(self._starts, number, side="right")) - 1
        return to_row(self._batches[batch].slice(number - int(self._starts[batch]), 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Row]:
        return (self[place] for place in range(len(self)))

    def select(self, mask: Mask) -> RowTable:
        """Return the rows for which a mask (R,) is true."""
        return RowTable(self.path, self._all()[mask])

    def compute(self, values: Callable[[pa.RecordBatch], pa.Array | npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Return one value per row, (R,), by a function of one batch of the file at a time, which bounds memory."""
        parts = [_numpy(values(batch)) for batch in self._batches]
        return _join(parts) if self.numbers is None else _join(parts)[self.numbers]

    def texts_of(self, name: str) -> list[str]:
        """Return the different texts of a column, sorted."""
        found = {
            text
            for batch in self._chosen_batches()
            for text in batch.column(name).unique().to_pylist()
            if text is not None
        }
        return sorted(found)

    def equal(self, name: str, value: str) -> Mask:
        """Return whether a column of texts has this value: (R,)."""
        return self.compute(lambda batch: pc.fill_null(pc.equal(batch.column(name), value), False))

    def among(self, name: str, values: Iterable[str]) -> Mask:
        """Return whether a column of texts has one of these values: (R,)."""
        listed = pa.array(sorted(values), pa.string())
        return self.compute(lambda batch: pc.is_in(batch.column(name), value_set=listed))

    def numbers_of(self, name: str) -> npt.NDArray[Any]:
        """Return a column of numbers or booleans: (R,); NaN for null."""
        return self.compute(lambda batch: batch.column(name))

    def caption_counts(self) -> npt.NDArray[np.int32]:
        """Return the number of captions of each row: (R,)."""
        return self.compute(lambda batch: pc.list_value_length(batch.column("captions")))

    def shared_origins(self, names: Iterable[str]) -> list[str]:
        """Return those of the given source videos that a row of the selection shows, sorted."""
        listed = pa.array(sorted(names), pa.string())
        found: set[str] = set()
        for batch in self._chosen_batches():
            flat = pc.list_flatten(batch.column("origins"))
            found.update(flat.filter(pc.is_in(flat, value_set=listed)).unique().to_pylist())
        return sorted(found)

    def mentions(self, text: str) -> Mask:
        """Return whether a path of a row, or its `meta`, contains a text: (R,)."""

        def found(batch: pa.RecordBatch) -> pa.Array:
            in_meta = pc.fill_null(pc.match_substring(batch.column("meta"), text), False)
            return pc.or_(pc.match_substring(batch.column("video"), text), in_meta)

        mask = self.compute(found)
        several = self.compute(lambda batch: pc.greater(pc.list_value_length(batch.column("parts")), 0))
        for place in np.flatnonzero(several & ~mask):
            mask[place] = any(text in part.video for part in self[int(place)].parts)
        return mask

    def fingerprint(self) -> str:
        """Return 16 hex digits over ids, bounds and captions, in any order of rows; not that of a JSON manifest.

        >>> _ = write_table("films/manifest.jsonl", "films/manifest.arrow")
        >>> table = RowTable("films/manifest.arrow")
        >>> table.fingerprint() == table[::-1].fingerprint(), table.fingerprint() == table[:1].fingerprint()
        (True, False)
        """
        digests = np.sort(self.numbers_of("digest"))
        return hashlib.blake2b(digests.astype("<u8").tobytes(), digest_size=8).hexdigest()

    def _all(self) -> npt.NDArray[np.int32]:
        return np.arange(len(self), dtype=np.int32) if self.numbers is None else self.numbers

    def _chosen_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches of the file, of the selected rows only."""
        for first, batch in zip(self._starts.tolist(), self._batches, strict=False):
            if self.numbers is None:
                yield batch
            else:
                inside = self.numbers[(self.numbers >= first) & (self.numbers < first + batch.num_rows)]
                yield batch.take(pa.array(inside - first))


def _numpy(values: pa.Array | npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values if isinstance(values, np.ndarray) else values.to_numpy(zero_copy_only=False)


def _join(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0)


def write_table(manifest: str | Path, target: str | Path) -> int:
    """Write a manifest of JSON lines as a table, in constant memory but for 8 bytes per row, and return its rows.

    Paths of videos become relative to the folder of the table.

    Raises:
        DataError: the manifest cannot be read, has no rows, or an id occurs twice.
        UsageError: the target has another suffix than `.arrow`.

    >>> write_table("films/manifest.jsonl", "films/manifest.arrow")
    2
    """
    target, folders = Path(target), (Path(manifest).resolve().parent, Path(target).resolve().parent)
    if target.suffix != ".arrow":
        raise UsageError(f"{target}: the name of a table ends in .arrow")
    hashes: list[npt.NDArray[np.uint64]] = []
    with replacing(target) as temporary, ipc.new_file(str(temporary), SCHEMA) as writer:
        rows: list[Row] = []
        for _, row in iter_manifest(manifest):
            rows.append(rebased(row, *folders))
            if len(rows) == ROWS_PER_BATCH:
                hashes.append(_written(writer, rows))
                rows = []
        if rows:
            hashes.append(_written(writer, rows))
        if not hashes:
            raise DataError(f"{manifest}: contains no rows")
        _refuse_duplicates(manifest, np.concatenate(hashes))
    return sum(map(len, hashes))


def _written(writer: Any, rows: Sequence[Row]) -> npt.NDArray[np.uint64]:
    """Write a batch, and return hashes of its ids."""
    writer.write_batch(to_batch(rows))
    return np.array([_hash(row.id) for row in rows], dtype=np.uint64)


def _hash(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "big")


def _refuse_duplicates(manifest: str | Path, hashes: npt.NDArray[np.uint64]) -> None:
    ordered = np.sort(hashes)
    double = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    lines: dict[str, int] = {}
    for number, row in iter_manifest(manifest) if double else ():
        if _hash(row.id) in double:
            if row.id in lines:
                raise duplicate_id(manifest, number, row.id, lines[row.id])
            lines[row.id] = number


def iter_table(path: str | Path, inside: bool) -> Iterator[tuple[int, Row]]:
    """Yield numbers from 1 and rows of a table; see `mova.data.manifest.iter_manifest`.

    Raises:
        DataError: the file cannot be read, or `inside` and a path leads out of its folder.
    """
    for number, row in enumerate(RowTable(path), start=1):
        if inside:
            videos = [segment.video for segment in row.segments]
            require_inside(videos, row.meta.get("synthetic"), f"{path}, row {number}")
        yield number, row
