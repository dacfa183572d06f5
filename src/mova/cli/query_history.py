"""The queries that were written at the prompt of `mova search`, for its arrow keys, also the next time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mova.cli.user_settings import config_path

MOST = 1000
"""Queries that are kept."""


def history_path() -> Path:
    """Return the file of the queries, beside the configuration file."""
    return config_path().with_name("search_history")


@contextmanager
def query_history() -> Iterator[None]:
    """Give `input` arrow keys and a history while the context lasts, and keep the history for the next time.

    Where Python has no readline, and where nobody types, nothing happens. A file that cannot be read or written is not
    an error. Only its owner can read it.
    """
    try:
        import readline
    except ImportError:
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    path = history_path()
    readline.clear_history()
    with suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        readline.set_history_length(MOST)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_APPEND, 0o600))
            readline.write_history_file(path)
