"""Search an index: everything that reads it and changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from mova.errors import MovaError
from mova.scoring.false_alarm import BAR
from mova.search import query
from mova.search import rerank as rescoring
from mova.search.cold.snapshot import Snapshot
from mova.search.cold.state import model_gone, same_model
from mova.search.cold.text_tower import TextTower
from mova.search.evidence import Answer, judge, require_bar
from mova.search.narrow.distinct import first_distinct
from mova.search.narrow.filter import Filter
from mova.search.narrow.page import first_of_each_video, require_page
from mova.search.narrow.selection import Reader, meta_of
from mova.search.narrow.trim import Trim
from mova.search.open_index import OpenIndex
from mova.search.query import Query, Rescoring
from mova.search.second_stage.reranker import as_reranker
from mova.search.shards.service import ServiceReader
from mova.search.storage.records import VideoRecord
from mova.types import Moment
from mova.utils.files import is_address, resolved
from mova.utils.numbers import require_number

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.scoring.outliers import Method
    from mova.scoring.timeline_decoder import Order
    from mova.search.like.example import Example

logger = logging.getLogger(__name__)
_Found = TypeVar("_Found")


class SearchableIndex(OpenIndex):
    """What one index (`mova.search.index.Index`) and several (`mova.search.shards.index.ShardedIndex`) can be asked."""

    _not_stored = ""

    def _tried(self, work: Callable[[], _Found]) -> _Found:
        """Do what a search does; several indexes repeat it if one of them fails."""
        return work()

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
                is unknown, the model cannot score that way, `false_alarm` is not between 0 and 1, `min_score` is not
                finite, the filter leaves no video, or a query of another type or width.
        """
        require_page(k, skip)
        query.require_rescoring(rescore)
        require_bar(false_alarm)
        if min_score is not None:
            require_number("min_score", min_score)
        options: dict[str, Any] = {"min_score": min_score, "rescore": rescore, "order": order}
        options |= {"false_alarm": false_alarm, "filter": filter, "skip": skip, "trim": trim}
        options["rerank"] = as_reranker(rerank)
        return self._tried(partial(self._search, text, k, options))

    def _search(self, text: Any, k: int, options: dict[str, Any]) -> Any:
        """Return what `search` returns, after its options were checked."""
        if not isinstance(text, str):
            from mova.search.like.queries import search_any

            return search_any(self, text, k, options)
        reader = self._selected(options["filter"] or Filter())
        if not reader.records():
            return Answer()
        encoder = self._encoder(text, options["order"], reader.meta)
        return self._answer(Query.prepare(encoder, text, options["rescore"]), k, options, encoder)

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
        example: Any,
        text: str = "",
        k: int = 10,
        *,
        words: float = 0.5,
        by: str | Sequence[str] | None = None,
        filter: Filter | None = None,
        skip: int = 0,
        trim: Trim | None = None,
    ) -> Answer:
        """Return the k best moments that look like a moment of a video or a picture, best first.

        Args:
            example: `film.mp4@1:23`, the path of a picture, or an `Example`; it is not among the results. Or a picture
                in memory (PIL, an array (H, W, 3), an open file, or the bytes of one), or a vector (d,) of the model.
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
        from mova.search.like.queries import vector_of

        vector = vector_of(self, example)
        known = Example.of(example) if vector is None else vector
        require_page(k, skip)
        wanted = filter or Filter()
        options: dict[str, Any] = {"words": words, "by": by, "one_per_video": wanted.one_per_video}
        answer = Answer(self._tried(partial(self._like, known, text, k, wanted, skip, trim, options)))
        answer.skip, answer.unsearched = skip, dict(getattr(self, "unsearched", {}))
        return answer

    def _like(
        self,
        example: Example | npt.NDArray[np.float32],
        text: str,
        k: int,
        wanted: Filter,
        skip: int,
        trim: Trim | None,
        options: dict[str, Any],
    ) -> list[Moment]:
        """Return what `search_like` returns, after its options were checked."""
        from mova.search.like.query import search_like

        reader, stored = self._selected(wanted), None
        if not isinstance(example, np.ndarray):
            stored = self.stored(example.place, vanished=True)
            options = {**options, "own": self._reader().records().get(resolved(example.place))}
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
        false_alarm: float = BAR,
        filter: Filter | None = None,
    ) -> Answer:
        """Return the k least typical moments, or those of the answers to a query (see `mova.search.highlights`).

        Args:
            text: a query. If nothing shows it (`evidence` is "none"), its nearest moments are compared.
            k: return at most k moments.
            method: "distance" or "lof", the score of a moment (`mova.scoring.outliers`).
            per_video: moments of one video, while there are enough others.
            skip_blank: leave out moments whose picture is black, white, or of one color.
            false_alarm: highest false-alarm rate at which a moment is an answer to the query.
            filter: only these videos, compared with each other.

        Returns:
            The moments, whose scores are those of the method; with the evidence for a query, and how many of its
            moments were `compared`.

        Raises:
            UsageError: the index does not exist, no video passes the filter, k or `per_video` is below 1, or an unknown
                method.
        """
        from mova.search import highlights

        def find() -> Answer:
            """Compare moments."""
            self.require_exists()
            search = partial(self.search, text, false_alarm=false_alarm, filter=filter) if text else None
            store = self._selected(filter or Filter())
            return highlights.find(store, search, k, method=method, per_video=per_video, skip_blank=skip_blank)

        return self._tried(find)

    def adopt(self) -> bool:
        """Store the name of the requested model, if it is the model of the index at another place (see `refresh`).

        What changes an index with a requested model does this, and so does `refresh`. The model is loaded if its name
        is another one than the stored name. A model that is an object is adopted only if the stored folder is gone.
        If the index cannot be written to, this is logged, and the old name stays.

        Returns:
            Whether another name was stored.

        Raises:
            ModelError: the requested model cannot be found or loaded.
            IndexMismatchError: it is another model than that of the index.

        >>> from mova.search.index import Index
        >>> _ = Index("films.mova", "mova-worlds-tiny").add("films")
        >>> Index("films.mova", "mova-worlds-tiny").adopt()  # that is its name already
        False
        """
        requested = self._requested_model
        if requested is None or is_address(self._uri) or not self.exists or same_model(requested, self.meta.model):
            return False
        before, name = self.meta.model, self.model.name
        if name == before or not (isinstance(requested, str) or (model_gone(before) and not model_gone(name))):
            return False
        self.check(self.model)
        try:
            with self._store.lock():
                self._store.rename_model(name)
        except MovaError as error:
            cause = str(error).removeprefix(f"{self._uri}: ")
            if cause != self._not_stored:
                logger.info("%s: used with %s, but it keeps %s as its model: %s", self._uri, name, before, cause)
            self._not_stored = cause
            return False
        logger.info("%s: its model is now %s, which has the fingerprint of %s", self._uri, name, before)
        self.refresh()
        return True

    def refresh(self) -> None:
        """Write what fast searches need (see `mova.search.cold`), if it is not that of the present state.

        What changes an index does this. Failures are logged: the index is sound without these files. If the requested
        model was loaded, its name is stored (`adopt`).
        """
        if not self.exists or isinstance(self._reader(), ServiceReader):
            return
        if "model" in self.__dict__ and self.adopt():
            return
        reader = self._reader()
        if isinstance(reader, Snapshot) and "model" not in self.__dict__:
            return
        from mova.search.cold.refresh import refresh

        refresh(self._store, self.model if "model" in self.__dict__ else None)
        if "model" in self.__dict__:
            self._false_alarms(self.model)

    def videos(self, filter: Filter | None = None) -> list[VideoRecord]:
        """Return the records of all indexed paths, or of those that pass a filter, in order of path.

        Raises:
            UsageError: there are videos, but none passes.
        """
        return list(self._selected(filter or Filter()).records().values()) if self.exists else []

    def __len__(self) -> int:
        return len(self.videos())


def _trimmed(trim: Trim | None, moments: list[Moment], reader: Reader) -> list[Moment]:
    return (trim or Trim()).apply(moments, reader.records(), lambda record: meta_of(reader, record.content).step)
