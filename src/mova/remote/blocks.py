"""The content of an object as a file: read in blocks, as far as it is needed."""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BLOCK = 256 << 10
"""Bytes that are read at once at a position that does not follow what was read before."""
LARGEST_READ = 4 << 20
"""Bytes that are read at once where an object is read from one end to the other: each such read takes twice as many."""
CACHE_BYTES = 32 << 20
"""Bytes of an object that are kept: a container is opened several times, and read back and forth."""


@dataclass
class Traffic:
    """What this process has read from objects: requests for content, and their bytes."""

    requests: int = 0
    bytes: int = 0


traffic = Traffic()


class Blocks:
    """The content of an object, read in blocks when it is first needed; the oldest are dropped."""

    def __init__(self, size: int, read: Callable[[int, int], bytes]) -> None:
        self.size = size
        self._read = read
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._next, self._ahead = -1, BLOCK
        self._lock = threading.Lock()

    def part(self, start: int, count: int) -> bytes:
        """Return at most `count` bytes from `start`, at least one within the object: the rest of a block."""
        number, offset = divmod(start, BLOCK)
        with self._lock:
            if number not in self._kept:
                self._fetch(number)
            self._kept.move_to_end(number)
            return self._kept[number][offset : offset + count]

    def _fetch(self, number: int) -> None:
        """Read the block, and more of those that follow while the object is read in order."""
        self._ahead = min(2 * self._ahead, LARGEST_READ) if number == self._next else BLOCK
        end = min(number * BLOCK + self._ahead, self.size)
        data = self._read(number * BLOCK, end - number * BLOCK)
        if len(data) != end - number * BLOCK:
            raise OSError(0, "the object ends early: it was replaced while it was read, or the connection broke")
        traffic.requests += 1
        traffic.bytes += len(data)
        for first in range(0, len(data), BLOCK):
            self._kept[number + first // BLOCK] = data[first : first + BLOCK]
        self._next = number - (-len(data) // BLOCK)
        while len(self._kept) * BLOCK > CACHE_BYTES + LARGEST_READ:
            self._kept.popitem(last=False)


class ObjectFile(io.RawIOBase):
    """An object as a file, with a position of its own."""

    def __init__(self, uri: str, blocks: Blocks) -> None:
        self.name = uri
        self._blocks, self._position = blocks, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position; it may be after the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._blocks.size}[whence]
        if base + offset < 0:
            raise OSError(22, "a position before the beginning of the object")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read that many bytes, fewer only at the end; all that are left with -1."""
        left = max(0, self._blocks.size - self._position)
        left = left if size is None or size < 0 else min(size, left)
        parts = []
        while left:
            parts.append(self._blocks.part(self._position, left))
            self._position += len(parts[-1])
            left -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, and return how many bytes were read."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
