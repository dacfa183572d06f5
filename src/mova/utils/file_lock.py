"""A lock that allows only one writer at a time in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mova.errors import MovaError, UsageError

HOLDER = "writer.pid"
"""File that names the process which holds, or last held, the lock."""


class LockedError(MovaError):
    """Another process writes to a folder."""


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the `writer.lock` of a folder for the duration of the block. A killed process leaves nothing locked.

    Args:
        folder: the folder to lock; created if it does not exist.

    Raises:
        UsageError: the folder cannot be created or written to.
        LockedError: another process holds the lock.
        MovaError: the file system has no locks.
    """
    lock = FileLock(folder / "writer.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except NotImplementedError as error:
        raise MovaError(
            f"{folder}: its file system has no locks; write to another file system, and copy the result here"
        ) from error
    except (Timeout, RuntimeError) as error:  # RuntimeError: held by this thread
        raise LockedError(
            f"{folder}: another process (id {_holder(folder)}) is writing here; wait until it has finished"
        ) from error
    except OSError as error:
        cause = error.strerror or error
        raise UsageError(f"{folder}: cannot write to this folder ({cause}); choose another one") from error
    try:
        try:
            (folder / HOLDER).write_text(str(os.getpid()))
        except OSError as error:
            cause = error.strerror or error
            raise UsageError(f"{folder}: cannot write to this folder ({cause}); choose another one") from error
        yield
    finally:
        lock.release()


def _holder(folder: Path) -> str:
    try:
        return (folder / HOLDER).read_text().strip() or "unknown"
    except OSError:
        return "unknown"
