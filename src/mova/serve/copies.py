"""Keep the copy of a remote index on this machine up to date while a service runs (`mova.search.cold`)."""

from __future__ import annotations

import logging
import threading

from mova.errors import MovaError
from mova.search.index import Index
from mova.utils.files import local_folder

logger = logging.getLogger(__name__)

SECONDS = 30.0
"""Time between two looks for changes of the tables."""


class Copier:
    """Copies a remote index in a thread of its own; searches read the tables until it has finished.

    Args:
        uri: of the index; a local one needs no copy.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin."""
        if local_folder(self._uri) is None:
            threading.Thread(target=self._run, name="copy of the index", daemon=True).start()

    def close(self) -> None:
        """Look for no further changes."""
        self._ended.set()

    def _run(self) -> None:
        index = Index(self._uri)
        while not self._ended.is_set():
            try:
                index.refresh()
            except MovaError as error:
                logger.debug("%s: no copy was made (%s)", self._uri, error)
            except Exception:
                logger.exception("%s: no copy was made; searches are correct, but slower", self._uri)
            self._ended.wait(SECONDS)
