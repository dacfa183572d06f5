"""Answer the `mova search` of this machine: a port for commands, beside that of browsers.

A command that finds the file of the service (`mova.search.cold.service`) sends its query here, with the token of the
file, and prints what it would have found itself. Paths are part of it, so that it is for the owner of the index only.
"""

from __future__ import annotations

import hmac
import json
import logging
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mova.errors import MovaError
from mova.search.cold.asked import packed
from mova.search.cold.service import GREETING, LOOPBACK, MOST_BYTES, announced
from mova.search.index import Index
from mova.search.narrow.answer import Answer
from mova.search.narrow.filter import Filter
from mova.search.narrow.trim import Trim
from mova.serve.engine import Engine
from mova.utils.files import local_folder

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
"""Time in which a request must arrive."""
CONNECTIONS = 16

Printed = Callable[..., list[tuple[str, str]]]
"""(answer, request, filter, model, seconds, log) -> what the command prints, as (stream, text)."""


@contextmanager
def answering(uri: str, engine: Engine, printed: Printed | None = None) -> Iterator[None]:
    """Answer commands inside the block, if the index is local and exists.

    Args:
        uri: of the index.
        engine: answers what needs the model.
        printed: prints for commands that ask for it; None: they print for themselves.
    """
    folder = local_folder(uri)
    if folder is None or not folder.is_dir():
        yield
        return
    with _Server(Answers(uri, engine, printed)) as server, announced(folder, server.server_address[1]) as token:
        server.token = token
        thread = threading.Thread(target=server.serve_forever, name="commands", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class Answers:
    """Searches as a command does: with the exported text tower where it can, and with the model of the service else.

    Args:
        uri: of the index.
        engine: of the service.
        printed: see `answering`.
    """

    def __init__(self, uri: str, engine: Engine, printed: Printed | None = None) -> None:
        self._index = Index(uri)
        self._engine = engine
        self._printed = printed
        self._lock = threading.Lock()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to a request of `mova.search.cold.asked.search_by_service` or `mova.cli.quick_search`.

        Raises:
            MovaError: as `Index.search`; Busy.
            KeyError, TypeError, ValueError: it is not such a request.
        """
        began = time.perf_counter()
        with _log_of_thread() as lines, self._lock:
            values = dict(request)
            screen, asked_for = values.pop("screen", None), Filter(**values["filter"])
            text, order, start = values.pop("text"), values["order"], values.pop("start")
            values.pop("filter")
            wanted = asked_for.at(start, self._index._reader().records())
            options = {"filter": wanted, "trim": Trim(**values.pop("trim")), **values}
            model = self._index.meta.model
            alone = not self._index.needs_model(text, order)
            answer: Answer | None = self._index.search(text, **options) if alone else None
        if answer is None:
            answer = self._engine.submit(lambda index: index.search(text, **options)).result()
        if screen is None:
            return {"answer": packed(answer), "model": model, "log": lines}
        if self._printed is None or not (answer or len(self._index)):
            raise ValueError("left to the whole command, which says that the index has no videos")
        return {"printed": self._printed(answer, request, asked_for, model, time.perf_counter() - began, lines)}


class _Server(socketserver.ThreadingTCPServer):
    """Listens on a free port of the loopback interface."""

    daemon_threads = True
    token = ""

    def __init__(self, answers: Answers) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.answers = answers
        self.free = threading.Semaphore(CONNECTIONS)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what a connection ended with: clients may go at any time."""
        logger.debug("a command was not answered", exc_info=True)


class _Handler(socketserver.StreamRequestHandler):
    """One request: a line of JSON, and the reply."""

    server: _Server
    timeout = REQUEST_SECONDS

    def handle(self) -> None:
        """Greet, read, check the token, answer."""
        if not self.server.free.acquire(blocking=False):
            return
        try:
            self._send(GREETING)
            request = json.loads(self.rfile.readline(MOST_BYTES))
            if isinstance(request, dict) and hmac.compare_digest(
                str(request.pop("token", "")).encode(), self.server.token.encode()
            ):
                self._send(self._reply(request))
        except (ValueError, RecursionError):
            logger.debug("a command was not understood")
        finally:
            self.server.free.release()

    def _reply(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.server.answers.answer(request)
        except (MovaError, KeyError, TypeError, ValueError, OSError) as error:
            return {"error": str(error)}

    def _send(self, document: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(document, allow_nan=False).encode() + b"\n")


@contextmanager
def _log_of_thread() -> Iterator[list[tuple[int, str]]]:
    """Yield a list to which the messages of this thread are added, as (level, text)."""
    lines: list[tuple[int, str]] = []
    own = threading.get_ident()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == own:
                lines.append((record.levelno, record.getMessage()))

    keep, root = Keep(logging.INFO), logging.getLogger("mova")
    root.addHandler(keep)
    try:
        yield lines
    finally:
        root.removeHandler(keep)
