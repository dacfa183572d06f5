"""What is measured on validation data and kept in a configuration: relevance threshold, units, evidence rule."""

from __future__ import annotations

from typing import Any

from mova.scoring.caption_score import EvidenceRule
from mova.text.units import UnitRule


def read_measured(model: Any) -> None:
    """Put what the configuration holds into the model, as `DualEncoder` describes it."""
    model.relevance_threshold = model.config.relevance_threshold
    model.units = UnitRule.from_dict(model.config.units)
    model.rule = EvidenceRule.from_dict(model.config.rule)


def write_measured(model: Any) -> None:
    """Put into the configuration what may have been measured since the model was made."""
    model.config.relevance_threshold = model.relevance_threshold
    model.config.units = model.units.to_dict()
    model.config.rule = model.rule.to_dict()
