"""Times formatted for display."""

from __future__ import annotations

import pytest

from mova.utils.time_format import clock


@pytest.mark.parametrize(
    ("seconds", "digits", "message"),
    [
        (0, 0, "0:00"),
        (59.4, 0, "0:59"),
        (59.96, 1, "1:00.0"),
        (61.25, 1, "1:01.2"),
        (3599.97, 1, "1:00:00.0"),
        (3725, 0, "1:02:05"),
        (-1, 1, "0:00.0"),
    ],
)
def test_times_are_rounded_once(seconds: float, digits: int, message: str) -> None:
    assert clock(seconds, digits) == message
