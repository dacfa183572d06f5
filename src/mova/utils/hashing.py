"""Hashes of file contents and of lists of strings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def content_hash(path: str | Path) -> str:
    """Return the hexadecimal hash of the whole content of a file.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest(parts: Sequence[str]) -> str:
    """Return a hash of strings, in order, as 16 hexadecimal digits.

    Example:
        >>> digest(["a", "b"]) == digest(["b", "a"]), len(digest([]))
        (False, 16)
    """
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        state.update(part.encode() + b"\n")
    return state.hexdigest()
