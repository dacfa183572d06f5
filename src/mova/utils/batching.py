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
    return growing_batches(items, size, enough, enough)


def growing_batches(items: Iterable[Item], size: Callable[[Item], int], first: int, most: int) -> Iterator[list[Item]]:
    """Yield consecutive items in lists whose sizes add up to at least `first`, then twice as much, up to `most`.

    Example:
        >>> list(growing_batches("abcdefghi", len, 1, 4))
        [['a'], ['b', 'c'], ['d', 'e', 'f', 'g'], ['h', 'i']]
    """
    batch: list[Item] = []
    total, enough = 0, first
    for item in items:
        batch.append(item)
        total += size(item)
        if total >= enough:
            yield batch
            batch, total, enough = [], 0, min(2 * enough, most)
    if batch:
        yield batch
