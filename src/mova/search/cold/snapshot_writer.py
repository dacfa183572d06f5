"""Write the snapshot of an index after its tables changed: new contents are appended, the rest stays.

Shape legend: R rows, d width of the model's space.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mova.search.cold.snapshot import FORMAT, read_videos, write_videos
from mova.search.cold.state import SNAPSHOT_FOLDER as FOLDER
from mova.search.cold.state import SNAPSHOT_NAME as NAME
from mova.search.cold.state import model_state, read_signed, tables_state, write_signed
from mova.utils.batching import batches
from mova.utils.hashing import content_hash

if TYPE_CHECKING:
    from mova.search.storage.store import Store

BATCH_ROWS = 16_384
"""Frames of the contents that are requested from the tables at a time, at least."""
HASH_BYTES = 1 << 20
WASTE = 0.25
"""Share of rows of removed contents above which the files are rewritten."""


def write_snapshot(store: Store, folder: Path) -> bool:
    """Bring the snapshot of a local index up to date. The caller holds the lock of the index.

    Returns:
        Whether there is a snapshot of the present state. There is none if frames of a record are missing, or if another
        process wrote to the tables.

    Raises:
        OSError: a file cannot be written; the snapshot stays as it was.
    """
    state = tables_state(folder)
    if state is None:
        return False
    files = folder / FOLDER
    document = read_signed(files / NAME)
    if document is not None and document.get("format") == FORMAT and document.get("state") == state:
        return True
    files.mkdir(exist_ok=True)
    records = list(store.records().values())
    counts = {record.content: record.frames for record in records}
    if store.count_frames() < sum(counts.values()):
        return False
    meta = asdict(store.meta)
    last, kept = _reusable(files, document, meta, counts)
    names = last or {"frames": f"frames-{_new_id()}.f16", "times": f"times-{_new_id()}.f64", "rows": 0, "segments": []}
    new = [content for content in counts if content not in kept]
    appended = _append(store, files, names, new, counts)
    if appended is None or tables_state(folder) != state:
        return False
    videos = files / f"videos-{_new_id()}.safetensors"
    write_videos(videos, records, {**kept, **appended}, store.meta.dim)
    names |= {"videos": videos.name, "videos_hash": content_hash(videos)}
    write_signed(
        files / NAME,
        {"format": FORMAT, "state": state, "meta": meta, "model_state": model_state(store.meta.model), **names},
    )
    _remove_others(files, {NAME, names["frames"], names["times"], names["videos"]})
    return True


def damaged_files(folder: Path) -> list[str]:
    """Return which files of a snapshot are not as they were written, relative to the index; reads all of them."""
    files = folder / FOLDER
    document = read_signed(files / NAME)
    if document is None:
        return [f"{FOLDER}/{NAME}"] if (files / NAME).exists() else []
    dim = int(document["meta"]["dim"])
    damaged = []
    for key, row_bytes, position in (("frames", 2 * dim, 1), ("times", 8, 2)):
        try:
            with (files / document[key]).open("rb") as file:
                sound = all(
                    _hash_next(file, segment[0] * row_bytes) == segment[position] for segment in document["segments"]
                )
        except OSError:
            sound = False
        if not sound:
            damaged.append(f"{FOLDER}/{document[key]}")
    with suppress(OSError):
        if content_hash(files / document["videos"]) == document["videos_hash"]:
            return damaged
    return [*damaged, f"{FOLDER}/{document['videos']}"]


def _reusable(
    files: Path, document: Mapping[str, Any] | None, meta: Mapping[str, Any], counts: Mapping[str, int]
) -> tuple[dict[str, Any] | None, dict[str, int]]:
    """Return the files of the last snapshot that can be appended to, and the first rows of contents that they hold."""
    if document is None or document.get("format") != FORMAT or document["meta"] != meta:
        return None, {}
    rows, dim = int(document["rows"]), int(meta["dim"])
    try:
        old, first_rows = read_videos(files / document["videos"])
        sizes = [(files / document[key]).stat().st_size for key in ("frames", "times")]
    except (OSError, ValueError, KeyError):
        return None, {}
    if sizes[0] < rows * dim * 2 or sizes[1] < rows * 8:
        return None, {}
    frames = {record.content: record.frames for record in old.values()}
    kept = {content: row for content, row in first_rows.items() if counts.get(content) == frames[content]}
    if sum(counts[content] for content in kept) < (1 - WASTE) * rows:
        return None, {}
    return {key: document[key] for key in ("frames", "times", "rows", "segments")}, kept


def _append(
    store: Store, files: Path, names: dict[str, Any], new: Sequence[str], counts: Mapping[str, int]
) -> dict[str, int] | None:
    """Append the frames of contents to the files in `names` and update it.

    Returns:
        The first row of each content; None if frames of one are missing.
    """
    first_rows: dict[str, int] = {}
    rows, dim = int(names["rows"]), store.meta.dim
    segments = [list(segment) for segment in names["segments"]]
    with _opened(files / names["frames"], rows * dim * 2) as frames, _opened(files / names["times"], rows * 8) as times:
        for batch in batches(new, counts.__getitem__, BATCH_ROWS):
            begin, cursors = rows, {}
            for content in batch:
                first_rows[content] = cursors[content] = rows
                rows += counts[content]
            for content, part in store.scan(batch):
                row = cursors[content]
                cursors[content] += len(part.times)
                if cursors[content] > first_rows[content] + counts[content]:
                    return None
                _write_at(frames, row * dim * 2, part.vectors.astype(np.float16))
                _write_at(times, row * 8, part.times.astype(np.float64))
            if any(cursors[content] != first_rows[content] + counts[content] for content in batch):
                return None
            segments.append([rows - begin, *_segment_hashes(frames, times, begin, rows, dim)])
        for file in (frames, times):
            file.flush()
            os.fsync(file.fileno())
    names |= {"rows": rows, "segments": segments}
    return first_rows


def _write_at(file: Any, position: int, values: npt.NDArray[np.floating[Any]]) -> None:
    file.seek(position)
    file.write(np.ascontiguousarray(values).data)


def _segment_hashes(frames: Any, times: Any, begin: int, end: int, dim: int) -> list[str]:
    """Return the hashes of some rows of both files."""
    hashes = []
    for file, row_bytes in ((frames, 2 * dim), (times, 8)):
        file.seek(begin * row_bytes)
        hashes.append(_hash_next(file, (end - begin) * row_bytes))
    return hashes


def _opened(path: Path, size: int) -> Any:
    """Open a file to append to its first `size` bytes; later ones are left from a run that was killed."""
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file


def _remove_others(files: Path, kept: set[str]) -> None:
    """Remove the files of earlier snapshots; processes that have them open keep reading them."""
    for path in files.iterdir():
        if path.name not in kept:
            with suppress(OSError):
                path.unlink()


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


def _hash_next(file: Any, size: int) -> str:
    """Return a hash of the next bytes of a file."""
    state = hashlib.blake2b(digest_size=16)
    while size > 0 and (data := file.read(min(size, HASH_BYTES))):
        state.update(data)
        size -= len(data)
    return state.hexdigest()
