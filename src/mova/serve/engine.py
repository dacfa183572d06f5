"""The model and the index behind one thread: loaded once, one call at a time, callers wait in line.

Neither a model nor its caches are made for several threads. Everything that computes with the model goes through
`Engine.run`; what only reads records goes through `mova.serve.library.catalog`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mova.errors import MovaError
from mova.models.encoder import DualEncoder
from mova.search.index import Index
from mova.serve.problems import Busy
from mova.serve.settings import WAITING

logger = logging.getLogger(__name__)
T = TypeVar("T")
UNKNOWN = "the model cannot be loaded; the log of the service says why"


class Engine:
    """Runs functions of the index, one after another, in one thread.

    Args:
        path: folder of the index, or any LanceDB URI; it need not exist yet.
        model: a model or its name; None for that of the index.
    """

    def __init__(self, path: str, model: DualEncoder | str | None = None) -> None:
        self._path, self._model = path, model
        self._index = Index(path, model)
        self._thread = ThreadPoolExecutor(1, "model")
        self._lock = threading.Lock()
        self._waiting = 0
        self._failure: str | None = None
        self.loaded = False
        self.calls = 0
        self.seconds = 0.0

    @property
    def waiting(self) -> int:
        """Number of calls that run or wait."""
        return self._waiting

    @property
    def state(self) -> str:
        """State of the model: "ready", "loading", "failed"."""
        if self.loaded:
            return "ready"
        return "loading" if self._failure is None else "failed"

    @property
    def failure(self) -> str | None:
        """Why the model cannot be loaded, if it cannot."""
        return self._failure

    def warm_up(self) -> None:
        """Begin to load the model, if there is an index."""
        self._thread.submit(self._load_quietly)

    def _load_quietly(self) -> None:
        try:
            if self._index.exists:
                self._load()
        except Exception as error:  # noqa: BLE001 - the next call raises it again, to the one who asked
            logger.debug("the model was not loaded: %s", error)

    def _load(self) -> None:
        try:
            _ = self._index.model
            self.loaded, self._failure = True, None
        except Exception as error:
            self._failure = str(error) if isinstance(error, MovaError) else UNKNOWN
            if self._failure is UNKNOWN:
                logger.exception("the model cannot be loaded")
            self._index = Index(self._path, self._model)  # tries again at the next call
            raise

    async def run(self, work: Callable[[Index], T], *, model: bool = True) -> T:
        """Run a function of the index in the engine's thread.

        Args:
            work: called with the index.
            model: whether it needs the model, which is then loaded first.

        Raises:
            Busy: too many calls wait already.
        """
        return await asyncio.wrap_future(self.submit(work, model=model))

    def submit(self, work: Callable[[Index], T], *, model: bool = True) -> Future[T]:
        """Run a function as `run` does, from any thread; return its future."""
        with self._lock:
            if self._waiting >= WAITING:
                raise Busy("too many requests wait for the model; try again")
            self._waiting += 1
        try:
            future = self._thread.submit(self._call, work, model)
        except RuntimeError as error:
            self._leave()
            raise Busy("the service is stopping") from error
        future.add_done_callback(self._leave)  # also if it is cancelled before it runs
        return future

    def _leave(self, _: object = None) -> None:
        with self._lock:
            self._waiting -= 1

    def _call(self, work: Callable[[Index], T], model: bool) -> T:
        began = time.perf_counter()
        try:
            if model and self._index.exists and not self.loaded:
                self._load()
            return work(self._index)
        finally:
            with self._lock:
                self.calls += 1
                self.seconds += time.perf_counter() - began

    def close(self) -> None:
        """Stop; calls that wait are cancelled."""
        self._thread.shutdown(wait=False, cancel_futures=True)
