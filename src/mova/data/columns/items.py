"""The items of a data set: which row, caption and sentence an index stands for, and which items show the same clip.

Shape legend: R rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mova.data.columns.table import RowTable
from mova.data.feature_store import Clip
from mova.data.manifest import Row, Segment


class Place(NamedTuple):
    """Indices of an item's row, and of its caption and sentence within the row; 0 for those that a mode draws later."""

    row: int
    caption: int = 0
    sentence: int = 0


class Items(Protocol):
    """The items of rows in a caption mode."""

    def __len__(self) -> int: ...

    def place(self, index: int) -> Place:
        """Return where an item is."""
        ...

    def group(self, index: int) -> int:
        """Return a number that is equal for items of the same clip."""
        ...

    def rows(self) -> npt.NDArray[np.int64]:
        """Return the row of each item."""
        ...


def items_of(rows: Sequence[Row], captions: str) -> Items:
    """Return the items of rows in a caption mode.

    >>> items = items_of([Row("a", "a.mp4", None, "train", (), meta={"options": ["x", "y"]})], "answer")
    >>> len(items), items.place(0), items.group(0)
    (1, Place(row=0, caption=0, sentence=0), 0)
    """
    return TableItems(rows, captions) if isinstance(rows, RowTable) else ListedItems(rows, captions)


class ListedItems:
    """Items of a list of rows, one entry each."""

    def __init__(self, rows: Sequence[Row], captions: str) -> None:
        self._places = list(_places(rows, captions))
        seen: dict[tuple[Sequence[Segment], Clip], int] = {}
        clips = ((rows[p.row].parts, item_clip(rows[p.row], captions, p)) for p in self._places)
        self._groups = [seen.setdefault(clip, len(seen)) for clip in clips]

    def __len__(self) -> int:
        return len(self._places)

    def place(self, index: int) -> Place:
        """See `Items`."""
        return self._places[index]

    def group(self, index: int) -> int:
        """See `Items`."""
        return self._groups[index]

    def rows(self) -> npt.NDArray[np.int64]:
        """See `Items`."""
        return np.array([place.row for place in self._places], dtype=np.int64)


class TableItems:
    """Items of a table: numbers of captions instead of a list, and hashes of clips instead of their numbers."""

    def __init__(self, table: RowTable, captions: str) -> None:
        self._table = table
        self._ends = np.cumsum(table.caption_counts(), dtype=np.int64) if captions == "caption" else None

    def __len__(self) -> int:
        return len(self._table) if self._ends is None else int(self._ends[-1]) if len(self._ends) else 0

    def place(self, index: int) -> Place:
        """See `Items`."""
        if self._ends is None:
            return Place(index)
        row = int(np.searchsorted(self._ends, index, side="right"))
        return Place(row, index - (int(self._ends[row - 1]) if row else 0))

    def group(self, index: int) -> int:
        """See `Items`; 56 bits."""
        row = self._table[self.place(index).row]
        clip = repr([(part.video, part.start, part.end) for part in row.segments])
        return int.from_bytes(hashlib.blake2b(clip.encode(), digest_size=7).digest(), "big")

    def rows(self) -> npt.NDArray[np.int64]:
        """See `Items`."""
        if self._ends is None:
            return np.arange(len(self._table))
        return np.repeat(np.arange(len(self._table)), np.diff(self._ends, prepend=0))


def item_clip(row: Row, captions: str, place: Place) -> Clip:
    """Return the clip of an item: that of its row, or of its sentence."""
    if captions != "clip":
        return row_clip(row)
    timed = row.captions[place.caption].sentences[place.sentence]
    assert timed.start is not None
    return Clip(row.video, timed.start, timed.end)


def row_clip(row: Row) -> Clip:
    """Return the clip of a row."""
    return Clip(row.video, row.start or 0.0, row.end)


def _places(rows: Sequence[Row], captions: str) -> Iterator[Place]:
    for r, row in enumerate(rows):
        if captions == "caption":
            yield from (Place(r, c) for c in range(len(row.captions)))
        elif captions == "clip":
            for c, caption in enumerate(row.captions):
                yield from (
                    Place(r, c, s) for s, sentence in enumerate(caption.sentences) if sentence.start is not None
                )
        else:
            yield Place(r)
