"""A summary of an index: model, size, files that are missing or could not be read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mova.search.storage.sources import read_sources, size_on_disk
from mova.utils.files import surely_gone

if TYPE_CHECKING:
    from mova.search.cold.snapshot import Snapshot
    from mova.search.storage.store import Store


@dataclass(frozen=True)
class IndexStatus:
    """A summary of an index.

    Attributes:
        index: folder or URI.
        model: name of the model that it was made with.
        frame_rate: sampled frames per second.
        sampling: "exact" or "nearest", see `mova.search.storage.records.Meta`.
        window, stride: sampled frames per vector, and from one vector to the next; 1 and 1 for encoders of pictures.
        novelty: see `mova.search.storage.records.Meta`; 0: every sampled frame is stored.
        videos: indexed paths.
        contents: different contents among them; copies of a file share their frames.
        frames: stored vectors, of frames, of stretches of them, or of windows.
        seconds: length of all contents together.
        bytes: size on disk; None if the index is remote.
        roots: files and folders that `mova update` reads.
        missing: indexed paths that do not exist at present.
        failed: path of a file that could not be read -> cause.
        updated: time of the last run that ended, ISO 8601 in UTC; empty if not known.

    >>> from mova.search.index import Index
    >>> index = Index("films.mova", "mova-worlds-tiny")
    >>> _ = index.add("films")
    >>> status = index.status()
    >>> status.model, status.videos, status.seconds, status.missing
    ('mova-worlds-tiny', 2, 20.0, ())
    """

    index: str
    model: str
    frame_rate: float
    sampling: str
    window: int
    stride: int
    novelty: float
    videos: int
    contents: int
    frames: int
    seconds: float
    bytes: int | None
    roots: tuple[str, ...]
    missing: tuple[str, ...]
    failed: dict[str, str]
    updated: str

    def to_json(self) -> dict[str, Any]:
        """Return the object that `mova status --json` prints."""
        return asdict(self)


def read_status(store: Store | Snapshot) -> IndexStatus:
    """Summarize an index; no vectors are read.

    Raises:
        UsageError: the index does not exist.
    """
    meta, records, sources = store.meta, store.records(), read_sources(store)
    contents = {record.content: record for record in records.values()}.values()
    return IndexStatus(
        index=store.uri,
        model=meta.model,
        frame_rate=meta.frame_rate,
        sampling=meta.sampling,
        window=meta.window,
        stride=meta.stride,
        novelty=meta.novelty,
        videos=len(records),
        contents=len(contents),
        frames=sum(record.frames for record in contents),
        seconds=sum(record.duration for record in contents),
        bytes=size_on_disk(store.folder),
        roots=tuple(root.path for root in sources.roots),
        missing=tuple(path for path in records if surely_gone(path)),
        failed=dict(sources.failed),
        updated=sources.updated,
    )
