"""An index of videos: add files, search them with text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova.errors import needs_packages
from mova.search.cold.snapshot import Snapshot
from mova.search.cold.unchanged import report_unchanged
from mova.search.ingest.report import IngestReport, Progress
from mova.search.searchable import SearchableIndex
from mova.search.status import IndexStatus, read_status
from mova.search.storage.sources import Root, Sources, read_sources, write_sources
from mova.utils.files import as_list, expand_patterns, is_below, roots_of
from mova.video.limits import TIME_LIMIT

if TYPE_CHECKING:
    from mova.search.storage.verify import Verification
    from mova.search.storage.versions import Versions


class Index(SearchableIndex):
    """Frame embeddings of videos, searched with text.

    Opening an index reads only its own description. The model is loaded when it is first needed.

    Args:
        path: a folder, or any URI that LanceDB connects to; created by `add`. Or the address of a service (`mova serve
            --shard`), to search only.
        model: a model, or a name or folder that `mova.load` takes. Default: the model that the index was made with, and
            for a new index the default model.

    Raises:
        IndexMismatchError: the index was made with another model (for a name: raised once it is loaded), or has another
            layout. Nothing stored is changed.

    >>> index = Index("films.mova", "mova-worlds-tiny")
    >>> len(index.add("films").indexed)
    2
    >>> moment = index.search("Two black discs shrink.", k=1)[0]
    >>> Path(moment.video).name, moment.start, moment.end
    ('world-flat-1-00000.mp4', 3.0, 6.5)
    >>> [answer[0].start for answer in index.search(["Two black discs shrink.", "A small orange crescent bounces."])]
    [3.0, 6.5]
    >>> index.search(index.model.encode("Two black discs shrink."), k=1)[0].start
    3.0
    >>> [Path(record.path).name for record in index.videos()]
    ['world-flat-1-00000.mp4', 'world-flat-1-00001.mp4']
    >>> index.status().frames, index.verify().problems
    (40, ())
    >>> len(index.remove("films"))
    2
    """

    def add(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        fps: float | None = None,
        progress: Progress | None = None,
        prune: bool = True,
        all_files: bool = False,
        time_limit: float = TIME_LIMIT,
        exact: bool | None = None,
        threads: int | None = None,
        ray: str | None = None,
        stride: float | None = None,
        novelty: float | None = None,
    ) -> IngestReport:
        """Bring the index up to date with files and folders; only new and changed content is read.

        Args:
            paths: videos, folders, patterns, manifests and URIs, or one of them; see `mova.search.ingest.listing`.
            fps: sampled frames per second (default: the index's own rate, and for a new index the model's).
            progress: called after every encoded chunk, see `mova.search.ingest.report.Progress`.
            prune: drop entries of files that no longer exist below the given folders (never outside them).
            all_files: try every file in the folders, with any suffix.
            time_limit: seconds after which a file whose decoding stands still counts as broken.
            exact: decode exactly the frames on display at the sampling times; see `ingest.plan.make_plan`.
            threads: of the decoder, and as many of the model (default: as FFmpeg and torch choose).
            ray: address of a Ray cluster on which files are read and encoded, see `mova.search.ingest.cluster`.
            stride: seconds from one window to the next, for encoders of windows (default: as in the index, else half).
            novelty: store one vector for a stretch of frames within this cosine distance of it, see
                `mova.scoring.windows.stretches` (default: as in the index, else 0: one for every frame).

        Raises:
            IndexMismatchError: the index has another model, or other settings; it stays as it is.
            UsageError: a path does not exist, a new index has no videos, a folder lost all its videos, or the
                frame rate, the stride or the novelty is not possible.
            MovaError: another process writes to the index.
        """
        requested, settings = expand_patterns(as_list(paths)), dict[str, Any](fps=fps, all_files=all_files, exact=exact)
        settings |= {"stride": stride, "novelty": novelty}
        local = self.folder is not None and self.exists
        if local and isinstance(reader := self._reader(), Snapshot) and reader.is_of(self._requested_model):
            unchanged = report_unchanged(reader, requested, **settings)
            if unchanged is not None:
                return unchanged
        with needs_packages():
            from mova.search.ingest import plan, run
            from mova.utils.cluster import Cluster

        planned = plan.make_plan(self._store, requested, lambda: self.model, **settings)
        nodes = None if ray is None else Cluster.of(ray, self._requested_model, self.model_name)
        report = run.run(
            self._store, planned, progress=progress, prune=prune, time_limit=time_limit, threads=threads, cluster=nodes
        )
        self.refresh()
        return report

    def update(
        self, *, progress: Progress | None = None, time_limit: float = TIME_LIMIT, threads: int | None = None
    ) -> IngestReport:
        """Bring the index up to date with every file and folder that was ever added; see `add`.

        Files and folders that cannot be found (a drive that is not mounted), and folders that lost all their videos,
        are left as they are. What was removed with `remove` is not read until it is added again.

        Raises:
            UsageError: the index does not exist, knows no files or folders, or none of them can be found.
        """
        present = self.roots()
        with needs_packages():
            from mova.search.ingest import plan, run

        planned = plan.plan_update(self._store, present, self.sources, lambda: self.model)
        report = run.run(self._store, planned, progress=progress, time_limit=time_limit, threads=threads)
        self.refresh()
        return report

    def roots(self) -> list[Root]:
        """Return the files and folders that were added and can be found; raise like `update` if there are none."""
        self.require_exists()
        return self.sources.present(self._uri)

    @property
    def sources(self) -> Sources:
        """The files and folders that were added, and the files that could not be read."""
        return read_sources(self)

    def remove(self, paths: str | Path | Iterable[str | Path]) -> list[str]:
        """Forget files, and all files below folders, whether they still exist or not.

        `update` does not read them again, until `add` is given them, or a folder that contains them.

        Args:
            paths: files and folders, or one of them.

        Returns:
            The paths that were dropped.
        """
        roots = roots_of(as_list(paths))
        with self._store.lock():
            dropped = [path for path in self._store.records() if is_below(path, roots)]
            self._store.drop(dropped)
            self._store.sweep()
            self._store.seal()
            write_sources(self, self.sources.without(roots, dropped))
        self.refresh()
        return dropped

    def status(self) -> IndexStatus:
        """Return the model, the counts, and the files that are missing or failed (see `mova.search.status`).

        Raises:
            UsageError: the index does not exist.
        """
        return read_status(self._reader())

    @property
    def versions(self) -> Versions:
        """Kept versions, to go back to (`mova.search.storage.versions`)."""
        from mova.search.storage.versions import Versions

        return Versions(self._store)

    def verify(self) -> Verification:
        """Read every file, record and vector, and list what is damaged (see `mova.search.storage.verify`).

        Raises:
            UsageError: the index does not exist.
        """
        from mova.search.storage.verify import verify

        return verify(self._store)
