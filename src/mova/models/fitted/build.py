"""Build an encoder with a map that changes nothing yet."""

from __future__ import annotations

from dataclasses import dataclass

from mova.models.fitted.model import Fitted
from mova.models.registry import load


@dataclass(frozen=True)
class FittedBuild:
    """Settings of model kind `fitted`."""

    source: str = "mova-natural"
    """Name or folder of the encoder."""

    def build(self) -> Fitted:
        """Return the encoder with the identity as its map.

        Raises:
            UsageError: an encoder that cannot be saved inside another model.
            ModelError: the encoder cannot be found.
        """
        return Fitted.around(load(self.source, precision="fp32", device="cpu"))
