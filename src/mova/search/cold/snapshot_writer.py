"""Write the snapshot of an index after its tables changed: new contents are appended, the rest stays.

Shape legend: R rows, d width of the model's space.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mova.search.cold.codes import encode
from mova.search.cold.snapshot import EXTENTS, FORMAT, ROW_FILES, read_videos, row_shape, write_videos
from mova.search.cold.state import SNAPSHOT_FOLDER as FOLDER
from mova.search.cold.state import SNAPSHOT_NAME as NAME
from mova.search.cold.state import model_state, read_signed, write_signed
from mova.search.cold.table_rows import MOST_EXTENTS, TYPE, Extent, Finder, can_share, merged
from mova.utils.batching import batches
from mova.utils.hashing import content_hash

if TYPE_CHECKING:
    from mova.search.storage.records import StoredFrames
    from mova.search.storage.store import Store

BATCH_ROWS = 16_384
"""Frames of the contents that are requested from the tables at a time, at least."""
HASH_BYTES = 1 << 20
MOST_COPIED_BYTES = 1 << 30
"""Vectors of a remote index in bytes, up to which they are copied into the user's cache."""
WASTE = 0.25
"""Share of rows of removed contents above which the files are rewritten."""


class _NotSharedError(Exception):
    """Vectors do not lie in the files of the tables as they are."""


def write_snapshot(store: Store) -> bool:
    """Bring the snapshot of an index up to date. The caller holds the lock of its folder, `store.kept`.

    Returns:
        Whether there is a snapshot of the present state. There is none if frames of a record are missing, if another
        process wrote to the tables, or if a remote index has more vectors than are copied.

    Raises:
        OSError: a file cannot be written; the snapshot stays as it was.
    """
    folder, state = store.kept, store.state()
    if state is None:
        return False
    if is_current(folder, state):
        return True
    if store.folder is None and store.count_frames() * store.meta.dim * TYPE.itemsize > MOST_COPIED_BYTES:
        return False
    files = folder / FOLDER
    files.mkdir(exist_ok=True)
    try:
        return _write(store, folder, state)
    finally:
        _remove_others(files, _named(files))


def is_current(folder: Path, state: str | None) -> bool:
    """Return whether the snapshot of an index is that of a state of its tables."""
    document = read_signed(folder / FOLDER / NAME)
    return document is not None and document.get("format") == FORMAT and document.get("state") == state


def _write(store: Store, folder: Path, state: str) -> bool:
    """Write the snapshot of a state of the tables; see `write_snapshot`."""
    files = folder / FOLDER
    document = read_signed(files / NAME)
    records = list(store.records().values())
    counts = {record.content: record.frames for record in records}
    if store.count_frames() < sum(counts.values()):
        return False
    meta = store.meta.to_dict()
    names, kept = _reusable(folder, document, meta, counts)
    windows = store.meta.has_windows
    try:
        names = names or _new_names(shared=store.folder is not None and can_share(), windows=windows)
        appended = _append(store, folder, names, [c for c in store.contents() if c in counts.keys() - kept], counts)
    except _NotSharedError:
        names, kept = _new_names(shared=False, windows=windows), {}
        appended = _append(store, folder, names, list(counts), counts)
    if appended is None or store.state() != state:
        return False
    videos = files / f"videos-{_new_id()}.safetensors"
    write_videos(videos, records, {**kept, **appended}, store.meta.dim)
    names |= {"videos": videos.name, "videos_hash": content_hash(videos)}
    write_signed(
        files / NAME,
        {"format": FORMAT, "state": state, "meta": meta, "model_state": model_state(store.meta.model), **names},
    )
    return True


def _new_names(*, shared: bool, windows: bool) -> dict[str, Any]:
    """Return the names of the files of a new snapshot, with no rows yet.

    Args:
        shared: whether the vectors are those in the files of the tables.
        windows: whether vectors are of windows or stretches of several frames.
    """
    names = {key: f"{key}-{_new_id()}.{suffix}" for key, (suffix, _) in ROW_FILES.items()}
    if shared:
        del names["frames"]
    if not windows:
        del names["windows"]
    return {**names, "rows": 0, "segments": [], **({EXTENTS: []} if shared else {})}


def _named(files: Path) -> set[str]:
    """Return the names of the files that the last snapshot consists of; one of another format may have fewer."""
    document = read_signed(files / NAME) or {}
    return {NAME, *(document[key] for key in (*ROW_FILES, "videos") if key in document)}


def damaged_files(folder: Path) -> list[str]:
    """Return which files of a snapshot are not as they were written, relative to the index; reads all of them."""
    files = folder / FOLDER
    document = read_signed(files / NAME)
    if document is None:
        return [f"{FOLDER}/{NAME}"] if (files / NAME).exists() else []
    if document.get("format") != FORMAT:
        return []  # of another version: never read, and replaced by the next write
    dim = int(document["meta"]["dim"])
    damaged = []
    for position, key in enumerate(_keys(document), 1):
        row_bytes = _row_bytes(key, dim)
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


def _keys(names: Mapping[str, Any]) -> list[str]:
    """Return the keys of the files of a snapshot that have an entry per row, in the order of their hashes."""
    return [key for key in ROW_FILES if key in names]


def _reusable(
    folder: Path, document: Mapping[str, Any] | None, meta: Mapping[str, Any], counts: Mapping[str, int]
) -> tuple[dict[str, Any] | None, dict[str, int]]:
    """Return the files of the last snapshot that can be appended to, and the first rows of contents that they hold."""
    if document is None or document.get("format") != FORMAT:
        return None, {}
    if {**document["meta"], "model": ""} != {**meta, "model": ""}:  # another name of the same model changes no vector
        return None, {}
    files, rows, dim = folder / FOLDER, int(document["rows"]), int(meta["dim"])
    try:
        old, first_rows = read_videos(files / document["videos"])
        ends = [(files / document[key], rows * _row_bytes(key, dim)) for key in _keys(document)]
        for path, offset, _, count in document.get(EXTENTS, []):
            ends.append((folder / path, offset + count * dim * TYPE.itemsize))
        if any(path.stat().st_size < end for path, end in ends):
            return None, {}
    except (OSError, ValueError, KeyError):
        return None, {}
    frames = {record.content: record.frames for record in old.values()}
    kept = {content: row for content, row in first_rows.items() if counts.get(content) == frames[content]}
    if sum(counts[content] for content in kept) < (1 - WASTE) * rows:
        return None, {}
    return {key: document[key] for key in (*ROW_FILES, EXTENTS, "rows", "segments") if key in document}, kept


def _append(
    store: Store, folder: Path, names: dict[str, Any], new: Sequence[str], counts: Mapping[str, int]
) -> dict[str, int] | None:
    """Append the frames of contents to the files in `names` and update it.

    Returns:
        The first row of each content; None if frames of one are missing.

    Raises:
        _NotSharedError: the vectors should be those in the files of the tables, and are not.
    """
    files = folder / FOLDER
    extents = [Extent(*extent) for extent in names.get(EXTENTS, [])]
    finder = Finder(folder, store.meta.dim) if EXTENTS in names else None
    first_rows: dict[str, int] = {}
    rows, dim = int(names["rows"]), store.meta.dim
    segments = [list(segment) for segment in names["segments"]]
    with ExitStack() as stack:
        opened = {
            key: stack.enter_context(_opened(files / names[key], rows * _row_bytes(key, dim))) for key in _keys(names)
        }
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
                if finder is not None:
                    extents += _found(finder, part, row)
                _write_rows(opened, row, part, dim)
            if any(cursors[content] != first_rows[content] + counts[content] for content in batch):
                return None
            segments.append([rows - begin, *_segment_hashes(opened, begin, rows, dim)])
        for file in opened.values():
            file.flush()
            os.fsync(file.fileno())
    names |= {"rows": rows, "segments": segments}
    if finder is not None:
        names[EXTENTS] = merged(extents, dim)
        if len(names[EXTENTS]) > MOST_EXTENTS:
            raise _NotSharedError
    return first_rows


def _found(finder: Finder, part: StoredFrames, row: int) -> list[Extent]:
    """Return where the vectors of frames lie in the files of the tables.

    Args:
        finder: of the table.
        part: the frames.
        row: of the first of them in the snapshot.

    Raises:
        _NotSharedError: one is not found.
    """
    found = finder.find(part.vectors.astype(TYPE), row)
    if found is None:
        raise _NotSharedError
    return found


def _row_bytes(key: str, dim: int) -> int:
    """Return the bytes of one row of a file."""
    return int(np.prod(row_shape(key, 1, dim))) * np.dtype(ROW_FILES[key][1]).itemsize


def _write_rows(opened: Mapping[str, Any], row: int, part: StoredFrames, dim: int) -> None:
    """Write frames into all files, from a row on."""
    codes = encode(part.vectors.astype(np.float32))
    columns = {"frames": part.vectors, "times": part.times, "codes": codes.values, "scales": codes.scales}
    if part.windows is not None:
        columns["windows"] = part.windows
    for key, file in opened.items():
        file.seek(row * _row_bytes(key, dim))
        file.write(np.ascontiguousarray(columns[key], dtype=ROW_FILES[key][1]).data)


def _segment_hashes(opened: Mapping[str, Any], begin: int, end: int, dim: int) -> list[str]:
    """Return the hashes of some rows of all files, in their order."""
    hashes = []
    for key, file in opened.items():
        file.seek(begin * _row_bytes(key, dim))
        hashes.append(_hash_next(file, (end - begin) * _row_bytes(key, dim)))
    return hashes


def _opened(path: Path, size: int) -> Any:
    """Open a file to append to its first `size` bytes; later ones are left from a run that was killed."""
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file


def _remove_others(files: Path, kept: set[str]) -> None:
    """Remove the files of earlier snapshots and failed attempts; processes that have them open keep reading them."""
    with suppress(OSError):
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
