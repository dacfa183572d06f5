"""Videos with class labels from a manifest: LVU, COIN, and any data set whose rows say their label in `meta`.

Shape legend: V videos, T frames, Y classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from mova.data.batch import BrokenVideo
from mova.data.dataset import Draw, row_clip
from mova.data.frame_selection import FrameRule
from mova.data.manifest import Row, fingerprint, read_manifest
from mova.data.quarantine import without_quarantined
from mova.errors import DataError, VideoError
from mova.types import Frames, Pixels

LABEL = "label"
"""The usual key of `meta`."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """One video and its classes: frames, and bool (Y,), true where a class is its."""

    frames: Frames
    classes: npt.NDArray[np.bool_]


class LabelledVideos(Dataset[Labelled | BrokenVideo]):
    """Videos of one split with their labels.

    Args:
        manifest: path of a `manifest.jsonl`; videos are found beside it.
        split: name of the part.
        sampling: which frames are seen.
        label: key of `meta`; see `row_labels`.
        task: only rows whose `meta.task` is this, as LVU has several tasks in a manifest; None: all rows with a label.
        labels: classes in order; those of the split, sorted, if left out.
        prepare: uint8 (T, H, W, 3) -> uint8 (T, h, w, 3); see `PairDataset`.
        quarantine: a list of `mova data check`; rows that it names are left out, and `left_out` has their ids.

    Attributes:
        labels: classes in order.
        multiple: a video may have several labels, or none.

    Raises:
        DataError: no row has a label, or one that is not among `labels` or of no known form.
    """

    def __init__(
        self,
        manifest: str | Path,
        *,
        split: str,
        sampling: FrameRule,
        label: str = "label",
        task: str | None = None,
        labels: Sequence[str] | None = None,
        prepare: Callable[[Pixels], Pixels] | None = None,
        quarantine: str | Path | None = None,
    ) -> None:
        self.manifest, self.split, self.label, self.task = str(manifest), split, label, task
        self.folder = Path(manifest).resolve().parent
        self.sampling, self.prepare = sampling, prepare
        usable, self.left_out = without_quarantined(read_manifest(manifest), quarantine)
        rows = [row for row in usable if row.split == split and row_labels(row, label) is not None]
        self.rows = [row for row in rows if task is None or str(row.meta.get("task")) == str(task)]
        if not self.rows:
            known = ", ".join(sorted({str(row.meta["task"]) for row in rows if "task" in row.meta}))
            tasks = f"; tasks with labels: {known}" if known else ""
            of = f" of task {task!r}" if task else ""
            raise DataError(f"{manifest}: no row{of} of split {split!r} has a label in meta.{label}{tasks}")
        told = [row_labels(row, label) or () for row in self.rows]
        self.labels = sorted({name for names in told for name in names}) if labels is None else list(labels)
        self.multiple = any(has_several(row, label) for row in self.rows)
        place = {name: i for i, name in enumerate(self.labels)}
        self._classes = np.zeros((len(self.rows), len(self.labels)), dtype=bool)
        for row, names, classes in zip(self.rows, told, self._classes, strict=True):
            unknown = [name for name in names if name not in place]
            if unknown:
                raise DataError(f"{manifest}: row {row.id!r} has labels that training has not: {', '.join(unknown)}")
            classes[[place[name] for name in names]] = True

    def __len__(self) -> int:
        return len(self.rows)

    def to_json(self) -> dict[str, Any]:
        """What a run's report says of its data."""
        return {
            "manifest": self.manifest,
            "split": self.split,
            "label": self.label,
            "task": self.task,
            "rows": len(self),
            "classes": len(self.labels),
            "fingerprint": fingerprint(self.rows),
            "quarantined": len(self.left_out),
        }

    def __getitem__(self, key: int | Draw) -> Labelled | BrokenVideo:
        """The video, or what is wrong with it."""
        index = key.item if isinstance(key, Draw) else key
        row = self.rows[index]
        try:
            frames = self.sampling.read_row(row, self.folder, row_clip(row), self.prepare)
        except VideoError as error:
            return BrokenVideo(error.path, error.cause)
        return Labelled(frames, self._classes[index])


def row_labels(row: Row, key: str = LABEL) -> tuple[str, ...] | None:
    """Names of a row's classes, each once: perhaps none where several are allowed; None where it is not labelled.

    `meta[key]` holds a class as text or number, or a list of such; an object of a list says its "name" or "class".
    For the usual key `meta["name"]` says what a single class is called (LVU has numbers beside names), and
    `meta["actions"]` counts where the key is not there (Charades-Ego).

    Raises:
        DataError: it is not of that form.
    """
    key, value = _told(row, key)
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return tuple(dict.fromkeys(_name(row, key, one) for one in value))
    return (_name(row, key, (row.meta.get("name") or value) if key == LABEL else value),)


def has_several(row: Row, key: str = LABEL) -> bool:
    """Whether a video of this kind may have several classes, or none."""
    return isinstance(_told(row, key)[1], list)


def _told(row: Row, key: str) -> tuple[str, Any]:
    """Under which key of `meta` a row's classes stand, and what stands there."""
    if key == LABEL and row.meta.get(LABEL) is None and "actions" in row.meta:
        if not isinstance(row.meta["actions"], list):
            raise DataError(f'row {row.id!r}: meta.actions must be a list of {{"class": ..., "name": ...}}')
        return "actions", row.meta["actions"]
    return key, row.meta.get(key)


def _name(row: Row, key: str, value: Any) -> str:
    found = (value.get("name") or value.get("class")) if isinstance(value, dict) else value
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise DataError(f"row {row.id!r}: meta.{key} must hold names or numbers of classes, not {value!r:.80}")
    return str(found)
