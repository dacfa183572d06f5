"""Keep an index up to date while files in its folders change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mova.errors import MovaError, UsageError
from mova.search.index import Index
from mova.search.ingest_report import IngestReport, Progress

SETTLE = 5.0
"""Seconds without another change before files are read, so that a file is not read while it is still being copied."""
LONGEST = 600.0
"""Seconds after which files are read although others keep changing."""


def watch(
    index: Index,
    *,
    settle: float = SETTLE,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
    error: Callable[[MovaError], None] | None = None,
) -> Iterator[IngestReport]:
    """Yield the report of a first run over all files and folders of an index, then one after each change.

    Args:
        index: its files and folders are those of `Index.sources`; ones that cannot be found are not watched.
        settle: seconds without another change before files are read.
        stop: ends the iteration when set.
        progress: see `mova.search.ingest_report.Progress`.
        error: called with the error of a run, after which watching goes on (another process writes to the index, or a
            drive was removed); default: it is raised.

    Raises:
        UsageError: watchfiles is not installed, the index does not exist, or none of its folders can be found.
    """
    try:
        import watchfiles
    except ImportError as cause:
        raise UsageError("watching folders needs watchfiles: pip install 'mova[watch]'") from cause

    yield index.update(progress=progress)
    roots = [root.path for root in index.sources.roots if Path(root.path).exists()]
    changes: Iterator[Any] = watchfiles.watch(
        *roots,
        watch_filter=watchfiles.DefaultFilter(),
        debounce=max(round(1000 * LONGEST), round(1000 * settle)),
        step=round(1000 * settle),
        stop_event=stop,
        raise_interrupt=True,
    )
    for _ in changes:
        try:
            yield index.update(progress=progress)
        except MovaError as failure:
            if error is None:
                raise
            error(failure)
