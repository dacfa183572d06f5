"""Find video files, and express paths relative to a folder."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import takewhile
from pathlib import Path, PurePosixPath

from mova.errors import UsageError, refuse_url
from mova.remote.objects import absolute, uri_of

ENDINGS = """
    264 265 360 3g2 3gp 3gp2 3gpp 3gpp2 amv asf avc avi dav divx dv evo f4v flv gif gxf h264 h265 hevc insv ivf lrv
    m1v m2p m2t m2ts m2v m4v mjpeg mjpg mk3d mkv mod mov mp4 mp4v mpe mpeg mpg mpv mqv mts mxf nsv nut nuv obu ogm
    ogv qt rm rmvb tod tp trp ts vob vro webm wmv wtv xvid y4m
"""
SUFFIXES = frozenset(f".{ending}" for ending in ENDINGS.split())
"""File name suffixes of videos, in lower case."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
"""File name suffixes of images; in an image data set each one is a video of one frame."""

_MACHINE = re.compile(r"https?://[^/]+")
_BEFORE_PATH = re.compile(rf"{_MACHINE.pattern}(?:/(?=[A-Za-z]:))?")
"""What stands before the path in the name of a video on another machine; a path with a drive has no slash before it."""


def find_videos(
    paths: Iterable[str | Path],
    suffixes: Collection[str] | None = SUFFIXES,
    passed_over: Counter[str] | None = None,
) -> list[Path]:
    """List videos: named files with any suffix, and all files in folders that have one of `suffixes`.

    Folders are searched recursively. Hidden files and folders are skipped, and links to folders inside a folder are
    not followed (they may form a cycle); pass such a folder itself. Broken links and folders without read permission
    are included, so that reading them raises an error.

    Args:
        paths: files, and folders to search.
        suffixes: in lower case, with the dot; None lists every file.
        passed_over: counts the files in folders that are left out for their suffix, by suffix in lower case ("" for a
            name without one).

    Returns:
        Sorted paths without duplicates.

    Raises:
        UsageError: a path does not exist.
    """
    videos: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            videos.update(_inside(path, suffixes, Counter() if passed_over is None else passed_over))
        else:
            require_paths([path])
            videos.add(path)
    return sorted(videos)


_MAGIC = re.compile(r"[*?\[]")


def expand_patterns(paths: Iterable[str | Path]) -> list[str | Path]:
    """Return paths with each pattern of local files replaced by what fits it, in order of path.

    A path that exists stays as it is. `*` and `?` stand for characters of one name, `[ab]` for one of some, `**` for
    any folders. Hidden files and folders are skipped, and links to folders are not followed by `**`.

    Args:
        paths: files, folders, patterns (`films/*.mp4`) and URIs, which stay as they are.

    Raises:
        UsageError: nothing fits a pattern.

    Example:
        >>> expand_patterns(["films/**/no-*.mp4"])
        Traceback (most recent call last):
            ...
        mova.errors.UsageError: films/**/no-*.mp4: no file or folder fits this pattern
    """
    found: list[str | Path] = []
    for path in paths:
        if uri_of(path) is not None or not _MAGIC.search(os.fspath(path)) or os.path.lexists(path):
            found.append(path)
            continue
        parts = Path(path).parts
        fixed = len([*takewhile(lambda part: not _MAGIC.search(part), parts)])
        try:
            fitting = sorted(Path(*parts[:fixed]).glob(str(Path(*parts[fixed:]))))
        except ValueError as error:
            raise UsageError(f"{path}: is not a pattern ({error})") from error
        fitting = [one for one in fitting if not any(part.startswith(".") for part in one.parts[fixed:])]
        if not fitting:
            raise UsageError(f"{path}: no file or folder fits this pattern")
        found += fitting
    return found


def require_paths(paths: Iterable[str | Path]) -> None:
    """Raise unless all files and folders exist; URIs of objects are not looked up.

    Raises:
        UsageError: with the first that does not.
    """
    for path in paths:
        if uri_of(path) is None and not Path(path).exists():
            refuse_url(path)
            raise UsageError(f"{path}: no such file or directory")


def _inside(folder: Path, suffixes: Collection[str] | None, passed_over: Counter[str]) -> Iterator[Path]:
    """Yield the videos in a folder and its subfolders, then the folders that cannot be listed."""
    unlistable: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=lambda error: unlistable.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(root, name)
            if name.startswith(".") or _special(path):
                continue
            if suffixes is None or path.suffix.lower() in suffixes:
                yield path
            else:
                passed_over[path.suffix.lower()] += 1
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


def as_list(paths: str | Path | Iterable[str | Path]) -> list[str | Path]:
    """Normalize to a list. A single string is one path, not a sequence of characters ("/" would match every file).

    Example:
        >>> as_list("/films"), as_list(["a.mp4", "b.mp4"])
        (['/films'], ['a.mp4', 'b.mp4'])
    """
    return [paths] if isinstance(paths, str | Path) else list(paths)


def roots_of(paths: Iterable[str | Path]) -> list[str]:
    """Return paths as absolute ones, both as they are named and with links resolved, since the files may be gone.

    URIs of objects stay as they are.

    Example:
        >>> roots_of(["s3://bucket/films/"])
        ['s3://bucket/films']
    """
    named = list(paths)
    return sorted({resolved(path) for path in named} | {absolute(path) for path in named})


def resolved(path: str | Path) -> str:
    """Return an absolute path with links resolved; a URI of an object as it is.

    Example:
        >>> resolved("s3://bucket/a.mp4")
        's3://bucket/a.mp4'
    """
    return str(Path(path).resolve()) if uri_of(path) is None else absolute(path)


def folders_above(path: str | Path) -> Iterator[str]:
    """Yield an absolute path or URI, and then the folders that contain it, from the deepest.

    Example:
        >>> list(folders_above("/films/a.mp4")), list(folders_above("s3://bucket/films/a.mp4"))
        (['/films/a.mp4', '/films', '/'], ['s3://bucket/films/a.mp4', 's3://bucket/films', 's3://bucket'])
    """
    uri = uri_of(path)
    if uri is None:
        yield from map(str, (Path(path), *Path(path).parents))
        return
    scheme, _, rest = uri.partition("://")
    for folder in (PurePosixPath(rest), *PurePosixPath(rest).parents):
        if folder.name:
            yield f"{scheme}://{folder}"


def is_below(path: str | Path, roots: Iterable[str | Path]) -> bool:
    """Return whether an absolute path, or a URI, is one of some roots, or below one.

    Example:
        >>> is_below("/films/a.mp4", ["/films"]), is_below("/films-old/a.mp4", ["/films"])
        (True, False)
        >>> is_below("s3://bucket/films/a.mp4", ["s3://bucket/films"])
        True
    """
    return any(Path(path).is_relative_to(root) for root in roots)


def common_folders(paths: Iterable[str]) -> list[str]:
    """Return the deepest folder that contains all local files, and the one that contains all objects, as far as any.

    Example:
        >>> common_folders(["/films/a/1.mp4", "/films/b/2.mp4", "s3://bucket/c/3.mp4", "s3://bucket/d/4.mp4"])
        ['/films', 's3://bucket']
    """
    folders, objects = set[str](), set[str]()
    for path in paths:
        if uri_of(path) is None:
            folders.add(os.path.dirname(path))
        else:
            objects.add(path.rpartition("/")[0])
    found = [os.path.commonpath(folders)] if folders else []
    if len({uri.partition("://")[0] for uri in objects}) == 1:
        columns = zip(*(uri.split("/") for uri in objects), strict=False)
        found.append("/".join(names[0] for names in takewhile(lambda names: len(set(names)) == 1, columns)))
    return found


def joined(folder: str, path: str) -> str:
    """Return a path below a folder, or below a folder of objects.

    Example:
        >>> joined("s3://bucket", "a/b.mp4"), joined("/films", "../b.mp4")
        ('s3://bucket/a/b.mp4', '/b.mp4')
    """
    return f"{folder}/{path}" if uri_of(folder) else os.path.normpath(os.path.join(folder, path))


def shorten_name(name: str, most: int) -> str:
    """Return the beginning of a file name that takes at most `most` bytes in UTF-8.

    Example:
        >>> shorten_name("a long name", 6), shorten_name("\u6620\u753b", 5)
        ('a long', '\u6620')
    """
    return name.encode(errors="replace")[:most].decode(errors="ignore")


def surely_gone(path: str | Path) -> bool:
    """Return True only if the system confirms that a file does not exist.

    Objects of a URI and files of other machines are not looked up.
    """
    if uri_of(path) is not None or is_address(str(path)):
        return False
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


ELSEWHERE = "is on the machine of its index, and its pictures cannot be read here"
"""What is wrong with a video that is named by an address, where its file is needed."""


def is_address(name: str) -> bool:
    """Return whether an index, or a video, is named by the address of the service that has it.

    Example:
        >>> is_address("http://films.example.org:8765"), is_address("s3://bucket/films"), is_address("/films")
        (True, False, False)
    """
    return _MACHINE.match(name) is not None


def named_by_machine(address: str, path: str) -> str:
    """Return the name of a file of another machine, whose path may be that of another file here; of an object, its URI.

    Args:
        address: of the service there.
        path: absolute, there.

    Example:
        >>> [named_by_machine("http://one:8765/", path) for path in ("/films/a.mp4", "s3://bucket/a.mp4")]
        ['http://one:8765/films/a.mp4', 's3://bucket/a.mp4']
    """
    machine = _MACHINE.match(address)
    if machine is None or uri_of(path) is not None:
        return path
    return f"{machine[0]}{'' if path.startswith('/') else '/'}{path}"


def on_its_machine(name: str) -> str:
    """Return the path that a file has on its own machine.

    Example:
        >>> on_its_machine("http://one:8765/films/a.mp4"), on_its_machine("/films/a.mp4")
        ('/films/a.mp4', '/films/a.mp4')
    """
    return _BEFORE_PATH.sub("", name, count=1) if is_address(name) else name


def local_folder(uri: str) -> Path | None:
    """Return the local folder of a URI, or None if it is remote.

    Example:
        >>> local_folder("s3://bucket/index") is None, local_folder("file:///films").as_posix()
        (True, '/films')
    """
    if uri.startswith(("file://", "file:/")):
        uri = uri.removeprefix("file:").removeprefix("//")
    return None if "://" in uri else Path(uri).expanduser()
