"""The writing side of a feature store: clips are gathered, and a shard is written at a size or an age.

Shape legend: T frames of a clip, d width. Times are seconds.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from mova.data.feature_store import DTYPES, ClipRecord, FeatureKey, FeatureStore, read_key, require_equal
from mova.errors import DataError
from mova.utils.file_lock import sole_writer

SHARD_BYTES = 256 << 20
"""A shard is closed at this size ..."""
SHARD_SECONDS = 30.0
"""... or at this age: a kill costs that much and the clip in hand."""


class FeatureWriter:
    """The only writer of a store, as a context; what was added is in the store when the block ends.

    Args:
        folder: made if it is not there.
        key: how the vectors are made; `key.dtype` holds for a new store, an old one keeps its own.

    Raises:
        IndexMismatchError: the store there was made otherwise.
        MovaError: (on entering) another process writes to it.
    """

    def __init__(self, folder: str | Path, key: FeatureKey) -> None:
        self.folder, self.key = Path(folder), key
        self._agree()
        self._records: list[ClipRecord] = []
        self._frames: list[torch.Tensor] = []
        self._times: list[npt.NDArray[np.float64]] = []
        self._rows, self._began = 0, time.monotonic()

    def __enter__(self) -> Self:
        with ExitStack() as held:
            held.enter_context(sole_writer(self.folder))
            self._begin()
            self._held = held.pop_all()
        return self

    def _begin(self) -> None:
        """Take over what is there, or begin a store."""
        for left in self.folder.glob("*.partial"):
            left.unlink()
        if not self._agree():
            _replace(self.folder / "store.json", lambda path: path.write_text(json.dumps(asdict(self.key)) + "\n"))
        self.known = FeatureStore(self.folder).records

    def __exit__(self, *_: object) -> None:
        with self._held:
            self.flush()

    def add(self, record: ClipRecord, times: npt.NDArray[np.float64], vectors: torch.Tensor) -> None:
        """Add a clip.

        Args:
            record: clip, file and end; rows are filled in here.
            times: (T,) seconds.
            vectors: (T, d), T > 0.

        Raises:
            DataError: a vector is not finite, as it is or in the store's precision.
        """
        kept = vectors.detach().cpu().to(DTYPES[self.key.dtype])
        if not bool(torch.isfinite(kept).all()):
            raise DataError(
                f"{record.clip.video}: its frame vectors are not finite in {self.key.dtype}; if the model itself is "
                "sound, write a new store with --dtype float32"
            )
        self._records.append(replace(record, first=self._rows, count=len(times)))
        self._frames.append(kept)
        self._times.append(np.asarray(times, dtype=np.float64))
        self._rows += len(times)
        self._close_when_due()

    def fail(self, record: ClipRecord) -> None:
        """Remember that a clip cannot be read, with `record.cause`."""
        self._records.append(record)
        self._close_when_due()

    def flush(self) -> None:
        """Write what was added as a shard."""
        if self._records:
            number = max((int(p.stem) for p in self.folder.glob("*.safetensors")), default=-1) + 1
            name = f"{number:05d}.safetensors"
            empty = torch.empty(0, self.key.dim, dtype=DTYPES[self.key.dtype])
            tensors = {
                "frames": torch.cat([empty, *self._frames]),
                "times": torch.from_numpy(np.concatenate([np.empty(0), *self._times])),
            }
            rows = [{k: v for k, v in asdict(record).items() if k != "shard"} for record in self._records]
            metadata = {"clips": json.dumps(rows)}
            _replace(self.folder / name, lambda path: save_file(tensors, path, metadata))
            self.known.update((record.clip, replace(record, shard=name)) for record in self._records)
        self._records, self._frames, self._times = [], [], []
        self._rows, self._began = 0, time.monotonic()

    def _agree(self) -> bool:
        """Whether there is a store; its key, which must be equal, is then the writer's."""
        if not (self.folder / "store.json").exists():
            return False
        there = read_key(self.folder)
        require_equal(self.folder, there, self.key)
        self.key = there
        return True

    def _close_when_due(self) -> None:
        size = self._rows * self.key.dim * DTYPES[self.key.dtype].itemsize
        if size >= SHARD_BYTES or time.monotonic() - self._began >= SHARD_SECONDS:
            self.flush()


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under another name, onto the disk, and rename it."""
    temporary = path.with_name(f"{path.name}.partial")
    write(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
