"""Write a file completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TAIL = 32
"""Characters of a file's name in its temporary name: even of 4 bytes each, they fit into the 255 bytes of a name."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which replaces `path` if the block succeeds, and is removed if not.

    Readers never see a part of the file, even if the disk is full. Links stay; pipes and devices are written directly.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        yield Path(path)
        return
    temporary = target.with_name(f".{os.getpid()}.{target.name[-TAIL:]}.part")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
