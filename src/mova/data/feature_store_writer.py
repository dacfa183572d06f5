"""Writer of a feature store: clips are collected, and a shard is written once it has a certain size or age.

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
"""A shard is written at this size ..."""
SHARD_SECONDS = 30.0
"""... or at this age, so that a killed run loses at most this much time and the current clip."""


class FeatureWriter:
    """Exclusive writer of a store; a context manager that writes everything that was added when it exits.

    Args:
        folder: the store, created if it does not exist.
        key: how the vectors are computed; `key.dtype` applies to a new store, an existing one keeps its own.

    Raises:
        IndexMismatchError: the existing store has another key.
        MovaError: (on entering) another process is writing to it.
    """

    def __init__(self, folder: str | Path, key: FeatureKey) -> None:
        self.folder, self.key = Path(folder), key
        self._adopt_existing_key()
        self._records: list[ClipRecord] = []
        self._frames: list[torch.Tensor] = []
        self._times: list[npt.NDArray[np.float64]] = []
        self._windows: list[npt.NDArray[np.float64]] = []
        self._rows, self._began = 0, time.monotonic()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(sole_writer(self.folder))
            self._begin()
            self._held = stack.pop_all()
        return self

    def _begin(self) -> None:
        """Open the existing store, or create one."""
        for partial in self.folder.glob("*.partial"):
            partial.unlink()
        if not self._adopt_existing_key():
            _replace(self.folder / "store.json", lambda path: path.write_text(json.dumps(self.key.to_json()) + "\n"))
        self.known = FeatureStore(self.folder).records

    def __exit__(self, *_: object) -> None:
        with self._held:
            self.flush()

    def add(
        self,
        record: ClipRecord,
        times: npt.NDArray[np.float64],
        vectors: torch.Tensor,
        windows: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Add a clip.

        Args:
            record: clip, file and end; its rows are set here.
            times: (T,) seconds.
            vectors: (T, d), T > 0.
            windows: (T, 2), start and end in seconds of what each vector sees; None for single frames.

        Raises:
            DataError: a vector is not finite, in its own or in the store's precision.
        """
        converted = vectors.detach().cpu().to(DTYPES[self.key.dtype])
        if not bool(torch.isfinite(converted).all()):
            raise DataError(
                f"{record.clip.video}: its frame vectors are not finite in {self.key.dtype}; if they are finite in the "
                "model's precision, write a new store with --dtype float32"
            )
        self._records.append(replace(record, first=self._rows, count=len(times)))
        self._frames.append(converted)
        self._times.append(np.asarray(times, dtype=np.float64))
        assert (windows is None) == (self.key.window == 1)
        self._windows += [] if windows is None else [windows]
        self._rows += len(times)
        self._close_when_due()

    def fail(self, record: ClipRecord) -> None:
        """Record that a clip cannot be read, with the reason in `record.cause`."""
        self._records.append(record)
        self._close_when_due()

    def flush(self) -> None:
        """Write everything that was added as a shard."""
        if self._records:
            number = max((int(p.stem) for p in self.folder.glob("*.safetensors")), default=-1) + 1
            name = f"{number:05d}.safetensors"
            empty = torch.empty(0, self.key.dim, dtype=DTYPES[self.key.dtype])
            tensors = {
                "frames": torch.cat([empty, *self._frames]),
                "times": torch.from_numpy(np.concatenate([np.empty(0), *self._times])),
            }
            if self.key.window > 1:
                tensors["windows"] = torch.from_numpy(np.concatenate([np.empty((0, 2)), *self._windows]))
            rows = [{k: v for k, v in asdict(record).items() if k != "shard"} for record in self._records]
            metadata = {"clips": json.dumps(rows)}
            _replace(self.folder / name, lambda path: save_file(tensors, path, metadata))
            self.known.update((record.clip, replace(record, shard=name)) for record in self._records)
        self._records, self._frames, self._times, self._windows = [], [], [], []
        self._rows, self._began = 0, time.monotonic()

    def _adopt_existing_key(self) -> bool:
        """Return whether a store exists; if so, adopt its key, which must be compatible."""
        if not (self.folder / "store.json").exists():
            return False
        stored = read_key(self.folder)
        require_equal(self.folder, stored, self.key)
        self.key = stored
        return True

    def _close_when_due(self) -> None:
        size = self._rows * self.key.dim * DTYPES[self.key.dtype].itemsize
        if size >= SHARD_BYTES or time.monotonic() - self._began >= SHARD_SECONDS:
            self.flush()


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name, flush it to disk, and rename it."""
    temporary = path.with_name(f"{path.name}.partial")
    write(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
