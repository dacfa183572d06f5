"""Test MoVA's identifiability claims: fit a known world, violate one condition at a time, and measure.

The claims (theory of arXiv 2607.00858): the learned active text block does not depend on text nuisance; on each active
block the code is an invertible map of the truth; mask supports are recovered exactly; intersections of masks isolate
atomic concepts. The claims require sparse masks and diverse views.

Shape legend: see `metrics.py`.
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
"""Distance from zero beyond which a visible concept cannot be mistaken for an absent one (jitter is 0.2)."""
HELD_OUT = 10_000
"""Offset of the seed for held-out draws."""
WEAK = 0.02
"""Sparsity penalty of the weak condition, in nats per coordinate."""


@dataclass(frozen=True)
class Condition:
    """One experiment: its title, and the differences from the full setting."""

    title: str
    world: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)


CONDITIONS = {
    "full": Condition("all conditions hold"),
    "no sparsity": Condition("open coordinates cost nothing", fit={"sparsity": 0.0}),
    "weak sparsity": Condition("open coordinates cost too little", fit={"sparsity": WEAK}),
    "no view diversity": Condition("every concept has a constant companion", world={"tied": 2}),
    "no temporal masks": Condition("all masks fixed at one", fit={"masks": False}),
    "published contrast": Condition("negatives use their own masks", fit={"contrast": "published"}),
}
"""Conditions of the table: the setting of the theory, then one violation at a time."""


@dataclass(frozen=True)
class Measures:
    """Measures of one fit on held-out draws; see `metrics.py`.

    Attributes:
        to_truth, from_truth, absent: block R^2 from code to visible concepts, the reverse, and from code to absent
            concepts.
        text_nuisance: R^2 of the text nuisance on the masked text code.
        frame_nuisance: R^2 of scene and frame nuisance on the masked frame code.
        jacobian: d code / d text nuisance over d code / d z.
        precision, recall: of the mask supports, up to a permutation.
        recall_far: recall of concepts further than `FAR` from zero, the value of absent concepts.
        atom_own, atom_other: R^2 of each concept, and of the best other one, on the intersection of the concept.
        video_to_truth, video_from_truth, video_absent, video_atom_own, video_atom_other: the same five of the frame
            code, whose truth is what the frame shows, its jitter included.
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
    video_to_truth: float
    video_from_truth: float
    video_absent: float
    video_atom_own: float
    video_atom_other: float


@dataclass(frozen=True)
class Outcome:
    """Result of one fit.

    Attributes:
        measures: see `Measures`.
        opened: (K, d), how often a coordinate is open when a concept is visible.
        contrast: held-out contrast, nats.
        chance: contrast of codes that carry no information, nats.
    """

    measures: Measures
    opened: np.ndarray
    contrast: float
    chance: float


def configure(name: str, **fitting: Any) -> tuple[WorldConfig, FitConfig]:
    """Return the configurations of a condition; `fitting` overrides the fit (e.g. for the quick form).

    Raises:
        UsageError: unknown condition.
    """
    if name not in CONDITIONS:
        raise UsageError(f"{name!r}: unknown condition; choose one of {', '.join(CONDITIONS)}")
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
    """Run the rolled-pair test: return the held-out contrast in nats when fitted to and tested on wrong pairs.

    If it approaches the contrast of true pairs, the objective does not depend on whether text and video match.
    """
    world_config, fit_config = configure(name, **{**fitting, "rolled": True})
    world = World(world_config, seed)
    return held_out_contrast(fit(world, fit_config, seed), world, fit_config, seed + HELD_OUT)


@torch.no_grad()
def measure(world: World, model: Encoders, seed: int) -> tuple[Measures, np.ndarray]:
    """Measure a fitted model on new draws; return the measures and the masks by concept (see `Outcome`)."""
    config = world.config
    draw = world.draw(TEST_VIDEOS, torch.Generator().manual_seed(seed))
    mask = (model.open_probability(draw.frames) > 0.5).flatten(0, 1).numpy()
    text = model.text(draw.text).repeat_interleave(config.frames, dim=0).numpy()
    frame = model.frame(draw.frames).flatten(0, 1).numpy()
    z = draw.z.repeat_interleave(config.frames, dim=0).numpy()
    seen = draw.seen.flatten(0, 1).numpy()
    support = draw.support.flatten(0, 1).numpy()
    text_nuisance = draw.text_nuisance.repeat_interleave(config.frames, dim=0).numpy()
    scene = draw.scene.repeat_interleave(config.frames, dim=0).numpy()
    frame_nuisance = np.concatenate([scene, draw.frame_nuisance.flatten(0, 1).numpy()], axis=1)
    # One frame per video where frames are treated as independent samples.
    once = slice(None, None, config.frames)
    far = np.linalg.norm(z.reshape(len(z), config.concepts, -1), axis=-1) > FAR
    precision, recall, recall_far = support_scores(mask, *(np.repeat(x, config.width, axis=1) for x in (support, far)))
    shared = atoms(mask, support)
    atom_own, atom_other = atom_r2(text[once], z[once], shared)
    video_atom_own, video_atom_other = atom_r2(frame[once], seen[once], shared, support[once])
    latent = torch.cat([draw.z, draw.text_nuisance], dim=1)[:JACOBIANS]
    weight = torch.from_numpy(mask.mean(axis=0)).float()
    with torch.enable_grad():
        ratio = sensitivity(lambda x: model.text(world.text_mixing(x)), latent, config.text_nuisance, weight)
    masked = {"text": (text * mask)[once], "frame": (frame * mask)[once]}
    blocks = block_r2(text, mask, z, support)
    blocks |= {f"video_{name}": value for name, value in block_r2(frame, mask, seen, support).items()}
    measures = Measures(
        **blocks,
        text_nuisance=regression_r2(masked["text"], text_nuisance[once]),
        frame_nuisance=regression_r2(masked["frame"], frame_nuisance[once]),
        jacobian=ratio,
        precision=precision,
        recall=recall,
        recall_far=recall_far,
        atom_own=atom_own,
        atom_other=atom_other,
        video_atom_own=video_atom_own,
        video_atom_other=video_atom_other,
    )
    visible = support.astype(np.float64)
    return measures, (visible.T @ mask) / visible.sum(axis=0)[:, None]
