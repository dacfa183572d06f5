"""How long a frame stays on display, and where pictures are missing.

A frame stays on display until the next one, but not forever. Where pictures are missing, the frame before them must
not stand in for them: that stretch is a *gap*, in which no frame is on display.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mova.video.sampling import TOLERANCE, Times

HOLD = 600.0
"""Seconds for which a frame stays on display at most. A longer step is a leap of the clock."""

GAP = 2.0
"""Seconds without a new picture that count as a gap if pictures are missing; after fewer, the last picture stays."""

REGULAR = 0.95
"""Share of the steps between frames that a file with a regular rate has within half a frame of the median step."""


def has_regular_rate(times: Times) -> bool:
    """Return whether frames at these times (n,), in seconds, follow each other at a regular rate, except in gaps.

    Example:
        >>> has_regular_rate(np.array([*np.arange(0, 4, 0.04), *np.arange(10, 14, 0.04)]))
        True
        >>> has_regular_rate(np.array([0.0, 5.0, 12.0, 13.0]))
        False
    """
    steps = np.diff(np.sort(times))
    steps = steps[steps > TOLERANCE]
    if len(steps) < 2:
        return False
    median = float(np.median(steps))
    return median < GAP / 4 and float(np.mean(np.abs(steps - median) <= median / 2)) >= REGULAR


def display_end(time: float, length: float, following: float, declared: float, missing: Callable[[], bool]) -> float:
    """Return when a frame stops being on display, in seconds.

    Args:
        time: time of the frame.
        length: duration of one frame.
        following: time of the next frame.
        declared: longest duration that the container states for a frame near this one.
        missing: returns whether pictures are missing; called only if the step to the next frame is long and not stated.

    Example:
        >>> display_end(4.0, 0.04, 10.0, 0.04, lambda: True), display_end(4.0, 0.04, 10.0, 6.0, lambda: True)
        (4.04, 10.0)
    """
    step = following - time
    if step > GAP and declared < 0.9 * step and missing():
        return time + length
    return min(following, time + HOLD)
