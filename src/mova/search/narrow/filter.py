"""Which videos a search looks at: below a folder, of a date, of a length.

The answer under a filter is that of an index of these videos alone; so are its false-alarm rates.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, cast

from mova.errors import UsageError
from mova.remote.objects import uri_of
from mova.search.storage.records import VideoRecord
from mova.utils.files import common_folders, is_address, joined, on_its_machine, roots_of
from mova.utils.time_format import clock, parse_duration

Date = str | date
"""A date or a point in time: `datetime`, `date`, or text such as 2024, 2024-05, 2024-05-01 or 2024-05-01T18:30. Without
a time zone it is local time."""
Duration = float | str
"""Seconds, or text such as 90, 1:30 or 10m."""
NEAR_EQUAL = 0.9
"""Cosine of two moments from which they count as near-equal: none of 2,126 pairs from different real clips reaches it
(docs/reference/search.md)."""
_YEAR, _MONTH = re.compile(r"\d{4}"), re.compile(r"\d{4}-\d{2}")


@dataclass(frozen=True)
class Filter:
    """Which videos a search looks at, and how many moments of each.

    Attributes:
        folders: files and folders; a video must be one of them, or below one. A relative path is one from the current
            folder, or else from the folder that contains all indexed videos.
        after: the file was last modified at this time or later.
        before: it was last modified earlier.
        longer: least length of a video; seconds, or text such as 1:30 or 10m.
        shorter: greatest length of a video.
        one_per_video: only the best moment of each video.
        dedupe: leave out moments that show nearly the same as a better one (`mova.search.narrow.distinct`): True, or
            the least cosine of two moments that counts as near-equal.

    Raises:
        UsageError: a value cannot be read, or no video can have these dates or lengths.

    >>> import mova
    >>> index = mova.Index("films.mova", "mova-worlds-tiny")
    >>> len(index.add("films").indexed)
    2
    >>> wanted = Filter(folders="films", longer="5s", one_per_video=True)
    >>> [Path(moment.video).name for moment in index.search("Two black discs shrink.", filter=wanted)]
    ['world-flat-1-00000.mp4', 'world-flat-1-00001.mp4']
    """

    folders: Iterable[str | Path] | Path = ()
    after: Date | None = None
    before: Date | None = None
    longer: Duration | None = None
    shorter: Duration | None = None
    one_per_video: bool = False
    dedupe: bool | float = False

    def __post_init__(self) -> None:
        folders = [self.folders] if isinstance(self.folders, str | Path) else self.folders
        object.__setattr__(self, "folders", tuple(str(folder) for folder in folders))
        after, before = _instant("after", self.after), _instant("before", self.before)
        longer, shorter = _seconds("longer", self.longer), _seconds("shorter", self.shorter)
        if after is not None and before is not None and after >= before:
            raise UsageError(f"no video is dated {self.after} or later and before {self.before}; exchange the dates")
        if longer is not None and shorter is not None and longer > shorter:
            raise UsageError(f"no video has at least {longer:g} s and at most {shorter:g} s; exchange the lengths")
        if not 0 <= self.dedupe <= 1:
            raise UsageError(f"dedupe must be True or a cosine from 0 to 1, not {self.dedupe!r}")

    @property
    def threshold(self) -> float:
        """The least cosine of two moments that counts as near-equal."""
        return NEAR_EQUAL if self.dedupe is True else float(self.dedupe)

    @property
    def chooses_videos(self) -> bool:
        """Whether some videos may be left out."""
        return any(getattr(self, field.name) not in (None, ()) for field in fields(self) if field.name in _ABOUT_VIDEOS)

    def choose(self, records: Mapping[str, VideoRecord]) -> dict[str, VideoRecord]:
        """Return the records, by path, of the videos that pass.

        Raises:
            UsageError: none passes, or there is none below one of the folders.
        """
        chosen = list(records.values())
        said = f"{len(chosen)} videos"
        for words, passes, of in self._conditions(chosen):
            remaining = [record for record in chosen if passes(record)]
            if not remaining:
                raise UsageError(f"the filter leaves no video: of {said}, none {words} ({of(chosen)})")
            said, chosen = f"{len(remaining)} that {words}", remaining
        return {record.path: record for record in chosen}

    def at(self, start: str | Path, records: Mapping[str, VideoRecord]) -> Filter:
        """Return the filter with absolute folders, as if the current folder were `start`.

        Raises:
            UsageError: no video is below one of the folders.
        """
        folders = list(cast("tuple[str, ...]", self.folders))
        return replace(self, folders=_roots(folders, list(records.values()), start) if folders else ())

    def to_json(self) -> dict[str, Any]:
        """Return what was asked for, as plain values.

        Example:
            >>> Filter("films", after="2024-05").to_json()
            {'folders': ['films'], 'after': '2024-05'}
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["folders"] = list(values["folders"])
        dates = {name: value.isoformat() for name, value in values.items() if isinstance(value, date)}
        return {name: value for name, value in (values | dates).items() if value not in (None, [], False)}

    def _conditions(
        self, records: list[VideoRecord]
    ) -> list[tuple[str, Callable[[VideoRecord], bool], Callable[[list[VideoRecord]], str]]]:
        """Return (words, whether a video passes, what the videos have instead) of each condition that is set."""
        after, before = _instant("after", self.after), _instant("before", self.before)
        longer, shorter = _seconds("longer", self.longer), _seconds("shorter", self.shorter)
        found: list[tuple[str, Callable[[VideoRecord], bool], Callable[[list[VideoRecord]], str]]] = []
        folders = list(cast("tuple[str, ...]", self.folders))
        if folders:
            roots = _roots(folders, records)
            found.append((f"are below {', '.join(folders)}", lambda r: _has_below(roots, r.path), _where))
        if after is not None:
            found.append((f"are dated {self.after} or later", lambda r: r.mtime_ns >= after * 1e9, _dates))
        if before is not None:
            found.append((f"are dated before {self.before}", lambda r: r.mtime_ns < before * 1e9, _dates))
        if longer is not None:
            found.append((f"have at least {clock(longer)}", lambda r: r.duration >= longer, _lengths))
        if shorter is not None:
            found.append((f"have at most {clock(shorter)}", lambda r: r.duration <= shorter, _lengths))
        return found


_ABOUT_VIDEOS = ("folders", "after", "before", "longer", "shorter")


def _instant(name: str, value: Date | None) -> float | None:
    """Return seconds since 1970."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            text = value.strip()
            text += "-01-01" if _YEAR.fullmatch(text) else "-01" if _MONTH.fullmatch(text) else ""
            value = datetime.fromisoformat(text)
        elif not isinstance(value, datetime):
            value = datetime.combine(value, time())
        return value.timestamp()
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise UsageError(
            f"{name} {value!r}: is not a date such as 2024, 2024-05, 2024-05-01 or 2024-05-01T18:30"
        ) from error


def _seconds(name: str, value: Duration | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = parse_duration(value) if isinstance(value, str) else float(value)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{name} {value!r}: is not a duration such as 90, 1:30, 10m or 1h30m") from error
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{name} {value!r}: a length must be 0 s or more")
    return seconds


def _roots(folders: list[str], records: list[VideoRecord], start: str | Path = "") -> list[str]:
    """Return absolute paths for folders, which are seen from `start` (default: the current folder).

    Raises:
        UsageError: no video is below one of them.
    """
    paths = [record.path for record in records]
    common = common_folders(map(on_its_machine, paths))
    roots: list[str] = []
    for folder in folders:
        expanded = os.path.expanduser(folder)
        for candidates in (
            [folder] if is_address(folder) else roots_of([uri_of(folder) or os.path.join(start, expanded)]),
            [joined(above, expanded) for above in common],
        ):
            if any(_has_below(candidates, path) for path in paths):
                roots += candidates
                break
        else:
            raise UsageError(f"the filter leaves no video: none is below {folder} ({_where(records)})")
    return roots


def _has_below(roots: list[str], name: str) -> bool:
    """Return whether a video is below one of some roots, by its name or by its path on its own machine."""
    return _is_below(name, roots) or (is_address(name) and _is_below(on_its_machine(name), roots))


def _is_below(path: str, roots: list[str]) -> bool:
    """Return what `mova.utils.files.is_below` returns; fast for many paths."""
    return any(path == root or path.startswith(root.rstrip(sep) + sep) for root in roots for sep in (_separator(root),))


def _separator(path: str) -> str:
    return os.sep if uri_of(path) is None else "/"


def _where(records: list[VideoRecord]) -> str:
    folders = sorted({os.path.dirname(record.path) for record in records})
    more = "" if len(folders) < 4 else f", and {len(folders) - 3} more folders; `mova list` shows all"
    return f"they are in {', '.join(folders[:3])}{more}"


def _dates(records: list[VideoRecord]) -> str:
    first, last = (datetime.fromtimestamp(pick(r.mtime_ns for r in records) / 1e9) for pick in (min, max))
    return f"their files are from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"


def _lengths(records: list[VideoRecord]) -> str:
    shortest, longest = (pick(record.duration for record in records) for pick in (min, max))
    return f"they have {clock(shortest, 1)} to {clock(longest, 1)}"
