"""Select rows of a manifest by split, view, granularity and id: row by row, or a whole table at once.

Shape legend: R rows of a table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mova.data.columns.layout import SUFFIX
from mova.data.columns.table import Mask, RowTable
from mova.data.granularity import GRANULARITIES, LengthRule, Sizes, require_granularity, row_granularity
from mova.data.manifest import Row, fingerprint, read_manifest
from mova.data.manifest_paths import OUTSIDE, require_inside
from mova.data.quarantine import read_quarantine, without_quarantined
from mova.data.row_texts import has_text
from mova.errors import DataError
from mova.utils.hashing import digest

Rows = Sequence[Row]
"""A list of rows, or a `RowTable`."""
IN_TABLES = ("paragraph", "first", "caption", "sentence", "answer")
"""Caption modes whose rows are selected from a table without building them."""


@dataclass(frozen=True)
class RowFilter:
    """A predicate of rows.

    Attributes:
        view: only rows with this `meta.view`.
        only, without: ids of the rows; None and empty: all.
        granularity: only rows of this granularity, among `granularities` by `lengths` (see `row_granularity`).

    >>> RowFilter(view="first")(Row("a", "a.mp4", None, "train", (), meta={"view": "third"}))
    False
    """

    view: str | None = None
    only: frozenset[str] | None = None
    without: frozenset[str] = frozenset()
    granularity: str | None = None
    granularities: tuple[str, ...] = ()
    lengths: LengthRule = field(default_factory=LengthRule)

    def __call__(self, row: Row) -> bool:
        """Return whether a row is selected."""
        named = (self.only is None or row.id in self.only) and row.id not in self.without
        if not named or (self.view is not None and row.meta.get("view") != self.view):
            return False
        return self.granularity is None or self.granularity == row_granularity(row, self.granularities, self.lengths)

    def mask(self, table: RowTable) -> Mask:
        """Return which rows of a table are selected: bool, (R,)."""
        mask = np.ones(len(table), dtype=bool)
        if self.view is not None:
            mask &= table.equal("view", self.view)
        if self.only is not None:
            mask &= table.among("id", self.only)
        if self.without:
            mask &= ~table.among("id", self.without)
        if self.granularity is not None:
            mask &= granularity_codes(table, self.granularities, self.lengths) == _NAMES.index(self.granularity)
        return mask


_NAMES = list(GRANULARITIES)


def granularity_codes(table: RowTable, names: Sequence[str], lengths: LengthRule) -> npt.NDArray[np.int8]:
    """Return the granularity of each row as an index into `GRANULARITIES`: (R,); see `row_granularity`.

    Raises:
        DataError: a row states an unknown granularity.
    """
    by_size = np.array(
        [[_NAMES.index(_name(video, text)) for text in ("short", "long")] for video in ("short", "long")], np.int8
    )

    def codes(batch: pa.RecordBatch) -> npt.NDArray[np.int8]:
        """Return the codes of a batch; -1 for a granularity that is stated and unknown."""
        if len(names) == 1:
            by_rule = np.full(batch.num_rows, _NAMES.index(names[0]), np.int8)
        else:
            start, end, seconds, words = (
                batch.column(name).to_numpy(zero_copy_only=False) for name in ("start", "end", "duration", "words")
            )
            seconds = np.where(np.isnan(start) | np.isnan(end), seconds, end - start)
            by_rule = by_size[(seconds > lengths.seconds).astype(int), (words > lengths.words).astype(int)]
            by_rule[np.isnan(seconds)] = _NAMES.index("IT")
        stated = batch.column("granularity").dictionary_encode()
        bases = [text.rstrip("0123456789") for text in stated.dictionary.to_pylist()]
        known = [_NAMES.index(base) if base in _NAMES else -1 for base in bases]
        indices = stated.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return np.where(indices >= 0, np.array([*known, 0], np.int8)[indices], by_rule)

    found = table.compute(codes).astype(np.int8, copy=False)
    if (found < 0).any():
        row = table[int(np.flatnonzero(found < 0)[0])]
        require_granularity(row.meta["granularity"], f"row {row.id!r}")
    return found


def _name(video: str, text: str) -> str:
    return next(name for name, sizes in GRANULARITIES.items() if sizes == Sizes(video, text))


def count_granularities(rows: Rows, names: Sequence[str], lengths: LengthRule) -> Mapping[str, int]:
    """Return granularity -> number of rows, of those that some row has.

    >>> count_granularities([Row("a", "a.jpg", None, "train", ())], ["IT"], LengthRule())
    {'IT': 1}
    """
    if isinstance(rows, RowTable):
        counts = np.bincount(granularity_codes(rows, names, lengths), minlength=len(_NAMES))
        return {name: int(counts[_NAMES.index(name)]) for name in sorted(_NAMES) if counts[_NAMES.index(name)]}
    found = [row_granularity(row, names, lengths) for row in rows]
    return {name: found.count(name) for name in sorted(set(found))}


def open_rows(path: str | Path, quarantine: str | Path | None = None) -> tuple[Rows, tuple[str, ...]]:
    """Open a manifest, or a table of one, and return its rows without quarantined ones, and the ids of the latter.

    Raises:
        DataError: a file cannot be read, or the list belongs to another manifest.

    >>> rows, left_out = open_rows("films/manifest.jsonl")
    >>> len(rows), left_out
    (2, ())
    """
    if Path(path).suffix != SUFFIX:
        return without_quarantined(read_manifest(path), quarantine)
    table = RowTable(path)
    if not os.environ.get(OUTSIDE):
        state = Path(path).stat()
        _require_inside(str(path), state.st_mtime_ns, state.st_size)
    if quarantine is None:
        return table, ()
    listed = {entry.id for entry in read_quarantine(quarantine)}
    mask = table.among("id", listed)
    if listed and not mask.any():
        raise DataError(f"{quarantine}: has none of the {len(table)} rows of {path}; it belongs to another manifest")
    return table.select(~mask), tuple(row.id for row in table.select(mask))


@lru_cache
def _require_inside(path: str, changed: int, size: int) -> None:
    """Refuse paths that lead out of the table's folder, looking at rows with ".." only; once per state of the file."""
    table = RowTable(path)
    for number in np.flatnonzero(table.mentions("..")).tolist():
        row = table[number]
        videos = [segment.video for segment in row.segments]
        require_inside(videos, row.meta.get("synthetic"), f"{table.path}, row {number + 1}")


def split_rows(rows: Rows, split: str, captions: str, keep: Callable[[Row], bool] | None = None) -> Rows:
    """Return the rows of a split that have a text in a caption mode and pass a predicate.

    Those of a table stay in it, unless the mode or the predicate needs whole rows.

    >>> len(split_rows(read_manifest("films/manifest.jsonl"), "train", "paragraph"))
    2
    """
    if isinstance(rows, RowTable):
        of_split = rows.select(rows.equal("split", split))
        if captions in IN_TABLES and isinstance(keep, RowFilter | None):
            stated = of_split.numbers_of("options") if captions == "answer" else of_split.caption_counts() > 0
            mask = stated.astype(bool) if keep is None else stated.astype(bool) & keep.mask(of_split)
            return of_split.select(mask)
        rows = of_split
    return [row for row in rows if row.split == split and has_text(row, captions) and (keep is None or keep(row))]


def split_names(rows: Rows, captions: str) -> list[str]:
    """Return the splits with rows that have a text in a caption mode, sorted."""
    if isinstance(rows, RowTable):
        return rows.texts_of("split")
    return sorted({row.split for row in rows if has_text(row, captions)})


def rows_fingerprint(parts: Sequence[Rows]) -> str:
    """Return the fingerprint of all rows of several sequences.

    >>> rows = read_manifest("films/manifest.jsonl")
    >>> rows_fingerprint([rows[:1], rows[1:]]) == fingerprint(rows)
    True
    """
    if any(isinstance(part, RowTable) for part in parts):
        return digest(
            sorted(rows_fingerprint([part]) if not isinstance(part, RowTable) else part.fingerprint() for part in parts)
        )
    return fingerprint([row for part in parts for row in part])
