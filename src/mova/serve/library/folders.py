"""The folders from which videos may be added, by id: clients choose from what is listed, they never send paths."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mova.serve.library.catalog import video_id
from mova.serve.problems import NotFound
from mova.utils.files import SUFFIXES

REMEMBERED = 20_000
"""Folders that clients can name at a time; those offered first are forgotten first."""


@dataclass(frozen=True)
class Folder:
    """A folder that may be added.

    Attributes:
        id: of its path.
        path: absolute, without links.
        name: last part of the path; for a root the whole path, from the home folder.
    """

    id: str
    path: str
    name: str


class Folders:
    """Lists folders at and below some roots.

    It may be used by several threads.

    Args:
        roots: called for every listing, since an index may get more of them.
    """

    def __init__(self, roots: Callable[[], Iterable[str | Path]]) -> None:
        self._roots = roots
        self._known: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def listed(self, name: str | None = None) -> tuple[list[Folder], int]:
        """Return the folders at the top, or those in a folder; and the number of videos directly in it.

        Those that a client sees must be offered, or it cannot name them.

        Args:
            name: id of a folder that was offered; None for the top.

        Raises:
            NotFound: there is no such folder, or it cannot be listed.
        """
        return (self._tops(), 0) if name is None else _inside(self.path(name))

    def offer(self, folders: Iterable[Folder]) -> None:
        """Remember folders, so that clients can name them by id."""
        with self._lock:
            for folder in folders:
                self._known[folder.id] = folder.path
                self._known.move_to_end(folder.id)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def _tops(self) -> list[Folder]:
        """Return the offered roots; none lies below another."""
        paths = sorted({os.path.realpath(root) for root in self._roots() if os.path.isdir(root)})
        tops = [path for path in paths if not any(_below(path, other) for other in paths if other != path)]
        return [Folder(video_id(path), path, shown_path(path)) for path in tops]

    def path(self, name: str) -> str:
        """Return the path of a listed folder.

        Raises:
            NotFound: it was not listed, is gone, or is no longer below a root.
        """
        with self._lock:
            path = self._known.get(name)
        allowed = [os.path.realpath(root) for root in self._roots()]
        if path is None or os.path.realpath(path) != path or not os.path.isdir(path):
            raise NotFound("there is no such folder (any more); choose again")
        if not any(path == root or _below(path, root) for root in allowed):
            raise NotFound("this folder is not offered by the service")
        return path


def shown_path(path: str) -> str:
    """Return a path as people write it: from the home folder, if it is in it.

    Example:
        >>> shown_path(os.path.join(os.path.expanduser("~"), "films"))
        '~/films'
    """
    home = os.path.expanduser("~")
    return f"~{path[len(home) :]}" if path == home or path.startswith(home + os.sep) else path


def _inside(path: str) -> tuple[list[Folder], int]:
    """Return the subfolders of a folder, and the number of videos directly in it.

    Raises:
        NotFound: it cannot be listed.
    """
    names, videos = [], 0
    try:
        with os.scandir(path) as found:
            for item in found:
                if item.name.startswith("."):
                    continue
                if item.is_dir(follow_symlinks=False):
                    names.append(item.name)
                elif os.path.splitext(item.name)[1].lower() in SUFFIXES:
                    videos += 1
    except OSError as error:
        raise NotFound(f"this folder cannot be listed ({error.strerror})") from error
    paths = [os.path.join(path, name) for name in sorted(names, key=lambda name: (name.casefold(), name))]
    return [Folder(video_id(inner), inner, os.path.basename(inner)) for inner in paths], videos


def _below(path: str, other: str) -> bool:
    return path.startswith(other.rstrip(os.sep) + os.sep)
