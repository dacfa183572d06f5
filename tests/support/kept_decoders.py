"""Decoding processes that a test hands on to the next one, as one run hands them on from file to file.

To start one takes a quarter of a second of processor time. A test gets a process that was started with the variables,
paths and code that it would start one with now.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mova.video import isolated
from mova.video.isolated import Isolated

MOST = 4
"""Processes that wait for a test; 0: each test starts its own."""
_START, _CODE = isolated._Child, isolated.START


def _settings(memory: int) -> tuple[Any, ...]:
    """What a process that is started now depends on."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return os.getpid(), isolated.START, memory, tuple(sys.path), tuple(sorted(variables.items()))


@contextmanager
def kept_decoders() -> Iterator[None]:
    """Keep processes that wait when their `Isolated` is closed; at the end, end them."""
    waiting: list[tuple[tuple[Any, ...], Any]] = []
    lock, close = threading.Lock(), Isolated.close

    def take(time_limit: float, memory: int) -> Any:
        settings = _settings(memory)
        with lock:
            for entry in [*waiting] if MOST else ():
                if entry[0] == settings:
                    waiting.remove(entry)
                    if entry[1]._process.poll() is None:
                        entry[1]._time_limit = time_limit
                        return entry[1]
        child = _START(time_limit, memory)
        child.settings = settings  # type: ignore[attr-defined]
        return child

    def keep(decoder: Isolated) -> None:
        with decoder._lock:
            idle, decoder._idle = decoder._idle, []
        ended = []
        with lock:
            for child in idle:
                settings = getattr(child, "settings", None)
                same = settings == _settings(decoder.memory) and isolated.START == _CODE
                (waiting if same else ended).append((settings, child))
            while len(waiting) > MOST:
                ended.append(waiting.pop(0))
        for _, child in ended:
            child.end()
        close(decoder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolated, "_Child", take)
        patch.setattr(Isolated, "close", keep)
        yield
    for _, child in waiting:
        child.end()
