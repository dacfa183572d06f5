"""Build a two-tower model for training."""

from __future__ import annotations

from dataclasses import dataclass

from mova.models.two_tower.model import TwoTower


@dataclass(frozen=True)
class TwoTowerBuild:
    """Settings of model kind `two-tower`."""

    source: str
    """A checkpoint: a name on the Hub or a folder."""
    text_length: int | None = None
    """Maximum number of tokens per text, special tokens included; None: the checkpoint's own."""

    def build(self) -> TwoTower:
        """Read the checkpoint in float32 on the CPU, its logit bias frozen."""
        model = TwoTower.from_checkpoint(self.source, precision="fp32", device="cpu", text_length=self.text_length)
        model.freeze_bias()
        return model
