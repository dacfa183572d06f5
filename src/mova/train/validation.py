"""Validation, which chooses the checkpoint: retrieval, or the task of the data. Test splits are never read.

Shape legend: V videos, N = V texts, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

from mova.data.batch import Collator, PairBatch, PairVectors
from mova.data.columns.items import row_clip
from mova.data.dataset import BrokenVideo, read_clip
from mova.data.manifest import Row
from mova.data.row_texts import NEEDED, OPTION, row_labels
from mova.errors import DataError
from mova.eval.metrics.classification import choice_hits
from mova.eval.metrics.ranking import stream_ranks, summarize
from mova.eval.tasks.classification import class_metrics, read_label_sets
from mova.eval.tasks.multiple_choice import score_options
from mova.eval.tasks.split import EvalSplit, open_split
from mova.models.encoder import DualEncoder, VideoEmbedding
from mova.train.callbacks import BrokenVideos
from mova.train.objectives.base import ModelEncoder, PairObjective
from mova.video.reader import FrameRule

ROWS = 16
"""Number of videos scored at a time, so that memory does not grow with the square of the split."""
BLOCK = 2048
"""Number of texts and of videos whose scores are held at a time."""
KS = (1, 5, 10)


@dataclass(frozen=True)
class RetrievalValidation:
    """Text-to-video and video-to-text retrieval among all pairs of a data set, by the objective's own score.

    Attributes:
        dataset: one text per video; every validation uses its first draw.
        collate, objective: as in training.
        batch: number of pairs encoded at a time.
        workers: number of processes that decode; 0: this process.
        broken: collects videos that cannot be read.
    """

    dataset: Dataset[Any]
    collate: Collator
    objective: PairObjective
    batch: int
    workers: int
    broken: BrokenVideos

    def __call__(self, model: ModelEncoder[PairBatch, PairVectors]) -> dict[str, float]:
        """Return R@K, median and mean rank of both directions (`t2v_`, `v2t_`), and `R@1`, the mean of both in percent.

        It does not consume random numbers of the training run.
        """
        vectors = self._encode(model)

        def block(texts: slice, videos: slice) -> npt.NDArray[np.float64]:
            """Return the scores of some texts with some videos: (N, V)."""
            parts = []
            for first in range(videos.start, videos.stop, ROWS):
                rows = slice(first, min(first + ROWS, videos.stop))
                chosen = replace(vectors, frames=vectors.frames[rows], frame_mask=vectors.frame_mask[rows])
                parts.append(self.objective.scores(_with_texts(chosen, texts), model.net).cpu())
            return np.ascontiguousarray(torch.cat(parts).double().numpy().T)

        t2v, v2t = stream_ranks(block, len(vectors), block=BLOCK)
        assert v2t is not None
        ways = {"t2v": summarize(t2v, KS), "v2t": summarize(v2t, KS)}
        metrics = {f"{way}_{name}": value for way, values in ways.items() for name, value in values.items()}
        return {"R@1": (metrics["t2v_R@1"] + metrics["v2t_R@1"]) / 2, **metrics}

    def _encode(self, model: ModelEncoder[PairBatch, PairVectors]) -> PairVectors:
        """Everything that `scores` reads, of the whole split, on the model's device."""
        batches = held_out_batches(model, self.dataset, self.collate, self.batch, self.workers, self.broken)
        parts = [self.objective.select(model(batch)) for batch in batches]
        return _join([part.map(lambda value: value.float() if value.is_floating_point() else value) for part in parts])


def draw_rows(dataset: Dataset[Any], most: int | None, seed: int) -> Dataset[Any]:
    """Return a data set, or as many of its items, drawn by a seed and kept in order.

    >>> from torch.utils.data import TensorDataset
    >>> len(draw_rows(TensorDataset(torch.arange(9)), 4, seed=0))  # type: ignore[arg-type]
    4
    """
    size = len(dataset)  # type: ignore[arg-type]
    if most is None or size <= most:
        return dataset
    chosen = np.random.default_rng([seed, size]).choice(size, most, replace=False)
    return Subset(dataset, np.sort(chosen).tolist())


TASKS = {"answer": "accuracy", "action": "mAP"}
"""Caption mode of the training data -> the metric of its task."""


@dataclass(frozen=True)
class TaskValidation:
    """Multiple choice, or mAP over classes, on a validation split: scores and texts are those of `mova eval`.

    Attributes:
        captions: of the training data, a key of `TASKS`.
        manifest, split: the data.
        sampling: selects frames, as in training.
        broken: collects videos that cannot be read.
        template: text of an option or a class; None: as in `mova eval`.
        view: only rows with this `meta.view`.
        quarantine: a list of `mova data check`, whose rows are excluded.
        ids: only these rows; empty: all rows of the split.
    """

    captions: str
    manifest: str
    split: str
    sampling: FrameRule
    broken: BrokenVideos
    template: str | None = None
    view: str | None = None
    quarantine: str | None = None
    ids: frozenset[str] = frozenset()

    def __call__(self, model: ModelEncoder[Any, Any]) -> dict[str, float]:
        """Return the metric in percent. It does not consume random numbers of the training run.

        Raises:
            DataError: the split has no row to measure, or none of its videos can be read.
        """
        net, folder = model.net, Path(self.manifest).resolve().parent
        assert isinstance(net, DualEncoder)

        def encode(row: Row) -> VideoEmbedding:
            return net.encode_video(read_clip(row, folder, row_clip(row), self.sampling), self.sampling.fps)

        split = open_split(
            net, self.manifest, self.split, encode=encode, fps=self.sampling.fps, quarantine=self.quarantine
        )
        if self.view is not None:
            split.select_view(self.view)
        usable = {row.id for row in split.rows if self._measures(row)} - split.quarantined
        split.others += [row for row in split.rows if row.id not in usable]
        split.rows = [row for row in split.rows if row.id in usable]
        if not usable:
            raise DataError(f"{self.manifest}: split {self.split!r} has no row with {NEEDED[self.captions]}")
        value = self._accuracy(split) if self.captions == "answer" else self._class_map(split)
        broken = [BrokenVideo(r.segments[0].video, split.excluded[r.id]) for r in split.rows if r.id in split.excluded]
        self.broken.add(tuple(broken))
        return {TASKS[self.captions]: value}

    def _measures(self, row: Row) -> bool:
        """Return whether `mova eval` measures a row, and this validation reads it."""
        stated = "options" in row.meta if self.captions == "answer" else row_labels(row) is not None
        return stated and (not self.ids or row.id in self.ids)

    def _accuracy(self, split: EvalSplit) -> float:
        kept, scores = score_options(split, split.rows, self.template or OPTION)
        return 100 * float(choice_hits(scores, [int(row.meta["answer"]) for row in kept]).mean())

    def _class_map(self, split: EvalSplit) -> float:
        label_sets = read_label_sets([*split.rows, *split.others], {row.id for row in split.rows})
        groups, _ = class_metrics(split, split.rows, label_sets, self.template)
        return float(np.mean([group.figures["mAP"] for group in groups.values()]))


def held_out_batches(
    model: ModelEncoder[Any, Any],
    dataset: Dataset[Any],
    collate: Callable[[list[Any]], Any],
    batch: int,
    workers: int,
    broken: BrokenVideos,
) -> Iterator[Any]:
    """Yield batches of all rows in order, on the model's device; videos that cannot be read go to `broken`.

    It does not consume random numbers of the training run.
    """
    device = next(model.net.parameters()).device
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size=batch, num_workers=workers, collate_fn=collate, generator=torch.Generator()
    )
    for inputs in loader:
        if isinstance(inputs, PairBatch):
            broken.add(inputs.broken)
            yield inputs.to(device)
        else:
            broken.add(inputs.pop("broken"))
            yield {key: value.to(device) for key, value in inputs.items()}


def _with_texts(vectors: PairVectors, rows: slice) -> PairVectors:
    """Return vectors with some of their texts."""
    names = ("texts", "tokens", "token_mask", "units", "unit_mask")
    present = {name: getattr(vectors, name) for name in names}
    return replace(vectors, **{name: value[rows] for name, value in present.items() if value is not None})


def _join(parts: Sequence[PairVectors]) -> PairVectors:
    """Join the rows of all parts, and pad the other dimensions at their ends with zeros (false) to the longest."""
    joined = {}
    for name, first in parts[0].tensors().items():
        tensors = [getattr(part, name) for part in parts]
        if first.ndim == 0:
            continue
        largest = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)][1:]
        joined[name] = torch.cat([_pad(tensor, largest) for tensor in tensors])
    return replace(parts[0], **joined)


def _pad(tensor: Tensor, sizes: Sequence[int]) -> Tensor:
    missing = [most - size for most, size in zip(sizes, tensor.shape[1:], strict=True)]
    return F.pad(tensor, [amount for size in reversed(missing) for amount in (0, size)])
