"""The last states of an index, for searches on other machines that take several requests."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from mova.search.cold.snapshot import Snapshot
from mova.search.narrow.selection import restricted
from mova.search.shards.wire import FORMAT, STATE
from mova.search.storage.records import VideoRecord
from mova.serve.held import HeldIndex
from mova.serve.problems import Changed

STATES = 2
"""States of the index that are answered: a search that began before a change ends in its own."""


class States:
    """The last states of an index. Used in the engine's thread."""

    def __init__(self) -> None:
        self._readers: OrderedDict[str, tuple[Any, Mapping[str, VideoRecord]]] = OrderedDict()

    def present(self, index: HeldIndex) -> dict[str, Any]:
        """Return the present state, and the model and settings of the index."""
        index.require_exists()
        reader = index._reader()
        state = str(reader.document[STATE] if isinstance(reader, Snapshot) else reader.state())
        self._readers[state] = reader, reader.records()
        self._readers.move_to_end(state)
        while len(self._readers) > STATES:
            self._readers.popitem(last=False)
        return {"format": FORMAT, STATE: state, "meta": reader.meta.to_dict()}

    def reader(self, state: str) -> Any:
        """Return the index in a state. Tables, which are read as they are now, are left without what came since then.

        Raises:
            Changed: it is no longer known, or lost a video.
        """
        if state in self._readers:
            reader, records = self._readers[state]
            if isinstance(reader, Snapshot) or reader.state() == state:
                return reader
            now = {path: record.content for path, record in reader.records().items()}
            if all(now.get(path) == record.content for path, record in records.items()):
                return restricted(reader, records)
        raise Changed("the index was changed since the search began; run it again")
