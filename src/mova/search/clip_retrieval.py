"""Export the vectors of an index in the layout of clip-retrieval, which many tools read: npy, Parquet, FAISS.

    FOLDER/img_emb/img_emb_0.npy          vectors of frames, half precision, unit length, (rows, d)
    FOLDER/metadata/metadata_0.parquet    a row per vector: image_path, time, duration, content
    FOLDER/image.index                    with FAISS: all vectors, exact inner product
    FOLDER/mova.json                      the model that text vectors must come from

`image_path` is the video, and `time` the seconds of the frame. Copies of a file are written once.

Shape legend: d width of the model's space.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError
from mova.search.query import existing_path
from mova.search.storage.records import BATCH_FRAMES, StoredFrames, VideoRecord
from mova.utils.batching import batches
from mova.utils.replacing import replacing

if TYPE_CHECKING:
    from mova.search.index import Index

ROWS_PER_FILE = 1_000_000
"""Vectors per file, as in clip-retrieval."""


@dataclass(frozen=True)
class ExportedVectors:
    """What `export_vectors` wrote.

    Attributes:
        folder: the target.
        videos: different contents.
        rows: vectors.
        dim: their width.
        files: pairs of a `.npy` and a `.parquet` file.
        faiss: whether `image.index` was written.

    >>> ExportedVectors(Path("out"), videos=2, rows=40, dim=192, files=1, faiss=False).rows
    40
    """

    folder: Path
    videos: int
    rows: int
    dim: int
    files: int
    faiss: bool

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return {**asdict(self), "folder": str(self.folder)}


def export_vectors(
    index: Index, folder: str | Path, *, faiss: bool = False, rows_per_file: int = ROWS_PER_FILE
) -> ExportedVectors:
    """Write the vectors of all indexed frames, in order of path and time. Memory does not grow with the index.

    Args:
        index: which to export.
        folder: created if missing; it must not hold an export already.
        faiss: also write an index of FAISS; its vectors are in memory while it is built.
        rows_per_file: vectors per file.

    Raises:
        UsageError: the index does not exist or is empty, the folder holds an export, or FAISS is not installed.

    >>> from mova.search.index import Index
    >>> index = Index("films.mova", "mova-worlds-tiny")
    >>> _ = index.add("films")
    >>> export_vectors(index, "vectors").rows, np.load("vectors/img_emb/img_emb_0.npy").shape
    (40, (40, 192))
    """
    index.require_exists()
    target, library = Path(folder), _faiss() if faiss else None
    vectors_folder, tables_folder = target / "img_emb", target / "metadata"
    if any(path.is_dir() and any(path.iterdir()) for path in (vectors_folder, tables_folder)):
        raise UsageError(f"{target}: holds an export already; choose another folder, or delete it")
    reader, meta = index._reader(), index.meta
    same: dict[str, list[VideoRecord]] = {}
    for record in reader.records().values():
        same.setdefault(record.content, []).append(record)
    total = sum(records[0].frames for records in same.values())
    if not total:
        raise UsageError(f"{meta.model}: the index has no frames to export")
    for path in (vectors_folder, tables_folder):
        path.mkdir(parents=True, exist_ok=True)
    count = -(-total // rows_per_file)
    digits = len(str(count))
    table = None if library is None else library.IndexFlatIP(meta.dim)
    rows = _Pieces(_read(reader, same))
    for number in range(count):
        size, name = min(rows_per_file, total - number * rows_per_file), str(number).zfill(digits)
        part = _Part(vectors_folder / f"img_emb_{name}.npy", size, meta.dim)
        part.fill(rows)
        part.finish(tables_folder / f"metadata_{name}.parquet")
        if table is not None:
            table.add(part.vectors.astype(np.float32))
    if library is not None:
        library.write_index(table, str(target / "image.index"))
    with replacing(target / "mova.json") as temporary:
        temporary.write_text(json.dumps(asdict(meta), indent=1), encoding="utf-8")
    return ExportedVectors(target, len(same), total, meta.dim, count, faiss)


Piece = tuple[str, VideoRecord, StoredFrames]
"""Path, record, and frames of a content, or a part of them."""


class _Part:
    """One pair of files, filled piece by piece."""

    def __init__(self, path: Path, rows: int, dim: int) -> None:
        self.vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, dim))
        self.filled = 0
        self.columns: dict[str, list[Any]] = {"image_path": [], "time": [], "duration": [], "content": []}

    def fill(self, pieces: _Pieces) -> None:
        """Take pieces until the file is full."""
        while self.filled < len(self.vectors):
            path, record, frames = pieces.take(len(self.vectors) - self.filled)
            size = len(frames.times)
            self.vectors[self.filled : self.filled + size] = frames.vectors
            self.filled += size
            self.columns["image_path"] += [path] * size
            self.columns["time"] += frames.times.tolist()
            self.columns["duration"] += [record.duration] * size
            self.columns["content"] += [record.content] * size

    def finish(self, path: Path) -> None:
        """Write the table, and the vectors to the disk."""
        import pyarrow as pa
        from pyarrow import parquet

        self.vectors.flush()
        parquet.write_table(pa.table(self.columns), path)


class _Pieces:
    """Frames of contents in order, in pieces of any size."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._rest: Piece | None = None

    def take(self, most: int) -> Piece:
        """Return the next piece, of at most `most` frames."""
        path, record, frames = self._rest or next(self._pieces)
        self._rest = None
        if len(frames.times) > most:
            self._rest = path, record, frames[most:]
            frames = frames[:most]
        return path, record, frames


def _read(reader: Any, same: dict[str, list[VideoRecord]]) -> Iterator[Piece]:
    """Yield the frames of every content.

    Raises:
        IndexDamagedError: frames of a video are missing.
    """
    videos: Sequence[VideoRecord] = [records[0] for records in same.values()]
    for batch in batches(videos, reader.meta.frames_of, BATCH_FRAMES):
        stored = reader.fetch([video.content for video in batch])
        for video in batch:
            frames = stored.get(video.content)
            if frames is None or frames.stored_rows != video.frames:
                reader.require_removed(video)
                raise UsageError(f"{video.path}: was removed from the index during the export; run it again")
            frames = frames if frames.firsts is None else frames[frames.firsts]
            yield existing_path(same[video.content]), video, _unit(frames)


def _unit(frames: StoredFrames) -> StoredFrames:
    """Return frames whose vectors have unit length; stored ones have it up to rounding."""
    vectors: npt.NDArray[np.float32] = frames.vectors.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return StoredFrames(frames.times, vectors / np.maximum(lengths, 1e-12), frames.windows)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise UsageError("FAISS is not installed; pip install faiss-cpu, or export without --faiss") from error
    return faiss
