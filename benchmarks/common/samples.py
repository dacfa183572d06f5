"""Input adapter for batches whose samples are already stacked with their neighbours.

Shape legend: V videos, T samples.
"""

from __future__ import annotations

from torch import Tensor

from mova.models.worlds_tiny.inputs import WorldsTinyInputs


class SampleInputs(WorldsTinyInputs):
    """Adapter for batches whose samples are already stacked with their neighbours."""

    def image_arguments(self, frames: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Select real samples: uint8 (V, T, 9, h, w) -> `stacks` (n, 9, h, w)."""
        return {"stacks": frames[mask]}
