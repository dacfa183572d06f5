"""Group items by their size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Iterable[Item], size: Callable[[Item], int], enough: int) -> Iterator[list[Item]]:
    """Yield consecutive items in lists whose sizes add up to at least `enough`, except the last.

    Example:
        >>> list(batches(["a", "bb", "cccc", "d"], len, 3))
        [['a', 'bb'], ['cccc'], ['d']]
    """
    batch: list[Item] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if total >= enough:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
