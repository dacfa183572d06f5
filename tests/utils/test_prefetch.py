"""Running an iterator ahead in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mova.errors import UsageError, VideoError
from mova.utils.prefetch import prefetch


def test_prefetch_keeps_order_raises_in_place_and_stops() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    assert list(prefetch(iter(range(7)), depth=3)) == list(range(7))
    ahead = prefetch(source(), depth=2)
    assert [next(ahead), next(ahead)] == [0, 1]
    ahead.close()
    assert closed.is_set()
    assert not [t for t in threading.enumerate() if t.name.startswith("mova-prefetch")]

    def failing() -> Iterator[int]:
        yield 1
        raise VideoError("x.mp4", "broken")

    ahead = prefetch(failing())
    assert next(ahead) == 1
    with pytest.raises(VideoError, match="broken"):
        next(ahead)
    with pytest.raises(UsageError):
        prefetch([], depth=0)
