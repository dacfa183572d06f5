"""An index on disk and its model, each opened when it is first needed."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova.errors import ModelError, UsageError, needs_packages
from mova.search import query
from mova.search.cold.snapshot import Snapshot
from mova.search.cold.state import has_tables, model_gone, same_model, tower_folder
from mova.search.cold.text_tower import TextTower
from mova.search.evidence import Background, background_of
from mova.search.narrow.filter import Filter
from mova.search.narrow.selection import select
from mova.search.shards.service import ServiceReader
from mova.search.storage.records import Meta
from mova.search.stored_frames import stored_frames
from mova.utils.files import is_address, local_folder, resolved

if TYPE_CHECKING:
    from mova.models.embeddings import VideoEmbedding
    from mova.models.encoder import DualEncoder
    from mova.scoring.false_alarm import FalseAlarms
    from mova.scoring.timeline_decoder import Order
    from mova.search.narrow.selection import Reader
    from mova.search.storage.store import Store


class OpenIndex:
    """What every use of an index needs; see `mova.search.index.Index`."""

    def __init__(self, path: str | Path, model: DualEncoder | str | None = None) -> None:
        self._uri = str(path)
        self._folder = local_folder(self._uri)
        self._snapshot: Snapshot | None = None
        self._service: ServiceReader | None = None
        self._tower: TextTower | None = None
        self._background = Background(self._reader)
        self._selection: tuple[object, object, Reader] | None = None
        self._requested_model = model
        if model is not None and not isinstance(model, str):
            self.check(model)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._uri!r})"

    @property
    def folder(self) -> Path | None:
        """The folder of the index; None if it is remote."""
        return self._folder

    @property
    def uri(self) -> str:
        """The folder or URI that was given."""
        return self._uri

    @property
    def connection(self) -> Any:
        """The connection of LanceDB to the tables."""
        return self._store.connection

    @cached_property
    def _store(self) -> Store:
        """The tables. Importing LanceDB takes about one second, so what a snapshot answers does not use them."""
        if is_address(self._uri):
            raise UsageError(
                f"{self._uri}: is a service, whose index can only be searched; change it on its own machine"
            )
        with needs_packages():
            from mova.search.storage.store import Store

            return Store(self._uri)

    def _reader(self) -> Any:
        """Return the snapshot if it has the present state of the tables, else the tables; or the service that has them.

        Raises:
            UsageError: the index does not exist.
            MovaError: a service cannot be reached, or refuses.
        """
        if is_address(self._uri):
            self._service = ServiceReader.open(self._uri, self._service)
            return self._service
        if self._folder is not None:
            if not has_tables(self._folder):
                raise UsageError(f"{self._uri}: no index here; create one with `mova index PATH...` first")
            self._snapshot = Snapshot.open(self._folder, self._snapshot)
        elif self._store.exists:
            self._snapshot = Snapshot.open(self._store.kept, self._snapshot, self._store)
        return self._snapshot or self._store

    @property
    def exists(self) -> bool:
        """Whether anything was ever indexed here."""
        return (self._folder is None or has_tables(self._folder)) and self._reader().exists

    @property
    def meta(self) -> Meta:
        """The model, frame rate and layout that the index was made with."""
        return self._reader().meta

    @property
    def model_name(self) -> str:
        """Name of the model, without loading it."""
        if self.exists:
            return self.meta.model
        if self._requested_model is not None and not isinstance(self._requested_model, str):
            return self._requested_model.name
        from mova.models.known import DEFAULT_MODEL

        return self._requested_model or DEFAULT_MODEL

    @cached_property
    def model(self) -> DualEncoder:
        """The encoder, loaded on first use.

        Raises:
            ModelError: it cannot be found or loaded.
            IndexMismatchError: the index was made with another one.
        """
        if self._requested_model is not None and not isinstance(self._requested_model, str):
            return self._requested_model
        self._require_folder()
        with needs_packages():
            from mova.models.registry import load

            model = load(self._requested_model or self.model_name)
        self.check(model)
        return model

    def _require_folder(self) -> None:
        """Raise if the model of the index is in a folder that is not there any more, before anything is imported.

        Raises:
            ModelError: with what to do.
        """
        name = self.model_name
        if self.exists and same_model(self._requested_model, name) and model_gone(name):
            raise ModelError(
                f"{self._uri}: its model is not at {name} any more. If it was moved, name the new folder once, with "
                f"`--model NEW_FOLDER` of `mova search` or `mova update` (Python: Index(path, NEW_FOLDER)); the index "
                "keeps it. Otherwise put the model back there"
            )

    def require_exists(self) -> None:
        """Raise if nothing was ever indexed here.

        Raises:
            UsageError: with how an index is made.
        """
        if not self.exists:
            raise UsageError(f"{self._uri}: no index here; create one with `mova index PATH...` first")

    def check(self, model: DualEncoder) -> None:
        """Raise if a model's vectors do not compare with the stored ones.

        Raises:
            IndexMismatchError: with the properties that differ.
        """
        if self.exists:
            meta = self.meta
            fingerprint, dim = model.fingerprint(), model.embedding_dim
            meta.require(replace(meta, model=model.name, fingerprint=fingerprint, dim=dim), self._uri)

    def stored(self, video: str | Path, *, vanished: bool = False) -> VideoEmbedding | None:
        """Return the stored frame vectors of a file, or None if the index does not hold its present content.

        Args:
            video: file, or URI of an object.
            vanished: return those of a file that is gone, too, as it was when it was indexed.
        """
        return stored_frames(self._reader(), resolved(video), vanished=vanished) if self.exists else None

    def _selected(self, wanted: Filter) -> Reader:
        """Return what `_reader` returns, with only the videos that pass a filter; kept until the next filter."""
        reader = self._reader()
        key = wanted, id(reader), id(reader.records())
        if self._selection is None or self._selection[0] != key:
            self._selection = key, reader.records(), select(reader, wanted)
        return self._selection[2]

    def _false_alarms(self, encoder: DualEncoder | TextTower, selected: Reader | None = None) -> FalseAlarms | None:
        """Return the false-alarm statistics of the index or of some of its videos, measured if not up to date."""
        background = background_of(encoder)
        if selected is not None:
            return self._background.of_selection(selected, *background)
        return self._background.measured(*background)

    def prepare(self, text: str, order: Order = "auto") -> None:
        """Load what a search for this text needs: the exported text tower, or the model."""
        self._encoder(text, order, self.meta)

    def needs_model(self, text: str, order: Order = "auto") -> bool:
        """Return whether a search for this text needs the model itself, beside its exported text tower."""
        return self._text_tower(text, order, self.meta) is None

    def _encoder(self, text: str, order: Order, meta: Meta) -> DualEncoder | TextTower:
        """Return the exported text tower if it can answer, else the model."""
        return self._text_tower(text, order, meta) or self.model

    def _text_tower(self, text: str, order: Order, meta: Meta) -> TextTower | None:
        """Return the exported text tower if it can answer: the sentences of a paragraph are aligned by the model."""
        if "model" in self.__dict__ or not same_model(self._requested_model, meta.model):
            return None
        if order != "no" and query.has_passages(text):
            return None
        if self._tower is None or self._tower.document["fingerprint"] != meta.fingerprint:
            self._tower = TextTower.open(tower_folder(self._folder, meta.fingerprint), meta)
        return self._tower
