"""List what a run of indexing is about: files and folders of this machine, objects of object storage, manifests."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mova.data.manifest import iter_manifest
from mova.errors import UsageError
from mova.remote.objects import list_objects, uri_of
from mova.remote.systems import Status
from mova.utils.files import SUFFIXES, find_videos, is_below, surely_gone

MANIFEST = ".jsonl"
"""Suffix of a manifest: the videos of its rows are indexed."""
WILDCARD = "*"


@dataclass(frozen=True)
class Listing:
    """The requested files and folders, and the videos among and below them.

    Attributes:
        roots: the requested files and folders, absolute, or URIs. A manifest or a pattern stands for its videos.
        files: the videos, absolute, or URIs; sorted, without duplicates.
        objects: URI -> state of every object at or below the roots, also of those that are not videos.
        passed_over: number of files in the folders that are not known as videos, by suffix, most common first.
    """

    roots: tuple[str, ...]
    files: tuple[str, ...]
    objects: Mapping[str, Status] = field(default_factory=dict)
    passed_over: Mapping[str, int] = field(default_factory=dict)

    def is_folder(self, root: str) -> bool:
        """Return whether a root is a folder, and not a file."""
        return Path(root).is_dir() if uri_of(root) is None else root not in self.objects

    def is_gone(self, path: str) -> bool:
        """Return True only if it is certain that a file or object at or below the roots does not exist."""
        return surely_gone(path) if uri_of(path) is None else path not in self.objects

    def count_lost(self, known: Iterable[str], root: str) -> int:
        """Return the number of known files below a root if it is a folder and all its videos are gone."""
        if not self.is_folder(root) or any(is_below(file, [root]) for file in self.files):
            return 0
        inside = [path for path in known if is_below(path, [root])]
        return len(inside) if all(map(self.is_gone, inside)) else 0

    def joined(self, other: Listing) -> Listing:
        """Return this listing and another one together, with what this one passed over."""
        files = tuple(sorted({*self.files, *other.files}))
        return Listing(self.roots + other.roots, files, {**self.objects, **other.objects}, self.passed_over)


def list_files(paths: Iterable[str | Path], *, all_files: bool = False) -> Listing:
    """List the videos among and below some paths.

    Args:
        paths: videos, folders to walk, URIs of objects and of folders of them (`s3://bucket/films`), patterns
            (`s3://bucket/films/*.mp4`), and manifests (`.jsonl`).
        all_files: take every file in the folders, with any suffix.

    Raises:
        UsageError: a path does not exist, or no object fits a pattern.
        DataError: a manifest cannot be read.
        MovaError: object storage cannot be reached.
    """
    requested = [path for given in paths for path in _named(given)]
    suffixes = None if all_files else SUFFIXES
    passed_over: Counter[str] = Counter()
    local = [Path(path).resolve() for path in requested if uri_of(path) is None]
    files = set(map(str, find_videos(local, suffixes, passed_over)))
    roots, objects = list(map(str, local)), dict[str, Status]()
    for uri in filter(None, map(uri_of, requested)):
        root, found = _objects(uri.rstrip("/"))
        roots += root
        objects |= found
        for name in found:
            suffix = PurePosixPath(name).suffix.lower()
            if name in root or suffixes is None or suffix in suffixes:
                files.add(name)
            else:
                passed_over[suffix] += 1
    return Listing(tuple(roots), tuple(sorted(files)), objects, dict(passed_over.most_common()))


def _named(path: str | Path) -> Iterator[str | Path]:
    """Yield a path, or the videos that a manifest names."""
    uri = uri_of(path)
    if uri is not None or Path(path).suffix.lower() != MANIFEST or not Path(path).is_file():
        yield path
        return
    folder, seen = Path(path).resolve().parent, set[str]()
    for _, row in iter_manifest(path):
        for segment in row.segments:
            if segment.video not in seen:
                seen.add(segment.video)
                yield segment.video if uri_of(segment.video) is not None else folder / segment.video


def _objects(uri: str) -> tuple[list[str], dict[str, Status]]:
    """Return the roots of a URI, and the objects at or below it; a pattern stands for the objects that fit it.

    Raises:
        UsageError: there are none.
    """
    if WILDCARD not in uri:
        return [uri], list_objects(uri)
    folder = uri.partition(WILDCARD)[0].rpartition("/")[0]
    found = {name: state for name, state in list_objects(folder).items() if fits(name, uri)}
    if not found:
        raise UsageError(f"{uri}: no object fits this pattern")
    return list(found), found


def fits(name: str, pattern: str) -> bool:
    """Return whether a URI fits a pattern: `*` stands for any characters but a slash, `**` for any.

    Example:
        >>> fits("s3://b/x/a.mp4", "s3://b/*/a*"), fits("s3://b/x/y/a.mp4", "s3://b/*/a*")
        (True, False)
        >>> fits("s3://b/x/y/a.mp4", "s3://b/**/*.mp4"), fits("s3://b/a.mp4", "s3://b/**/*.mp4")
        (True, True)
    """
    return _fits(name.split("/"), pattern.split("/"))


def _fits(parts: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_fits(parts[count:], patterns[1:]) for count in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], patterns[0]) and _fits(parts[1:], patterns[1:])
