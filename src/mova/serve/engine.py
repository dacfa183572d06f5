"""The model and the index behind one thread: loaded once, one call at a time, callers wait in line.

Neither a model nor its caches are made for several threads. Everything that computes with the model goes through
`Engine`; what only reads records goes through `mova.serve.library.catalog`.

Searches that wait while the thread is busy are taken together: their texts are encoded in one batch and compared with
all frames at once (`mova.serve.held`). Their answers are those of one after another.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mova.errors import MovaError
from mova.serve.held import HeldIndex
from mova.serve.problems import Busy
from mova.serve.settings import ANSWER_SECONDS, WAITING

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder

logger = logging.getLogger(__name__)
T = TypeVar("T")
Needs = Literal["model", "text", "index"]
"""What a call uses: the whole model, what encodes single sentences (the exported text tower, or the model), neither."""
UNKNOWN = "the model cannot be loaded; the log of the service says why"
BATCH = 32
"""Searches that are taken together, at most."""


@dataclass(frozen=True, eq=False)
class _Search:
    text: str
    work: Callable[[HeldIndex], Any]
    needs: Needs
    future: Future[Any]


class Engine:
    """Runs functions of the index, one after another, in one thread.

    Args:
        path: folder of the index, or any LanceDB URI; it need not exist yet.
        model: a model or its name; None for that of the index.
        hold: a block inside of which the videos do not change, for searches that are taken together.
    """

    def __init__(
        self,
        path: str,
        model: DualEncoder | str | None = None,
        hold: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._path, self._model, self._hold = path, model, hold
        self._index = HeldIndex(path, model)
        self._thread = ThreadPoolExecutor(1, "model")
        self._lock = threading.Lock()
        self._waiting = 0
        self._searches: deque[_Search] = deque()
        self._coming = False
        self._failure: str | None = None
        self._opened: set[Needs] = {"index"}
        self.calls = self.batches = 0
        self.seconds = 0.0

    @property
    def waiting(self) -> int:
        """Number of calls that run or wait."""
        return self._waiting

    @property
    def loaded(self) -> bool:
        """Whether texts can be encoded without loading anything."""
        return "text" in self._opened

    @property
    def state(self) -> str:
        """State of the model: "ready", "loading", "failed"."""
        if self.loaded and self._failure is None:
            return "ready"
        return "loading" if self._failure is None else "failed"

    @property
    def failure(self) -> str | None:
        """Why the model cannot be loaded, if it cannot."""
        return self._failure

    def warm_up(self) -> None:
        """Begin to load what encodes texts, if there is an index."""
        self._thread.submit(self._load_quietly)

    def _load_quietly(self) -> None:
        try:
            self._open("text")
        except Exception as error:  # noqa: BLE001 - the next call raises it again, to the one who asked
            logger.debug("the model was not loaded: %s", error)

    def _open(self, needs: Needs) -> None:
        """Load what a call needs, if there is an index."""
        if needs in self._opened or not self._index.exists:
            return
        try:
            if needs == "model":
                _ = self._index.model
            else:
                self._index.encoder("a")
            self._opened |= {"text", needs}
            self._failure = None
            self._index.adopt()
        except Exception as error:
            self._failure = str(error) if isinstance(error, MovaError) else UNKNOWN
            if self._failure is UNKNOWN:
                logger.exception("the model cannot be loaded")
            self._index, self._opened = HeldIndex(self._path, self._model), {"index"}  # tries again at the next call
            raise

    async def run(self, work: Callable[[HeldIndex], T], *, needs: Needs = "model") -> T:
        """Run a function of the index in the engine's thread.

        Args:
            work: called with the index.
            needs: what is loaded first.

        Raises:
            Busy: too many calls wait already, or it took too long.
        """
        return await _within_limit(self.submit(work, needs=needs))

    async def search(self, text: str, work: Callable[[HeldIndex], T], *, needs: Needs = "text") -> T:
        """Run a function that searches for a text; those that wait are taken together.

        Args:
            text: is encoded together with those of the others; may be empty.
            work: called with the index. If it fails, the others are not affected.
            needs: what is loaded first.

        Raises:
            Busy: too many calls wait already, or it took too long.
        """
        future: Future[T] = Future()
        self._enter()
        future.add_done_callback(self._leave)  # also if it is cancelled before it runs
        with self._lock:
            self._searches.append(_Search(text, work, needs, future))
            start, self._coming = not self._coming, True
        if start:
            self._take_later()
        return await _within_limit(future)

    def submit(self, work: Callable[[HeldIndex], T], *, needs: Needs = "model") -> Future[T]:
        """Run a function as `run` does, from any thread; return its future."""
        self._enter()
        try:
            future = self._thread.submit(self._call, work, needs)
        except RuntimeError as error:
            self._leave()
            raise Busy("the service is stopping") from error
        future.add_done_callback(self._leave)
        return future

    def _enter(self) -> None:
        with self._lock:
            if self._waiting >= WAITING:
                raise Busy("too many requests wait for the model; try again")
            self._waiting += 1

    def _leave(self, _: object = None) -> None:
        with self._lock:
            self._waiting -= 1

    def _call(self, work: Callable[[HeldIndex], T], needs: Needs) -> T:
        began = time.perf_counter()
        try:
            self._open(needs)
            return work(self._index)
        finally:
            with self._lock:
                self.calls += 1
                self.seconds += time.perf_counter() - began

    def _take_later(self) -> None:
        """Take the searches that wait after the calls that were there before them."""
        try:
            self._thread.submit(self._take)
        except RuntimeError:
            with self._lock:
                waiting, self._coming = list(self._searches), False
                self._searches.clear()
            for search in waiting:
                if search.future.set_running_or_notify_cancel():
                    search.future.set_exception(Busy("the service is stopping"))

    def _take(self) -> None:
        with self._lock:
            count = min(BATCH, len(self._searches))
            batch = [self._searches.popleft() for _ in range(count)]
            self._coming = bool(self._searches)
        if self._coming:
            self._take_later()
        batch = [search for search in batch if search.future.set_running_or_notify_cancel()]
        if not batch:
            return
        with self._lock:
            self.calls += len(batch)
            self.batches += 1
        began = time.perf_counter()
        with self._index.held(), self._hold():
            self._look_ahead([search.text for search in batch if search.text])
            for search in batch:
                try:
                    self._open(search.needs)
                    search.future.set_result(search.work(self._index))
                except BaseException as error:  # noqa: BLE001 - belongs to the one who asked
                    search.future.set_exception(error)
        with self._lock:
            self.seconds += time.perf_counter() - began

    def _look_ahead(self, texts: list[str]) -> None:
        try:
            self._open("text")
            if self._index.exists:
                self._index.look_ahead(texts)
        except Exception as error:  # noqa: BLE001 - each search meets its own part of the problem
            logger.debug("texts were not encoded together: %s", error)

    def close(self) -> None:
        """Stop; calls that wait are cancelled."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            waiting = list(self._searches)
            self._searches.clear()
        for search in waiting:
            search.future.cancel()


async def _within_limit(future: Future[T]) -> T:
    """Wait for a call; if its caller is gone or it takes too long, and it has not begun, it is not made at all."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asyncio.wrap_future(future)
    except TimeoutError:
        raise Busy("this takes too long at present; try again") from None
