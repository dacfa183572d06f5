"""Which files there are, and whether two hold the same."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from mova.errors import UsageError

ENDINGS = """
    3g2 3gp asf avi divx dv f4v flv gif h264 hevc m1v m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe mpeg mpg mts mxf
    ogm ogv rm rmvb ts vob webm wmv y4m
"""
SUFFIXES = frozenset(f".{ending}" for ending in ENDINGS.split())
"""Endings by which `find_videos` knows a video in a folder; lower case."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
"""Endings of pictures, each a video of one frame, where a data set is of images."""


def find_videos(paths: Iterable[str | Path], suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """Files as given, whatever they end in; folders searched through for `suffixes`.

    Hidden files and folders are left out, and links to folders inside a folder are not followed (a link may
    lead in a circle); name such a folder itself. What cannot be looked at is not left out: a link that leads
    nowhere and a folder that may not be listed are among the paths returned, and fail when they are read.

    Returns:
        Sorted paths, each once.

    Raises:
        UsageError: a path does not exist.
    """
    found: set[Path] = set()
    for each in paths:
        path = Path(each)
        if path.is_dir():
            found.update(_inside(path, suffixes))
        elif path.exists():
            found.add(path)
        else:
            raise UsageError(f"{path}: there is no such file or folder")
    return sorted(found)


def _inside(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """The videos below a folder, and the folders that cannot be listed."""
    closed: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(root, name)
            if not name.startswith(".") and path.suffix.lower() in suffixes and not _special(path):
                yield path
    yield from closed


def _special(path: Path) -> bool:
    """Whether a name stands for a socket, a pipe or a device, which no one means by a video."""
    return os.path.exists(path) and not os.path.isfile(path)


def seen_from(folder: str | Path, path: str | Path) -> str:
    """A path relative to a folder where it lies below, else absolute; nothing is looked up on the disk."""
    absolute, base = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else str(absolute)


def surely_gone(path: str | Path) -> bool:
    """True only where the system says for certain that there is no such file."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
