"""Counters of the service, in the text format of Prometheus."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import MutableMapping
from typing import Any

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Upper bounds of the classes of durations, in seconds."""


class Meter:
    """ASGI middleware that counts answers by route and status, and how long they take to begin."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, str, int]] = Counter()
        self._classes: dict[str, Counter[float]] = defaultdict(Counter)
        self._seconds: Counter[str] = Counter()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer a request, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self._count(scope, message["status"], time.perf_counter() - began)
            await send(message)

        await self.app(scope, receive, sending)

    def _count(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        with self._lock:
            self._answers[route, scope["method"], status] += 1
            self._seconds[route] += seconds  # type: ignore[assignment]
            self._classes[route][next((bound for bound in BOUNDS if seconds <= bound), float("inf"))] += 1

    def lines(self) -> list[str]:
        """Return the counters as lines of text."""
        with self._lock:
            lines = [
                "# HELP mova_requests_total Answers by route and status.",
                "# TYPE mova_requests_total counter",
            ]
            for (route, method, status), count in sorted(self._answers.items()):
                lines.append(f'mova_requests_total{{route="{route}",method="{method}",status="{status}"}} {count}')
            lines += [
                "# HELP mova_request_seconds Time until an answer begins.",
                "# TYPE mova_request_seconds histogram",
            ]
            for route, classes in sorted(self._classes.items()):
                total = 0
                for bound in (*BOUNDS, float("inf")):
                    total += classes[bound]
                    edge = "+Inf" if bound == float("inf") else f"{bound:g}"
                    lines.append(f'mova_request_seconds_bucket{{route="{route}",le="{edge}"}} {total}')
                lines.append(f'mova_request_seconds_sum{{route="{route}"}} {self._seconds[route]:.6f}')
                lines.append(f'mova_request_seconds_count{{route="{route}"}} {total}')
        return lines


def gauge(name: str, about: str, value: float, kind: str = "gauge") -> list[str]:
    """Return the lines of a single number.

    Example:
        >>> gauge("mova_videos", "Indexed videos.", 3)
        ['# HELP mova_videos Indexed videos.', '# TYPE mova_videos gauge', 'mova_videos 3']
    """
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}", f"{name} {value:g}"]
