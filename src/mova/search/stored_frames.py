"""Look up the stored frames of a file, by its path or its content."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mova.remote.objects import content_key, status_of, uri_of
from mova.utils.files import surely_gone
from mova.utils.hashing import content_hash

if TYPE_CHECKING:
    from mova.models.embeddings import VideoEmbedding
    from mova.search.cold.snapshot import Snapshot
    from mova.search.storage.records import VideoRecord
    from mova.search.storage.store import Store


def stored_frames(store: Store | Snapshot, path: str, *, vanished: bool = False) -> VideoEmbedding | None:
    """Return the stored frame vectors of a file, or None if the index does not hold its present content.

    Args:
        store: the index.
        path: absolute, with links resolved, or the URI of an object.
        vanished: return those of a file that is gone, too, as it was when it was indexed.
    """
    uri = uri_of(path)
    if uri is None and not os.path.isfile(path):
        return _frames_of(store, store.records().get(path)) if vanished and surely_gone(path) else None
    try:
        status = status_of(path)
    except OSError:
        return None
    records = store.records()
    record = records.get(path)
    if record is None or (record.size, record.mtime_ns) != status:
        same_size = [other for other in records.values() if other.size == status.size]
        content = ""
        if same_size:
            content = content_hash(path) if uri is None else content_key(uri)
        record = next((other for other in same_size if other.content == content), None)
    return _frames_of(store, record)


def _frames_of(store: Store | Snapshot, record: VideoRecord | None) -> VideoEmbedding | None:
    if record is None:
        return None
    frames = store.fetch([record.content]).get(record.content)
    if frames is None:  # another process removed them after the records were read
        return None
    import torch

    from mova.models.embeddings import VideoEmbedding

    vectors, step = torch.from_numpy(frames.vectors), frames.step(store.meta)
    return VideoEmbedding(vectors, frames.times, record.duration, step=step, windows=frames.windows)
