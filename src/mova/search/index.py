"""An index of videos: add files, search them with text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from mova.errors import needs_packages
from mova.scoring.false_alarm import BAR
from mova.search import query
from mova.search import rerank as rescoring
from mova.search.cold.snapshot import Snapshot
from mova.search.cold.text_tower import TextTower
from mova.search.cold.unchanged import report_unchanged
from mova.search.evidence import Answer, judge, require_bar
from mova.search.ingest.report import IngestReport, Progress
from mova.search.narrow.distinct import first_distinct
from mova.search.narrow.filter import Filter
from mova.search.narrow.page import first_of_each_video, require_page
from mova.search.narrow.trim import Trim
from mova.search.open_index import OpenIndex
from mova.search.query import Query, Rescoring
from mova.search.second_stage.reranker import as_reranker
from mova.search.status import IndexStatus, read_status
from mova.search.storage.records import VideoRecord
from mova.search.storage.sources import Root, Sources, read_sources, write_sources
from mova.types import Moment
from mova.utils.files import as_list, is_below, resolved, roots_of
from mova.video.limits import TIME_LIMIT

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.scoring.outliers import Method
    from mova.scoring.timeline_decoder import Order
    from mova.search.like.example import Example
    from mova.search.narrow.selection import Reader
    from mova.search.storage.verify import Verification
    from mova.search.storage.versions import Versions


class Index(OpenIndex):
    """Frame embeddings of videos, searched with text.

    Opening an index reads only its own description. The model is loaded when it is first needed.

    Args:
        path: a folder, or any URI that LanceDB connects to; created by `add`.
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
            paths: videos, folders, manifests and URIs, or one of them; see `mova.search.ingest.listing.list_files`.
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
        requested, settings = as_list(paths), dict[str, Any](fps=fps, all_files=all_files, exact=exact)
        settings |= {"stride": stride, "novelty": novelty}
        if self.exists and isinstance(reader := self._reader(), Snapshot) and reader.is_of(self._requested_model):
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

    def refresh(self) -> None:
        """Write what fast searches need (see `mova.search.cold`), if it is not that of the present state.

        `add`, `update` and `remove` do this. Failures are logged: the index is sound without these files.
        """
        if not self.exists or (isinstance(self._reader(), Snapshot) and "model" not in self.__dict__):
            return
        from mova.search.cold.refresh import refresh

        refresh(self._store, self.model if "model" in self.__dict__ else None)
        if "model" in self.__dict__:
            self._false_alarms(self.model)

    @property
    def sources(self) -> Sources:
        """The files and folders that were added, and the files that could not be read."""
        return read_sources(self)

    @overload
    def search(self, text: str, k: int = 10, **options: Any) -> Answer: ...

    @overload
    def search(self, text: Any, k: int = 10, **options: Any) -> Any: ...

    def search(  # type: ignore[misc]
        self,
        text: Any,
        k: int = 10,
        *,
        min_score: float | None = None,
        rescore: Rescoring = "auto",
        order: Order = "auto",
        false_alarm: float = BAR,
        filter: Filter | None = None,
        skip: int = 0,
        trim: Trim | None = None,
        rerank: Any = None,
    ) -> Any:
        """Return the k best moments for a sentence or a paragraph, best first (see `mova.search.query`).

        Args:
            text: a sentence or a paragraph. Or a vector (d,) of the model; a picture (PIL, an array (H, W, 3), an open
                file, or a `pathlib.Path`); or a list of texts, vectors and pictures, whose texts are encoded together.
            k: return at most k moments.
            min_score: leave out moments below this cosine; applied before they are scored again.
            rescore: how the best moments are scored again (`mova.search.rerank`). Scores by "rule" and "masks" are not
                cosines.
            order: whether the sentences of a paragraph are in temporal order: "auto" (by the evidence of each video),
                "yes" or "no". Ordered sentences become one passage (`mova.search.paragraph`).
            false_alarm: highest false-alarm rate that counts as evidence (`mova.search.evidence`).
            filter: which videos are searched, and which of their moments count, as in an index of these videos alone.
            skip: leave out this many of the best moments, for the next page of an answer.
            trim: time around the moments; default: none is shorter than one sampling step.
            rerank: another model that is asked about the first moments: a video LLM, a dual encoder, the name of one,
                or a `mova.Reranker`.

        Returns:
            A list. Its `evidence` is "none" if nothing here shows the text; the moments are then only the nearest. It
            is None for vectors and pictures: rates are measured with texts. For a list, a list of such lists.

        Raises:
            UsageError: the index does not exist, the text contains no words, k is below 1, `skip` below 0, `rescore`
                is unknown, the model cannot score that way, `false_alarm` is not between 0 and 1, the filter leaves
                no video, or a query of another type or width.
        """
        require_page(k, skip)
        query.require_rescoring(rescore)
        require_bar(false_alarm)
        options: dict[str, Any] = {"min_score": min_score, "rescore": rescore, "order": order}
        options |= {"false_alarm": false_alarm, "filter": filter, "skip": skip, "trim": trim}
        options["rerank"] = as_reranker(rerank)
        if not isinstance(text, str):
            from mova.search.like.queries import search_any

            return search_any(self, text, k, options)
        reader = self._selected(filter or Filter())
        if not reader.records():
            return Answer()
        encoder = self._encoder(text, order, reader.meta)
        return self._answer(Query.prepare(encoder, text, rescore), k, options, encoder)

    def _answer(
        self, prepared: Query, k: int, options: Mapping[str, Any], encoder: DualEncoder | TextTower | None = None
    ) -> Answer:
        """Return the answer to an encoded query; without an encoder (vectors, pictures) it has no false-alarm rate."""
        wanted, second, skip = options["filter"] or Filter(), options["rerank"], options["skip"]
        reader, once = self._selected(wanted), wanted.one_per_video
        if not reader.records():
            return Answer()
        alarms = None
        if encoder is not None:
            alarms = self._false_alarms(encoder, reader if wanted.chooses_videos else None)

        def best(candidates: int) -> list[Moment]:
            """Return the best moments of the first stage, judged and scored again."""
            moments = query.search(reader, prepared, candidates, min_score=options["min_score"], one_per_video=once)
            if encoder is not None:
                if not isinstance(encoder, TextTower):
                    from mova.search import paragraph

                    moments = paragraph.find_passages(reader, encoder, prepared, moments, options["order"])
                moments = rescoring.rescore(reader, encoder, prepared, judge(moments, alarms, options["false_alarm"]))
            return first_of_each_video(moments) if once else moments

        count = skip + k if second is None else max(skip + k, second.top)
        found = first_distinct(best, reader, count, rescoring.candidates(prepared, count), wanted)
        ranked, done = found, None
        if second is not None:
            measured = second.measured(self.folder, reader.meta)
            ranked, done = second.rerank(found, _trimmed(None, found, reader), prepared.sentences, measured)
        moments = _trimmed(options["trim"], ranked[: skip + k], reader)
        return Answer(moments, alarms, options["false_alarm"], skip, done, found)

    def search_like(
        self,
        example: Example | str,
        text: str = "",
        k: int = 10,
        *,
        words: float = 0.5,
        by: str | Sequence[str] | None = None,
        filter: Filter | None = None,
        skip: int = 0,
        trim: Trim | None = None,
    ) -> list[Moment]:
        """Return the k best moments that look like a moment of a video or a picture, best first.

        Args:
            example: `film.mp4@1:23`, the path of a picture, or an `Example`; it is not among the results.
            text: words that the moments should show too.
            k: return at most k moments.
            words: weight of the words, from 0 to 1.
            by: what the moments should share with the example, and nothing else: a concept ("the place"), or a list of
                its values ("a dog, a cat, a bird"). Not together with a text.
            filter, skip, trim: as for `search`.

        Raises:
            UsageError: the index or the file does not exist, the time is after the end, an unknown concept, or the
                filter leaves no video.
            VideoError: the file cannot be read.
        """
        from mova.search.like.example import Example
        from mova.search.like.query import search_like

        if isinstance(example, str):
            example = Example.parse(example)
        require_page(k, skip)
        wanted = filter or Filter()
        reader, stored = self._selected(wanted), self.stored(example.place)
        own = self._reader().records().get(resolved(example.place))
        options: dict[str, Any] = {"words": words, "by": by, "own": own, "one_per_video": wanted.one_per_video}
        best = partial(search_like, reader, lambda: self.model, example, stored, text, **options)
        found = first_distinct(best, reader, skip + k, skip + k, wanted)
        return _trimmed(trim, found[skip:], reader)

    def highlights(
        self,
        text: str = "",
        k: int = 10,
        *,
        method: Method = "distance",
        per_video: int = 3,
        skip_blank: bool = True,
        filter: Filter | None = None,
    ) -> Answer:
        """Return the k least typical moments, or those of the answers to a query (see `mova.search.highlights`).

        Args:
            text: a query; if nothing shows it (`evidence` is "none"), its nearest moments are returned.
            k: return at most k moments.
            method: "distance" or "lof", the score of a moment (`mova.scoring.outliers`).
            per_video: moments of one video, while there are enough others.
            skip_blank: leave out moments whose picture is black, white, or of one color.
            filter: only these videos, compared with each other.

        Raises:
            UsageError: the index does not exist, no video passes the filter, k or `per_video` is below 1, or an unknown
                method.
        """
        from mova.search import highlights

        self.require_exists()
        search = (lambda count: self.search(text, count, filter=filter)) if text else None
        store = self._selected(filter or Filter())
        return highlights.find(store, search, k, method=method, per_video=per_video, skip_blank=skip_blank)

    def videos(self, filter: Filter | None = None) -> list[VideoRecord]:
        """Return the records of all indexed paths, or of those that pass a filter, in order of path.

        Raises:
            UsageError: there are videos, but none passes.
        """
        return list(self._selected(filter or Filter()).records().values()) if self.exists else []

    def __len__(self) -> int:
        return len(self.videos())

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


def _trimmed(trim: Trim | None, moments: list[Moment], reader: Reader) -> list[Moment]:
    return (trim or Trim()).apply(moments, reader.records(), reader.meta.step)
