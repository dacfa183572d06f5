"""Build a two-tower model for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mova.errors import ModelError
from mova.models.hub import find_checkpoint, has_own_modules
from mova.models.two_tower.model import TwoTower

SHARED = ("logit_scale", "logit_bias")
"""Parameters of neither tower."""


@dataclass(frozen=True)
class TwoTowerBuild:
    """Settings of model kind `two-tower`."""

    source: str
    """A checkpoint: a name on the Hub or a folder."""
    text_length: int | None = None
    """Maximum number of tokens per text, special tokens included; null: the checkpoint's own."""
    freeze: Literal["none", "vision", "text"] = "none"
    """The tower that is not trained."""

    def build(self) -> TwoTower:
        """Read the checkpoint in float32 on the CPU; the logit bias and the tower that `freeze` names are frozen.

        Raises:
            ModelError: see `TwoTower.from_checkpoint`; or it has modules of sentence-transformers behind its towers.
        """
        if has_own_modules(find_checkpoint(self.source)):
            raise ModelError(
                f"{self.source}: has modules of sentence-transformers, which mova does not train; train it with that "
                "library, start from the dual encoder inside it, or train heads around it with --model.kind mova"
            )
        model = TwoTower.from_checkpoint(self.source, precision="fp32", device="cpu", text_length=self.text_length)
        model.freeze_bias()
        if self.freeze != "none":
            vision = {id(weight) for weight in model.video_parameters()}
            for name, weight in model.backbone.named_parameters():
                if name not in SHARED and (id(weight) in vision) == (self.freeze == "vision"):
                    weight.requires_grad_(False)
        return model
