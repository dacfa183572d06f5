"""Background captions, which fit no video in particular: relevance thresholds and false-alarm rates from them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Protocol
from weakref import WeakKeyDictionary

from torch import Tensor

from mova.errors import ModelError
from mova.models.embeddings import TextEmbedding, VideoEmbedding
from mova.scoring.false_alarm import LEAST_SENTENCES, of_video
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
    unlikely: Sequence[str]

    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Encode sentences."""

    def weights_version(self) -> int:
        """Return a number that changes whenever a weight is written to."""


_vectors: WeakKeyDictionary[TextEncoder, dict[tuple[str, ...], tuple[int, Tensor]]] = WeakKeyDictionary()
"""Vectors (B, d) of each live model's background sentences, by the sentences, with the version of the weights."""


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
    return _encoded(model, model.background)


def unlikely_sentences(model: TextEncoder) -> tuple[str, ...]:
    """Return the sentences whose best scores are false alarms: hardly any video shows one of them."""
    return tuple(model.unlikely or model.background)


def encode_unlikely(model: TextEncoder) -> Tensor:
    """Return the vectors (B, d) of `unlikely_sentences`, encoded once for the same sentences and weights."""
    return _encoded(model, unlikely_sentences(model))


def false_alarm_rates(model: TextEncoder, highest: Sequence[float], video: VideoEmbedding) -> list[float] | None:
    """Return how often a sentence that this video does not show scores this high on its best frame.

    Args:
        model: the encoder.
        highest: cosine of each sentence's best frame.
        video: the video.

    Returns:
        A rate per sentence (`mova.scoring.false_alarm`); None if the model has too few sentences for it.
    """
    if len(unlikely_sentences(model)) < LEAST_SENTENCES:
        return None
    curves = relevance(encode_unlikely(model).to(video.frames.device), video.frames).cpu().numpy()
    alarms = of_video(curves)
    return [alarms.rate(score) for score in highest]


def _encoded(model: TextEncoder, sentences: Sequence[str]) -> Tensor:
    texts, version = tuple(sentences), model.weights_version()
    kept = {key: value for key, value in _vectors.get(model, {}).items() if value[0] == version}
    if texts not in kept:
        kept[texts] = version, model.encode_text(sentences).pooled
    current = {tuple(model.background), unlikely_sentences(model), texts}
    _vectors[model] = {key: value for key, value in kept.items() if key in current}
    return kept[texts][1]
