"""Build a model of sentence-transformers from a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from mova.models.sentence_transformer.model import SentenceEncoder


@dataclass(frozen=True)
class SentenceEncoderBuild:
    """Settings of model kind `sentence-transformers`. Training refuses it: the library trains its own models."""

    source: str
    """A checkpoint: a name on the Hub or a folder."""

    def build(self) -> SentenceEncoder:
        """Read the checkpoint in float32 on the CPU."""
        return SentenceEncoder.from_checkpoint(self.source, precision="fp32", device="cpu")
