"""Orders of items that read shards one group after another, so that each tar file is read about once per epoch.

Shape legend: n items.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mova.data.columns.table import RowTable
from mova.data.manifest import Row
from mova.data.shards.members import TAR

TOGETHER = 8
"""Default number of shards whose clips are shuffled together."""

ShardNumbers = npt.NDArray[np.int32]


def shard_numbers(rows: Sequence[Row]) -> ShardNumbers | None:
    """Return the number of the tar file of each row, (R,), by its path; rows outside of tar files share one number.

    None if no row is in a tar file. Rows of Lance tables are outside: any row of them is read equally fast.

    >>> rows = [Row(str(i), f"{shard}.tar/{i}.mp4", None, "train", ()) for i, shard in enumerate("abab")]
    >>> shard_numbers(rows).tolist(), shard_numbers([]) is None
    ([0, 1, 0, 1], True)
    """
    known = {"": 0}
    if isinstance(rows, RowTable):
        numbers = rows.compute(lambda batch: _numbers(batch, known))
    else:
        numbers = np.array([known.setdefault(_shard(row.segments[0].video), len(known)) for row in rows], np.int32)
    if not numbers.any():
        return None
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int32)[inverse]


def shuffled(
    rng: np.random.Generator, size: int, shards: ShardNumbers | None = None, together: int = TOGETHER
) -> npt.NDArray[np.int64]:
    """Return a permutation of n items.

    Args:
        rng: decides it.
        size: n.
        shards: (n,), number of each item's shard. The shards are shuffled, and the items of each `together` successive
            ones are shuffled together. None: all items together.
        together: number of shards; 0: all.

    >>> order = shuffled(np.random.default_rng(0), 6, np.array([0, 1, 2, 0, 1, 2]), together=1)
    >>> (order % 3).tolist()
    [2, 2, 0, 0, 1, 1]
    """
    if shards is None or not together:
        return rng.permutation(size)
    places = np.argsort(rng.permutation(int(shards.max()) + 1)) // together
    return np.lexsort((rng.random(size), places[shards]))


def _shard(video: str) -> str:
    head, found, _ = video.partition(f"{TAR}/")
    return head if found else ""


def _numbers(batch: pa.RecordBatch, known: dict[str, int]) -> npt.NDArray[np.int32]:
    """Return the number of each row's tar file, and add new ones to `known`."""
    videos, parts = pc.fill_null(batch.column("video"), ""), batch.column("parts")
    several = pc.fill_null(pc.greater(pc.list_value_length(parts), 0), False)
    first = pc.struct_field(pc.list_element(parts.filter(several), 0), "video")
    split = pc.split_pattern(pc.replace_with_mask(videos, several, first), f"{TAR}/", max_splits=1)
    names = pc.if_else(pc.greater(pc.list_value_length(split), 1), pc.list_element(split, 0), "").dictionary_encode()
    codes = [known.setdefault(name, len(known)) for name in names.dictionary.to_pylist()]
    return np.array(codes, dtype=np.int32)[names.indices.to_numpy(zero_copy_only=False)]
