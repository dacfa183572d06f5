"""Background captions, which fit no video in particular, and the relevance threshold estimated from them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from torch import Tensor

from mova.errors import ModelError
from mova.models.embeddings import TextEmbedding, VideoEmbedding
from mova.scoring.similarity import relevance
from mova.scoring.spans import noise_floor


@cache
def background_sentences() -> tuple[str, ...]:
    """Return captions of everyday videos in general; their relevance to one video is the noise floor."""
    return tuple(files("mova.models").joinpath("background_captions.txt").read_text(encoding="utf-8").split("\n")[:-1])


class TextEncoder(Protocol):
    """The part of an encoder that a threshold depends on (`mova.models.encoder.DualEncoder` has it)."""

    name: str
    relevance_threshold: float | None
    background: Sequence[str]

    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Encode sentences."""

    def weights_version(self) -> int:
        """Return a number that changes whenever a weight is written to."""


_background_vectors: WeakKeyDictionary[TextEncoder, tuple[Any, Tensor]] = WeakKeyDictionary()
"""Vectors (B, d) of each live model's background sentences, with the sentences and the weights they belong to."""


def relevance_threshold(model: TextEncoder, video: VideoEmbedding) -> float:
    """Return the cosine from which a frame of this video counts as showing a sentence.

    That is `model.relevance_threshold` if it was measured. Otherwise it is the least cosine that at most one in twenty
    pairs of a frame of this video and a background sentence reaches.

    Raises:
        ModelError: the model has neither.
    """
    if model.relevance_threshold is not None:
        return model.relevance_threshold
    if not model.background:
        raise ModelError(
            f"{model.name}: has no measured relevance threshold and no background sentences to estimate "
            "one; set `model.relevance_threshold` or `model.background`"
        )
    background = encode_background(model).to(video.frames.device)
    return noise_floor(relevance(background, video.frames).cpu().numpy())


def encode_background(model: TextEncoder) -> Tensor:
    """Return the vectors (B, d) of a model's background sentences, encoded once for the same sentences and weights."""
    key = (tuple(model.background), model.weights_version())
    cached = _background_vectors.get(model)
    if cached is None or cached[0] != key:
        cached = _background_vectors[model] = (key, model.encode_text(model.background).pooled)
    return cached[1]
