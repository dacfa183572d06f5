"""Data of kind `labels`: videos and their classes, for the head of a GEXIA.

Shape legend: V videos, T frames, Y classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from mova.data.batch import BrokenVideo
from mova.data.dataset import PairSampler, side_by_side
from mova.data.frame_selection import FrameRule
from mova.data.labelled import Labelled, LabelledVideos
from mova.errors import UsageError
from mova.eval.metrics.classification import mean_average_precision
from mova.models.gexia.config import ROUNDS
from mova.models.gexia.inputs import GexiaInputs
from mova.models.gexia.model import Gexia
from mova.models.inputs import input_adapter
from mova.train.callbacks import BrokenVideos
from mova.train.objectives.base import ModelEncoder
from mova.train.trainer import PairArguments, TrainingData
from mova.train.validation import held_out_batches


@dataclass(frozen=True)
class LabelCollator:
    """Labelled videos -> tensors: `frames`, `frame_mask`, `video_rounds`, `classes` bool (V, Y), and `broken`."""

    rounds: int

    def __call__(self, items: Sequence[Labelled | BrokenVideo]) -> dict[str, Any]:
        """See above.

        Raises:
            DataError: none of the videos can be read.
        """
        found = [item for item in items if isinstance(item, Labelled)]
        broken = tuple(item for item in items if isinstance(item, BrokenVideo))
        frames, mask = side_by_side([item.frames for item in found], broken)
        return {
            "frames": torch.from_numpy(frames),
            "frame_mask": torch.from_numpy(mask),
            "video_rounds": torch.full((len(found),), self.rounds),
            "classes": torch.from_numpy(np.stack([item.classes for item in found])),
            "broken": broken,
        }


@dataclass(frozen=True)
class ClassValidation:
    """Figures of a head on a validation split.

    Attributes:
        dataset, collate: as in training.
        batch: videos at a time.
        workers: processes that decode; 0 decodes here.
        broken: collects what cannot be read.
    """

    dataset: LabelledVideos
    collate: LabelCollator
    batch: int
    workers: int
    broken: BrokenVideos

    def __call__(self, model: ModelEncoder[Any, Any]) -> dict[str, float]:
        """`accuracy` (the top class is right, percent), and `mAP` over classes that some video has (percent)."""
        logits: list[Tensor] = []
        classes: list[Tensor] = []
        for inputs in held_out_batches(model, self.dataset, self.collate, self.batch, self.workers, self.broken):
            classes.append(inputs["classes"].cpu())
            logits.append(model(inputs)["logits"].float().cpu())
        scores, right = torch.cat(logits).double().numpy(), torch.cat(classes).numpy()
        there = right.any(axis=0)
        precision = mean_average_precision(scores.T[there], right.T[there]).expected if there.any() else 0.0
        top = right[np.arange(len(right)), scores.argmax(axis=1)]
        return {"accuracy": 100 * float(top.mean()), "mAP": 100 * precision}


def build_labels(
    model: PreTrainedModel,
    arguments: PairArguments,
    broken: BrokenVideos,
    *,
    seed: int,
    manifest: str,
    split: str = "train",
    validation: str | None = None,
    label: str = "label",
    task: str | None = None,
    size: str = "long",
    frames: int = 32,
    rule: str | None = None,
    fps: float | None = None,
    quarantine: str | None = None,
) -> TrainingData:
    """Training and validation videos of a manifest with their labels; the model gets a head for those of training.

    Args:
        model, arguments, broken: what the videos are for.
        seed: of the order.
        manifest: path of a `manifest.jsonl`.
        split, validation: names of parts; validation None chooses no checkpoint.
        label, task: see `LabelledVideos`.
        size: of all videos, "image", "short" or "long": says `#iter` (Table 10 has LVU and COIN as long).
        frames, rule, fps: see `FrameRule`.
        quarantine: a list of `mova data check`, whose rows are left out of both parts.

    Raises:
        UsageError: a model without a place for a head, an unknown size, or a rule of frames that does not fit.
        DataError: the manifest does not hold what is asked for.
    """
    if not isinstance(model, Gexia):
        raise UsageError("data of kind labels train the head of a GEXIA: say model.kind gexia")
    if size not in ROUNDS:
        raise UsageError(f"data.size {size!r} is not known; there are {', '.join(ROUNDS)}")
    model.check_rate(fps)
    adapter = input_adapter(model)
    assert isinstance(adapter, GexiaInputs)
    sampling = FrameRule(frames, rule, fps)
    source: dict[str, Any] = {"label": label, "task": task, "prepare": adapter.resize, "quarantine": quarantine}
    part = partial(LabelledVideos, manifest, sampling=sampling, **source)
    dataset = part(split=split, labels=None)
    model.make_head(dataset.labels, dataset.multiple)
    config = model.config
    config.video_rounds = config.rounds[size] if config.video_rounds is None else config.video_rounds
    config.frames = {**config.frames, size: frames}  # the head is measured on what it is trained on
    arguments.expect_rounds([config.video_rounds])
    collate = LabelCollator(config.video_rounds)
    validate = None
    if validation is not None:
        batch, workers = arguments.per_device_eval_batch_size, arguments.dataloader_num_workers
        validate = ClassValidation(part(split=validation, labels=dataset.labels), collate, batch, workers, broken)
    return TrainingData(dataset, collate, adapter.encode_videos, PairSampler(len(dataset), seed), validate)
