"""Format times for display, and read times that people write."""

from __future__ import annotations

import math
import re

_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")
"""h:mm:ss, m:ss, or seconds, with decimals."""
_UNITS = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")


def clock(seconds: float, digits: int = 0) -> str:
    """Format seconds as `m:ss` or `h:mm:ss`, optionally with decimals.

    The time is rounded once, so that no minute ever has 60 seconds.

    Example:
        >>> clock(59.96, digits=1), clock(3725.0)
        ('1:00.0', '1:02:05')
    """
    unit = 10**digits
    total = round(max(0.0, seconds) * unit)
    minutes, rest = divmod(total, 60 * unit)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    width = 2 if digits == 0 else digits + 3
    return f"{head}:{rest / unit:0{width}.{digits}f}"


def parse_duration(text: str) -> float:
    """Return the seconds of `90`, `1:30`, `1:02:03`, `90s`, `10m` or `1h30m`.

    Raises:
        ValueError: it is none of these.

    Example:
        >>> parse_duration("90"), parse_duration("1:30"), parse_duration("1h30m")
        (90.0, 90.0, 5400.0)
    """
    word = text.strip().lower()
    match = _CLOCK.fullmatch(word) or (_UNITS.fullmatch(word) if word else None)
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 90, 1:30, 10m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if not math.isfinite(total):
        raise ValueError(f"{text!r} is too long for a duration")
    return total
