"""The one row format of all data: JSON lines, a row a video or clip, with captions and their sentences' times.

A row is `{"id", "video", "duration", "split", "captions": [{"text", "sentences": [{"text", "start", "end"}]}]}`, with
`start` and `end` (a clip within the file), `source` and `meta` where known. Times are seconds from the start of the
file; spans are half-open; what is not known is null or absent. `video` is relative to the manifest's folder.

A row may name several stretches instead, `"parts": [{"video", "start", "end"}]` in place of `video`, `start` and
`end`: they are shown one after the other as one video, whose clock begins at 0 with the first and runs through.
`duration` and the times of sentences are by that clock.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mova.errors import DataError
from mova.text.sentences import is_unicode
from mova.utils.files import seen_from

TOLERANCE = 0.5
"""Seconds by which a span may pass the end of its video: annotations and containers round differently."""


@dataclass(frozen=True)
class TimedSentence:
    """One sentence of a caption; `start` and `end` in seconds, both None where not known."""

    text: str
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        _require_text(self.text, "a sentence's text")
        _require_span(self.start, self.end, None, f"sentence {self.text!r}")


@dataclass(frozen=True)
class Caption:
    """A text about the whole video or clip, and its sentences in the order of the text."""

    text: str
    sentences: tuple[TimedSentence, ...] = ()

    def __post_init__(self) -> None:
        _require_text(self.text, "a caption's text")


@dataclass(frozen=True)
class Part:
    """A stretch of a file that a row shows.

    Attributes:
        video: as in `Row`.
        start: seconds within the file.
        end: seconds within the file; None for its end.
    """

    video: str
    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        _require_text(self.video, "a part's 'video'")
        end = math.inf if self.end is None else self.end
        if not (_is_number(self.start) and 0 <= self.start < end) or not (self.end is None or _is_number(self.end)):
            raise DataError(f"a part needs 0 <= start < end in seconds (end null: to its end), not {self}")

    @property
    def length(self) -> float | None:
        """Seconds; None where only the file itself knows."""
        return None if self.end is None else self.end - self.start


@dataclass(frozen=True)
class Row:
    """A video, the clip `[start, end)` of one, or several stretches of files one after the other.

    Attributes:
        id: unique in its manifest.
        video: path, relative to the manifest's folder, or absolute; empty where there are `parts`.
        duration: of the file (of all parts together), seconds; None where not known.
        split: name of the part it belongs to, such as "train" or "test".
        captions: what is said about it.
        start, end: seconds within the file; None for all of it.
        source: where the row comes from.
        meta: anything else, as JSON.
        parts: stretches shown one after the other, instead of `video`, `start` and `end`.

    Raises:
        DataError: a field that does not hold what it must.
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
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        for name in ("id", "split") if self.parts else ("id", "video", "split"):
            _require_text(getattr(self, name), f"{name!r}")
        if self.duration is not None and not (_is_number(self.duration) and self.duration > 0):
            raise DataError(f"'duration' must be a positive number of seconds or null, not {self.duration!r}")
        _require_span(self.start, self.end, self.duration, "the clip")
        if self.parts:
            self._check_parts()
        for caption in self.captions:
            for sentence in caption.sentences:
                _require_span(sentence.start, sentence.end, self.duration, f"sentence {sentence.text!r}")

    def _check_parts(self) -> None:
        if self.video or self.start is not None:
            raise DataError("a row has either 'video' (with 'start' and 'end') or 'parts', not both")
        total = total_length(self.parts)
        if total is not None and (self.duration is None or abs(self.duration - total) > TOLERANCE):
            raise DataError(f"'duration' must be the seconds of all parts together ({total:.3f}), not {self.duration}")

    @property
    def segments(self) -> tuple[Part, ...]:
        """The stretches of files that the row shows, in order; for a row of one video, that one."""
        return self.parts or (Part(self.video, self.start or 0.0, self.duration if self.end is None else self.end),)

    @property
    def length(self) -> float | None:
        """Seconds that the row lasts (a clip, not its file); None where not known."""
        return total_length(self.segments)

    def to_json(self) -> dict[str, Any]:
        """The row as it stands in a manifest; unknown optional fields are left out."""
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
        """The row of a parsed JSON object.

        Raises:
            DataError: a missing or unknown key, or a value that cannot be right.
        """
        shown = "parts" if isinstance(row, dict) and "parts" in row else "video"
        if shown == "parts" and row.keys() & {"video", "start", "end"}:
            raise DataError("a row has either 'video' (with 'start' and 'end') or 'parts', not both")
        _require_keys(row, {"id", shown, "duration", "split", "captions"}, {"start", "end", "source", "meta"}, "a row")
        captions = []
        for caption in _require_list(row["captions"], "'captions'"):
            _require_keys(caption, {"text"}, {"sentences"}, "a caption")
            sentences = []
            for sentence in _require_list(caption.get("sentences", []), "'sentences'"):
                _require_keys(sentence, {"text"}, {"start", "end"}, "a sentence")
                sentences.append(TimedSentence(**sentence))
            captions.append(Caption(caption["text"], tuple(sentences)))
        if not isinstance(row.get("meta", {}), dict):
            raise DataError("'meta' must be an object")
        fields = {**row, "captions": tuple(captions)}
        if shown == "parts":
            fields |= {"video": "", "parts": _parts(row["parts"])}
        return Row(**fields)


def total_length(parts: Iterable[Part]) -> float | None:
    """Seconds of all parts together; None where one is not known."""
    lengths = [part.length for part in parts]
    return None if None in lengths else math.fsum(length for length in lengths if length is not None)


def read_manifest(path: str | Path) -> list[Row]:
    """All rows of a manifest.

    Raises:
        DataError: the file cannot be read, a line is not a right row (told with its number), or two share an id.
    """
    lines_of: dict[str, int] = {}
    rows = []
    for number, row in iter_manifest(path):
        if row.id in lines_of:
            raise doubled(path, number, row.id, lines_of[row.id])
        lines_of[row.id] = number
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: holds no rows")
    return rows


def iter_manifest(path: str | Path) -> Iterator[tuple[int, Row]]:
    """Line numbers and rows, one after the other, in constant memory. Whether an id stands twice is not looked at.

    Raises:
        DataError: the file cannot be read, or a line is not a right row (told with its number).
    """
    try:
        with Path(path).open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parsed(path, number, line)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such manifest; make one with `mova data convert`") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: this is a folder; name the manifest in it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a manifest: {error}") from error


def doubled(path: str | Path, number: int, id: str, before: int) -> DataError:
    """The error of an id that stands in line `number` and stood in line `before`."""
    return DataError(f"{path}, line {number}: id {id!r} stands in line {before} already")


def write_manifest(path: str | Path, rows: Iterable[Row]) -> Path:
    """Write rows in order, replacing `path` only when all are written. Equal rows give equal bytes."""
    return write_lines(path, (row_line(row) for row in rows))


def row_line(row: Row) -> str:
    """The line of a row, without its end.

    Raises:
        ValueError: `meta` holds what JSON cannot.
    """
    return json.dumps(row.to_json(), ensure_ascii=False, allow_nan=False)


def write_lines(path: str | Path, lines: Iterable[str]) -> Path:
    """Write lines in order, replacing `path` only when all are written."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for line in lines:
                file.write(line + "\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def rebased(row: Row, old: Path, new: Path) -> Row:
    """A row whose files, relative to the folder `old` of its manifest, are told as seen from the folder `new`.

    Synthetic videos in `meta.synthetic` (`data/synthetic.py`) are among them.
    """
    if os.path.abspath(old) == os.path.abspath(new):
        return row
    synthetic = row.meta.get("synthetic")
    if isinstance(synthetic, list):
        told = [each | {"video": seen_from(new, old / each["video"])} for each in synthetic]
        row = replace(row, meta={**row.meta, "synthetic": told})
    if row.parts:
        return replace(row, parts=tuple(replace(part, video=seen_from(new, old / part.video)) for part in row.parts))
    return replace(row, video=seen_from(new, old / row.video))


def fingerprint(rows: Sequence[Row]) -> str:
    """16 hex digits over ids, bounds of clips and parts, and captions with their times; the order does not matter."""
    digest = hashlib.blake2b(digest_size=8)
    for row in sorted(rows, key=lambda row: row.id):
        document = row.to_json()
        content = [document["id"], document.get("start"), document.get("end"), document["captions"]]
        content += [[part.start, part.end] for part in row.parts]
        digest.update(json.dumps(content, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def _parsed(path: str | Path, number: int, line: str) -> Row:
    try:
        return Row.from_json(json.loads(line, parse_constant=_refuse_constant))
    except ValueError as error:
        raise DataError(f"{path}, line {number}: not JSON: {error}") from error
    except DataError as error:
        raise DataError(f"{path}, line {number}: {error}") from error


def _parts(value: Any) -> tuple[Part, ...]:
    parts = []
    for part in _require_list(value, "'parts'"):
        _require_keys(part, {"video"}, {"start", "end"}, "a part")
        parts.append(Part(**part))
    if not parts:
        raise DataError("'parts' must name at least one stretch")
    return tuple(parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require_text(value: Any, what: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{what} must be text that is not empty, not {value!r}")
    if not is_unicode(value):
        raise DataError(f"{what} holds a character that is none (half of a pair, or no UTF-8): {value!r}")


def _require_span(start: Any, end: Any, duration: float | None, what: str) -> None:
    if start is None and end is None:
        return
    if not (_is_number(start) and _is_number(end) and 0 <= start < end):
        raise DataError(f"{what} needs 0 <= start < end in seconds, or both null, not [{start!r}, {end!r})")
    if duration is not None and end > duration + TOLERANCE:
        raise DataError(f"{what} ends at {end} s, after the end of the video ({duration} s)")


def _require_keys(value: Any, required: set[str], optional: set[str], what: str) -> None:
    if not isinstance(value, dict):
        raise DataError(f"{what} must be an object, not {type(value).__name__}")
    if missing := required - value.keys():
        raise DataError(f"{what} lacks {', '.join(sorted(map(repr, missing)))}")
    if unknown := value.keys() - required - optional:
        raise DataError(f"{what} has unknown keys {', '.join(sorted(map(repr, unknown)))}; put them into 'meta'")


def _require_list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{what} must be a list, not {type(value).__name__}")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")
