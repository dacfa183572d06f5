"""A lock that allows only one writer at a time in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mova.errors import MovaError, UsageError


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the `writer.lock` of a folder for the duration of the block. A killed process leaves nothing locked.

    Args:
        folder: the folder to lock; created if it does not exist.

    Raises:
        UsageError: the folder cannot be created or written to.
        MovaError: another process holds the lock, or the system has no such locks (Windows).
    """
    try:
        import fcntl
    except ImportError as error:
        raise MovaError(
            f"{folder}: can only be written on Linux and macOS (this system has no `fcntl` locks); "
            f"write it on such a system and read it here"
        ) from error

    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / "writer.lock").open("a+")
    except OSError as error:
        cause = error.strerror or error
        raise UsageError(f"{folder}: cannot write to this folder ({cause}); choose another one") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise MovaError(
                f"{folder}: another process (id {holder}) is writing here; wait until it has finished"
            ) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
