"""MoVA's identifiability claims put to the test: fit a known world, break one condition at a time, measure.

The claims (arXiv 2607.00858, its theory): the learned active text block does not depend on text nuisance; on each
active block the code is an invertible map of the truth; mask supports are recovered, nothing missing, nothing extra;
intersections of masks isolate atomic concepts. Sparse masks and diverse views are what they need.

Shape legend: see `identify_metrics.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from benchmarks.studies.identify.fit import Encoders, FitConfig, chance, fit, held_out_contrast
from benchmarks.studies.identify.metrics import atom_r2, atoms, block_r2, regression_r2, sensitivity, support_scores
from benchmarks.studies.identify.world import World, WorldConfig
from mova.errors import UsageError

TEST_VIDEOS = 6000
JACOBIANS = 256
FAR = 0.5
"""Distance from zero beyond which a shown concept cannot be taken for an absent one, jitter being 0.2."""
HELD_OUT = 10_000
"""Added to a seed for draws that no fit has seen."""
WEAK = 0.02
"""Sparsity of the weak condition, nats a coordinate."""


@dataclass(frozen=True)
class Condition:
    """One experiment: what differs from the full setting, and in what words."""

    title: str
    world: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)


CONDITIONS = {
    "full": Condition("all conditions hold"),
    "no sparsity": Condition("open coordinates cost nothing", fit={"sparsity": 0.0}),
    "weak sparsity": Condition("open coordinates cost too little", fit={"sparsity": WEAK}),
    "no view diversity": Condition("every concept has a constant companion", world={"tied": 2}),
    "no temporal masks": Condition("all masks held at one", fit={"masks": False}),
    "published contrast": Condition("negatives wear their own masks", fit={"contrast": "published"}),
}
"""The table's rows: the setting of the theory, then one thing broken at a time."""


@dataclass(frozen=True)
class Measures:
    """What one fit identified, on held-out draws; see `identify_metrics.py` for each.

    Attributes:
        to_truth, from_truth, absent: block R^2 from code to shown concepts, back, and from code to absent concepts.
        text_nuisance: R^2 of the text's nuisance on the masked text code.
        frame_nuisance: R^2 of scene and frame nuisance on the masked frame code.
        jacobian: d code / d text nuisance over d code / d z.
        precision, recall: of the mask supports, up to a permutation.
        recall_far: recall of concepts that are further than `FAR` from zero, which is what absence looks like.
        atom_own, atom_other: R^2 of each concept, and of the best other one, on the concept's intersection.
    """

    to_truth: float
    from_truth: float
    absent: float
    text_nuisance: float
    frame_nuisance: float
    jacobian: float
    precision: float
    recall: float
    recall_far: float
    atom_own: float
    atom_other: float


@dataclass(frozen=True)
class Outcome:
    """One fit, measured.

    Attributes:
        measures: see there.
        opened: (K, d), how often a coordinate is open when a concept is shown.
        contrast: held-out contrast, nats.
        chance: the contrast of codes that say nothing, nats.
    """

    measures: Measures
    opened: np.ndarray
    contrast: float
    chance: float


def configure(name: str, **fitting: Any) -> tuple[WorldConfig, FitConfig]:
    """Configurations of a named condition; `fitting` changes the fit everywhere (a quick form, say).

    Raises:
        UsageError: no such condition.
    """
    if name not in CONDITIONS:
        raise UsageError(f"{name!r}: no such condition; there are {', '.join(CONDITIONS)}")
    condition = CONDITIONS[name]
    return WorldConfig(**condition.world), FitConfig(**{**fitting, **condition.fit})


def identify(name: str, seed: int, **fitting: Any) -> Outcome:
    """Fit a condition to the world of this seed and measure it on held-out draws."""
    world_config, fit_config = configure(name, **fitting)
    world = World(world_config, seed)
    model = fit(world, fit_config, seed)
    measures, opened = measure(world, model, seed + HELD_OUT)
    contrast = held_out_contrast(model, world, fit_config, seed + HELD_OUT)
    return Outcome(measures, opened, contrast, chance(world, fit_config))


def rolled_contrast(name: str, seed: int, **fitting: Any) -> float:
    """The rolled-pair test: a condition's held-out contrast in nats when fitted to, and asked about, wrong pairs.

    Where it comes near the contrast of true pairs, the objective does not look at whether text and video match.
    """
    world_config, fit_config = configure(name, **{**fitting, "rolled": True})
    world = World(world_config, seed)
    return held_out_contrast(fit(world, fit_config, seed), world, fit_config, seed + HELD_OUT)


@torch.no_grad()
def measure(world: World, model: Encoders, seed: int) -> tuple[Measures, np.ndarray]:
    """Measure a fitted model on fresh draws; returns the measures and the masks by concept (see `Outcome`)."""
    config = world.config
    draw = world.draw(TEST_VIDEOS, torch.Generator().manual_seed(seed))
    mask = (model.open_probability(draw.frames) > 0.5).flatten(0, 1).numpy()
    text = model.text(draw.text).repeat_interleave(config.frames, dim=0).numpy()
    frame = model.frame(draw.frames).flatten(0, 1).numpy()
    z = draw.z.repeat_interleave(config.frames, dim=0).numpy()
    support = draw.support.flatten(0, 1).numpy()
    told = draw.text_nuisance.repeat_interleave(config.frames, dim=0).numpy()
    scene = draw.scene.repeat_interleave(config.frames, dim=0).numpy()
    unseen = np.concatenate([scene, draw.frame_nuisance.flatten(0, 1).numpy()], axis=1)
    # One frame a video where frames are taken as independent samples.
    once = slice(None, None, config.frames)
    far = np.linalg.norm(z.reshape(len(z), config.concepts, -1), axis=-1) > FAR
    precision, recall, recall_far = support_scores(mask, *(np.repeat(x, config.width, axis=1) for x in (support, far)))
    own, other = atom_r2(text[once], z[once], atoms(mask, support))
    latent = torch.cat([draw.z, draw.text_nuisance], dim=1)[:JACOBIANS]
    weight = torch.from_numpy(mask.mean(axis=0)).float()
    with torch.enable_grad():
        ratio = sensitivity(lambda x: model.text(world.text_mixing(x)), latent, config.text_nuisance, weight)
    masked = {"text": (text * mask)[once], "frame": (frame * mask)[once]}
    blocks = block_r2(text, mask, z, support)
    measures = Measures(
        **blocks,
        text_nuisance=regression_r2(masked["text"], told[once]),
        frame_nuisance=regression_r2(masked["frame"], unseen[once]),
        jacobian=ratio,
        precision=precision,
        recall=recall,
        recall_far=recall_far,
        atom_own=own,
        atom_other=other,
    )
    shown = support.astype(np.float64)
    return measures, (shown.T @ mask) / shown.sum(axis=0)[:, None]
