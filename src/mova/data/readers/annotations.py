"""Original annotation files, read strictly: every complaint names the file and the line.

`Source` finds files by their published names and keeps what was noticed. `Collector` makes manifest rows of what a
reader finds. Nothing is dropped without a word: a defect that is known in published files (a span that ends before it
begins) is mended in one stated way and noted; anything else that cannot be right is a `DataError`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

from mova.data.manifest import TOLERANCE, Caption, Row, TimedSentence
from mova.errors import DataError
from mova.utils.files import SUFFIXES

Made = TypeVar("Made")
_CLIP_ENDING = re.compile(r"_\d+(?:\.\d+)?_\d+(?:\.\d+)?$")
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


class Source:
    """A folder of original annotation files (or one file), the splits asked for, and notes on what was found.

    Args:
        path: the folder, or the only file.
        splits: names of the parts to read; None for all whose files are there.

    Raises:
        DataError: there is no such file or folder.
    """

    def __init__(self, path: str | Path, splits: Collection[str] | None = None) -> None:
        self.path = Path(path)
        self.splits = None if splits is None else tuple(splits)
        self.notes: dict[str, list[str]] = {}
        if not self.path.exists():
            raise DataError(f"{path}: there is no such file or folder of annotations")
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        self._files = sorted(file for file in files if file.is_file())

    def note(self, what: str, which: str) -> None:
        """Remember that `what` holds for the row, sentence or file `which`."""
        self.notes.setdefault(what, []).append(which)

    def find_all(self, pattern: str) -> list[Path]:
        """Files whose name matches a glob pattern, sorted."""
        return [file for file in self._files if file.match(pattern)]

    def find(self, *names: str) -> Path | None:
        """The file of the first of these names that is there.

        Raises:
            DataError: two files have that name.
        """
        for name in names:
            found = self.find_all(name)
            if len(found) > 1:
                raise DataError(f"{self.path}: {name} is there more than once ({found[0]}, {found[1]}); leave one")
            if found:
                return found[0]
        return None

    def need(self, *names: str) -> Path:
        """Like `find`.

        Raises:
            DataError: none of these files is there.
        """
        found = self.find(*names)
        if found is None:
            raise DataError(f"{self.path}: lacks {' or '.join(names)}; put the original file there")
        return found

    def wants(self, split: str) -> bool:
        """Whether a part is to be read."""
        return self.splits is None or split in self.splits

    def part(self, split: str, *files: str | tuple[str, ...]) -> list[Path] | None:
        """The files of a part, each by its name or other names; None where it is not wanted or not there.

        Raises:
            DataError: the part was asked for by name and a file of it is not there.
        """
        if not self.wants(split):
            return None
        names = [(file,) if isinstance(file, str) else file for file in files]
        found = [self.find(*each) for each in names]
        lacking = [" or ".join(each) for each, path in zip(names, found, strict=True) if path is None]
        if lacking and self.splits is not None:
            raise DataError(f"{self.path}: split {split!r} needs {' and '.join(lacking)}; put the original file there")
        if lacking:
            self.note("split not read, for want of a file", f"{split}: {' and '.join(lacking)}")
            return None
        return [path for path in found if path is not None]


class Collector:
    """Makes rows, refuses an id twice, and keeps the order.

    Args:
        name: of the data set; becomes every row's `source`.
        source: takes the notes.
    """

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.source = source
        self.rows: list[Row] = []
        self._places: dict[str, str] = {}

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
            where: file and line, for complaints.
            id: unique in the manifest.
            split: part of the data set.
            captions: what is said about it.
            video: the set's own name of the file, with or without ending; the id where it is None.
            duration: seconds; becomes unknown, and is noted, where a span of the same file contradicts it.
            clip: seconds within the file; None for all of it.
            origin: the video that the file was cut from; derived from `video` where it is None.
            meta: anything else.

        Raises:
            DataError: the row cannot be right, or its id stands already.
        """
        video = id if video is None else video
        texts = tuple(captions)
        extra = {"source_video": origin or source_video(video), **(meta or {})}
        ends = [s.end for caption in texts for s in caption.sentences if s.end is not None]
        if duration is not None and max(ends, default=0.0) > duration + TOLERANCE and duration > 0:
            self.source.note("spans end after the stated duration; kept, the duration left unknown", id)
            extra["stated_duration"] = duration
            duration = None
        start, end = (None, None) if clip is None else clip
        if id in self._places:
            raise DataError(f"{where}: id {id!r} stands at {self._places[id]} already")
        self.rows.append(located(where, Row, id, video, duration, split, texts, start, end, self.name, extra))
        self._places[id] = where

    def sentence(self, where: str, text: Any, start: Any, end: Any) -> TimedSentence:
        """A sentence with its seconds; without them, and noted, where it ends no later than it begins."""
        start, end = number(where, start), number(where, end)
        if end <= start:
            self.source.note("sentence ends no later than it begins; kept without times", f"{where}: [{start}, {end}]")
            return located(where, TimedSentence, stripped(where, text))
        return located(where, TimedSentence, stripped(where, text), start, end)


def located(where: str, kind: Callable[..., Made], *values: Any) -> Made:
    """`kind(*values)`.

    Raises:
        DataError: that of `kind`, with the place in front.
    """
    try:
        return kind(*values)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def captioned(where: str, *texts: Any) -> tuple[Caption, ...]:
    """Captions without known sentences; white space around them goes."""
    return tuple(located(where, Caption, stripped(where, text)) for text in texts)


def stripped(where: str, text: Any) -> str:
    """A text without white space around it.

    Raises:
        DataError: not a text, or empty.
    """
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: needs a text that is not empty, not {text!r}")
    return text.strip()


def number(where: str, value: Any) -> float:
    """A finite number, from itself or its digits.

    Raises:
        DataError: anything else.
    """
    try:
        if isinstance(value, bool):
            raise ValueError
        result = float(value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: needs a number, not {value!r}") from None
    if not abs(result) < float("inf"):
        raise DataError(f"{where}: needs a finite number, not {value!r}")
    return result


def clock_seconds(where: str, text: str) -> float:
    """Seconds of a clock reading `hh:mm:ss.fff`.

    Raises:
        DataError: not of that form.
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        raise DataError(f"{where}: needs a time like 00:01:02.500, not {text!r}")
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def fields(where: str, value: Any, *names: str) -> list[Any]:
    """The named values of a JSON object.

    Raises:
        DataError: not an object, or one of them is not there.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where}: must be an object, not {type(value).__name__}")
    if lacking := [name for name in names if name not in value]:
        raise DataError(f"{where}: lacks {', '.join(map(repr, lacking))}")
    return [value[name] for name in names]


def listed(where: str, value: Any, length: int | None = None) -> list[Any]:
    """A JSON list, of a length where that is given.

    Raises:
        DataError: not a list, or of another length.
    """
    if not isinstance(value, list) or (length is not None and len(value) != length):
        wanted = "a list" if length is None else f"a list of {length}"
        raise DataError(f"{where}: must be {wanted}, not {value!r:.80}")
    return value


def without_ending(name: str) -> str:
    """A file name without a video's ending (other dots stay: many ids hold some)."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot and (not ending or f".{ending.lower()}" in SUFFIXES) else name


def source_video(video: str) -> str:
    """The video that a file was cut from, as far as its name tells: `v_ID.mp4` and `ID_000012_000022` give `ID`."""
    stem = without_ending(video.replace("\\", "/").rsplit("/", 1)[-1])
    stem = _CLIP_ENDING.sub("", stem)
    return stem.removeprefix("v_") or stem


def place_of(origin: str) -> int:
    """A hundredth, 0 to 99, that a source video falls into by a hash of its name; parts of data are cut by it."""
    return int.from_bytes(hashlib.blake2b(origin.encode(), digest_size=8).digest(), "big") % 100


def origins(row: Row) -> list[str]:
    """The source videos that a row shows, each once: as `meta` tells them, else by the names of its files."""
    told = row.meta.get("source_videos") or row.meta.get("source_video")
    if told:
        return list(dict.fromkeys(map(str, told if isinstance(told, list) else [told])))
    return list(dict.fromkeys(source_video(part.video) for part in row.segments))


def read_json(path: Path) -> Any:
    """A JSON document.

    Raises:
        DataError: it cannot be read, or an object holds a key twice.
    """
    with _opened(path) as file:
        try:
            return json.load(file, object_pairs_hook=partial(_once_each, path))
        except ValueError as error:
            raise DataError(f"{path}: not JSON: {error}") from error


def _once_each(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose keys all differ."""
    result = dict(pairs)
    if len(result) < len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise DataError(f"{path}: entry {key!r} stands twice")
    return result


def read_jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, value) of every line that is not empty."""
    with _opened(path) as file:
        for line_number, line in enumerate(_decoded(path, file), start=1):
            if line.strip():
                where = f"{path}, line {line_number}"
                try:
                    yield where, json.loads(line)
                except ValueError as error:
                    raise DataError(f"{where}: not JSON: {error}") from error


def read_table(path: Path, width: int | None = None, delimiter: str = ",") -> Iterator[tuple[str, list[str]]]:
    """(place, cells) of every row of a CSV file without a header; of `width` cells, where given. Tabs: no quotes."""
    quoting: Any = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    with _opened(path) as file:
        reader = csv.reader(_decoded(path, file), delimiter=delimiter, quoting=quoting, strict=True)
        line = 1
        try:
            for cells in reader:
                where, line = f"{path}, line {line}", reader.line_num + 1
                if not cells:
                    continue
                if width is not None and len(cells) != width:
                    raise DataError(f"{where}: has {len(cells)} columns instead of {width}")
                yield where, cells
        except csv.Error as error:
            raise DataError(f"{path}, line {line}: not CSV: {error}") from error


def read_csv(path: Path, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(place, row by column) of a CSV file with a header.

    Raises:
        DataError: a column is not there or stands twice, or a row has too many or too few cells.
    """
    rows = read_table(path)
    where, header = next(rows, (str(path), []))
    if lacking := [name for name in columns if name not in header]:
        raise DataError(f"{where}: lacks column {', '.join(map(repr, lacking))}; it has {', '.join(header)}")
    if len(set(header)) < len(header):
        raise DataError(f"{where}: a column stands twice")
    for where, cells in rows:
        if len(cells) != len(header):
            raise DataError(f"{where}: has {len(cells)} columns instead of {len(header)}")
        yield where, dict(zip(header, cells, strict=True))


def read_list(path: Path, header: str | None = None) -> dict[str, str]:
    """Ids, one a line, with their places; a first line that is `header` is none.

    Raises:
        DataError: an id stands twice, or there is none.
    """
    places: dict[str, str] = {}
    with _opened(path) as file:
        for line_number, line in enumerate(_decoded(path, file), start=1):
            id = line.strip()
            if not id or (line_number == 1 and id == header):
                continue
            if id in places:
                raise DataError(f"{path}, line {line_number}: {id!r} stands at {places[id]} already")
            places[id] = f"{path}, line {line_number}"
    if not places:
        raise DataError(f"{path}: holds no ids")
    return places


def _opened(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _decoded(path: Path, file: TextIO) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8: {error}") from error
