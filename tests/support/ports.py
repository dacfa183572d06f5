"""A port for processes that find each other on this machine."""

from __future__ import annotations

import os
import socket

WORKERS = 8


def free_port() -> int:
    """Return a port of the loopback interface that was free a moment ago; tests that run at once get different ones."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port // 2 % WORKERS == worker:  # Linux prefers odd ports
            return port
