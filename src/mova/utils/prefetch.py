"""Run an iterator ahead in a background thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mova.errors import UsageError

Item = TypeVar("Item")


def prefetch(iterator: Iterable[Item], depth: int = 2) -> Generator[Item, None, None]:
    """Run an iterator in a background thread, at most `depth` items ahead.

    Its errors are raised here, at the item that caused them. Closing the generator early (or leaving the loop) stops
    the thread and closes the source.

    Raises:
        UsageError: `depth` is not positive.

    Example:
        >>> list(prefetch(range(3)))
        [0, 1, 2]
    """
    if depth <= 0:
        raise UsageError(f"prefetch needs a depth of at least 1, not {depth}")
    return _prefetch(iter(iterator), depth)


def _prefetch(source: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    end: Any = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="mova-prefetch")
    try:
        ahead = deque(pool.submit(next, source, end) for _ in range(depth))
        while (item := ahead.popleft().result()) is not end:
            ahead.append(pool.submit(next, source, end))
            yield item
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(source, Generator):
            source.close()
