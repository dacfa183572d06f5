"""Post-training steps: evaluate, write the model card, save in half precision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mova.eval.render import measure_label
from mova.eval.tasks.worlds import HELD_OUT, encode_worlds, evaluate_worlds, measure_rule, measure_threshold
from mova.scoring.caption_score import EvidenceRule
from mova.train.recipe import PostTraining, Recipe
from mova.worlds.render import HELD_OUT_STYLE, TRAIN_STYLES

VALIDATION_SEED = HELD_OUT - 1
"""Worlds of this seed choose the threshold and the evidence rule; those of `HELD_OUT + 1` and on are for reporting."""

CARD = """\
---
library_name: mova
license: apache-2.0
pipeline_tag: feature-extraction
tags: [video-text, dual-encoder]
---

# mova-{recipe}

A small two-tower model for *Worlds*, the procedural videos that mova renders, for demonstrations and offline tests.
**It has never seen real footage**; use a hub model for that (`mova models`).

| | |
|---|---|
| parameters | {parameters:,} |
| frames | {size} x {size} pixels, {frame_rate:g} per second, each stacked with the previous and the next frame |
| vocabulary | {words} whole words; all others are unknown |
| width | {dim} |
| relevance threshold | {threshold:.3f}, best F1 of described frames on validation Worlds in training styles |
| evidence rule | {rule}, best R@1 on the same Worlds with hard negatives |
| trained by | `mova train {recipe}`, seed {seed}, {steps} steps, {start}, on rendered Worlds only |

## On held-out Worlds

Videos of {seconds:.0f} s and clips of {clip:.0f} s from held-out seeds (one seed of tests). The style `{held_out}` was
not used in training. Accuracies and recalls are in percent. A sentence that omits facts counts as correct for any clip
of which it is true. For each factor, the candidates differ only in that fact. Chance is one over the number of
candidates.

| | {columns} |
|---|{rules}|
{rows}

`flip` swaps two sentences, {flip}.
"""
BLIND = "which this model cannot detect: sentences are scored one by one"
SEEING = "which the order term of the evidence rule detects"


@dataclass(frozen=True)
class WorldsTinyRelease(PostTraining):
    """Settings of section `finish` for model kind `worlds-tiny`; see `evaluate_worlds`."""

    seed: int = 1
    """Seed of the held-out Worlds."""
    styles: Sequence[str] | None = None
    """Styles to render; null: a training style and the held-out one."""
    clips: int = 200
    """Clips per style."""
    worlds: int = 60
    """Videos per style."""
    validation: int = 40
    """Videos, of other seeds, that choose the relevance threshold and the evidence rule."""

    def run(self, model: Any, recipe: Recipe, output: Path, steps: int) -> None:
        """See `release_worlds_tiny`."""
        release_worlds_tiny(model, recipe, self, output, steps)


def release_worlds_tiny(model: Any, recipe: Recipe, settings: WorldsTinyRelease, output: Path, steps: int) -> None:
    """Choose the relevance threshold and the evidence rule on validation Worlds, write the card, save in fp16.

    Args:
        model: a trained Worlds model, in evaluation mode.
        recipe: named in the card.
        settings: of the evaluation.
        output: the run's folder; the weights in it are replaced.
        steps: number of training steps.
    """
    seen = list(encode_worlds(model, TRAIN_STYLES, VALIDATION_SEED, settings.validation))
    model.relevance_threshold = measure_threshold(model, seen)
    calibration = measure_rule(model, seen)
    model.rule = calibration.rule
    (output / "calibration.json").write_text(json.dumps(calibration.to_json(), indent=1) + "\n", encoding="utf-8")
    report = evaluate_worlds(model, settings.seed, settings.styles, settings.clips, settings.worlds)
    (output / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    model.to(torch.float16).save_pretrained(output)
    model.to(torch.float32)
    (output / "README.md").write_text(_card(model, recipe, report, steps), encoding="utf-8")


def _card(model: Any, recipe: Recipe, report: Mapping[str, Mapping[str, float]], steps: int) -> str:
    from mova.eval.tasks.worlds import CLIP_SECONDS, WORLD_SECONDS

    styles = list(report)
    rows = [
        f"| {measure_label(measure)} | " + " | ".join(_figure(report[style].get(measure)) for style in styles) + " |"
        for measure in report[styles[0]]
    ]
    return CARD.format(
        parameters=sum(p.numel() for p in model.parameters()),
        size=model.config.image_size,
        frame_rate=model.frame_rate,
        words=len(model.config.vocabulary) - 2,
        dim=model.embedding_dim,
        threshold=model.relevance_threshold,
        rule=_rule_in_words(model.rule),
        flip=SEEING if model.rule.beta else BLIND,
        recipe=recipe.name,
        seed=recipe.seed,
        steps=steps,
        start="from scratch" if recipe.model.get("start") is None else f"from {recipe.model['start']}",
        seconds=WORLD_SECONDS,
        clip=CLIP_SECONDS,
        held_out=HELD_OUT_STYLE,
        columns=" | ".join(styles),
        rules="|".join("---:" for _ in styles),
        rows="\n".join(rows),
    )


def _rule_in_words(rule: EvidenceRule) -> str:
    """List the settings that differ from plain late interaction."""
    used = {name: value for name, value in rule.to_dict().items() if value != getattr(EvidenceRule(), name)}
    return ", ".join(f"{name} {value:g}" for name, value in used.items()) or "plain late interaction"


def _figure(value: float | None) -> str:
    """Format recalls with one digit, mAP and AUC (at most 1) with three."""
    if value is None:
        return ""
    return f"{value:.3f}" if 0 < value <= 1 else f"{value:.1f}"
