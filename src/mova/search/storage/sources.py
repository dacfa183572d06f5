"""The files and folders that an index was made from, and the files of the last runs that could not be read.

They are kept in `sources.json` in the folder of a local index, and elsewhere in a table of one row, so that `mova
update` can read all of them again and `mova status` can name what failed. They hold no vectors: without them, search
works as before.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from mova.errors import MovaError, UsageError
from mova.remote.objects import uri_of
from mova.search.storage.damage import index_errors
from mova.search.storage.notes import read_note, write_note
from mova.utils.files import folders_above, is_below
from mova.utils.replacing import replacing

NAME, TABLE = "sources.json", "sources"
logger = logging.getLogger(__name__)


class Keeper(Protocol):
    """Where an index is: in a local folder, or, without one, behind a connection of LanceDB."""

    @property
    def uri(self) -> str:
        """Folder or URI."""

    @property
    def folder(self) -> Path | None:
        """The folder of a local index."""

    @property
    def connection(self) -> Any:
        """Used without a folder only."""


@dataclass(frozen=True)
class Root:
    """A file or folder that was given to `Index.add`.

    Attributes:
        path: absolute, or a URI.
        all_files: whether files of any suffix below it are tried.
    """

    path: str
    all_files: bool = False


@dataclass(frozen=True)
class Sources:
    """What an index was made from.

    Attributes:
        roots: files and folders, in order of path; none of them lies below another with the same setting.
        failed: path of a file that could not be read at the last attempt -> cause.
        updated: time of the last run that ended, ISO 8601 in UTC; empty if none did.
        forgotten: files and folders below the roots that were forgotten: they are not read until they are added again.

    Example:
        >>> sources = Sources().with_roots(["/films/a.mp4"]).with_roots(["/films"])
        >>> [root.path for root in sources.roots]
        ['/films']
    """

    roots: tuple[Root, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    updated: str = ""
    forgotten: tuple[str, ...] = ()

    def present(self, uri: str) -> list[Root]:
        """Return the roots that can be found; URIs of objects are not looked up.

        Args:
            uri: the index, for the messages.

        Raises:
            UsageError: there are no roots, or none of them can be found.
        """
        if not self.roots:
            raise UsageError(
                f"{uri}: does not know which folders it was made from (they were forgotten, or an "
                f"earlier version made it); "
                f"name them to `mova index PATH... --index {uri}`"
            )
        present = [root for root in self.roots if uri_of(root.path) is not None or os.path.exists(root.path)]
        if not present:
            raise UsageError(
                f"{uri}: none of its files and folders can be found (the first: {self.roots[0].path}); "
                f"is the drive mounted? Nothing was changed"
            )
        return present

    def excluded(self, files: Iterable[str]) -> frozenset[str]:
        """Return the files that were forgotten, and are not below a root that was added after that.

        Example:
            >>> sources = Sources((Root("/films"),), forgotten=("/films/old",))
            >>> sorted(sources.excluded(["/films/a.mp4", "/films/old/b.mp4"]))
            ['/films/old/b.mp4']
        """
        forgotten = set(self.forgotten)
        if not forgotten:
            return frozenset()
        added = {root.path for root in self.roots if is_below(root.path, forgotten)}
        return frozenset(file for file in files if _first_above(file, forgotten | added) in forgotten)

    def with_roots(self, paths: Iterable[str], *, all_files: bool = False) -> Sources:
        """Return these sources with more files and folders; ones that another folder contains are dropped.

        What was forgotten at or below them is read again.
        """
        paths = list(paths)
        forgotten = tuple(path for path in self.forgotten if not is_below(path, paths))
        roots = {root.path: root for root in self.roots}
        for path in paths:
            earlier = roots.get(path)
            roots[path] = Root(path, all_files or (earlier is not None and earlier.all_files))
        kept = [
            root
            for root in roots.values()
            if is_below(root.path, forgotten)
            or not any(
                folder in roots and roots[folder].all_files >= root.all_files
                for folder in islice(folders_above(root.path), 1, None)
            )
        ]
        return Sources(tuple(sorted(kept, key=lambda root: root.path)), self.failed, self.updated, forgotten)

    def after_run(self, roots: Sequence[str], failed: Iterable[tuple[str, str]]) -> Sources:
        """Return these sources after a run over some roots: what failed below them is replaced."""
        others = {path: cause for path, cause in self.failed.items() if not is_below(path, roots)}
        failures = dict(sorted((others | dict(failed)).items()))
        return replace(self, failed=failures, updated=_now())

    def without(self, paths: Sequence[str], dropped: Sequence[str] = ()) -> Sources:
        """Return these sources without the roots and failed files at or below some paths.

        Args:
            paths: files and folders. Those that contain something, and are below a root that stays, are kept as
                forgotten.
            dropped: indexed files at or below them.
        """
        roots = tuple(root for root in self.roots if not is_below(root.path, paths))
        failed = {path: cause for path, cause in self.failed.items() if not is_below(path, paths)}
        contained = [*dropped, *(self.failed.keys() - failed.keys())]
        paths = [path for path in paths if any(is_below(file, [path]) for file in contained)]
        forgotten = [*(path for path in self.forgotten if not is_below(path, paths)), *paths]
        below = {path for path in forgotten if is_below(path, [root.path for root in roots])}
        return Sources(roots, failed, self.updated, tuple(sorted(below)))

    def to_json(self) -> dict[str, Any]:
        """Return the content of `sources.json`."""
        return {
            "roots": [asdict(root) for root in self.roots],
            "failed": dict(self.failed),
            "updated": self.updated,
            "forgotten": list(self.forgotten),
        }


def _first_above(file: str, paths: Collection[str]) -> str | None:
    """Return which of some paths is nearest to a file: the file itself, or the deepest folder that contains it."""
    return next((path for path in folders_above(file) if path in paths), None)


def read_sources(store: Keeper) -> Sources:
    """Return what an index was made from; nothing if it was made before this was kept, or what is kept is damaged."""
    place = store.uri if store.folder is None else store.folder / NAME
    try:
        text = _read(store)
        return Sources() if text is None else _parsed(json.loads(text))
    except FileNotFoundError:
        return Sources()
    except (MovaError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("%s: cannot be read (%s); name the folders to `mova index` again", place, error)
        return Sources()


def _read(store: Keeper) -> str | None:
    if store.folder is not None:
        return (store.folder / NAME).read_text(encoding="utf-8")
    if store.connection is None:  # the index of a service, which does not tell
        return None
    with index_errors(store.uri):
        return read_note(store.connection, TABLE)


def _parsed(document: dict[str, Any]) -> Sources:
    return Sources(
        tuple(Root(str(root["path"]), bool(root["all_files"])) for root in document["roots"]),
        {str(path): str(cause) for path, cause in document["failed"].items()},
        str(document["updated"]),
        tuple(map(str, document.get("forgotten", ()))),
    )


def write_sources(store: Keeper, sources: Sources) -> None:
    """Replace what an index was made from. The index is sound without it, so that a full disk is only a warning."""
    text = json.dumps(sources.to_json(), indent=1)
    try:
        if store.folder is None:
            with index_errors(store.uri):
                write_note(store.connection, TABLE, text)
            return
        with replacing(store.folder / NAME) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        logger.warning("%s: cannot be written (%s)", store.folder and store.folder / NAME, error.strerror or error)
    except MovaError as error:
        logger.warning("%s", error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def size_on_disk(folder: Path | None) -> int | None:
    """Return the bytes of all files of a local index; None if it is remote."""
    if folder is None:
        return None
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:  # replaced by another process
                continue
    return total
