"""One writer at a time in the folder of an index or a feature store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mova.errors import MovaError, UsageError


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's `writer.lock` while the block lasts; a killed holder leaves nothing locked.

    Args:
        folder: made if it is not there.

    Raises:
        UsageError: the folder cannot be made or written to.
        MovaError: another process holds it, or this system has no such locks (Windows).
    """
    try:
        import fcntl
    except ImportError as error:
        raise MovaError(
            f"{folder}: it can only be written on Linux and macOS (this system has no `fcntl` locks); "
            f"write it there and read it here"
        ) from error

    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / "writer.lock").open("a+")
    except OSError as error:
        cause = error.strerror or error
        raise UsageError(f"{folder}: this folder cannot be written ({cause}); name another") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise MovaError(f"{folder}: another process (id {holder}) writes here; wait until it is done") from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
