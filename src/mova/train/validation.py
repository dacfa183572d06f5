"""Retrieval on a validation split, which chooses the checkpoint. Test splits are never read.

Shape legend: V videos, N = V texts, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from mova.data.batch import Collator, PairBatch, PairVectors
from mova.eval.metrics.ranking import retrieval_metrics
from mova.train.callbacks import BrokenVideos
from mova.train.objectives.base import ModelEncoder, PairObjective

ROWS = 16
"""Number of videos scored at a time, so that memory does not grow with the square of the split."""


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
        parts = []
        for first in range(0, len(vectors), ROWS):
            rows = slice(first, first + ROWS)
            videos = replace(vectors, frames=vectors.frames[rows], frame_mask=vectors.frame_mask[rows])
            parts.append(self.objective.scores(videos, model.net).cpu())
        scores = torch.cat(parts).double().numpy()
        ways = {"t2v": retrieval_metrics(np.ascontiguousarray(scores.T)), "v2t": retrieval_metrics(scores)}
        metrics = {f"{way}_{name}": value for way, values in ways.items() for name, value in values.items()}
        return {"R@1": (metrics["t2v_R@1"] + metrics["v2t_R@1"]) / 2, **metrics}

    def _encode(self, model: ModelEncoder[PairBatch, PairVectors]) -> PairVectors:
        """Everything that `scores` reads, of the whole split, on the model's device."""
        batches = held_out_batches(model, self.dataset, self.collate, self.batch, self.workers, self.broken)
        parts = [self.objective.select(model(batch)) for batch in batches]
        return _join([part.map(lambda value: value.float() if value.is_floating_point() else value) for part in parts])


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
