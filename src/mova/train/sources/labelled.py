"""Data of kind `labels`: videos and their classes, for the classification head of a GEXIA.

Shape legend: V videos, T frames, Y classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mova.data.dataset import BrokenVideo, PairSampler, pad_videos
from mova.data.labelled import LabelledVideo, LabelledVideos
from mova.errors import UsageError
from mova.eval.metrics.classification import mean_average_precision
from mova.models.families import family_of, input_adapter
from mova.models.gexia.config import ROUNDS, GexiaConfig
from mova.models.gexia.family import GEXIA
from mova.models.gexia.inputs import GexiaInputs
from mova.train.callbacks import BrokenVideos
from mova.train.objectives.base import ModelEncoder
from mova.train.sources.base import ManifestSource, RunContext
from mova.train.trainer import TrainingData
from mova.train.validation import held_out_batches
from mova.video.reader import FrameRule


@dataclass(frozen=True)
class LabelCollator:
    """Labelled videos -> tensors: `frames`, `frame_mask`, `video_rounds`, `classes` bool (V, Y), and `broken`."""

    rounds: int

    def __call__(self, items: Sequence[LabelledVideo | BrokenVideo]) -> dict[str, Any]:
        """Pad the videos that could be read.

        Raises:
            DataError: none of the videos can be read.
        """
        videos = [item for item in items if isinstance(item, LabelledVideo)]
        broken = tuple(item for item in items if isinstance(item, BrokenVideo))
        frames, mask = pad_videos([item.frames for item in videos], broken)
        return {
            "frames": torch.from_numpy(frames),
            "frame_mask": torch.from_numpy(mask),
            "video_rounds": torch.full((len(videos),), self.rounds),
            "classes": torch.from_numpy(np.stack([item.classes for item in videos])),
            "broken": broken,
        }


@dataclass(frozen=True)
class ClassValidation:
    """Metrics of a head on a validation split.

    Attributes:
        dataset, collate: as in training.
        batch: number of videos at a time.
        workers: number of processes that decode; 0: this process.
        broken: collects what cannot be read.
    """

    dataset: LabelledVideos
    collate: LabelCollator
    batch: int
    workers: int
    broken: BrokenVideos

    def __call__(self, model: ModelEncoder[Any, Any]) -> dict[str, float]:
        """Return the accuracy of the top class, and the mAP over classes that some video has; both in percent."""
        logits: list[Tensor] = []
        classes: list[Tensor] = []
        for inputs in held_out_batches(model, self.dataset, self.collate, self.batch, self.workers, self.broken):
            classes.append(inputs["classes"].cpu())
            logits.append(model(inputs)["logits"].float().cpu())
        scores, truth = torch.cat(logits).double().numpy(), torch.cat(classes).numpy()
        present = truth.any(axis=0)
        precision = mean_average_precision(scores.T[present], truth.T[present]).expected if present.any() else 0.0
        top = truth[np.arange(len(truth)), scores.argmax(axis=1)]
        return {"accuracy": 100 * float(top.mean()), "mAP": 100 * precision}


@dataclass(frozen=True)
class LabelSource(ManifestSource):
    """Settings of data kind `labels`."""

    label: str = "label"
    """Key of `meta` that holds a video's label, or a list of them."""
    task: str | None = None
    """Only rows of this task, see `LabelledVideos`."""
    size: str = "long"
    """Size of all videos, "image", "short" or "long": decides `#iter` (Table 10 has LVU and COIN as long)."""
    frames: int = 32
    """Number of frames per video; with `fps`, the maximum number."""
    rule: str | None = None
    """Named rule that chooses the frames, see `video/sampling.py: RULES`; exactly one of `rule` and `fps`."""
    fps: float | None = None
    """Frames per second; exactly one of `rule` and `fps`."""

    def build(self, run: RunContext) -> TrainingData:
        """See `DataSource`. The model gets a head for the labels of training, and its settings for inference.

        Raises:
            UsageError: a model that cannot have a head, an unknown size, or a rule of frames that does not fit.
            DataError: the manifest lacks the requested data.
        """
        model: Any = run.model
        if family_of(model) is not GEXIA:
            raise UsageError("data of kind labels train the head of a GEXIA model; set model.kind to gexia")
        if self.size not in ROUNDS:
            raise UsageError(f"data.size {self.size!r} is unknown; choose from {', '.join(ROUNDS)}")
        model.check_rate(self.fps)
        adapter = input_adapter(model)
        assert isinstance(adapter, GexiaInputs)
        dataset = self._videos(self.split, adapter, None)
        model.make_head(dataset.labels, dataset.multiple)
        rounds = _adapt_to_size(model.config, self.size, self.frames)
        collate, validate = LabelCollator(rounds), None
        if self.validation is not None:
            batch, workers = run.arguments.per_device_eval_batch_size, run.arguments.dataloader_num_workers
            held_out = self._videos(self.validation, adapter, dataset.labels)
            validate = ClassValidation(held_out, collate, batch, workers, run.broken)
        sampler = PairSampler(len(dataset), run.seed)
        report = dataset.to_json()
        return TrainingData(dataset, collate, adapter.encode_videos, sampler, validate, report, rounds == 0)

    def _videos(self, split: str, adapter: GexiaInputs, labels: Sequence[str] | None) -> LabelledVideos:
        return LabelledVideos(
            self.path,
            split=split,
            labels=labels,
            sampling=FrameRule(self.frames, self.rule, self.fps),
            label=self.label,
            task=self.task,
            prepare=adapter.resize,
            quarantine=self.quarantine,
        )


def _adapt_to_size(config: GexiaConfig, size: str, frames: int) -> int:
    """Set `#iter` and the number of frames for inference to those of training; return `#iter`."""
    config.video_rounds = config.rounds[size] if config.video_rounds is None else config.video_rounds
    config.frames = {**config.frames, size: frames}
    return config.video_rounds
