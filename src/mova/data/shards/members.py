"""Read videos that are members of a tar file (WebDataset) or rows of a Lance table.

A path of a manifest may lead through a shard as if it were a folder: `train-000.tar/clip7.mp4` is a member of a tar
file, `clips.lance/12.mp4` is row 12 of a Lance table (counted from 0, column `video`; the suffix is only a name). One
member costs one seek and one read; the headers of a tar file are read once per process.

While it is decoded, a member is a temporary file in the system's folder for them (`TMPDIR`).
"""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from mova.errors import DataError, UsageError, VideoError

TAR, LANCE = ".tar", ".lance"
COLUMN = "video"
"""Column of a Lance table with the bytes of the videos."""
OPEN = 64
"""Shards whose index a process keeps."""
_forked_from_lance = False
"""Whether a process that this one was forked from had loaded Lance, whose threads do not exist here."""


def _after_fork() -> None:
    global _forked_from_lance
    _forked_from_lance = _forked_from_lance or "lancedb" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def split_path(path: str | Path) -> tuple[Path, str] | None:
    """Split a path that leads through a shard into the shard and the name of the member; None for other paths.

    >>> split_path("film.mp4") is None
    True
    """
    if TAR not in str(path) and LANCE not in str(path):
        return None
    for shard in reversed(Path(path).parents):
        if (shard.suffix == TAR and shard.is_file()) or (shard.suffix == LANCE and shard.is_dir()):
            return shard, Path(path).relative_to(shard).as_posix()
    return None


@contextmanager
def video_file(path: str | Path) -> Iterator[Path]:
    """Yield the file of a video: the path itself, or a temporary copy if it is a member of a shard.

    A `VideoError` of the copy becomes one of the member.

    Raises:
        VideoError: the shard cannot be read, or has no such member.

    >>> with video_file("film.mp4") as file:
    ...     file.name
    'film.mp4'
    """
    found = split_path(path)
    if found is None:
        yield Path(path)
        return
    content = _read(path, *found)
    with tempfile.NamedTemporaryFile(suffix=PurePosixPath(found[1]).suffix, prefix="mova-") as file:
        file.write(content)
        file.flush()
        del content
        try:
            yield Path(file.name)
        except VideoError as error:
            raise type(error)(path, error.cause) from error


def _read(path: str | Path, shard: Path, member: str) -> bytes:
    """Return the bytes of a member."""
    try:
        state = shard.stat()
        if shard.suffix == LANCE:
            return _read_row(path, shard, member)
        index = tar_index(str(shard), state.st_mtime_ns, state.st_size)
        if member not in index:
            raise VideoError(path, f"{shard.name} has no member {member!r}; write the manifest of the shards again")
        offset, size = index[member]
        with shard.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
    except (OSError, DataError) as error:
        raise VideoError(path, f"the shard cannot be read: {error}") from error
    if len(content) < size:
        raise VideoError(path, f"{shard.name} ends within this member; copy or download it again")
    return content


@lru_cache(maxsize=OPEN)
def tar_index(shard: str, changed: int, size: int) -> Mapping[str, tuple[int, int]]:
    """Return name -> (offset, bytes) of the regular files in a tar file without compression, by reading its headers.

    Args:
        shard: path of the tar file.
        changed, size: its state, so that another file of this name is read anew.

    Raises:
        DataError: it is not such a file, or is damaged.
        OSError: it cannot be read.
    """
    try:
        with tarfile.open(shard, "r:") as file:
            return {
                PurePosixPath(member.name).as_posix(): (member.offset_data, member.size)
                for member in file
                if member.isreg() and not member.issparse()
            }
    except tarfile.TarError as error:
        raise DataError(f"{shard}: is not a tar file without compression, or is damaged ({error})") from error


def _read_row(path: str | Path, shard: Path, member: str) -> bytes:
    """Return the bytes of a row of a Lance table."""
    number = PurePosixPath(member).stem
    if not (number.isascii() and number.isdigit()):
        raise VideoError(path, f"a row of a Lance table is named by its number, such as {shard.name}/12.mp4")
    state = shard.stat()
    table, rows = _lance_table(str(shard), state.st_mtime_ns)
    if int(number) >= rows:
        raise VideoError(path, f"{shard.name} has {rows} rows, so there is no row {number} (the first is 0)")
    try:
        (value,) = table.take_offsets([int(number)]).select([COLUMN]).to_arrow()[COLUMN]
    except (OSError, RuntimeError, ValueError) as error:
        raise VideoError(path, f"the Lance table cannot be read, or has no column {COLUMN!r} ({error})") from error
    content: bytes | None = value.as_py()
    if not content:
        raise VideoError(path, "the row has no video")
    return content


@lru_cache(maxsize=OPEN)
def _lance_table(shard: str, changed: int) -> tuple[Any, int]:
    """Open a Lance table; return it and its number of rows.

    Raises:
        UsageError: this process was forked from one that had loaded Lance, which may crash.
        DataError: the table cannot be opened.
    """
    if _forked_from_lance:
        raise UsageError(
            f"{shard}: this worker was forked from a process that has used Lance, and reading could crash; train in a "
            "new process (`mova train`), or with --training.dataloader_num_workers 0"
        )
    import lancedb

    try:
        table = lancedb.connect(Path(shard).parent).open_table(Path(shard).stem)
        return table, table.count_rows()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{shard}: cannot be opened as a Lance table ({error})") from error
