"""Format times for display."""

from __future__ import annotations


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
