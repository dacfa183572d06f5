"""Bring an index up to date with the files of a plan. Incremental by content, resumable after a kill at any moment."""

from __future__ import annotations

import time
from collections.abc import Mapping

from mova.errors import UsageError
from mova.models.precision import model_threads
from mova.search.ingest.cluster import read_on_cluster
from mova.search.ingest.here import read_here
from mova.search.ingest.listing import Listing
from mova.search.ingest.plan import IngestPlan
from mova.search.ingest.report import IngestReport, Progress
from mova.search.ingest.writer import IndexWriter
from mova.search.storage.records import VideoRecord
from mova.search.storage.sources import read_sources, write_sources
from mova.search.storage.store import Store
from mova.utils.cluster import Cluster
from mova.utils.files import is_below
from mova.video.isolated import Isolated
from mova.video.limits import TIME_LIMIT


def run(
    store: Store,
    plan: IngestPlan,
    *,
    progress: Progress | None = None,
    prune: bool = True,
    time_limit: float = TIME_LIMIT,
    threads: int | None = None,
    cluster: Cluster | None = None,
) -> IngestReport:
    """Bring an index up to date with the files of a plan.

    Args:
        store: the index; created if it does not exist.
        plan: from `make_plan`.
        progress: see `Progress`.
        prune: drop entries of files that no longer exist below the plan's folders (never outside them).
        time_limit: seconds after which a file whose decoding stands still counts as broken.
        threads: of the decoder, and as many of the model (default: as FFmpeg and torch choose).
        cluster: decode and encode there; None: in this process.

    Raises:
        IndexMismatchError: the index was made with another model, frame rate or layout. Nothing is changed.
        UsageError: a folder lost all its videos.
        MovaError: another process writes to the index.
    """
    began = time.perf_counter()
    with store.lock(new=True), Isolated(time_limit) as decoder, model_threads(threads):
        if store.exists:
            store.require(plan.meta)
        else:
            store.create(plan.meta)
        roots = plan.listing.roots
        gone = _gone(store.records(), plan.listing) if prune else []
        if not plan.is_update:
            write_sources(store, read_sources(store).with_roots(roots, all_files=plan.all_files))
        swept = store.sweep()
        writer = IndexWriter(store, plan, progress)
        files = [file for file in plan.listing.files if file not in plan.forgotten]
        if cluster is None:
            read_here(files, plan, writer, decoder, threads)
        else:
            read_on_cluster(files, plan, writer, cluster, time_limit)
        if writer.finish(gone) or swept:
            store.tidy(last=True)
            store.seal()
        write_sources(store, read_sources(store).after_run(roots, writer.report.failed))
    writer.report.seconds = time.perf_counter() - began
    return writer.report


def _gone(records: Mapping[str, VideoRecord], listing: Listing) -> list[str]:
    """Return indexed paths below the folders whose file no longer exists.

    Raises:
        UsageError: a folder no longer contains any video although the index has some from it.
    """
    for root in listing.roots:
        if count := listing.count_lost(records, root):
            raise UsageError(
                f"{root}: no longer contains any video, but the index has {count} from it. Is the drive "
                f"mounted? Nothing was changed. "
                f"To remove them from the index, use `mova forget {root}` with the same --index."
            )
    folders = [root for root in listing.roots if listing.is_folder(root)]
    return sorted(path for path in records if is_below(path, folders) and listing.is_gone(path))
