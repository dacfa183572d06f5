"""The last states of an index, for searches on other machines that take several requests."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from mova.search.cold.snapshot import Snapshot
from mova.search.shards.wire import FORMAT, STATE
from mova.serve.held import HeldIndex
from mova.serve.problems import Changed

STATES = 2
"""States of the index that are answered: a search that began before a change ends in its own."""


class States:
    """The last states of an index. Used in the engine's thread."""

    def __init__(self) -> None:
        self._readers: OrderedDict[str, Any] = OrderedDict()

    def present(self, index: HeldIndex) -> dict[str, Any]:
        """Return the present state, and the model and settings of the index."""
        index.require_exists()
        reader = index._reader()
        state = str(reader.document[STATE] if isinstance(reader, Snapshot) else reader.state())
        self._readers[state] = reader
        self._readers.move_to_end(state)
        while len(self._readers) > STATES:
            self._readers.popitem(last=False)
        return {"format": FORMAT, STATE: state, "meta": reader.meta.to_dict()}

    def reader(self, state: str) -> Any:
        """Return the index in a state.

        Raises:
            Changed: it is no longer known.
        """
        if state not in self._readers:
            raise Changed("the index was changed since the search began; run it again")
        return self._readers[state]
