"""An index of videos: put files in, ask with words.

index = Index("films.mova", model)
index.add(["films/"])
for moment in index.search("a man pours tea"):
    ...
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch

from mova.models.encoder import DualEncoder, VideoEmbedding
from mova.search import ingest, query
from mova.search.ingest import IngestReport, Progress
from mova.search.rerank import CANDIDATES, Rescoring, choose, rescored
from mova.search.store import Meta, Store, VideoRecord
from mova.types import Moment


class Index:
    """Frame embeddings of videos, searched with text.

    Opening reads nothing but the index's own description; the model loads when it is first needed.

    Args:
        path: a folder, or any URI that LanceDB connects to; made by `add`.
        model: a model, or what `mova.load` takes. Left out: the one the index was made with, and for a new
            index the default model.

    Raises:
        IndexMismatchError: the index was made with another model (for a name: once it loads), or is of
            another layout. Nothing stored is touched.
    """

    def __init__(self, path: str | Path, model: DualEncoder | str | None = None) -> None:
        self._store = Store(path)
        self._wanted = model
        if isinstance(model, DualEncoder):
            self.check(model)

    @property
    def exists(self) -> bool:
        """Whether anything was ever indexed here."""
        return self._store.exists

    @property
    def meta(self) -> Meta:
        """What the index was made with."""
        return self._store.meta

    @property
    def model_name(self) -> str:
        """Name of the model, without loading it."""
        if self._store.exists:
            return self._store.meta.model
        if isinstance(self._wanted, DualEncoder):
            return self._wanted.name
        from mova.models.registry import DEFAULT_MODEL

        return self._wanted or DEFAULT_MODEL

    @cached_property
    def model(self) -> DualEncoder:
        """The encoder, loaded on first use."""
        if isinstance(self._wanted, DualEncoder):
            return self._wanted
        from mova.models.registry import load

        model = load(self._wanted or self.model_name)
        self.check(model)
        return model

    def add(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        fps: float | None = None,
        progress: Progress | None = None,
        prune: bool = True,
    ) -> IngestReport:
        """Bring the index up to date with files and folders (or one); see `mova.search.ingest.add`."""
        given = _each(paths)
        ingest.videos_below(self._store, given)  # wrong paths are said before a model is loaded
        self.check(self.model)
        return ingest.add(self._store, self.model, given, fps=fps, progress=progress, prune=prune)

    def search(
        self, text: str, k: int = 10, *, min_score: float | None = None, rescore: Rescoring = "auto"
    ) -> list[Moment]:
        """The k best moments for a sentence or paragraph, best first; see `mova.search.query.search`.

        Args:
            text: what to look for.
            k: at most so many.
            min_score: leave out moments below this cosine.
            rescore: what scores the first moments again, see `mova.search.rerank`; their scores are then no cosines.

        Raises:
            UsageError: no words in the text, k below 1, or something to score by that the model does not have.
        """
        if not self._store.records():
            return []
        by = choose(self.model, text, rescore)
        if by == "none":
            return query.search(self._store, self.model, text, k, min_score=min_score)
        first = query.search(self._store, self.model, text, max(k, CANDIDATES), min_score=min_score)
        return rescored(self._store, self.model, text, first, cast(Any, by))[:k]

    def videos(self) -> list[VideoRecord]:
        """What is indexed, in order of path."""
        return list(self._store.records().values()) if self.exists else []

    def __len__(self) -> int:
        return len(self.videos())

    def remove(self, paths: str | Path | Iterable[str | Path]) -> list[str]:
        """Forget files (or one), and all files below folders, whether they still exist or not.

        Returns:
            The paths that were dropped.
        """
        roots = [Path(path).resolve() for path in _each(paths)]
        with self._store.lock():
            dropped = [path for path in self._store.records() if any(Path(path).is_relative_to(root) for root in roots)]
            self._store.drop(dropped)
            self._store.sweep()
        return dropped

    def stored(self, video: str | Path) -> VideoEmbedding | None:
        """The stored frame vectors of a file, if the index holds this very content."""
        path = Path(video).resolve()
        if not self.exists or not path.is_file():
            return None
        records = self._store.records()
        record = records.get(str(path))
        status = os.stat(path)
        if record is None or (record.size, record.mtime_ns) != (status.st_size, status.st_mtime_ns):
            same = [other for other in records.values() if other.size == status.st_size]
            content = ingest.content_hash(path) if same else ""
            record = next((other for other in same if other.content == content), None)
        if record is None:
            return None
        frames = self._store.fetch([record.content]).get(record.content)
        if frames is None:  # another process removed them after the records were read
            return None
        return VideoEmbedding(torch.from_numpy(frames.vectors), frames.times, record.duration)

    def check(self, model: DualEncoder) -> None:
        """Refuse a model whose vectors would not compare with the stored ones.

        Raises:
            IndexMismatchError: saying how it differs.
        """
        if self._store.exists:
            rate = self._store.meta.frame_rate
            self._store.require(Meta(model.name, model.fingerprint(), model.embedding_dim, rate))


def _each(paths: str | Path | Iterable[str | Path]) -> list[str | Path]:
    """Paths as a list; one alone is no list of its letters (one of which may be "/", which is every file)."""
    return [paths] if isinstance(paths, str | Path) else list(paths)
