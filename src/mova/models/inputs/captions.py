"""Score whole captions by a model's evidence rule, and those that compare two moments also by what these share.

    S = rule(units) + K^g * weight * mean over comparisons of (+-) shared

A comparison such as "in the same place" is no part of the units that frames are compared with. `shared` is the
similarity of both units' best frames in that respect (`mova.scoring.respects.shared_scores`), with a minus for "another
place".

Shape legend: V videos, N texts, K units of a text, T frames, d width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mova.models.relations.comparisons import Comparison, read_comparisons
from mova.scoring.caption_score import EvidenceRule
from mova.scoring.respects import Respect, shared_scores
from mova.text.units import UnitRule


class Captioner(ABC):
    """The part of `mova.models.encoder.DualEncoder` that this file needs."""

    rule: EvidenceRule
    units: UnitRule

    @property
    @abstractmethod
    def comparison_weight(self) -> float:
        """Weight of what two moments share, for captions that compare them."""

    @abstractmethod
    def respects(self) -> list[str]:
        """Return the names of the concepts that `respect` knows."""

    @abstractmethod
    def respect(self, by: str | Sequence[str], center: Tensor | None = None) -> Respect:
        """Return a respect in which moments can be compared."""

    @abstractmethod
    def encode_units(self, texts: Sequence[str]) -> list[Tensor]:
        """Encode the units (K, d) of each text."""

    @abstractmethod
    def encode_unit_lists(self, units: Sequence[Sequence[str]]) -> list[Tensor]:
        """Encode texts that are already split into units, (K, d) each."""


@dataclass(frozen=True, eq=False)
class Captions:
    """Encoded captions.

    Attributes:
        units: vectors (K, d) of each text.
        comparisons: of each text; all empty for a model that does not use them.
    """

    units: Sequence[Tensor]
    comparisons: Sequence[Sequence[Comparison]]

    def only(self, index: int) -> Captions:
        """Return one of the captions."""
        return Captions([self.units[index]], [self.comparisons[index]])


def encode_captions(model: Captioner, texts: Sequence[str]) -> Captions:
    """Split captions into units, read what they compare if the model uses that, and encode the units.

    Raises:
        UsageError: a text has no words.
    """
    if not model.comparison_weight:
        return Captions(model.encode_units(texts), [[] for _ in texts])
    known = model.respects()
    read = [read_comparisons(model.units.split(text), known) for text in texts]
    return Captions(model.encode_unit_lists([units for units, _ in read]), [found for _, found in read])


@torch.no_grad()
def score_captions(model: Captioner, videos: Sequence[Tensor], captions: Captions) -> Tensor:
    """Score every caption against every video by the model's evidence rule, and by what it compares.

    Args:
        model: whose vectors these are.
        videos: frame vectors, (T, d) each.
        captions: from `encode_captions`.

    Returns:
        float32, (V, N).
    """
    scores = model.rule.score(videos, captions.units)
    if any(captions.comparisons):
        counts = torch.tensor([float(len(units)) for units in captions.units], device=scores.device)
        scores = scores + counts**model.rule.g * model.comparison_weight * shared(model, videos, captions).to(
            scores.device
        )
    return scores


def shared(model: Captioner, videos: Sequence[Tensor], captions: Captions) -> Tensor:
    """Return how well each video keeps what each caption says of two moments: float32 (V, N), in [-1, 1].

    The mean over the comparisons of a caption: the similarity in their respect, negative where it should be another.
    Captions without a comparison have 0.
    """
    result = torch.zeros(len(videos), len(captions.units))
    asked = [(n, item) for n, items in enumerate(captions.comparisons) for item in items]
    for concept in dict.fromkeys(item.concept for _, item in asked):
        rows = [(n, item) for n, item in asked if item.concept == concept]
        respect = model.respect(concept)
        first = torch.stack([captions.units[n][item.earlier] for n, item in rows])
        second = torch.stack([captions.units[n][item.unit] for n, item in rows])
        texts = torch.tensor([n for n, _ in rows])
        signs = torch.tensor([(1 if item.same else -1) / len(captions.comparisons[n]) for n, item in rows])
        for video, frames in enumerate(videos):
            found = shared_scores(frames, first.to(frames.device), second.to(frames.device), respect)
            result[video].index_add_(0, texts, signs * found.cpu())
    return result


@dataclass(frozen=True)
class Compared:
    """What a sentence says of its moment and that of the sentence before, and how similar a video has them.

    Attributes:
        respect: concept, such as "color".
        same: whether it should be the same, or another.
        similarity: of both moments in that respect, in [-1, 1].

    >>> Compared("color", same=True, similarity=0.96).to_json()
    {'respect': 'color', 'same': True, 'similarity': 0.96}
    """

    respect: str
    same: bool
    similarity: float

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return {"respect": self.respect, "same": self.same, "similarity": round(self.similarity, 6)}


@torch.no_grad()
def compared(model: Captioner, frames: Tensor, text: str, sentences: Sequence[str]) -> list[tuple[Compared, ...]]:
    """Return what each sentence of a caption compares, with how similar the two moments of a video are in that respect.

    Args:
        model: whose vectors these are; one that does not compare has no comparisons.
        frames: (T, d).
        text: the caption.
        sentences: of the caption. Where they are not the units of the model, nothing is returned for any of them.

    Raises:
        UsageError: the text has no words.

    >>> import mova
    >>> model = mova.load("mova-worlds-tiny")
    >>> sentences = ["Two black discs shrink.", "A small crescent bounces in another place."]
    >>> first, [found] = compared(model, model.encode_video("film.mp4").frames, " ".join(sentences), sentences)
    >>> found.respect, found.same, -1 <= found.similarity <= 1
    ('place', False, True)
    """
    captions = encode_captions(model, [text])
    [items], [units] = captions.comparisons, captions.units
    rows: list[tuple[Compared, ...]] = [() for _ in sentences]
    for item in items if len(units) == len(sentences) else ():
        first, second = (units[[number]].to(frames.device) for number in (item.earlier, item.unit))
        similarity = float(shared_scores(frames, first, second, model.respect(item.concept)))
        rows[item.unit] += (Compared(item.concept, item.same, similarity),)
    return rows
