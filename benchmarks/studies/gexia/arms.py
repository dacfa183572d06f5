"""The arms that are compared, and how each one is trained: same clips, warm start, batches and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import set_seed

from benchmarks.common.fitting import BACKBONE_RATE, MODULE_RATE, fit
from benchmarks.common.samples import SampleInputs
from benchmarks.studies.gexia.batches import GranularBatches
from benchmarks.studies.gexia.footage import Footage, train_footage
from mova.data.batch import InputAdapter, PairBatch, PairVectors
from mova.models.gexia.inputs import GexiaInputs
from mova.models.gexia.model import Gexia
from mova.models.mova.model import Mova
from mova.models.registry import load
from mova.models.worlds_tiny.model import WorldsTiny
from mova.train.objectives.base import PairObjective
from mova.train.objectives.gexia import Vtc
from mova.train.objectives.mova import MovaObjective
from mova.train.trainer import TrainingData


@dataclass(frozen=True)
class Arm:
    """A training configuration.

    Attributes:
        granularities: granularities of the training pairs, in turn.
        way: how clips are concatenated, "source" or "random".
        rounds: `#iter` of every video and text; None: by size, 0 for images, 1 for short and 3 for long.
        freeze: frozen encoders of a GEXIA; with both frozen a step costs a third.
        gexia: a GEXIA, or else a MoVA with the subset objective.
        trained: false to score it as it starts.
        scratch: whether encoders start from random weights.
        few: a batch of clips has as many pairs as one of long videos, instead of as many clips.
        curve: whether to test other values of `#iter` at inference.
    """

    granularities: tuple[str, ...] = ("SVST", "LVLT", "LVST")
    way: str = "source"
    rounds: int | None = None
    freeze: str = "encoders"
    gexia: bool = True
    trained: bool = True
    scratch: bool = False
    few: bool = False
    curve: bool = False

    @property
    def cached(self) -> bool:
        """Whether the dense features of videos are the same as for other such arms."""
        return self.gexia and self.freeze == "encoders"


CLIPS, LONG = ("SVST",), ("SVST", "LVLT")
FULL = Arm(curve=True)
ARMS: dict[str, Arm] = {
    "GEXIA as it starts": Arm(CLIPS, rounds=1, trained=False),
    "MoVA as it starts": Arm(CLIPS, gexia=False, trained=False),
    "SVST, #iter 1": Arm(CLIPS, rounds=1, curve=True),
    "all three, #iter by size": FULL,
    "all three, #iter 1": Arm(rounds=1, curve=True),
    "all three at random, #iter 1": Arm(way="random", rounds=1),
    "MoVA, SVST": Arm(CLIPS, gexia=False),
    "MoVA, + LVLT": Arm(LONG, gexia=False),
    "all three, #iter by size, nothing frozen": replace(FULL, freeze="none"),
    "all three, #iter 3": Arm(rounds=3, curve=True),
    "+ LVLT, #iter 1": Arm(LONG, rounds=1),
    "+ LVST, #iter 1": Arm(("SVST", "LVST"), rounds=1),
    "SVST, #iter 1, as few pairs": Arm(CLIPS, rounds=1, few=True),
    "all three at random, #iter by size": Arm(way="random"),
    "SVST, #iter 1, nothing frozen": Arm(CLIPS, rounds=1, freeze="none"),
    "all three, #iter by size, vision frozen": Arm(freeze="vision"),
    "all three, #iter by size, text frozen": Arm(freeze="text"),
    "MoVA, SVST, as few pairs": Arm(CLIPS, gexia=False, few=True),
    "MoVA, + LVLT at random": Arm(LONG, way="random", gexia=False),
    "SVST, #iter 3": Arm(CLIPS, rounds=3),
    "all three + images, #iter by size": Arm(("SVST", "LVLT", "LVST", "IT"), curve=True),
    "all three, #iter by size, from scratch": Arm(freeze="none", scratch=True),
}
"""Arms in the order in which they run, the most informative first."""
WARM = Arm(CLIPS, freeze="none")
WARM_SEED = 10
MOST_ROUNDS = 3


class AnyRounds(GexiaInputs):
    """Adapter that draws `#iter` from 0 to `MOST_ROUNDS` per video and text, so that no arm is favored."""

    def granularities(self, names: Sequence[str], count: int) -> dict[str, Tensor]:
        """Drawn rounds."""
        rounds = super().granularities(names, count)
        drawn = {name: torch.randint(MOST_ROUNDS + 1, (count,)) for name in ("video_rounds", "text_rounds")}
        return rounds | drawn


class DenseInputs(GexiaInputs):
    """Adapter for batches whose frames are already dense features, computed by frozen encoders."""

    def encode(self, model: Any, batch: PairBatch) -> PairVectors:
        """See `GexiaInputs`."""
        mask = batch.frame_mask
        video_rounds, text_rounds, _ = batch.rounds()
        videos = model.video_vectors(batch.frames[mask], mask, video_rounds)
        with torch.no_grad():
            states = model.backbone.dense_texts(batch.input_ids, batch.token_mask)
        texts = model.text_iam(states, batch.token_mask, text_rounds).mean(dim=1)
        real = torch.ones(len(videos), 1, dtype=torch.bool)
        return PairVectors(videos.unsqueeze(1), real, texts, batch.group, model.scale())


def warm_gexia(backbone: WorldsTiny, steps: int, sources: int, videos: int, folder: Path) -> Gexia:
    """Load or train the GEXIA from which all GEXIA arms start, trained on clips only.

    Its modules are new; without a warm start, the few steps of an arm would mostly measure how fast they are learned.
    """
    if not (folder / "model.safetensors").exists():
        set_seed(WARM_SEED)
        footage = train_footage(WARM_SEED, sources, folder)
        model = Gexia.from_backbone(backbone)
        adapter = AnyRounds(_inner_adapter(model), model.config)
        fit_arm(WARM, model, footage, steps, videos, WARM_SEED, folder, adapter).save_pretrained(folder)
    return cast(Gexia, load(str(folder), precision="fp32", device="cpu"))


def build(arm: Arm, backbone: WorldsTiny, gexia: Gexia, seed: int) -> nn.Module:
    """Build the model of an arm from fresh copies."""
    set_seed(seed)
    if not arm.gexia:
        return Mova.from_backbone(backbone, "subsets")
    gexia.config.video_rounds = gexia.config.text_rounds = arm.rounds
    if arm.scratch:
        gexia.randomize_encoders()
    return gexia.freeze(arm.freeze)


def fit_arm(
    arm: Arm, model: Any, footage: Footage, steps: int, videos: int, seed: int, folder: Path, adapter: Any = None
) -> Any:
    """Train a model as the arm specifies; the log is kept in the folder. `adapter` replaces the default one."""
    objective: PairObjective = Vtc() if arm.gexia else MovaObjective("subsets")
    if adapter is None:
        adapter = adapter_of(arm, model)
    rows = {name: footage.expanded[arm.way][name] for name in arm.granularities}
    dense = footage.dense(model) if isinstance(adapter, DenseInputs) else None
    batches = GranularBatches(footage, rows, steps, videos, seed, adapter, arm.few, dense)
    training_data = TrainingData(batches, lambda items: items[0], adapter.encode)
    return fit(model, objective, training_data, folder, seed, MODULE_RATE, BACKBONE_RATE)


def adapter_of(arm: Arm, model: Any) -> InputAdapter:
    """Return the input adapter of an arm's model."""
    if not arm.gexia:
        return _inner_adapter(model)
    return (DenseInputs if arm.cached else GexiaInputs)(_inner_adapter(model), model.config)


def _inner_adapter(model: Any) -> SampleInputs:
    return SampleInputs(model.backbone.config.image_size, model.backbone.tokenizer)
