"""Build a model of sentence-transformers from a recipe, and say what the family does not support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from mova.errors import UsageError
from mova.models.sentence_transformer.model import SentenceEncoder


@dataclass(frozen=True)
class SentenceEncoderBuild:
    """Settings of model kind `sentence-transformers`. All its weights are frozen: use `mova` for heads around it."""

    source: str
    """A checkpoint: a name on the Hub or a folder."""

    def build(self) -> SentenceEncoder:
        """Read the checkpoint in float32 on the CPU."""
        return SentenceEncoder.from_checkpoint(self.source, precision="fp32", device="cpu")


def refuse_maps(model: SentenceEncoder) -> NoReturn:
    """Raise: the library's models have no common form of an image tower.

    Raises:
        UsageError: always.
    """
    raise UsageError(f"{model.name}: its image tower is not accessible; use the method subsets")
