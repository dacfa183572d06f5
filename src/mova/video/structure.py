"""Tell a complete file from one that was cut off, by the sizes that its container states for its parts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

SEGMENT = 0x18538067
"""Matroska's element of everything but the header."""

MATROSKA = frozenset(
    {0x1A45DFA3, SEGMENT, 0x114D9B74, 0x1549A966, 0x1F43B675, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770}
    | {0x1254C367, 0xEC, 0xBF}
)
"""Elements at the first two levels: headers, clusters, tracks, cues, attachments, chapters, tags, void, checksums."""


def is_complete(path: str | Path, format_name: str) -> bool:
    """Return whether the parts of a file end where the file ends. False if its format does not state their sizes."""
    walk: Callable[[BinaryIO, int], bool] | None = None
    if format_name.startswith("mov"):
        walk = _complete_mp4
    elif format_name.startswith("matroska"):
        walk = _complete_matroska
    elif format_name == "avi":
        walk = _complete_avi
    if walk is None:
        return False
    with open(path, "rb") as file:
        return walk(file, os.fstat(file.fileno()).st_size)


def _complete_mp4(file: BinaryIO, size: int) -> bool:
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            return length == 0 and len(head) >= 8  # the last box may extend to the end of the file
        position += length
    return position == size


def _complete_matroska(file: BinaryIO, size: int) -> bool:
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(12)
        name, width = _number(head, keep_marker=True)
        length, more = _number(head[width:], keep_marker=False)
        if not width or not more or name not in MATROSKA or length == (1 << 7 * more) - 1:
            return False
        position += width + more + (0 if name == SEGMENT else length)
        if name == SEGMENT and position + length > size:
            return False
    return position == size


def _number(data: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """Return a number of variable length at the beginning of some bytes, and its length; (0, 0) if it is invalid."""
    width = 9 - data[0].bit_length() if data else 9
    if width > 8 or len(data) < width:
        return 0, 0
    value = int.from_bytes(data[:width], "big")
    return (value if keep_marker else value & ((1 << 7 * width) - 1)), width


def _complete_avi(file: BinaryIO, size: int) -> bool:
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(8)
        if head[:4] not in (b"RIFF", b"JUNK"):
            break
        length = int.from_bytes(head[4:8], "little")
        if length == 0:  # never filled in: the recorder was interrupted
            return False
        position += 8 + length + length % 2
    return 0 < position <= size + 1
