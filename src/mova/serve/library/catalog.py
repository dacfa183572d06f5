"""The videos of an index by id, and their files, opened only if they are still the ones that were indexed.

Clients name videos by id, never by path. A file is opened once, and what was opened is compared with the index, so
that a link or a file put in its place later is not served.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mova.remote.objects import uri_of
from mova.search.index import Index
from mova.search.status import IndexStatus
from mova.search.storage.records import VideoRecord
from mova.serve.problems import Changed, Gone, NotFound
from mova.utils.files import common_folders
from mova.utils.hashing import content_hash

ID_BYTES = 10
VERIFIED = 4096
"""Linked files whose content was compared, remembered."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A video of the index.

    Attributes:
        id: of its path.
        record: its row in the index.
        name: file name.
        folder: folder, from the folder that holds all videos; empty for that folder itself.
    """

    id: str
    record: VideoRecord
    name: str
    folder: str

    @property
    def version(self) -> str:
        """Short hash of its content; changes with it."""
        return self.record.content[:12]


class Catalog:
    """The videos of an index, always as they are now. It may be used by several threads.

    Args:
        path: folder of the index, or any LanceDB URI; it need not exist yet.
    """

    def __init__(self, path: str) -> None:
        self._index = Index(path)
        self._lock = threading.RLock()
        self._records: list[VideoRecord] = []
        self._entries: dict[str, Entry] = {}
        self._mean: npt.NDArray[np.float32] | None = None
        self._verified: OrderedDict[tuple[int, ...], None] = OrderedDict()
        self._held = threading.local()
        self.root = ""
        self.version = 0
        """Grows whenever the records change."""

    @property
    def exists(self) -> bool:
        """Whether anything was ever indexed."""
        with self._lock:
            return self._index.exists

    @property
    def model_name(self) -> str | None:
        """Name of the model that the index was made with, if it exists."""
        with self._lock:
            return self._index.meta.model if self._index.exists else None

    @property
    def frame_rate(self) -> float:
        """Stored frames per second."""
        with self._lock:
            return self._index.meta.frame_rate

    def status(self) -> IndexStatus | None:
        """Return the summary of the index, None if there is none."""
        with self._lock:
            return self._index.status() if self._index.exists else None

    def sources(self) -> list[str]:
        """Return the files and folders that the index was made from."""
        with self._lock:
            return [root.path for root in self._index.sources.roots] if self._index.exists else []

    @contextmanager
    def held(self) -> Iterator[None]:
        """Look for changes once: inside the block, `entries` returns the same videos in this thread."""
        self._held.entries = None
        self._held.on = True
        try:
            yield
        finally:
            self._held.on = False
            self._held.entries = None

    def entries(self) -> Mapping[str, Entry]:
        """Return all videos by id, in order of path."""
        if not getattr(self._held, "on", False):
            return self._present()
        if self._held.entries is None:
            self._held.entries = self._present()
        entries: Mapping[str, Entry] = self._held.entries
        return entries

    def _present(self) -> Mapping[str, Entry]:
        with self._lock:
            records = self._index.videos()
            same = len(records) == len(self._records) and all(map(lambda a, b: a is b, records, self._records))
            if not same or not records:
                folders = common_folders(record.path for record in records)
                self.root = folders[0] if len(folders) == 1 else ""
                self._entries = {entry.id: entry for entry in (_entry(record, self.root) for record in records)}
                self._records, self._mean = records, None
                self.version += 1
            return self._entries

    def entry(self, video: str) -> Entry:
        """Return a video by id.

        Raises:
            NotFound: there is none.
        """
        entry = self.entries().get(video)
        if entry is None:
            raise NotFound("this video is not in the index (any more)")
        return entry

    def mean(self) -> npt.NDArray[np.float32] | None:
        """Return the mean vector (d,) of all indexed frames, None for an empty index."""
        with self._lock:
            self.entries()
            if self._mean is None and self._records:
                weights = np.array(list(map(self._index.meta.frames_of, self._records)), dtype=np.float64)
                rows = np.stack([record.mean for record in self._records])
                self._mean = np.average(rows, axis=0, weights=weights).astype(np.float32)
            return self._mean

    @contextmanager
    def file(self, entry: Entry) -> Iterator[BinaryIO]:
        """Open the file of a video for the block; see `open`."""
        with self.open(entry) as opened:
            yield opened

    def open(self, entry: Entry) -> BinaryIO:
        """Open the file of a video.

        Raises:
            Gone: it does not exist, or cannot be read.
            Changed: what is there now is not the file that was indexed.
        """
        record = entry.record
        if uri_of(record.path) is not None:
            raise Gone(f"{entry.name}: is in object storage, which the service cannot play; use `mova search --export`")
        try:
            # Without O_NONBLOCK, a pipe in the place of the file would wait for a writer.
            descriptor = os.open(record.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise Gone(
                f"{entry.name}: cannot be opened ({error.strerror}); it was moved or deleted since it was indexed"
            ) from error
        status = os.fstat(descriptor)
        identity = (record.size, record.mtime_ns)
        if not stat.S_ISREG(status.st_mode) or (status.st_size, status.st_mtime_ns) != identity:
            os.close(descriptor)
            raise Changed(f"{entry.name}: has changed since it was indexed; index its folder again")
        opened = os.fdopen(descriptor, "rb", buffering=0)
        try:
            if not _is_direct(record.path, descriptor):
                self._require_content(entry, descriptor, status)
        except BaseException:
            opened.close()
            raise
        return opened

    def _require_content(self, entry: Entry, descriptor: int, status: os.stat_result) -> None:
        """Raise if the content behind a link is not the indexed one; each content is read once.

        Raises:
            Changed: it is not.
        """
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with self._lock:
            if key in self._verified:
                return
        path = descriptor_path(descriptor) or entry.record.path
        if content_hash(path) != entry.record.content:
            raise Changed(f"{entry.name}: is a link to something else now; index its folder again")
        with self._lock:
            self._verified[key] = None
            while len(self._verified) > VERIFIED:
                self._verified.popitem(last=False)


def video_id(path: str) -> str:
    """Return the id of a path.

    Example:
        >>> len(video_id("/films/a.mp4")), video_id("/films/a.mp4") == video_id("/films/b.mp4")
        (20, False)
    """
    return hashlib.blake2b(os.fsencode(path), digest_size=ID_BYTES).hexdigest()


def descriptor_path(descriptor: int) -> str | None:
    """Return a path that opens what a descriptor of this process has open, where the system offers one (Linux).

    Other processes of the same user can open it, too, and get this file even if its name points elsewhere by then.
    """
    path = f"/proc/{os.getpid()}/fd/{descriptor}"
    return path if os.path.exists(path) else None


def _is_direct(path: str, descriptor: int) -> bool:
    """Return whether a path led to an open file without links."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}") == path
    except OSError:
        return os.path.realpath(path) == path


def _entry(record: VideoRecord, root: str) -> Entry:
    folder, name = os.path.split(record.path)
    relative = os.path.relpath(folder, root) if root else folder
    return Entry(video_id(record.path), record, name, "" if relative == "." else Path(relative).as_posix())
