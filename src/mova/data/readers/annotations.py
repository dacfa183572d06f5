"""Strict reading of original annotation files: every error names the file and the line.

`AnnotationSource` finds files by their published names and records notes. `Collector` builds manifest rows from what a
reader yields. Nothing is dropped silently: a known defect of published files (a span that ends before it begins) is
corrected in one documented way and noted; any other invalid value is a `DataError`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mova.data.manifest import Caption, Row, TimedSentence
from mova.data.manifest_checks import TOLERANCE
from mova.errors import DataError
from mova.utils.files import SUFFIXES
from mova.utils.tables import is_missing_value
from mova.utils.text_files import brief

T = TypeVar("T")
_CLIP_ENDING = re.compile(r"_\d+(?:\.\d+)?_\d+(?:\.\d+)?$")
_CLOCK = re.compile(r"(\d{1,6}):(\d\d):(\d\d(?:\.\d+)?)")


class AnnotationSource:
    """A folder of original annotation files (or one file), the requested splits, and notes on the files.

    Args:
        path: the folder, or the only file.
        splits: names of the splits to read; None for all whose files exist.

    Raises:
        DataError: the path does not exist.
    """

    def __init__(self, path: str | Path, splits: Collection[str] | None = None) -> None:
        self.path = Path(path)
        self.splits = None if splits is None else tuple(splits)
        self.notes: dict[str, list[str]] = {}
        if not self.path.exists():
            raise DataError(f"{path}: no such file or directory; give the folder of the annotation files")
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        self._files = sorted(file for file in files if file.is_file())

    @property
    def folder(self) -> Path:
        """The folder, or that of the only file."""
        return self.path if self.path.is_dir() else self.path.parent

    def note(self, what: str, which: str) -> None:
        """Record that `what` applies to the row, sentence or file `which`."""
        self.notes.setdefault(what, []).append(which)

    def find_all(self, pattern: str) -> list[Path]:
        """Return the files whose name matches a glob pattern, sorted."""
        return [file for file in self._files if file.match(pattern)]

    def find(self, *names: str) -> Path | None:
        """Return the file with the first of these names that exists; None if none does.

        Raises:
            DataError: two files have that name.
        """
        for name in names:
            paths = self.find_all(name)
            if len(paths) > 1:
                raise DataError(f"{self.path}: has several files {name} ({paths[0]}, {paths[1]}); keep one of them")
            if paths:
                return paths[0]
        return None

    def require(self, *names: str) -> Path:
        """Return the file with the first of these names that exists.

        Raises:
            DataError: none of these files exists, or two have the same name.
        """
        path = self.find(*names)
        if path is None:
            raise DataError(f"{self.path}: missing {' or '.join(names)}; put the original file there")
        return path

    def includes(self, split: str) -> bool:
        """Return whether a split was requested."""
        return self.splits is None or split in self.splits

    def split_files(self, split: str, *files: str | tuple[str, ...]) -> list[Path] | None:
        """Return the files of a split, each given by one or several names; None if not requested or not present.

        Raises:
            DataError: the split was requested by name and one of its files does not exist.
        """
        if not self.includes(split):
            return None
        names = [(file,) if isinstance(file, str) else file for file in files]
        paths = [self.find(*alternatives) for alternatives in names]
        missing = [" or ".join(alternatives) for alternatives, path in zip(names, paths, strict=True) if path is None]
        if missing and self.splits is not None:
            raise DataError(f"{self.path}: split {split!r} needs {' and '.join(missing)}; put the original file there")
        if missing:
            self.note("split not read: missing file", f"{split}: {' and '.join(missing)}")
            return None
        return [path for path in paths if path is not None]


class Collector:
    """Collects rows in order and rejects duplicate ids.

    Args:
        name: name of the data set, stored as `source` of every row.
        source: receives the notes.
    """

    def __init__(self, name: str, source: AnnotationSource) -> None:
        self.name = name
        self.source = source
        self.rows: list[Row] = []
        self._locations: dict[str, str] = {}

    def add(
        self,
        where: str,
        *,
        id: str,
        split: str,
        captions: Iterable[Caption],
        video: str | None = None,
        duration: float | None = None,
        clip: tuple[float, float] | None = None,
        origin: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a row.

        Args:
            where: file and line, for error messages.
            id: unique in the manifest.
            split: split of the data set.
            captions: texts that describe the video.
            video: the data set's name of the file, with or without extension; default: the id.
            duration: seconds; set to unknown, and noted, if a span of the same file contradicts it.
            clip: start and end in seconds within the file; None for the whole file.
            origin: the video that the file was cut from; default: derived from `video`.
            meta: anything else.

        Raises:
            DataError: the row is invalid, or its id is a duplicate.
        """
        video = id if video is None else video
        texts = tuple(captions)
        extra = {"source_video": origin or source_video(video), **(meta or {})}
        ends = [s.end for caption in texts for s in caption.sentences if s.end is not None]
        if duration is not None and max(ends, default=0.0) > duration + TOLERANCE and duration > 0:
            self.source.note("spans end after the stated duration; kept with unknown duration", id)
            extra["stated_duration"] = duration
            duration = None
        start, end = (None, None) if clip is None else clip
        for caption in texts:
            if is_missing_value(caption.text):
                self.source.note(f"caption is {caption.text!r}, perhaps a missing value; kept", where)
        _require_json(where, extra)
        self.add_row(where, with_location(where, Row, id, video, duration, split, texts, start, end, self.name, extra))

    def add_row(self, where: str, row: Row) -> None:
        """Add a complete row as it is.

        Raises:
            DataError: its id is a duplicate.
        """
        if row.id in self._locations:
            raise DataError(f"{where}: duplicate id {row.id!r}, first used in {self._locations[row.id]}")
        self.rows.append(row)
        self._locations[row.id] = where

    def sentence(self, where: str, text: Any, start: Any, end: Any) -> TimedSentence:
        """Return a sentence with its times; if it does not end after its start, drop the times and note it."""
        start, end = to_number(where, start), to_number(where, end)
        if end <= start:
            self.source.note("sentence ends no later than it begins; kept without times", f"{where}: [{start}, {end}]")
            return with_location(where, TimedSentence, to_text(where, text))
        return with_location(where, TimedSentence, to_text(where, text), start, end)


def _require_json(where: str, meta: Mapping[str, Any]) -> None:
    """Raise unless a manifest can hold the values: finite numbers and valid Unicode."""
    try:
        json.dumps(meta, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise DataError(f"{where}: cannot be stored in a manifest: {error}") from error


def with_location(where: str, build: Callable[..., T], *values: Any) -> T:
    """Return `build(*values)`, with the location added to its errors.

    Raises:
        DataError: the error of `build`, prefixed with `where`.
    """
    try:
        return build(*values)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def require_caption(where: str, text: Any) -> str:
    """Return a text that a user's own table states as a caption, without surrounding white space.

    Raises:
        DataError: the value is not a text, blank, or a missing value such as "nan".
    """
    caption = to_text(where, text)
    if is_missing_value(caption):
        raise DataError(f"{where}: the text is {caption!r}, a missing value; remove the row, or write its text")
    return caption


def to_captions(where: str, *texts: Any) -> tuple[Caption, ...]:
    """Return captions without listed sentences; surrounding white space is stripped."""
    return tuple(with_location(where, Caption, to_text(where, text)) for text in texts)


def to_text(where: str, text: Any) -> str:
    """Return a text without surrounding white space.

    Raises:
        DataError: the value is not a string, or blank.
    """
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: expected a non-empty text, not {brief(text)}")
    return text.strip()


def to_number(where: str, value: Any) -> float:
    """Return a finite number, given as a number or as text.

    Raises:
        DataError: the value is not a finite number.
    """
    try:
        if isinstance(value, bool):
            raise ValueError
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where}: expected a number, not {brief(value)}") from None
    if not abs(result) < float("inf"):
        raise DataError(f"{where}: expected a finite number, not {brief(value)}")
    return result


def to_clip(where: str, line: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the start and the end of a clip in seconds, or None if a line has neither.

    Raises:
        DataError: one of them is missing, or not a finite number.
    """
    times = {key: to_number(where, line[key]) for key in ("start", "end") if key in line}
    if len(times) == 1:
        raise DataError(f"{where}: 'start' and 'end' must be given together")
    return (times["start"], times["end"]) if times else None


def clip_id(video: str, clip: tuple[float, float] | None) -> str:
    """Return the default id of a row of a table: the file, and the times of the clip if it is a part of it."""
    return video if clip is None else f"{video}_{clip[0]:g}_{clip[1]:g}"


def to_whole(where: str, value: Any) -> int:
    """Return a whole number, given as a number or as text.

    Raises:
        DataError: the value is not a finite number, or has a fraction.
    """
    number = to_number(where, value)
    if number != int(number):
        raise DataError(f"{where}: expected a whole number, not {brief(value)}")
    return int(number)


def clock_seconds(where: str, text: Any) -> float:
    """Convert a time `hh:mm:ss.fff` to seconds.

    Raises:
        DataError: the text does not have that form.

    >>> clock_seconds("line 1", "00:01:02.500")
    62.5
    """
    match = _CLOCK.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise DataError(f"{where}: expected a time such as 00:01:02.500, not {brief(text)}")
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def get_fields(where: str, value: Any, *names: str) -> list[Any]:
    """Return the named values of a JSON object.

    Raises:
        DataError: the value is not an object, or a name is missing.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where}: must be an object, not {type(value).__name__}")
    if missing := [name for name in names if name not in value]:
        raise DataError(f"{where}: missing {', '.join(map(repr, missing))}")
    return [value[name] for name in names]


def to_list(where: str, value: Any, length: int | None = None) -> list[Any]:
    """Return a JSON list, optionally of a given length.

    Raises:
        DataError: the value is not a list, or has another length.
    """
    if not isinstance(value, list) or (length is not None and len(value) != length):
        expected = "a list" if length is None else f"a list of {length}"
        raise DataError(f"{where}: must be {expected}, not {brief(value)}")
    return value


def to_entries(where: str, value: Any) -> dict[str, Any]:
    """Return a JSON object from names to annotations.

    Raises:
        DataError: the value is not an object.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where}: must be an object from id to annotation, not {type(value).__name__}")
    return value


def without_suffix(name: str) -> str:
    """Return a file name without a video's extension; other dots are kept, because many ids have them.

    >>> without_suffix("a.b.mp4"), without_suffix("a.b")
    ('a.b', 'a.b')
    """
    stem, dot, ending = name.rpartition(".")
    return stem if dot and (not ending or f".{ending.lower()}" in SUFFIXES) else name


def source_video(video: str) -> str:
    """Return the name of the video that a file was cut from, as far as the file's name shows it.

    >>> source_video("v_ID.mp4"), source_video("clips/ID_000012_000022.mp4")
    ('ID', 'ID')
    """
    stem = without_suffix(video.replace("\\", "/").rsplit("/", 1)[-1])
    stem = _CLIP_ENDING.sub("", stem)
    return stem.removeprefix("v_") or stem


def hash_bucket(origin: str) -> int:
    """Return the bucket, 0 to 99, of a source video by a hash of its name; splits are defined by buckets."""
    return int.from_bytes(hashlib.blake2b(origin.encode(errors="surrogatepass"), digest_size=8).digest(), "big") % 100


def origins(row: Row) -> list[str]:
    """Return the distinct source videos of a row: from its `meta`, otherwise from the names of its files."""
    names = row.meta.get("source_videos") or row.meta.get("source_video")
    if names:
        return list(dict.fromkeys(map(str, names if isinstance(names, list) else [names])))
    return list(dict.fromkeys(source_video(segment.video) for segment in row.segments))
