"""Videos with class labels from a manifest: LVU, COIN, and any data set with labels in `meta`.

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

from mova.data.columns.items import row_clip
from mova.data.dataset import BrokenVideo, Draw, read_clip
from mova.data.manifest import fingerprint, read_manifest
from mova.data.quarantine import without_quarantined
from mova.data.row_texts import DEFAULT_KEY, has_several, row_labels
from mova.errors import DataError, VideoError
from mova.types import Frames, Pixels
from mova.video.reader import FrameRule


@dataclass(frozen=True, eq=False)
class LabelledVideo:
    """A video and its classes: frames, and bool (Y,), true for its classes."""

    frames: Frames
    classes: npt.NDArray[np.bool_]


class LabelledVideos(Dataset[LabelledVideo | BrokenVideo]):
    """Videos of one split with their labels.

    Args:
        manifest: path of a `manifest.jsonl`; video paths are relative to its folder.
        split: name of the split.
        sampling: selects the frames.
        label: key of `meta`; see `row_labels`.
        task: only rows with this `meta.task` (LVU has several tasks in a manifest); None: all rows with a label.
        labels: classes in order; default: those of the split, sorted.
        prepare: uint8 (T, H, W, 3) -> uint8 (T, h, w, 3); see `PairDataset`.
        quarantine: a quarantine list of `mova data check`; its rows are left out, and `left_out` has their ids.

    Attributes:
        labels: classes in order.
        multiple: whether a video may have several labels, or none.

    Raises:
        DataError: no row has a label, a label is not among `labels`, or it has an unknown form.
    """

    def __init__(
        self,
        manifest: str | Path,
        *,
        split: str,
        sampling: FrameRule,
        label: str = DEFAULT_KEY,
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
        names_by_row = [row_labels(row, label) or () for row in self.rows]
        self.labels = sorted({name for names in names_by_row for name in names}) if labels is None else list(labels)
        self.multiple = any(has_several(row, label) for row in self.rows)
        index_of = {name: i for i, name in enumerate(self.labels)}
        self._classes = np.zeros((len(self.rows), len(self.labels)), dtype=bool)
        for row, names, classes in zip(self.rows, names_by_row, self._classes, strict=True):
            unknown = [name for name in names if name not in index_of]
            if unknown:
                raise DataError(f"{manifest}: row {row.id!r} has labels that are not in training: {', '.join(unknown)}")
            classes[[index_of[name] for name in names]] = True

    def __len__(self) -> int:
        return len(self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the data section of a run's report."""
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

    def __getitem__(self, key: int | Draw) -> LabelledVideo | BrokenVideo:
        """Return the video, or its error."""
        index = key.item if isinstance(key, Draw) else key
        row = self.rows[index]
        try:
            frames = read_clip(row, self.folder, row_clip(row), self.sampling, self.prepare)
        except VideoError as error:
            return BrokenVideo(error.path, error.cause)
        return LabelledVideo(frames, self._classes[index])
