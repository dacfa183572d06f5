"""How long moments are: with time around them, and not too short to see.

A frame stands for the time until the next one, so a moment of a single frame is as long as a sampling step, and one at
the end of a video, or before a stretch without pictures, may be much shorter.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mova.errors import UsageError
from mova.search.storage.records import VideoRecord
from mova.types import Moment
from mova.utils.time_format import parse_duration

Duration = float | str
"""Seconds, or text such as 2, 0:02 or 2s."""
LONGEST = 3600.0
"""Largest padding and least length, in seconds."""


@dataclass(frozen=True)
class Trim:
    """Time around found moments. Nothing reaches over an end of the video, or into a stretch without pictures.

    Attributes:
        pad: seconds added before and after each moment.
        min_length: shorter moments are widened to both sides to this length, before padding; None for one sampling
            step of the index, 0 to leave every moment as it was found.

    Raises:
        UsageError: a value is not a number of seconds from 0 to one hour.

    >>> import mova
    >>> index = mova.Index("films.mova", "mova-worlds-tiny")
    >>> len(index.add("films").indexed)
    2
    >>> for trim in (None, Trim(pad=1), Trim(min_length="0:05")):
    ...     moment = index.search("Two black discs shrink.", k=1, trim=trim)[0]
    ...     print(moment.start, moment.end)
    3.0 6.5
    2.0 7.5
    2.25 7.25
    """

    pad: Duration = 0.0
    min_length: Duration | None = None

    def __post_init__(self) -> None:
        trim_seconds("pad", self.pad)
        if self.min_length is not None:
            trim_seconds("min_length", self.min_length)

    def apply(
        self, moments: Sequence[Moment], records: Mapping[str, VideoRecord], step: Callable[[VideoRecord], float]
    ) -> list[Moment]:
        """Return the moments with their new bounds; rank, score and sentences stay.

        Args:
            moments: of the videos in `records`; others stay as they are.
            records: by path.
            step: returns the seconds between sampled frames of a video.
        """
        pad = trim_seconds("pad", self.pad)
        least = None if self.min_length is None else trim_seconds("min_length", self.min_length)
        changed = []
        for moment in moments:
            record = records.get(moment.video)
            bounds = (moment.start, moment.end)
            if record is not None:
                shortest = step(record) if least is None else least
                bounds = _widened(*bounds, shortest, pad, _pictures(record, moment.start, moment.end))
            changed.append(replace(moment, start=bounds[0], end=bounds[1]))
        return changed


def trim_seconds(name: str, value: Duration) -> float:
    """Return the seconds of a padding or a least length.

    Args:
        name: of the value, for messages.
        value: seconds, or text.

    Raises:
        UsageError: it is not a number of seconds from 0 to one hour.

    >>> trim_seconds("--pad", "0:02")
    2.0
    """
    try:
        seconds = parse_duration(value) if isinstance(value, str) else float(value)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{name} {value!r}: is not a number of seconds such as 2 or 0.5") from error
    if not 0 <= seconds <= LONGEST:
        raise UsageError(f"{name} {value!r}: must be from 0 s to one hour")
    return seconds


def _pictures(record: VideoRecord, start: float, end: float) -> tuple[float, float]:
    """Return the first and last time around a moment between which the video has pictures."""
    gaps = sorted(record.gaps)
    before = bisect_right([gap.end for gap in gaps], start + 1e-6)
    first = gaps[before - 1].end if before else 0.0
    after = [gap.start for gap in gaps if gap.start >= end - 1e-6]
    return min(first, start), max(after[0] if after else record.duration, end)


def _widened(start: float, end: float, least: float, pad: float, limits: tuple[float, float]) -> tuple[float, float]:
    """Return bounds that are `least` apart and padded, inside the limits, which contain the moment.

    Example:
        >>> _widened(9.9, 10.0, 2.0, 0.0, (0.0, 10.0)), _widened(4.0, 5.0, 0.0, 2.0, (3.0, 10.0))
        ((8.0, 10.0), (3.0, 7.0))
    """
    first, last = limits
    missing = least - (end - start)
    if missing > 0:
        length = min(least, last - first)
        start = min(max(start - missing / 2, first), last - length)
        end = start + length
    return max(start - pad, first), min(end + pad, last)
