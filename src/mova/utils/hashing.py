"""Hashes of a file's content and of lists of strings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def content_hash(path: str | Path) -> str:
    """Hash of a whole file's content, hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest(parts: Sequence[str]) -> str:
    """16 hex digits over strings in order."""
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        found.update(part.encode() + b"\n")
    return found.hexdigest()
