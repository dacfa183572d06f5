"""Find video files, and express paths relative to a folder."""

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
"""File name suffixes of videos, in lower case."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
"""File name suffixes of images; in an image data set each one is a video of one frame."""


def find_videos(paths: Iterable[str | Path], suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """List videos: named files with any suffix, and all files in folders that have one of `suffixes`.

    Folders are searched recursively. Hidden files and folders are skipped, and links to folders inside a folder are
    not followed (they may form a cycle); pass such a folder itself. Broken links and folders without read permission
    are included, so that reading them raises an error.

    Returns:
        Sorted paths without duplicates.

    Raises:
        UsageError: a path does not exist.
    """
    videos: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            videos.update(_inside(path, suffixes))
        elif path.exists():
            videos.add(path)
        else:
            raise UsageError(f"{path}: no such file or directory")
    return sorted(videos)


def _inside(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Yield the videos in a folder and its subfolders, then the folders that cannot be listed."""
    unlistable: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=lambda error: unlistable.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(root, name)
            if not name.startswith(".") and path.suffix.lower() in suffixes and not _special(path):
                yield path
    yield from unlistable


def _special(path: Path) -> bool:
    """Return whether a path is a socket, a pipe or a device."""
    return os.path.exists(path) and not os.path.isfile(path)


def seen_from(folder: str | Path, path: str | Path) -> str:
    """Return a path relative to a folder if it is inside it, else the absolute path. The disk is not accessed.

    Example:
        >>> seen_from("/data", "/data/clips/a.mp4"), seen_from("/data", "/other/b.mp4")
        ('clips/a.mp4', '/other/b.mp4')
    """
    absolute, base = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else str(absolute)


def surely_gone(path: str | Path) -> bool:
    """Return True only if the system confirms that a file does not exist."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
