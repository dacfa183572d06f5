"""Configuration of a saved Qwen3-VL-Embedding model."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

INSTRUCTION = "Represent the user's input."
"""The instruction that the published code uses if none is given."""


class QwenEmbeddingConfig(PreTrainedConfig):
    """Configuration of a Qwen3-VL-Embedding model.

    Attributes:
        backbone: the configuration of the transformers model inside, as a dictionary with its `model_type`.
        source: name of the checkpoint it was made from.
        frame_rate: frames per second to sample.
        window_frames: frames per window.
        window_stride: sampled frames from the start of one window to the start of the next; None: half a window.
        instruction: system message of texts; `video_instruction` that of videos.
        width: dimensions of the vectors, the first ones of the model (Matryoshka); None: all.
        relevance_threshold, units, rule: see `TwoTowerConfig`.
    """

    model_type = "mova-qwen-embedding"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        source: str = "",
        frame_rate: float = 1.0,
        window_frames: int = 8,
        window_stride: int | None = None,
        instruction: str = INSTRUCTION,
        video_instruction: str = INSTRUCTION,
        width: int | None = None,
        relevance_threshold: float | None = None,
        units: dict[str, int] | None = None,
        rule: dict[str, float | None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone or {}
        self.source = source
        self.frame_rate = frame_rate
        self.window_frames = window_frames
        self.window_stride = window_stride
        self.instruction = instruction
        self.video_instruction = video_instruction
        self.width = width
        self.relevance_threshold = relevance_threshold
        self.units = units
        self.rule = rule
        super().__init__(**kwargs)
