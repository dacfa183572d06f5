"""Read the structure of files: whether one was cut off, or ends with another video; which tracks are encrypted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from mova.remote.objects import open_file

SEGMENT = 0x18538067
"""Matroska's element of everything but the header."""

MATROSKA = frozenset(
    {0x1A45DFA3, SEGMENT, 0x114D9B74, 0x1549A966, 0x1F43B675, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770}
    | {0x1254C367, 0xEC, 0xBF}
)
"""Elements at the first two levels: headers, clusters, tracks, cues, attachments, chapters, tags, void, checksums."""

ENCRYPTED = frozenset({b"encv", b"drmi"})
"""Sample entries of encrypted video: Common Encryption (ISO/IEC 23001-7) and FairPlay."""

SAMPLE = 1 << 20
"""Bytes at the beginning and at the end of a transport stream that are searched for scrambled packets."""

PADDING = 8191
"""Track (PID) of a transport stream that is padding."""

MOST_BOXES = 100_000
"""Boxes of an MP4 file, or tags of an FLV file, that are looked at."""

STARTS = (b"\x1a\x45\xdf\xa3", b"RIFF", b"FLV\x01", b"OggS", b"\x00\x00\x01\xba", b"G")
"""First bytes of videos: Matroska, AVI, FLV, Ogg, program streams, transport streams."""


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
    with open_file(path) as file:
        return walk(file, file.seek(0, os.SEEK_END))


def encrypted_tracks(path: str | Path) -> frozenset[int]:
    """Return the numbers of the tracks of an MP4 or MOV file with a sample entry of encrypted video.

    FFmpeg names the codec that was encrypted, decodes the encrypted samples, and returns noise.
    """
    tracks = set()
    with open_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        for start, end in _boxes(file, 0, size, b"moov", b"trak"):
            header = next(_boxes(file, start, end, b"tkhd"), None)
            tables = _boxes(file, start, end, b"mdia", b"minf", b"stbl", b"stsd")
            if header is None or not any(
                kind in ENCRYPTED for first, last in tables for kind, _, _ in _children(file, first + 8, last)
            ):
                continue
            file.seek(header[0])
            data = file.read(24)
            tracks.add(int.from_bytes(data[20:24] if data[:1] == b"\1" else data[12:16], "big"))
    return frozenset(tracks)


def unread_bytes(path: str | Path, format_name: str) -> int:
    """Return how many bytes at the end of an MP4, MOV or FLV file belong to another video, which is not read.

    Files joined with `cat` are like that. In other formats, FFmpeg reads on.
    """
    if not format_name.startswith(("mov", "flv")):
        return 0
    with open_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        return size - (_end_of_flv if format_name == "flv" else _end_of_mp4)(file, size)


def _end_of_mp4(file: BinaryIO, size: int) -> int:
    """Return where a second video begins, or else the size of the file."""
    seen: set[bytes] = set()
    for kind, first, _ in _children(file, 0, size):
        if seen >= {b"moov", b"mdat"}:
            start = first - 8
            file.seek(start)
            if kind == b"ftyp" or file.read(4).startswith(STARTS):
                return start
        seen.add(kind)
    return size


def _end_of_flv(file: BinaryIO, size: int) -> int:
    """Return where a second video begins, or else the size of the file."""
    position = 13
    for _ in range(MOST_BOXES):
        file.seek(position)
        head = file.read(11)
        if head.startswith(b"FLV\x01"):
            return position
        if len(head) < 11 or head[0] & 31 not in (8, 9, 18):
            break
        position += 15 + int.from_bytes(head[1:4], "big")
    return size


def _boxes(file: BinaryIO, start: int, end: int, *names: bytes) -> Iterator[tuple[int, int]]:
    """Yield the content of the boxes with a path of names within `[start, end)`, as positions in the file."""
    for kind, first, last in _children(file, start, end):
        if kind == names[0] and len(names) == 1:
            yield first, last
        elif kind == names[0]:
            yield from _boxes(file, first, last, *names[1:])


def _children(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, first and last position of the content of the boxes in `[start, end)`."""
    for _ in range(MOST_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        head = file.read(16)
        length, first = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, first = int.from_bytes(head[8:16], "big"), 16
        last = start + length if length else end
        if last < start + first:
            return
        yield head[4:8], start + first, min(last, end)
        start = last


def is_scrambled(path: str | Path, track: int | None = None) -> bool:
    """Return whether most packets of a transport stream are scrambled, at its beginning or at its end.

    Args:
        path: video file.
        track: number (PID) of a track; None for all.
    """
    with open_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        for position in (0, max(0, size - SAMPLE)):
            file.seek(position)
            flags = _scrambling(file.read(SAMPLE), track)
            if 2 * sum(flags) > len(flags):
                return True
    return False


def _scrambling(data: bytes, track: int | None) -> list[bool]:
    """Return for each packet of a track (None: all but padding) whether it is scrambled; nothing if there are none."""
    for size in (188, 192, 204):
        for first in range(min(size, len(data))):
            if data[first : first + 8 * size : size] == b"\x47" * 8:
                high, low, flags = (data[first + k :: size] for k in (1, 2, 3))
                tracks = [((a & 31) << 8 | b, c) for a, b, c in zip(high, low, flags, strict=False)]
                return [flag >= 0x80 for pid, flag in tracks if pid == track or (track is None and pid != PADDING)]
    return []


def animated_webp(path: str | Path) -> bool:
    """Return whether a WebP picture is animated, by the flag in its extended header."""
    with open_file(path) as file:
        head = file.read(21)
    return head[8:16] == b"WEBPVP8X" and bool(head[20:] and head[20] & 2)


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
