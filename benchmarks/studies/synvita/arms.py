"""The arms that are compared: the same decoder, triplets and steps, with different weights of synthetic videos.

Shape legend: n triplets per batch, N in total, P warm-up videos, T frames, d width of their vectors, L tokens per
prompt.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks.common.fitting import fit
from benchmarks.studies.synvita.decoder import Decoder
from mova.data.synthetic_weights import Strategy, compute_weights
from mova.losses.entailment import entailment_nll, real_loss, synvita_loss
from mova.train.objectives.base import Encoder, Objective, Tensors
from mova.train.trainer import TrainingData

BEGIN_RATE, RATE = 2e-3, 7e-4
CONSISTENCY = 1.0
"""Lambda of Eq. 7: the paper's value for Video-LLaVA (0.01 for mPLUG-Owl would have almost no effect)."""


@dataclass(frozen=True)
class Arm:
    """Weighting of synthetic videos.

    Attributes:
        weights: a strategy of Table 4, "oracle" (1 where the video shows t^s and not t^r), or None for Eq. 2 alone.
        consistency: lambda.
        scaled: whether weights are divided by their mean, so that their total is the same as with `fixed`.
    """

    weights: Strategy | str | None
    consistency: float = 0.0
    scaled: bool = False


ARMS: Mapping[str, Arm] = {
    "none (Eq. 2)": Arm(None),
    "fixed": Arm("fixed"),
    "own": Arm("own"),
    "product": Arm("product"),
    "indicator": Arm("indicator"),
    "difference": Arm("difference"),
    "difference + consistency": Arm("difference", CONSISTENCY),
    "oracle": Arm("oracle"),
    "difference, mean 1": Arm("difference", scaled=True),
    "difference, mean 1 + consistency": Arm("difference", CONSISTENCY, scaled=True),
}


class Drawn(Dataset[Tensors]):
    """Whole batches of rows, drawn without replacement until all rows were used.

    Args:
        rows: tensors by name.
        size: rows per batch.
        steps: number of batches.
        seed: seed of the order; equal seeds give all arms the same batches.
    """

    def __init__(self, rows: Mapping[str, Tensor], size: int, steps: int, seed: int) -> None:
        self.rows, count = rows, len(next(iter(rows.values())))
        rng = np.random.default_rng(seed)
        passes = [rng.permutation(count) for _ in range(-(-size * steps // count))]
        self.order = torch.from_numpy(np.concatenate(passes)[: size * steps].reshape(steps, size))

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Tensors:
        return {name: values[self.order[index]] for name, values in self.rows.items()}


class Entailment(Objective[Tensors, Tensors]):
    """Eq. 2 or Eq. 7 on log odds; a batch has `frames` (n, 2, T, d), `ids` and `keep` (n, 2, L) and `weights` (n,)."""

    data = "triplets"

    def __init__(self, arm: Arm) -> None:
        self.arm = arm

    def forward(self, batch: Tensors, model: Encoder[Tensors, Tensors]) -> tuple[Tensor, Tensors]:
        """Return the loss and its parts."""
        outputs = model(batch)
        if self.arm.weights is None:
            loss = real_loss(outputs["log_odds"])
            return loss, {"real": loss}
        return synvita_loss(outputs["log_odds"], batch["weights"], outputs.get("common"), self.arm.consistency)

    def encode(self, model: nn.Module, batch: Tensors) -> Tensors:
        """Return log odds (n, V, 2), V = 1 without synthetic videos, and those of the shared part if needed."""
        videos = 1 if self.arm.weights is None else 2
        frames = batch["frames"][:, :videos]
        outputs = {"log_odds": model(frames, batch["ids"])}
        if self.arm.consistency:
            outputs["common"] = model(frames, batch["ids"], batch["keep"])
        return outputs


class WarmUp(Objective[Tensors, Tensors]):
    """Objective before any hard negatives: captioning, and distinguishing a video's caption from another one."""

    data = "captions"

    def forward(self, batch: Tensors, model: Encoder[Tensors, Tensors]) -> tuple[Tensor, Tensors]:
        """Return the loss and its parts; a batch has `frames` (n, T, d) and `ids` (n, L)."""
        outputs = model(batch)
        parts = {
            "caption": outputs["caption"],
            "answer": entailment_nll(outputs["log_odds"][:, 0, 0], outputs["log_odds"][:, 0, 1]).mean(),
        }
        return parts["caption"] + parts["answer"], parts

    def encode(self, model: nn.Module, batch: Tensors) -> Tensors:
        """Return the mean caption loss and the log odds; see `Decoder.warm_up`."""
        caption, log_odds = cast(Decoder, model).warm_up(batch["frames"], batch["ids"])
        return {"caption": caption, "log_odds": log_odds}


def warm_up(model: Decoder, rows: Mapping[str, Tensor], size: int, steps: int, folder: Path, seed: int) -> Decoder:
    """Train a new decoder on videos and captions, rows of `frames` (P, T, d) and `ids` (P, L)."""
    objective = WarmUp()
    training_data = TrainingData(Drawn(rows, size, steps, seed), lambda items: items[0], objective.encode)
    fit(model, objective, training_data, folder, seed, BEGIN_RATE, bf16=False)
    return model


def train_arm(
    arm: Arm, start: Decoder, rows: Mapping[str, Tensor], size: int, steps: int, folder: Path, seed: int
) -> Decoder:
    """Train a copy of the common decoder as the arm specifies; rows as `Entailment` expects them."""
    model, objective = copy.deepcopy(start), Entailment(arm)
    training_data = TrainingData(Drawn(rows, size, steps, seed), lambda items: items[0], objective.encode)
    fit(model, objective, training_data, folder, seed, RATE, bf16=False)
    return model


def weights_for(arm: Arm, own: np.ndarray, other: np.ndarray, useful: np.ndarray) -> Tensor:
    """Return float32 weights from the ensemble's scores, or from the truth, (N,)."""
    if arm.weights == "oracle":
        return torch.from_numpy(useful.astype(np.float32))
    if arm.weights is None:
        return torch.zeros(len(own))
    weights = compute_weights(own, other, cast(Strategy, arm.weights)).astype(np.float32)
    return torch.from_numpy(weights / weights.mean() if arm.scaled else weights)
