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

from mova.data.dataset import Draw, FrameRule, Pixels, row_clip
from mova.data.manifest import Row, read_manifest
from mova.errors import DataError, VideoError
from mova.types import BrokenVideo, Frames


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
        label: key of `meta` that holds a label, or a list of them; numbers count as text.
        task: only rows whose `meta.task` is this, as LVU has several tasks in a manifest; None: all rows with a label.
        labels: classes in order; those of the split, sorted, if left out.
        prepare: uint8 (T, H, W, 3) -> uint8 (T, h, w, 3); see `PairDataset`.

    Attributes:
        labels: classes in order.
        multiple: some video has several labels, or none in a list.

    Raises:
        DataError: no row has a label, or one that is not among `labels`.
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
    ) -> None:
        self.folder = Path(manifest).resolve().parent
        self.sampling, self.prepare = sampling, prepare
        rows = [row for row in read_manifest(manifest) if row.split == split and row.meta.get(label) is not None]
        self.rows = [row for row in rows if task is None or row.meta.get("task") == task]
        if not self.rows:
            known = ", ".join(sorted({str(row.meta["task"]) for row in rows if "task" in row.meta}))
            tasks = f"; tasks with labels: {known}" if known else ""
            of = f" of task {task!r}" if task else ""
            raise DataError(f"{manifest}: no row{of} of split {split!r} has a label in meta.{label}{tasks}")
        told = [_labels_of(row, label) for row in self.rows]
        self.labels = sorted({name for names in told for name in names}) if labels is None else list(labels)
        self.multiple = any(len(names) != 1 for names in told)
        place = {name: i for i, name in enumerate(self.labels)}
        self._classes = np.zeros((len(self.rows), len(self.labels)), dtype=bool)
        for row, names, classes in zip(self.rows, told, self._classes, strict=True):
            unknown = [name for name in names if name not in place]
            if unknown:
                raise DataError(f"{manifest}: row {row.id!r} has labels that training has not: {', '.join(unknown)}")
            classes[[place[name] for name in names]] = True

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | Draw) -> Labelled | BrokenVideo:
        """The video, or what is wrong with it."""
        index = key.item if isinstance(key, Draw) else key
        row = self.rows[index]
        try:
            frames = self.sampling.read_row(row, self.folder, row_clip(row), self.prepare)
        except VideoError as error:
            return BrokenVideo(error.path, error.cause)
        return Labelled(frames, self._classes[index])


def _labels_of(row: Row, key: str) -> list[str]:
    """Labels of a row as text."""
    value: Any = row.meta[key]
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]
