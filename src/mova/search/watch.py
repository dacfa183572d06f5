"""Keep an index up to date while files in its folders change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mova.errors import MovaError, UsageError
from mova.remote.objects import uri_of
from mova.search.index import Index
from mova.search.ingest.report import IngestReport, Progress
from mova.utils.files import is_below
from mova.video.limits import TIME_LIMIT

SETTLE = 5.0
"""Seconds without another change before files are read, so that a file is not read while it is still being copied."""
LONGEST = 600.0
"""Seconds after which files are read although others keep changing."""
LONGEST_DELAY = 60.0
"""Most seconds until a run that failed is tried again, also without another change."""


def watch(
    index: Index,
    *,
    settle: float = SETTLE,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
    error: Callable[[MovaError], None] | None = None,
    time_limit: float = TIME_LIMIT,
    threads: int | None = None,
) -> Iterator[IngestReport]:
    """Yield the report of a first run over all files and folders of an index, then one after each change.

    The folders are watched before the first run begins, so that no change is lost. A run that failed is tried again.

    Args:
        index: its files and folders are those of `Index.sources`; ones that cannot be found are not watched.
        settle: seconds without another change before files are read.
        stop: ends the iteration when set.
        progress: see `mova.search.ingest.report.Progress`.
        error: called with the error of a run, once while it stays the same, after which watching goes on (another
            process writes to the index, or a drive was removed); default: it is raised.
        time_limit: seconds without progress after which decoding a file is stopped.
        threads: of the decoder and of the model; None: all cores.

    Raises:
        UsageError: watchfiles is not installed, the index does not exist, or none of its folders can be found here.
    """
    ticks = _ticks(index, settle, stop)
    is_pending, retry_at, delay, reported = True, 0.0, settle, ""
    for changes in ticks:
        if not changes and not (is_pending and time.monotonic() >= retry_at):
            continue
        try:
            report = index.update(progress=progress, time_limit=time_limit, threads=threads)
        except MovaError as failure:
            if error is None:
                raise
            if str(failure) != reported:
                error(failure)
            is_pending, retry_at, reported = True, time.monotonic() + delay, str(failure)
            delay = min(2 * delay, LONGEST_DELAY)
            continue
        is_pending, delay, reported = False, settle, ""
        yield report


def _ticks(index: Index, settle: float, stop: threading.Event | None) -> Iterator[Any]:
    """Return what yields the changes of each moment in the folders of an index; there may be none."""
    try:
        import watchfiles
    except ImportError as cause:
        raise UsageError("watching folders needs watchfiles: pip install 'mova[watch]'") from cause

    roots = [root.path for root in index.roots() if uri_of(root.path) is None]
    if not roots:
        raise UsageError(
            f"{index.uri}: has no folder on this machine to watch; object storage is read by `mova update`"
        )
    ticks: Iterator[Any] = watchfiles.watch(
        *roots,
        watch_filter=_Videos(watchfiles.DefaultFilter(), index.folder),
        debounce=max(round(1000 * LONGEST), round(1000 * settle)),
        step=round(1000 * settle),
        stop_event=stop,
        rust_timeout=max(1, round(1000 * settle)),
        yield_on_timeout=True,
        raise_interrupt=True,
    )
    return ticks


class _Videos:
    """The changes that matter: an index below a watched folder changes with every run.

    Args:
        default: says whether a change matters in a folder without an index.
        folder: the index, if it is local.
    """

    def __init__(self, default: Callable[[Any, str], bool], folder: Path | None) -> None:
        self.default = default
        self.folders = [] if folder is None else [folder.resolve()]

    def __call__(self, change: Any, path: str) -> bool:
        return self.default(change, path) and not is_below(path, self.folders)
