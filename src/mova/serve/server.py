"""Run the service: sockets, limits on connections, a graceful stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mova.errors import MovaError
from mova.serve.app import Service, build
from mova.serve.commands import Printed, answering
from mova.serve.settings import CONNECTIONS, HEADER_SECONDS, Settings
from mova.utils.file_lock import sole_writer

KEEP_ALIVE = 15
GRACE = 10
"""Seconds that running requests get at the end."""


class PatientProtocol(H11Protocol):
    """HTTP with a limit on the time in which the headers of a request arrive, against clients that never finish."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Stop the clock when a request is complete; start it when another one begins."""
        super().data_received(data)
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering:
            self._stop()
        elif self._deadline is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        answering = self.cycle is not None and not self.cycle.response_complete
        if not answering and not self.transport.is_closing():
            self.transport.close()


class _Server(uvicorn.Server):
    """Tells streams of events to end before it waits for them."""

    def __init__(self, config: uvicorn.Config, stopping: threading.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        self._stopping.set()
        super().handle_exit(sig, frame)


def run(settings: Settings, ready: Callable[[int], None], printed: Printed | None = None) -> None:
    """Serve until a signal ends it.

    Args:
        settings: where to listen, what to serve.
        ready: called with the port once it is open.
        printed: see `mova.serve.commands.answering`.

    Raises:
        MovaError: the address is in use or not one of this machine, or another service uses the same folder.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # errors are in the log of mova
    try:
        listening = listen(settings.host, settings.port)
    except OSError as error:
        cause = error.strerror or error
        raise MovaError(f"{settings.host}:{settings.port}: cannot listen there ({cause})") from error
    with listening, sole_writer(settings.state), _orderly_end():
        app = build(settings)  # inside: it removes unfinished files from the folder
        with answering(settings.index, app.parts.engine, printed):
            ready(listening.getsockname()[1])
            _Server(_config(app), app.parts.stopping).run(sockets=[listening])


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Let SIGTERM, which uvicorn raises again at its end, leave the block instead of ending the process at once."""

    def leave(*_: object) -> None:
        raise SystemExit(0)

    if threading.current_thread() is not threading.main_thread():  # which alone may set it
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _config(app: Service) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )


def listen(host: str, port: int) -> socket.socket:
    """Open the port of the service.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """
    kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    opened = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, so that asyncio sets TCP_NODELAY
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(CONNECTIONS)
    except OSError:
        opened.close()
        raise
    return opened
