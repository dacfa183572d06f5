"""Build a model of natural footage from the installed weights."""

from __future__ import annotations

from dataclasses import dataclass

from mova.models.natural.model import Natural


@dataclass(frozen=True)
class NaturalBuild:
    """Settings of model kind `natural`."""

    logit_divisor: float = 2.0
    """Divisor of the class logits; higher spreads the probability over more classes."""
    frame_rate: float = 1.0
    """Frames per second."""

    def build(self) -> Natural:
        """Return the model with the weights of the extra `natural`.

        Raises:
            ModelError: the extra is not installed.
        """
        return Natural.from_packages(logit_divisor=self.logit_divisor, frame_rate=self.frame_rate)
