"""Write the model card of saved weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD = """\
---
library_name: mova
pipeline_tag: feature-extraction
tags: [video-text, dual-encoder]
---

# {title}

{about}

| | |
|---|---|
{facts}

```python
import mova
model = mova.load("{title}")  # this folder
timeline = model.align("film.mp4", "A man opens a door. Then he pours tea.")
```

Licence and known limits are those of the checkpoint it was made from and of its training data.
"""
ABOUT = "A dual encoder for `mova`: frames and texts become vectors in one space of width {dim}."
MASKS = {
    "none": "It has no masks: the control for the masked models.",
    "caption": "A network masks vectors by a caption alone: the stage before MoVA's masks, to be trained further.",
    "concept": "For a frame and a caption, a network masks the frame's vector.",
    "dimensions": "For a frame and a caption, one network masks the caption's vector and one the frame's vector.",
    "units": "For a frame and a caption, a network selects among the caption's units, or none of them.",
}

APPROXIMATION = "Patches and tokens enter GEXIA's Iterative Approximation Modules unpooled, one module per modality."


def write_card(folder: Path, config: Any, parameters: int, dim: int) -> None:
    """Write `README.md` into a folder of saved weights, unless it has a README written by hand.

    Args:
        folder: folder of the weights.
        config: a `TwoTowerConfig`.
        parameters: number of parameters.
        dim: width of the shared space.
    """
    facts = {
        "made from": config.source or "no checkpoint (random weights)",
        "family": config.backbone.get("model_type"),
        "parameters": f"{parameters:,}",
        "frames per second": f"{config.frame_rate:g}",
        "tokens per text": f"{config.text['length']}"
        + (" (always, padding included)" * bool(config.text.get("fixed"))),
        "relevance threshold": _threshold(config.relevance_threshold),
    }
    _write(folder, ABOUT.format(dim=dim), facts)


def write_mova_card(folder: Path, config: Any, parameters: int, added: tuple[int, float], dim: int) -> None:
    """Write the card of a backbone with masks; see `write_card`.

    Args:
        folder: folder of the weights.
        config: a `MovaConfig`.
        parameters: number of parameters in all.
        added: number of parameters around the backbone, and their ratio to the backbone's.
        dim: width of the shared space.
    """
    backbone = config.backbone
    family = (backbone.get("backbone") or {}).get("model_type") or backbone["model_type"]
    shape = {
        "none": "none",
        "caption": f"captions alone, {config.form}, depth {config.depth}, {'hard' if config.hard else 'soft'}",
        "dimensions": f"dimensions, {config.form}, depth {config.depth}, {'hard' if config.hard else 'soft'}, "
        f"{'with' if config.last_residual else 'without'} the frame's last residual, "
        f"concepts from {config.concept_inputs.replace('_', ' ')}",
        "concept": f"concepts from {config.concept_inputs.replace('_', ' ')}, {'hard' if config.hard else 'soft'}",
        "units": f"units, concept masks: {config.unit_concepts}",
    }
    facts = {
        "preset": config.preset or "none",
        "masks": shape[config.masks],
        "units": f"by {config.units}" if config.units == "rule" else config.units,
        "made from": backbone.get("source") or "no checkpoint (trained or random weights)",
        "family": family,
        "parameters": f"{parameters:,}",
        "temporal transformer": f"{config.temporal_blocks} blocks" if config.temporal_blocks else "none",
        "of these, around the backbone": f"{added[0]:,} ({added[1]:.1%} of the backbone's)",
        "frames per second": f"{backbone['frame_rate']:g}",
        "relevance threshold": _threshold(backbone.get("relevance_threshold")),
    }
    _write(folder, f"{ABOUT.format(dim=dim)}\n{MASKS[config.masks]}", facts)


def write_gexia_card(folder: Path, config: Any, parameters: int, inside: int, dim: int) -> None:
    """Write the card of a backbone with iterative approximation; see `write_card`.

    Args:
        folder: folder of the weights.
        config: a `GexiaConfig`.
        parameters: number of parameters in all.
        inside: number of the backbone's parameters.
        dim: width of the shared space.
    """
    backbone = config.backbone
    family = (backbone.get("backbone") or {}).get("model_type") or backbone["model_type"]
    facts = {
        "base vectors": f"{config.bases} per modality, {config.heads} heads",
        "#iter": ", ".join(f"{size} {rounds}" for size, rounds in config.rounds.items())
        + f"; single frames {config.frame_rounds}",
        "#iter regardless of size": f"videos {_rounds(config.video_rounds)}, texts {_rounds(config.text_rounds)}",
        "frames": ", ".join(f"{size} {count}" for size, count in config.frames.items()),
        "long": f"videos of more than {config.long_seconds:g} s, texts of more than {config.long_words} words",
        "classes of the head": f"{len(config.labels)}{' (several per video)' * config.multiple_labels}",
        "made from": backbone.get("source") or "no checkpoint (trained or random weights)",
        "family": family,
        "parameters": f"{parameters:,}",
        "of these, approximation": f"{parameters - inside:,} ({(parameters - inside) / inside:.1%} of the backbone's)",
        "frames per second": f"{backbone['frame_rate']:g}",
        "relevance threshold": _threshold(config.relevance_threshold),
    }
    _write(folder, f"{ABOUT.format(dim=dim)}\n{APPROXIMATION}", facts)


def _write(folder: Path, about: str, facts: Mapping[str, Any]) -> None:
    """Write the card, unless there is one that mova did not write."""
    path = folder / "README.md"
    if path.exists() and "pipeline_tag: feature-extraction\ntags: [video-text" not in path.read_text(encoding="utf-8"):
        return
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    path.write_text(CARD.format(title=folder.name, about=about, facts=rows), encoding="utf-8")


def _threshold(value: float | None) -> str:
    return "not measured" if value is None else f"{value:g}"


def _rounds(value: int | None) -> str:
    return "by size" if value is None else str(value)
