"""The tables of an index: open them, make them, and be their only writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import lancedb

from mova.errors import UsageError
from mova.search.cold.state import copy_folder, discard_snapshot, tables_state
from mova.search.storage import checksums
from mova.search.storage.arrow_rows import RENAMED, made, meta_of, schemas
from mova.search.storage.damage import IndexDamagedError, guarded
from mova.search.storage.lease import Lease, leased
from mova.search.storage.records import Meta
from mova.utils.file_lock import sole_writer
from mova.utils.files import local_folder


class Tables:
    """The two tables, opened when they are first needed, and the right to write to them.

    Args:
        uri: a folder, or any URI that LanceDB connects to.

    Raises:
        IndexMismatchError: (on first use) the tables have another layout, or are not an index.
    """

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri)
        self.folder = local_folder(self.uri)
        self.kept = self.folder or copy_folder(self.uri)
        self._lease: Lease | None = None
        self._tables: tuple[Any, Any, Meta] | None = None

    @property
    def exists(self) -> bool:
        """Whether an index has been made here."""
        return self._open()

    @property
    def meta(self) -> Meta:
        """The model and settings that the index was made with.

        Raises:
            UsageError: the index does not exist.
        """
        return self._opened()[2]

    def require(self, requested: Meta) -> None:
        """Raise if vectors made now would differ from the stored ones; the name of the model does not matter.

        Raises:
            IndexMismatchError: with the properties that differ.
        """
        self.meta.require(requested, self.uri)

    @guarded
    def create(self, meta: Meta) -> None:
        """Create the empty tables; the one that stores `meta` last."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            checksums.discard(self.folder)
            discard_snapshot(self.folder)
        for name, schema in schemas(meta).items():
            self.connection.drop_table(name, ignore_missing=True)
            self.connection.create_table(name, schema=schema)
        self.seal()

    @guarded
    def rename_model(self, name: str) -> None:
        """Store another name of the model that the index was made with, in one commit. The caller holds the lock."""
        self.require_writer()
        self._frames.update_field_metadata({"path": "video", "metadata": {RENAMED: name}})
        self.seal()
        self._tables = None

    @guarded
    def seal(self) -> None:
        """Add what was written to the checksums of a local index; records imply that there are checksums."""
        if self.folder is not None:
            checksums.seal(self.folder)

    @cached_property
    def connection(self) -> Any:
        """The connection of LanceDB."""
        return lancedb.connect(self.folder or self.uri, read_consistency_interval=timedelta(0))

    @guarded
    def _open(self) -> bool:
        if self._tables is not None:
            return True
        if self.folder is not None:
            if not self.folder.is_dir():
                return False
            if problem := checksums.quick_check(self.folder):
                raise IndexDamagedError(self.uri, problem)
        try:
            frames = self.connection.open_table("frames")
        except ValueError as error:
            if "not found" not in str(error) or self._lost_frames():
                raise
            return False
        meta = meta_of(frames.schema, self.uri)
        self._tables = frames, self.connection.open_table("videos"), meta
        return True

    def _lost_frames(self) -> bool:
        """Return whether the table of frames, which is created last, must have existed although it is not found."""
        if self.folder is not None and any((self.folder / "frames.lance" / "data").glob("*")):
            return True
        try:
            return bool(self.connection.open_table("videos").count_rows())
        except ValueError:
            return False

    def _opened(self) -> tuple[Any, Any, Meta]:
        """Return the tables of frames and of videos, and the model and settings."""
        if not self._open() or self._tables is None:
            raise UsageError(f"{self.uri}: no index here; create one with `mova index PATH...` first")
        return self._tables

    @property
    def _frames(self) -> Any:
        return self._opened()[0]

    @property
    def _videos(self) -> Any:
        return self._opened()[1]

    @guarded
    def state(self) -> str | None:
        """Return what changes with every write to the tables (`tables_state`); of a remote index, their versions."""
        if self.folder is not None:
            return tables_state(self.folder)
        frames, videos, _ = self._opened()
        since = made(frames.schema) or str(max(row["timestamp"] for row in videos.list_versions()))
        return f"{since} {frames.version} {videos.version}"

    @contextmanager
    def lock(self, *, new: bool = False) -> Iterator[None]:
        """Be the only writer inside the block: by a lock of a local folder, elsewhere by a lease.

        Args:
            new: whether the index may be missing.

        Raises:
            MovaError: (on entering) another process holds it, or the system has no locks.
            UsageError: the index does not exist.
        """
        if not new:
            self._opened()
        if self.folder is not None:
            with sole_writer(self.folder):
                yield
            return
        with leased(self.connection, self.uri) as self._lease:
            try:
                yield
            finally:
                self._lease = None

    def require_writer(self) -> None:
        """Raise if another process took over writing to a remote index (`mova.search.storage.lease`).

        Raises:
            MovaError: it did.
        """
        if self._lease is not None:
            self._lease.require()
