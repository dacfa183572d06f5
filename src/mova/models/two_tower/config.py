"""Configuration of a saved two-tower model."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class TwoTowerConfig(PreTrainedConfig):
    """Configuration of a two-tower model.

    Attributes:
        backbone: the configuration of the transformers model inside, as a dictionary with its `model_type`.
        image, text: `ImageRule` and `TextRule` as dictionaries.
        source: name of the checkpoint it was made from.
        frame_rate: frames per second to sample.
        relevance_threshold: see `DualEncoder`.
        units, rule: `UnitRule` and `EvidenceRule` as dictionaries; None is the default.
    """

    model_type = "mova-two-tower"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        image: dict[str, Any] | None = None,
        text: dict[str, Any] | None = None,
        source: str = "",
        frame_rate: float = 1.0,
        relevance_threshold: float | None = None,
        units: dict[str, int] | None = None,
        rule: dict[str, float | None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone or {}
        self.image = image or {}
        self.text = text or {}
        self.source = source
        self.frame_rate = frame_rate
        self.relevance_threshold = relevance_threshold
        self.units = units
        self.rule = rule
        super().__init__(**kwargs)
