"""Pack the videos of a manifest into tar files (WebDataset's form) or a Lance table."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import pyarrow as pa

from mova.data.manifest import Row, iter_manifest, row_line, write_lines
from mova.data.shards.members import COLUMN, LANCE, TAR
from mova.errors import DataError, UsageError
from mova.utils.replacing import replacing

Form = Literal["tar", "lance"]
TABLE = f"clips{LANCE}"
"""Name of the Lance table."""
ROWS = 64
BYTES = 64 << 20
"""A batch that is written to a Lance table has at most this many rows, and ends after this many bytes."""


@dataclass
class Packed:
    """What `pack` wrote.

    Attributes:
        manifest: the new manifest, whose paths lead into the shards.
        rows: its number of rows.
        videos: files that were packed; a file that several rows show is packed once.
        bytes: of these files.
        shards: number of tar files, or 1.
        missing: (id of a row, cause) of rows that are left out because a file cannot be read.
    """

    manifest: Path
    rows: int = 0
    videos: int = 0
    bytes: int = 0
    shards: int = 0
    missing: list[tuple[str, str]] = field(default_factory=list)


class _Writer(Protocol):
    """Receives the content of files, one after another."""

    shards: int

    def add(self, row: Row, suffix: str, content: bytes) -> str:
        """Store a file, and return its path from the folder of the shards."""
        ...

    def close(self) -> None:
        """Finish the last shard."""
        ...

    def abort(self, error: BaseException) -> None:
        """Remove a shard that is not finished."""
        ...


def pack(
    manifest: str | Path,
    folder: str | Path,
    form: Form = "tar",
    shard_bytes: int = 512 << 20,
    progress: Callable[[int], None] | None = None,
) -> Packed:
    """Write the videos of a manifest into shards, and a manifest of them into the same folder.

    Rows keep everything but their paths. A file is packed whole, also if its rows show clips of it.

    Args:
        manifest: a manifest or its table.
        folder: receives the shards and `manifest.jsonl`.
        form: "tar" (`shard-000000.tar`, ...), or "lance" (one table, `clips.lance`).
        shard_bytes: a tar file ends after the file that exceeds this.
        progress: called with the number of packed files.

    Raises:
        UsageError: an unknown form, no size, or the folder has a manifest already.
        DataError: the manifest cannot be read, or none of its files can.

    >>> packed = pack("films/manifest.jsonl", "shards")
    >>> packed.rows, packed.shards, packed.missing
    (2, 1, [])
    """
    if form not in get_args(Form):
        raise UsageError(f"unknown form of shards {form!r}; choose from {', '.join(get_args(Form))}")
    if shard_bytes < 1:
        raise UsageError(f"a shard must hold at least one byte, not {shard_bytes}")
    target = Path(folder)
    if (target / "manifest.jsonl").exists():
        raise UsageError(f"{target} has a manifest.jsonl already; choose another folder, or remove it")
    target.mkdir(parents=True, exist_ok=True)
    packed = Packed(target / "manifest.jsonl")
    writer: _Writer = _TarWriter(target, shard_bytes) if form == "tar" else _LanceWriter(target)
    try:
        write_lines(packed.manifest, _lines(Path(manifest), packed, writer, progress))
    except BaseException as error:
        writer.abort(error)
        raise
    packed.shards = writer.shards
    return packed


def _lines(manifest: Path, packed: Packed, writer: _Writer, progress: Callable[[int], None] | None) -> Iterator[str]:
    """Pack the files of all rows, and yield the lines of the new manifest."""
    base, paths = manifest.resolve().parent, dict[Path, str]()

    def place(row: Row, video: str) -> str:
        """Return the path in the shards of a video, which is packed when it is first named."""
        file = base / video
        if file not in paths:
            content = file.read_bytes()
            paths[file] = writer.add(row, file.suffix.lower(), content)
            packed.videos += 1
            packed.bytes += len(content)
            if progress is not None:
                progress(packed.videos)
        return paths[file]

    for _, row in iter_manifest(manifest):
        try:
            moved = _moved(row, partial(place, row))
        except OSError as error:
            packed.missing.append((row.id, f"{error.filename}: {error.strerror}"))
            continue
        packed.rows += 1
        yield row_line(moved)
    writer.close()
    if not packed.rows:
        causes = f"; the first: {packed.missing[0][1]}" if packed.missing else ""
        raise DataError(f"{manifest}: none of its {len(packed.missing)} rows has a file that can be read{causes}")


def _moved(row: Row, place: Callable[[str], str]) -> Row:
    """Return a row with the new place of each of its files, also of its synthetic videos."""
    synthetic = row.meta.get("synthetic")
    if isinstance(synthetic, list):
        videos = [entry | {"video": place(entry["video"])} for entry in synthetic]
        row = replace(row, meta={**row.meta, "synthetic": videos})
    if row.parts:
        return replace(row, parts=tuple(replace(part, video=place(part.video)) for part in row.parts))
    return replace(row, video=place(row.video))


class _TarWriter:
    """Writes `KEY.mp4`, `KEY.txt` (the first caption) and `KEY.json` (id, split, captions) per file, for WebDataset."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self.folder, self.shard_bytes = folder, shard_bytes
        self.shards = self._files = self._size = 0
        self._open = ExitStack()
        self._tar: tarfile.TarFile | None = None
        self._name = ""

    def add(self, row: Row, suffix: str, content: bytes) -> str:
        """Write a video, and return its path in the folder."""
        if self._tar is None:
            self._name = f"shard-{self.shards:06}{TAR}"
            path = self._open.enter_context(replacing(self.folder / self._name))
            self._tar = self._open.enter_context(tarfile.TarFile(path, "w", format=tarfile.PAX_FORMAT))
            self.shards, self._size = self.shards + 1, 0
        key = f"{self._files:08}-{re.sub(r'[^A-Za-z0-9_-]+', '_', row.id)[:60]}"
        texts = [caption.text for caption in row.captions]
        beside = {"id": row.id, "split": row.split, "captions": texts}
        for ending, data in (
            (suffix or ".mp4", content),
            (".txt", (texts or [""])[0].encode()),
            (".json", json.dumps(beside, ensure_ascii=False).encode()),
        ):
            member = tarfile.TarInfo(f"{key}{ending}")
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))
            self._size += len(data)
        self._files += 1
        path_in_folder = f"{self._name}/{key}{suffix or '.mp4'}"
        if self._size >= self.shard_bytes:
            self.close()
        return path_in_folder

    def close(self) -> None:
        self._open.close()
        self._tar = None

    def abort(self, error: BaseException) -> None:
        self._open.__exit__(type(error), error, error.__traceback__)


class _LanceWriter:
    """Writes columns `id` (of the first row that shows the file) and `video` (its bytes)."""

    shards = 1
    schema = pa.schema([("id", pa.string()), (COLUMN, pa.large_binary())])

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._table: Any = None
        self._waiting: list[tuple[str, bytes]] = []
        self._rows = self._size = 0

    def add(self, row: Row, suffix: str, content: bytes) -> str:
        """Write a video, and return its path in the folder."""
        self._waiting.append((row.id, content))
        self._rows, self._size = self._rows + 1, self._size + len(content)
        if len(self._waiting) >= ROWS or self._size >= BYTES:
            self.close()
        return f"{TABLE}/{self._rows - 1}{suffix or '.mp4'}"

    def close(self) -> None:
        """Write the rows that wait."""
        if not self._waiting:
            return
        import lancedb

        ids, contents = zip(*self._waiting, strict=True)
        data = pa.table([pa.array(ids, pa.string()), pa.array(contents, pa.large_binary())], schema=self.schema)
        if self._table is None:
            name = Path(TABLE).stem
            self._table = lancedb.connect(self.folder).create_table(name, data, mode="overwrite")
        else:
            self._table.add(data)
        self._waiting, self._size = [], 0

    def abort(self, error: BaseException) -> None:
        """Leave the batches that are written: Lance has no half-written ones."""
