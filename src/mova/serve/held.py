"""The index of a service, or of many queries: one look for changes per batch, and its texts encoded together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mova.search.cold.text_tower import FEW_SENTENCES, TextTower, UnitVectors
from mova.search.index import Index
from mova.search.narrow.selection import BatchReader
from mova.search.query import has_passages, query_sentences
from mova.search.searchable import SearchableIndex
from mova.search.shards.index import ShardedIndex

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.scoring.timeline_decoder import Order
    from mova.search.narrow.filter import Filter
    from mova.search.storage.records import Meta

_F32 = npt.NDArray[np.float32]


class Held(SearchableIndex):
    """One index or several that are kept open; used by one thread.

    Queries of one sentence are encoded by the exported text tower if there is one, also when the model is loaded for
    other work, so that equal queries have equal answers.
    """

    _holding = False
    _held: Any = None
    _wrapped: tuple[DualEncoder, _Remembering] | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Look for changes of the index once, at the first use inside the block."""
        self._holding, self._held = True, None
        try:
            yield
        finally:
            self._holding, self._held = False, None

    def look_ahead(self, texts: Sequence[str], wanted: Filter | None = None) -> None:
        """Encode the sentences of several queries together, and compare them with all frames at once.

        The answers of `search` to these texts are the same as without, but quicker. Inside a block of `held`.

        Args:
            texts: the queries.
            wanted: the filter of the searches; the frames of other videos are left out.

        Raises:
            Exception: of the model, for any of the texts; what was known before is dropped.
        """
        self._forget()
        single = list(dict.fromkeys(text for text in texts if not has_passages(text)))
        if len(single) < 2:  # nothing to share
            return
        encoder = self.encoder(single[0])
        sentences = list(dict.fromkeys(sentence for text in single for sentence in query_sentences(text)))
        vectors = encoder.encode_sentences(sentences).unit_vectors()
        if isinstance(encoder, TextTower | _Remembering):
            encoder.known = dict(zip(sentences, vectors, strict=True))
        reader = self._reader() if wanted is None else self._selected(wanted)
        if isinstance(reader, BatchReader):
            reader.look_ahead(vectors)

    def _forget(self) -> None:
        for encoder in (self._tower, self._wrapped[1] if self._wrapped else None):
            if encoder is not None:
                encoder.known = {}

    def encoder(self, text: str) -> Any:
        """Return what encodes a text of one sentence: the exported text tower, or the model."""
        return self._encoder(text, "no", self.meta)

    def respects(self) -> list[str]:
        """Return the names of the concepts in which moments can be compared. The text tower has them, if it is new."""
        encoder = self.encoder("a")
        known: list[str] | None = encoder.document.get("respects") if isinstance(encoder, TextTower) else None
        return self.model.respects() if known is None else list(known)

    def _reader(self) -> Any:
        if not self._holding:
            return super()._reader()
        if self._held is None:
            self._held = super()._reader()
        return self._held

    def _encoder(self, text: str, order: Order, meta: Meta) -> Any:
        passages = order != "no" and has_passages(text)
        tower = self._tower
        if tower is not None and not passages and tower.document["fingerprint"] == meta.fingerprint:
            return tower
        chosen = super()._encoder(text, order, meta)
        if isinstance(chosen, TextTower):
            chosen.arrange(FEW_SENTENCES + 1)  # once, for speed; every query then has the same arithmetic
            return chosen
        if passages:
            return chosen
        if self._wrapped is None or self._wrapped[0] is not chosen:
            self._wrapped = chosen, _Remembering(chosen)
        return self._wrapped[1]


class HeldIndex(Held, Index):
    """One index that is kept open."""


class HeldShards(Held, ShardedIndex):
    """Several indexes that are kept open."""

    def _leave_out(self, name: str, error: Exception) -> None:
        self._held = None
        super()._leave_out(name, error)


class _Remembering:
    """A model that knows the vectors of some texts already."""

    def __init__(self, model: DualEncoder) -> None:
        self._model = model
        self.known: Mapping[str, _F32] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode_sentences(self, texts: str | Sequence[str]) -> Any:
        """Encode one or many texts, or return their known vectors."""
        sentences = [texts] if isinstance(texts, str) else list(texts)
        if sentences and all(sentence in self.known for sentence in sentences):
            return UnitVectors(np.stack([self.known[sentence] for sentence in sentences]))
        return self._model.encode_sentences(texts)
