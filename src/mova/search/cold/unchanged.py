"""Recognize a run of `mova index` that has nothing to do, without loading the model or the tables."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mova.remote.objects import uri_of
from mova.search.cold.snapshot import Snapshot
from mova.search.ingest.report import IngestReport
from mova.search.storage.records import EXACT, VideoRecord
from mova.search.storage.sources import read_sources, write_sources
from mova.utils.file_lock import sole_writer
from mova.utils.files import SUFFIXES, find_videos, is_below, surely_gone


def report_unchanged(
    snapshot: Snapshot,
    paths: Sequence[str | Path],
    *,
    fps: float | None,
    all_files: bool,
    exact: bool | None = None,
    stride: float | None = None,
    novelty: float | None = None,
) -> IngestReport | None:
    """Return the report of a run if every file is in the index as it is now, and none is gone; None otherwise.

    Args:
        snapshot: of the present state of the tables, and of the present files of its model.
        paths: video files and folders to walk; objects are not compared here.
        fps: requested frames per second; None for those of the index.
        all_files: try every file in the folders, with any suffix.
        exact: requested sampling; None for that of the index.
        stride: requested seconds from one window to the next; None for that of the index.
        novelty: requested novelty; None for that of the index.

    Raises:
        UsageError: a path does not exist.
        MovaError: another process writes to the index.
    """
    began = time.perf_counter()
    if any(uri_of(path) is not None for path in paths):
        return None
    roots = [Path(path).resolve() for path in paths]
    records = snapshot.records()
    below = [record for record in records.values() if is_below(record.path, roots)]
    rates = (None, snapshot.meta.frame_rate)
    samplings = (None, snapshot.meta.sampling == EXACT)
    strides = (None, snapshot.meta.step) if snapshot.meta.window > 1 else (None,)
    if (
        fps not in rates
        or exact not in samplings
        or stride not in strides
        or novelty not in (None, snapshot.meta.novelty)
        or any(surely_gone(record.path) or not _same(record) for record in below)
    ):
        return None
    passed_over: Counter[str] = Counter()
    files = [str(path) for path in find_videos(roots, None if all_files else SUFFIXES, passed_over)]
    if not files or any(file not in records for file in files):
        return None
    names = [str(root) for root in roots]
    with sole_writer(snapshot.kept):  # of a local index: its folder
        sources = read_sources(snapshot).with_roots(names, all_files=all_files)
        write_sources(snapshot, sources.after_run(names, ()))
    passed = dict(passed_over.most_common())
    return IngestReport(unchanged=files, passed_over=passed, seconds=time.perf_counter() - began)


def _same(record: VideoRecord) -> bool:
    """Return whether a file has the size and modification time that it had when it was indexed."""
    try:
        status = os.stat(record.path)
    except OSError:
        return False
    return (record.size, record.mtime_ns) == (status.st_size, status.st_mtime_ns)
