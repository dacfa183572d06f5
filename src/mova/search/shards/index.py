"""Search several indexes of one model as one index."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from mova.errors import MovaError, UsageError
from mova.scoring.false_alarm import LEAST_SENTENCES, FalseAlarms
from mova.search.cold.state import same_model
from mova.search.evidence import Answer, background_of
from mova.search.index import Index
from mova.search.searchable import SearchableIndex
from mova.search.shards.union import Shard, ShardError, Union
from mova.utils.files import as_list, is_address

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mova.models.encoder import DualEncoder
    from mova.scoring.timeline_decoder import Order
    from mova.search.cold.text_tower import TextTower
    from mova.search.narrow.selection import Reader
    from mova.search.storage.records import Meta

logger = logging.getLogger(__name__)

MOST_THREADS = 32
_Found = TypeVar("_Found")


class ShardedIndex(SearchableIndex):
    """Several indexes of one model, searched at the same time and answered as one.

    Answers, thresholds and false-alarm rates are those of one index that has all of their videos. An index that cannot
    be read is left out; the answer's `unsearched` names it, and a warning is logged.

    Args:
        paths: folders or URIs of indexes, or addresses of services (`mova serve --shard`), whose videos are named by
            address and path. Of a path that several have, the first counts.
        model: as for `Index`.

    Raises:
        IndexMismatchError: they were made with different models or settings. Only the frame rates of single frames
            may differ.
        UsageError: no index can be read.

    >>> for number in range(2):
    ...     index = Index(f"films-{number}.mova", "mova-worlds-tiny")
    ...     print(len(index.add(f"films/world-flat-1-0000{number}.mp4").indexed))
    1
    1
    >>> together = ShardedIndex(["films-0.mova", "films-1.mova"])
    >>> for moment in together.search("Two black discs shrink.", k=2):
    ...     print(Path(moment.video).name, moment.start, moment.end)
    world-flat-1-00000.mp4 3.0 6.5
    world-flat-1-00001.mp4 5.0 10.0
    """

    def __init__(self, paths: str | Path | Iterable[str | Path], model: DualEncoder | str | None = None) -> None:
        names = list(dict.fromkeys(str(path) for path in as_list(paths)))
        if not names:
            raise UsageError("no index: the list is empty")
        self.shards = [Index(name, model if isinstance(model, str) else None) for name in names]
        self.unsearched: dict[str, str] = {}
        """Indexes that the last search left out, with the cause."""
        self._said: dict[str, str] = {}
        self._union: tuple[object, Union] | None = None
        self._searching = False
        super().__init__(names[0], model)

    @property
    def folder(self) -> Path | None:
        """None: an index of several folders has none."""
        return None

    @property
    def uri(self) -> str:
        """The folders and URIs that were given."""
        return ", ".join(shard.uri for shard in self.shards)

    @property
    def exists(self) -> bool:
        """Whether one of the indexes can be read."""
        try:
            return self._reader().exists
        except UsageError:
            return False

    def require_exists(self) -> None:
        """Raise if no index can be read.

        Raises:
            UsageError: with the cause.
        """
        self._reader()

    def adopt(self) -> bool:
        """Store the name of the requested model in each local index that has another one, like `Index.adopt`."""
        requested = self._requested_model
        if not isinstance(requested, str):
            return False
        self._reader()
        others = [
            shard
            for shard in self.shards
            if shard.uri not in self.unsearched
            and not is_address(shard.uri)
            and not same_model(requested, shard.meta.model)
        ]
        for shard in others:
            shard.__dict__["model"] = self.model  # loaded once
        return sum(shard.adopt() for shard in others) > 0

    def refresh(self) -> None:
        """Write what fast searches need for each index, like `Index.refresh`."""
        for shard in self.shards:
            if shard.uri not in self.unsearched:
                try:
                    shard.refresh()
                except MovaError as error:
                    logger.debug("%s: not refreshed (%s)", shard.uri, error)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(min(MOST_THREADS, len(self.shards)))

    def _reader(self) -> Any:
        """Return the indexes in their present state; those that cannot be read are left out.

        Raises:
            UsageError: none can be read.
        """
        if not self._searching:
            self.unsearched = {}
        wanted = [shard for shard in self.shards if shard.uri not in self.unsearched]
        opened = [one for one in self._pool.map(self._open, wanted) if one is not None]
        if not opened:
            causes = "; ".join(self.unsearched.values())
            raise UsageError(f"none of {len(self.shards)} indexes can be read: {causes}")
        state = [(shard.name, id(shard.reader), id(records)) for shard, records in opened]
        if self._union is None or self._union[0] != state:
            self._union = state, Union([shard for shard, _ in opened], self._pool)
        return self._union[1]

    def _open(self, shard: Index) -> tuple[Shard, object] | None:
        try:
            shard.require_exists()
            reader = shard._reader()
            return Shard(shard.uri, reader), reader.records()
        except (MovaError, OSError) as error:
            self._leave_out(shard.uri, error)
            return None

    def _leave_out(self, name: str, error: Exception) -> None:
        cause = str(error)
        self.unsearched[name] = cause
        if self._said.get(name) != cause:
            self._said[name] = cause
            logger.warning("not searched: %s", cause if name in cause else f"{name}: {cause}")

    def _tried(self, work: Callable[[], _Found]) -> _Found:
        """Search; if an index turns out to be damaged, search the others again."""
        if self._searching:
            return work()
        self._reader()
        self._searching = True
        try:
            while True:
                try:
                    found = work()
                    break
                except ShardError as error:
                    self._leave_out(error.name, error)
        finally:
            self._searching = False
        for answer in [found] if isinstance(found, Answer) else found if isinstance(found, list) else []:
            if isinstance(answer, Answer):
                answer.unsearched = dict(self.unsearched)
        return found

    def _text_tower(self, text: str, order: Order, meta: Meta) -> TextTower | None:
        """Return the exported text tower of the first index that has one."""
        if "model" in self.__dict__:
            return None
        towers = (shard._text_tower(text, order, meta) for shard in self.shards if shard.uri not in self.unsearched)
        self._tower = next((tower for tower in towers if tower is not None), None)
        return self._tower

    def _false_alarms(self, encoder: DualEncoder | TextTower, selected: Reader | None = None) -> FalseAlarms | None:
        """Return the statistics of all frames together: each index keeps its own, and the highest of each count."""
        sentences, vectors = background_of(encoder)
        union = self._reader() if selected is None else selected
        if len(sentences) < LEAST_SENTENCES:
            return None
        assert isinstance(union, Union)
        shards, encode = {shard.uri: shard for shard in self.shards}, _Once(vectors)

        def measure(number: int, part: Reader) -> FalseAlarms | None:
            """Return the statistics of one index, or of some of its videos."""
            return shards[union.shards[number].name]._background.of_selection(part, sentences, encode)

        parts = [part for part in union.each(measure) if part is not None]
        return FalseAlarms.union(parts) if parts else None


class _Once:
    """Calls a function once, for several threads."""

    def __init__(self, make: Callable[[], npt.NDArray[np.float32]]) -> None:
        self._make, self._lock = make, Lock()
        self._made: npt.NDArray[np.float32] | None = None

    def __call__(self) -> npt.NDArray[np.float32]:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made
