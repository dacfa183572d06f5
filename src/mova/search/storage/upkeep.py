"""Keep the tables of an index in few files, remove superseded data, and build the approximate index if it pays."""

from __future__ import annotations

import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

from lancedb.index import BTree, IvfRq

SMALL_FRAGMENTS, SMALL_ROWS = 32, 4096
"""Fragments that a table may gather before they are rewritten as one: this many, or any number if they have this many
rows on average. Adding stays O(new files), and little is written twice."""
ANN_ROWS = 200_000
"""Number of frames from which an approximate index is built. Below, an exact scan takes a quarter of a second (a tenth
with the index), finds every moment, and has no index to build and extend (`benchmarks/speed/search_scale.py`)."""
LOCAL_ANN_ROWS = 4_000_000
"""The same for a local index: its snapshot is scanned exactly (`mova.search.cold.codes`), and is written again by the
first search that misses it."""
BITS = 4
"""Bits per dimension of the approximate index.

Text vectors are far from frame vectors, so few partitions or one bit lose much: at 300,000 frames, directions that
resemble no frame find 0.36 of the exact moments with 1 bit, 16 partitions and 4 rows; 0.88 with 1 bit, all partitions
and 16 rows; all of them with these settings, four times as fast as the exact scan.
"""
FOR_EVER = timedelta(days=36_500)
"""Nothing is removed while a version is kept (`mova.search.storage.versions`)."""
KEEP_VERSIONS = timedelta(minutes=5)
"""Superseded data stay on disk this long for readers that still use them; locally, until the end of the run."""


def tidy(table: Any, folder: Path | None, *, is_last: bool, vectors: bool) -> None:
    """Join small fragments of a table if there are many, and build or extend the approximate index if it pays.

    Args:
        table: of LanceDB.
        folder: of a local index, or None.
        is_last: whether a run ends here. Then the superseded data of a local index are removed at once: a reader that
            still needs them reads again (`mova.search.storage.store`).
        vectors: whether this is the table of frames.
    """
    kept = bool(table.tags.list())
    unindexed = _indexed(table, LOCAL_ANN_ROWS if folder is not None else ANN_ROWS) if vectors else 0
    fragments = table.stats()["fragment_stats"]["num_small_fragments"]
    if fragments > max(SMALL_FRAGMENTS, table.count_rows() // SMALL_ROWS) or unindexed > ANN_ROWS // 4:
        table.optimize(cleanup_older_than=FOR_EVER if kept else KEEP_VERSIONS)
    if is_last and not kept and folder is not None and _has_superseded(table, folder):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about other readers
            table.optimize(cleanup_older_than=timedelta(0))


def _indexed(table: Any, least: int) -> int:
    """Build the approximate index of a table from `least` rows on; return the number of rows that are not in it."""
    indices = table.list_indices()
    if table.count_rows() >= least:
        build_index(table)
    return sum(one.num_unindexed_rows or 0 for one in indices)


def build_index(table: Any) -> None:
    """Build the approximate index of the vectors of a table of frames, and the one of their contents, if missing."""
    present = {one.name for one in table.list_indices()}
    for column, config in {"vector": IvfRq(distance_type="dot", num_bits=BITS), "video": BTree()}.items():
        if f"{column}_idx" not in present:
            table.create_index(column, config=config, name=f"{column}_idx")


def _has_superseded(table: Any, folder: Path) -> bool:
    """Return whether files of a table hold data of earlier versions only."""
    files = sum(1 for path in (folder / f"{table.name}.lance" / "data").glob("*.lance"))
    return files > int(table.stats()["fragment_stats"]["num_fragments"])
