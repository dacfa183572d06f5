"""Configuration of a model of sentence-transformers inside another model's folder."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class SentenceConfig(PreTrainedConfig):
    """What another model keeps of a model of sentence-transformers beside its files.

    Attributes:
        source: name of the checkpoint.
        frame_rate: frames per second to sample.
        window_stride: sampled frames from the start of one window to the start of the next; None for single frames.
        relevance_threshold, units, rule: see `TwoTowerConfig`.
    """

    model_type = "mova-sentence-transformers"

    def __init__(
        self,
        source: str = "",
        frame_rate: float = 1.0,
        window_stride: int | None = None,
        relevance_threshold: float | None = None,
        units: dict[str, int] | None = None,
        rule: dict[str, float | None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.source = source
        self.frame_rate = frame_rate
        self.window_stride = window_stride
        self.relevance_threshold = relevance_threshold
        self.units = units
        self.rule = rule
        super().__init__(**kwargs)
