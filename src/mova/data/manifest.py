"""The manifest: JSON lines, one row per video or clip, with captions and the times of their sentences.

A row is `{"id", "video", "duration", "split", "captions": [{"text", "sentences": [{"text", "start", "end"}]}]}`, with
optional `start` and `end` (a clip within the file), `source` and `meta`. Times are seconds from the start of the file;
spans are half-open; unknown values are null or absent. `video` is relative to the manifest's folder.

A row may list several segments instead, `"parts": [{"video", "start", "end"}]` in place of `video`, `start` and `end`.
They are played one after the other as one video, whose clock begins at 0 with the first segment. `duration` and the
times of sentences are on that clock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from mova.data.manifest_checks import TOLERANCE, is_number, require_keys, require_list, require_span, require_text
from mova.data.manifest_paths import OUTSIDE, require_inside
from mova.errors import DataError
from mova.utils.files import seen_from
from mova.utils.replacing import replacing
from mova.utils.tables import is_missing_value
from mova.utils.text_files import brief, open_text, parse_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TimedSentence:
    """One sentence of a caption; `start` and `end` in seconds, both None if not annotated.

    >>> TimedSentence("A dog runs.", 0.0, 2.5).end
    2.5
    """

    text: str
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        require_text(self.text, "a sentence's text")
        require_span(self.start, self.end, None, f"sentence {self.text!r}")


@dataclass(frozen=True)
class Caption:
    """A text that describes the whole video or clip, and its sentences in text order.

    >>> caption = Caption("A dog runs. It stops.", (TimedSentence("A dog runs.", 0.0, 2.5), TimedSentence("It stops.")))
    >>> [sentence.start for sentence in caption.sentences]
    [0.0, None]
    """

    text: str
    sentences: tuple[TimedSentence, ...] = ()

    def __post_init__(self) -> None:
        require_text(self.text, "a caption's text")


@dataclass(frozen=True)
class Segment:
    """A span of a file; an entry of `parts` in the manifest.

    Attributes:
        video: path, as in `Row`.
        start: seconds within the file.
        end: seconds within the file; None for the end of the file.

    >>> Segment("film.mp4", 2.0, 5.0).length
    3.0
    """

    video: str
    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        require_text(self.video, "a part's 'video'")
        end = math.inf if self.end is None else self.end
        if not (is_number(self.start) and 0 <= self.start < end) or not (self.end is None or is_number(self.end)):
            raise DataError(
                f"a part needs 0 <= start < end in seconds (end null: to the end of the file), not "
                f"[{brief(self.start)}, {brief(self.end)}) of {self.video!r}"
            )

    @property
    def length(self) -> float | None:
        """Seconds; None if it runs to the end of the file."""
        return None if self.end is None else self.end - self.start


@dataclass(frozen=True)
class Row:
    """A row of a manifest: a video, the clip `[start, end)` of a video, or several segments played in sequence.

    Attributes:
        id: unique in its manifest.
        video: path, relative to the manifest's folder, or absolute; empty if the row has `parts`.
        duration: seconds of the file, or of all parts together; None if not known.
        split: name of its split, such as "train" or "test".
        captions: texts that describe it.
        start, end: seconds within the file; None for the whole file.
        source: name of the data set it comes from.
        meta: anything else, as JSON.
        parts: segments played in sequence, instead of `video`, `start` and `end`.

    Raises:
        DataError: a field has an invalid value.

    >>> Row("a", "a.mp4", 60.0, "train", (Caption("A dog runs."),), start=10.0, end=25.0).length
    15.0
    """

    id: str
    video: str
    duration: float | None
    split: str
    captions: tuple[Caption, ...]
    start: float | None = None
    end: float | None = None
    source: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[Segment, ...] = ()

    def __post_init__(self) -> None:
        for name in ("id", "split") if self.parts else ("id", "video", "split"):
            require_text(getattr(self, name), f"{name!r}")
        if self.duration is not None and not (is_number(self.duration) and self.duration > 0):
            raise DataError(f"'duration' must be a positive number of seconds or null, not {brief(self.duration)}")
        require_span(self.start, self.end, self.duration, "the clip")
        if self.parts:
            self._check_parts()
        for caption in self.captions:
            for sentence in caption.sentences:
                require_span(sentence.start, sentence.end, self.duration, f"sentence {sentence.text!r}")

    def _check_parts(self) -> None:
        if self.video or self.start is not None:
            raise DataError("a row has either 'video' (with 'start' and 'end') or 'parts', not both")
        total = total_length(self.parts)
        if total is not None and (self.duration is None or abs(self.duration - total) > TOLERANCE):
            raise DataError(f"'duration' must be the seconds of all parts together ({total:.3f}), not {self.duration}")

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments that the row plays, in order; a row of one video has one."""
        return self.parts or (Segment(self.video, self.start or 0.0, self.duration if self.end is None else self.end),)

    @property
    def length(self) -> float | None:
        """Duration of the row in seconds (of the clip, not its file); None if not known."""
        return total_length(self.segments)

    def to_json(self) -> dict[str, Any]:
        """Return the row as in a manifest, without optional fields that are not known."""
        names = ("id", "duration", "split") if self.parts else ("id", "video", "duration", "split")
        row: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.parts:
            row["parts"] = [{"video": part.video, "start": part.start, "end": part.end} for part in self.parts]
        if self.start is not None:
            row |= {"start": self.start, "end": self.end}
        row["captions"] = [
            {
                "text": caption.text,
                "sentences": [{"text": s.text, "start": s.start, "end": s.end} for s in caption.sentences],
            }
            for caption in self.captions
        ]
        if self.source is not None:
            row["source"] = self.source
        if self.meta:
            row["meta"] = dict(self.meta)
        return row

    @staticmethod
    def from_json(row: Any) -> Row:
        """Build a row from a parsed JSON object.

        Raises:
            DataError: a key is missing or unknown, or a value is invalid.

        >>> sentence = {"text": "A dog runs.", "start": 0.0, "end": 2.5}
        >>> caption = {"text": "A dog runs.", "sentences": [sentence]}
        >>> row = {"id": "a", "video": "a.mp4", "duration": 10.0, "split": "train", "captions": [caption]}
        >>> Row.from_json(row).captions[0].sentences
        (TimedSentence(text='A dog runs.', start=0.0, end=2.5),)
        >>> Row.from_json(row).to_json() == row
        True
        """
        videos_key = "parts" if isinstance(row, dict) and "parts" in row else "video"
        if videos_key == "parts" and row.keys() & {"video", "start", "end"}:
            raise DataError("a row has either 'video' (with 'start' and 'end') or 'parts', not both")
        require_keys(
            row, {"id", videos_key, "duration", "split", "captions"}, {"start", "end", "source", "meta"}, "a row"
        )
        captions = []
        for caption in require_list(row["captions"], "'captions'"):
            require_keys(caption, {"text"}, {"sentences"}, "a caption")
            sentences = []
            for sentence in require_list(caption.get("sentences", []), "'sentences'"):
                require_keys(sentence, {"text"}, {"start", "end"}, "a sentence")
                sentences.append(TimedSentence(**sentence))
            captions.append(Caption(caption["text"], tuple(sentences)))
        if not isinstance(row.get("meta", {}), dict):
            raise DataError("'meta' must be an object")
        fields = {**row, "captions": tuple(captions)}
        if videos_key == "parts":
            fields |= {"video": "", "parts": _parse_segments(row["parts"])}
        return Row(**fields)


def total_length(parts: Iterable[Segment]) -> float | None:
    """Return the total duration of segments in seconds; None if one is not known.

    >>> total_length([Segment("a.mp4", 1.0, 3.0), Segment("b.mp4", 0.0, 2.5)])
    4.5
    """
    lengths = [part.length for part in parts]
    return None if None in lengths else math.fsum(length for length in lengths if length is not None)


def read_manifest(path: str | Path, *, outside: bool | None = None) -> list[Row]:
    """Read all rows of a manifest.

    Args:
        path: the file.
        outside: whether relative paths may lead out of the manifest's folder (`..`); default: only if the environment
            variable `MOVA_MANIFEST_OUTSIDE` is set. Absolute paths are always allowed.

    Raises:
        DataError: the file cannot be read, a line is not a valid row (the message has its number), or an id occurs
            twice.

    >>> rows = read_manifest("films/manifest.jsonl")
    >>> [(row.id, row.split, row.duration) for row in rows]
    [('world-flat-1-00000', 'train', 10.0), ('world-flat-1-00001', 'train', 10.0)]
    """
    lines_of: dict[str, int] = {}
    rows = []
    missing: list[int] = []
    for number, row in iter_manifest(path, outside=outside):
        if row.id in lines_of:
            raise duplicate_id(path, number, row.id, lines_of[row.id])
        lines_of[row.id] = number
        rows.append(row)
        if any(is_missing_value(caption.text) for caption in row.captions):
            missing.append(number)
    if not rows:
        raise DataError(f"{path}: contains no rows")
    if missing:
        logger.warning(
            "%s: %d rows have a caption such as 'nan' or 'None', perhaps a missing value; the first is in line %d",
            *(path, len(missing), missing[0]),
        )
    return rows


def iter_manifest(path: str | Path, *, outside: bool | None = None) -> Iterator[tuple[int, Row]]:
    """Yield line numbers and rows in constant memory, without checking for duplicate ids; see `read_manifest`.

    Raises:
        DataError: the file cannot be read, or a line is not a valid row (the message has its number).

    >>> [(line, row.id) for line, row in iter_manifest("films/manifest.jsonl")]
    [(1, 'world-flat-1-00000'), (2, 'world-flat-1-00001')]
    """
    inside = not os.environ.get(OUTSIDE) if outside is None else not outside
    if Path(path).suffix == ".arrow" and Path(path).is_file():  # a table is made of rows: imported when one is read
        yield from resolve_name("mova.data.columns.table:iter_table")(path, inside)
        return
    try:
        with open_text(path, newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    row = _parse_line(f"{path}, line {number}", line)
                    if inside:
                        videos = [segment.video for segment in row.segments]
                        require_inside(videos, row.meta.get("synthetic"), f"{path}, line {number}")
                    yield number, row
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise DataError(f"{path}: no such file; create a manifest with `mova data convert`") from error
        if isinstance(error.__cause__, IsADirectoryError):
            raise DataError(f"{path}: is a folder; give the path of the manifest in it") from error
        raise


def duplicate_id(path: str | Path, number: int, id: str, before: int) -> DataError:
    """Return the error for an id in line `number` that line `before` has already.

    >>> print(duplicate_id("manifest.jsonl", 3, "a", 1))
    manifest.jsonl, line 3: duplicate id 'a', first used in line 1
    """
    return DataError(f"{path}, line {number}: duplicate id {id!r}, first used in line {before}")


def write_manifest(path: str | Path, rows: Iterable[Row]) -> Path:
    """Write rows in order, and replace `path` only once all are written. Equal rows give equal bytes.

    >>> path = write_manifest("own.jsonl", [Row("a", "film.mp4", 10.0, "train", (Caption("Two black balls."),))])
    >>> read_manifest(path)[0].captions[0].text
    'Two black balls.'
    """
    return write_lines(path, (row_line(row) for row in rows))


def row_line(row: Row) -> str:
    """Return a row as one line of JSON, without the line ending.

    Raises:
        ValueError: `meta` has a value that JSON cannot represent.

    >>> row_line(Row("a", "film.mp4", 10.0, "train", ()))
    '{"id": "a", "video": "film.mp4", "duration": 10.0, "split": "train", "captions": []}'
    """
    return json.dumps(row.to_json(), ensure_ascii=False, allow_nan=False)


def write_lines(path: str | Path, lines: Iterable[str]) -> Path:
    """Write lines in order, and replace `path` only once all are written.

    >>> write_lines("names.txt", ["a", "b"]).read_text().split()
    ['a', 'b']
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(line + "\n")
    return Path(path)


def rebased(row: Row, old: Path, new: Path) -> Row:
    """Return a row with its paths, relative to the folder `old`, rewritten relative to the folder `new`.

    This includes the synthetic videos in `meta.synthetic` (`data/synthetic.py`).

    >>> rebased(read_manifest("films/manifest.jsonl")[0], old=Path("films"), new=Path(".")).video
    'films/world-flat-1-00000.mp4'
    """
    if os.path.abspath(old) == os.path.abspath(new):
        return row
    synthetic = row.meta.get("synthetic")
    if isinstance(synthetic, list):
        videos = [video | {"video": seen_from(new, old / video["video"])} for video in synthetic]
        row = replace(row, meta={**row.meta, "synthetic": videos})
    if row.parts:
        return replace(row, parts=tuple(replace(part, video=seen_from(new, old / part.video)) for part in row.parts))
    return replace(row, video=seen_from(new, old / row.video))


def fingerprint(rows: Sequence[Row]) -> str:
    """Return 16 hex digits over ids, bounds of clips and segments, and captions with times, in any order of rows.

    >>> rows = read_manifest("films/manifest.jsonl")
    >>> fingerprint(rows) == fingerprint(rows[::-1]), fingerprint(rows) == fingerprint(rows[:1])
    (True, False)
    """
    digest = hashlib.blake2b(digest_size=8)
    for row in sorted(rows, key=lambda row: row.id):
        document = row.to_json()
        content = [document["id"], document.get("start"), document.get("end"), document["captions"]]
        content += [[part.start, part.end] for part in row.parts]
        digest.update(json.dumps(content, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def _parse_line(where: str, line: str) -> Row:
    value = parse_json(line, where, constant=_reject_constant)
    try:
        return Row.from_json(value)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _parse_segments(value: Any) -> tuple[Segment, ...]:
    parts = []
    for part in require_list(value, "'parts'"):
        require_keys(part, {"video"}, {"start", "end"}, "a part")
        parts.append(Segment(**part))
    if not parts:
        raise DataError("'parts' must list at least one segment")
    return tuple(parts)


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")
