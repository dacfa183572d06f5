"""Build a video LLM with LoRA adapters for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mova.errors import UsageError
from mova.models.video_llm.model import VideoLLM
from mova.models.video_llm.prompt import Question

SCORER = "scorer"
"""Attribute of PEFT's wrapper that holds the `VideoLLM` it belongs to."""


@dataclass(frozen=True)
class VideoLLMBuild:
    """Settings of model kind `video-llm`; see `VideoLLM.from_pretrained`."""

    source: str
    """A checkpoint, or the folder of adapters to train further; its rank, alpha and dropout must equal these."""
    rank: int = 32
    """Rank of the adapters."""
    alpha: int = 32
    """Scale of the adapters."""
    dropout: float = 0.05
    """Dropout of the adapters."""
    precision: str = "auto"
    """Precision of the weights: "fp32", "bf16" or "auto"."""
    quantise: str | None = None
    """Quantization of the weights: "4bit" or "8bit"."""
    device_map: str | None = None
    """Distribution of the model over devices: auto, balanced, ..."""
    max_frames: int | None = None
    """Maximum number of frames per video; null: the family's default."""
    prompt: str | None = None
    """The question, see `Question.named`; null: the entailment question."""

    def build(self) -> Any:
        """Return PEFT's wrapper of the model, with fresh adapters or those of an earlier run.

        Its attribute `scorer` is the `VideoLLM`.
        """
        llm = VideoLLM.from_pretrained(
            self.source,
            precision=self.precision,
            quantise=self.quantise,
            device_map=self.device_map,
            max_frames=self.max_frames,
            question=None if self.prompt is None else Question.named(self.prompt),
            trainable=True,
        )
        if llm.adapters is None:
            llm.attach_lora(self.rank, self.alpha, self.dropout)
        (config,) = llm.adapters.peft_config.values()
        kept = {"rank": config.r, "alpha": config.lora_alpha, "dropout": config.lora_dropout}
        differing = [f"model.{name} {value}" for name, value in kept.items() if value != getattr(self, name)]
        if differing:
            raise UsageError(
                f"{self.source}: its adapters have {', '.join(differing)}, which cannot be changed now; use the same"
            )
        setattr(llm.adapters, SCORER, llm)
        return llm.adapters
