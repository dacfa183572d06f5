"""How people read times."""

from __future__ import annotations


def clock(seconds: float, digits: int = 0) -> str:
    """`m:ss` or `h:mm:ss`, with decimals where asked for; rounded once, so that no minute has 60 seconds."""
    unit = 10**digits
    total = round(max(0.0, seconds) * unit)
    minutes, rest = divmod(total, 60 * unit)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    width = 2 if digits == 0 else digits + 3
    return f"{head}:{rest / unit:0{width}.{digits}f}"
