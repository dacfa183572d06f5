"""How fast a run goes, and what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Throughput:
    """Clips per second between two logs, and the share of time that the loop waited for data.

    Validation and saving do not count as time. The clips of a process are multiplied by the number of processes.

    Args:
        clock: returns seconds.

    >>> seconds = iter([0.0, 1.0, 3.0, 4.0, 9.0, 12.0])
    >>> run = Throughput(lambda: next(seconds))
    >>> with run.waiting():  # from 1 to 3
    ...     pass
    >>> run.clips += 6
    >>> with run.paused():  # from 4 to 9
    ...     pass
    >>> run.take(processes=2)  # at 12: 7 seconds without the pause
    {'clips_per_second': 1.71, 'waiting': 0.286}
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.clips = 0
        self._waited = self._pauses = 0.0
        self._began = clock()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Measure a wait for data."""
        began = self._clock()
        yield
        self._waited += self._clock() - began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what is done here."""
        began = self._clock()
        yield
        self._pauses += self._clock() - began

    def take(self, processes: int) -> dict[str, float]:
        """Return the figures since the last call, and begin anew."""
        now = self._clock()
        seconds = max(now - self._began - self._pauses, 1e-9)
        figures = {
            "clips_per_second": round(self.clips * processes / seconds, 2),
            "waiting": round(min(self._waited / seconds, 1.0), 3),
        }
        self.clips, self._waited, self._pauses, self._began = 0, 0.0, 0.0, now
        return figures
