"""The one row format of all data: JSON lines, a row a video or clip, with captions and their sentences' times.

A row is `{"id", "video", "duration", "split", "captions": [{"text", "sentences": [{"text", "start", "end"}]}]}`, with
`start` and `end` (a clip within the file), `source` and `meta` where known. Times are seconds from the start of the
file; spans are half-open; what is not known is null or absent. `video` is relative to the manifest's folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mova.errors import DataError

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
class Row:
    """A video, or the clip `[start, end)` of one.

    Attributes:
        id: unique in its manifest.
        video: path, relative to the manifest's folder, or absolute.
        duration: of the file, seconds; None where not known.
        split: name of the part it belongs to, such as "train" or "test".
        captions: what is said about it.
        start, end: seconds within the file; None for all of it.
        source: where the row comes from.
        meta: anything else, as JSON.

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

    def __post_init__(self) -> None:
        for name in ("id", "video", "split"):
            _require_text(getattr(self, name), f"{name!r}")
        if self.duration is not None and not (_is_number(self.duration) and self.duration > 0):
            raise DataError(f"'duration' must be a positive number of seconds or null, not {self.duration!r}")
        _require_span(self.start, self.end, self.duration, "the clip")
        for caption in self.captions:
            for sentence in caption.sentences:
                _require_span(sentence.start, sentence.end, self.duration, f"sentence {sentence.text!r}")

    def to_json(self) -> dict[str, Any]:
        """The row as it stands in a manifest; unknown optional fields are left out."""
        row: dict[str, Any] = {name: getattr(self, name) for name in ("id", "video", "duration", "split")}
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
        required = {"id", "video", "duration", "split", "captions"}
        _require_keys(row, required, {"start", "end", "source", "meta"}, "a row")
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
        return Row(**{**row, "captions": tuple(captions)})


def read_manifest(path: str | Path) -> list[Row]:
    """All rows of a manifest.

    Raises:
        DataError: the file cannot be read, a line is not a right row (told with its number), or two share an id.
    """
    lines_of: dict[str, int] = {}
    rows = []
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a manifest: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = Row.from_json(json.loads(line, parse_constant=_refuse_constant))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON: {error}") from error
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        if row.id in lines_of:
            raise DataError(f"{path}, line {number}: id {row.id!r} stands in line {lines_of[row.id]} already")
        lines_of[row.id] = number
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: holds no rows")
    return rows


def write_manifest(path: str | Path, rows: Iterable[Row]) -> Path:
    """Write rows in order, replacing `path` only when all are written. Equal rows give equal bytes."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                file.write(json.dumps(row.to_json(), ensure_ascii=False, allow_nan=False) + "\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def rebased(row: Row, old: Path, new: Path) -> Row:
    """A row whose video, relative to the folder `old` of its manifest, is told relative to the folder `new`."""
    if Path(row.video).is_absolute() or old.resolve() == new.resolve():
        return row
    return replace(row, video=os.path.relpath(old.resolve() / row.video, new.resolve()))


def fingerprint(rows: Sequence[Row]) -> str:
    """16 hex digits over ids, clip bounds and captions with their times; the order of rows does not matter."""
    digest = hashlib.blake2b(digest_size=8)
    for row in sorted(rows, key=lambda row: row.id):
        document = row.to_json()
        content = [document["id"], document.get("start"), document.get("end"), document["captions"]]
        digest.update(json.dumps(content, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require_text(value: Any, what: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{what} must be text that is not empty, not {value!r}")


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
