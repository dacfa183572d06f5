"""Ask a running service, which has everything open already, instead of searching in a new process.

`mova serve` writes `service.json` into the folder of a local index, readable by its owner only: a port of this machine
and a token. It accepts one line of JSON per connection and answers with one, after a greeting that tells its version.
A file that was left behind, or a port that something else uses now, is the same as no file: the greeting is missing.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from mova._version import __version__

logger = logging.getLogger(__name__)

NAME = "service.json"
LOOPBACK = "127.0.0.1"
GREETING = {"mova": __version__, "answers": 1}
"""First line of the service. Another version is not asked: its answers may differ."""
GREETING_SECONDS = 1.0
ANSWER_SECONDS = 600.0
MOST_BYTES = 4 << 20
"""Longest request."""


class Door(NamedTuple):
    """Where the service of an index listens on this machine."""

    port: int
    token: str


@contextmanager
def announced(folder: Path, port: int) -> Iterator[str]:
    """Write the file of a service; remove it at the end, unless another service replaced it.

    Yields:
        The token that commands send.
    """
    import secrets  # only here and below, so that a command that asks starts fast

    door = Door(port, secrets.token_urlsafe(32))
    path = folder / NAME
    try:
        _write(path, door)
    except OSError as error:
        logger.debug("%s: cannot be written (%s); commands do not ask this service", path, error)
    try:
        yield door.token
    finally:
        if _read(path) == door:
            with suppress(OSError):
                path.unlink()


def ask(folder: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the answer of the service of an index.

    Args:
        folder: a local index.
        request: plain values.

    Returns:
        None if no service runs, or it cannot answer: search without it, which also tells why.
    """
    door = _read(folder / NAME)
    if door is None:
        return None
    try:
        with (
            socket.create_connection((LOOPBACK, door.port), GREETING_SECONDS) as connection,
            connection.makefile("rb") as lines,
        ):
            if json.loads(lines.readline(1024)) != GREETING:
                return None
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(json.dumps({"token": door.token, **request}).encode() + b"\n")
            answer = json.loads(lines.readline())
    except (OSError, ValueError, RecursionError) as error:
        logger.debug("%s: no answer (%s)", folder / NAME, error)
        return None
    return answer if isinstance(answer, dict) and "error" not in answer else None


def _write(path: Path, door: Door) -> None:
    import secrets

    temporary = path.with_name(f".{NAME}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            json.dump({**door._asdict(), "process": os.getpid()}, file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> Door | None:
    try:
        document = json.loads(path.read_bytes())
        return Door(int(document["port"]), str(document["token"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
