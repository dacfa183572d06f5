"""The systems that are compared, and how each one is trained: same backbone, data, batches and steps.

Shape legend: V videos, N texts, T samples, L tokens, d width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import set_seed

from benchmarks.common.baseline_heads import Headed, HeadObjective
from benchmarks.common.fitting import BACKBONE_RATE, MODULE_RATE, fit
from benchmarks.common.samples import SampleInputs
from benchmarks.studies.proving_ground.stage import Stage
from benchmarks.studies.proving_ground.token_masks import TokenMasked, TokenObjective
from mova.baselines.registry import BASELINES
from mova.data.batch import PairBatch, PairVectors
from mova.models.mova.model import Mova
from mova.models.worlds_tiny.model import WorldsTiny
from mova.train.objectives.base import PairObjective
from mova.train.objectives.mova import MovaObjective
from mova.train.trainer import TrainingData


class TokenSubsets(MovaObjective):
    """The subset form with each token of the caption as a unit."""

    def _scores(self, name: str, vectors: PairVectors, net: nn.Module) -> Tensor:
        if name == "subsets":
            vectors = replace(vectors, units=vectors.tokens, unit_mask=vectors.token_mask)
        return super()._scores(name, vectors, net)


@dataclass(frozen=True)
class Arm:
    """A system to compare.

    Attributes:
        build: wraps a backbone into the model.
        objective: makes the training objective.
        forms: scoring forms, the system's default form first.
        every: the system sees every n-th sample, in training and in tests.
        trained: false to score it as it starts.
    """

    build: Callable[[WorldsTiny], nn.Module]
    objective: Callable[[], PairObjective]
    forms: tuple[str, ...]
    every: int = 1
    trained: bool = True


def _head(name: str, **options: Any) -> Arm:
    def build(backbone: WorldsTiny) -> nn.Module:
        return Headed(backbone, BASELINES[name](backbone.embedding_dim, **options))

    return Arm(build, HeadObjective, ("head", "global", "relevance", "late"))


def _mova(preset: str, forms: tuple[str, ...], options: Mapping[str, Any] | None = None, **settings: Any) -> Arm:
    def objective() -> PairObjective:
        return MovaObjective(preset, **(options or {}))

    return Arm(lambda backbone: Mova.from_backbone(backbone, preset, **settings), objective, forms)


POOLED = ("relevance", "global", "global+relevance", "late")
PLAIN = ("global+relevance", "global", "relevance", "late")
MEETING = ("global+mod", "global+mod-top", "global+mod-relevance")
TEMPORAL = ("global+tv", "global+tv-top", "global+tv-relevance")
"""Scores through both masks and through the temporal mask alone: mean, best three and relevance pools of frames."""
DIMENSIONS = ("relevance+masks", "global+masks", *MEETING, *TEMPORAL, *PLAIN)
ARMS: dict[str, Arm] = {
    "CLIP4Clip, mean": _head("mean_pool"),
    "CLIP4Clip, temporal transformer": _head("temporal_transformer", positions=2048),
    "SmartCLIP, one-way mask": _head("one_way_mask"),
    "X-CLIP / DRL, token-wise": _head("token_wise"),
    "X-Pool": _head("x_pool"),
    "relevance pooling (no masks)": _mova("control", POOLED, {"late": 0.0, "relevance": 1.0}),
    "late interaction (no masks)": _mova("control", ("late", "global", "relevance")),
    "MoVA, paper": _mova("paper", DIMENSIONS),
    "MoVA, repaired": _mova("repaired", DIMENSIONS),
    "MoVA, subsets": _mova("subsets", ("subsets", "late", "global", "relevance")),
}
ALONE = {"relevance": 0.0, "temporal": 0.0, "same_frame": 0.0, "different_frame": 0.0, "pairs": 1.0}
"""Weights of the repaired form by which pair negatives alone train its masks."""
ABLATIONS: dict[str, Arm] = {
    "paper, cross form": _mova("paper", DIMENSIONS, form="cross"),
    "paper, TMN alone (no L_vt)": _mova("paper", (*TEMPORAL, *PLAIN), {"same_frame": 0.0, "different_frame": 0.0}),
    "paper, TMN alone, masks on raw tokens": Arm(TokenMasked, TokenObjective, ("global+tv", "global+tv-top", *PLAIN)),
    "paper, CMN alone (mask of the caption)": _mova(
        "paper", ("global+masks", *MEETING, *PLAIN), {"temporal": 0.0}, masks="concept", concept_inputs="text"
    ),
    "paper, no L_tv": _mova("paper", DIMENSIONS, {"temporal": 0.0}),
    "paper, L_dfsm with the same video": _mova("paper", DIMENSIONS, {"different_frame_same_video": True}),
    "paper, L_tv without the same video": _mova("paper", DIMENSIONS, {"temporal_same_video": False}),
    "paper, no L_dfsm": _mova("paper", DIMENSIONS, {"different_frame": 0.0}),
    "paper, no L_sfdm": _mova("paper", DIMENSIONS, {"same_frame": 0.0}),
    "paper, no sparsity": _mova("paper", DIMENSIONS, {"sparsity": 0.0}),
    "paper, soft masks": _mova("paper", DIMENSIONS, hard=False),
    "paper, depth 1": _mova("paper", DIMENSIONS, depth=1),
    "paper, depth 4": _mova("paper", DIMENSIONS, depth=4),
    "paper, mask losses detached": _mova("paper", DIMENSIONS, detached=True),
    "paper, mask losses times 0.1": _mova(
        "paper", DIMENSIONS, {"temporal": 0.1, "same_frame": 0.1, "different_frame": 0.1}
    ),
    "paper, mask losses times 5": _mova(
        "paper", DIMENSIONS, {"temporal": 5.0, "same_frame": 5.0, "different_frame": 5.0}
    ),
    "repaired, pair negatives alone": _mova(
        "repaired",
        DIMENSIONS,
        ALONE,
        pair_negatives=2,
    ),
    "repaired, pair negatives alone, on mod": _mova("repaired", DIMENSIONS, ALONE | {"score": "mod"}, pair_negatives=2),
    "repaired, pair negatives alone, on tv": _mova(
        "repaired", (*TEMPORAL, *PLAIN), ALONE | {"score": "tv"}, pair_negatives=2
    ),
    "subsets, raw tokens as units": Arm(
        lambda backbone: Mova.from_backbone(backbone, "subsets"),
        lambda: TokenSubsets("subsets"),
        ("tokens", "late", "global"),
    ),
    "subsets, half the frames": replace(ARMS["MoVA, subsets"], every=2),
    "late interaction (no masks), half the frames": replace(ARMS["late interaction (no masks)"], every=2),
}


def train_arm(arm: Arm, stage: Stage, folder: Path) -> tuple[nn.Module, float]:
    """Train a system on the batches of the stage, or load it; return it and the seconds that training took."""
    set_seed(stage.seed)
    model = arm.build(stage.backbone())
    if not arm.trained:
        return model.eval(), 0.0
    weights = folder / "weights.pt"
    if weights.exists():
        kept = torch.load(weights)
        model.load_state_dict(kept["state"])
        return model.eval(), kept["seconds"]
    began = time.perf_counter()
    backbone = cast(Any, model).backbone
    adapter = SampleInputs(backbone.config.image_size, backbone.tokenizer)
    training_data = TrainingData(
        stage.batches, lambda items: thinned(items[0], arm.every, backbone.config.max_words), adapter.encode
    )
    model = fit(model, arm.objective(), training_data, folder, stage.seed, MODULE_RATE, BACKBONE_RATE)
    seconds = time.perf_counter() - began
    torch.save({"state": model.state_dict(), "seconds": seconds}, weights)
    return model, seconds


def thinned(batch: dict[str, Tensor], every: int, words: int) -> PairBatch:
    """Keep every n-th sample of the videos, and truncate captions to the maximum number of words."""
    frames = {name: batch[name][:, ::every].contiguous() for name in ("frames", "frame_mask")}
    texts = {name: batch[name][:, :words].contiguous() for name in ("input_ids", "token_mask")}
    return PairBatch(**{**batch, **frames, **texts})
