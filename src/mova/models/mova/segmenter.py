"""Learned units: a soft segmentation of a caption, trained by the matching loss alone.

A small convolution over tokens says at which of them a new unit begins. The running sum of these probabilities
numbers the units, and a token belongs to the units whose number is near: one token to at most two neighbours, with
weights that sum to 1. No labels of boundaries are needed, and marks of punctuation neither. In our trial overlapping
windows of 8 words, trained alike, tied with this; its pieces are fewer and can be read.

What becomes of a unit depends on the backbone. One that is a `SoftReader` (`WorldsTiny`) has its boundaries decided by
word embeddings, and encodes every unit again, alone, under its own weights and from the first position: as a sentence
of its own. Every other backbone (`TwoTower`) has states of one pass over the whole caption: they decide the
boundaries, and a unit is their weighted mean. These states know the words around
them (in CLIP, those before), and CLIP was never trained to match them with images: there learned units are of no use
before the text tower has been trained with them.

Shape legend: N texts, L tokens, M units a text (of which some are not real), U real units of all texts, P tokens a
unit, d shared width, D width of word embeddings, h hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mova.scoring.pooling import weighted_mean
from mova.scoring.similarity import full
from mova.text.sentences import split_sentences

HIDDEN = 32
"""h."""
REACH = 5
"""Tokens that a boundary is decided from: two before, two after."""
SHARPNESS, RARE = 2.0, -1.8
"""Factor on the logits, and their mean: sigmoid(2 * -1.8) = 0.027, a boundary every 37 tokens before training. The mean
is not learned: where it is, training raises all boundaries before it tells them apart, and stays with small pieces."""
LONGEST = 20
"""Most tokens of a unit: those with the greatest weights."""
SHORTEST = 4
"""Tokens of a text for every unit after the first that it may have at most."""
LEAST = 0.5
"""A unit with no more weight than this, of all its tokens together, is none."""
TEXTS = 256
"""Texts whose token states are alive at a time."""


class Segments(NamedTuple):
    """Texts in units, in order.

    Attributes:
        weights: (N, M, L), how much of each token belongs to each unit, 0 for padding.
        mask: bool, (N, M), true where a unit is real: at least one a text.
    """

    weights: Tensor
    mask: Tensor


class UnitSegmenter(nn.Module):
    """Where units begin: `b_l = sigmoid(2 (a_l - mean a - 1.8))`, `c = cumsum b`, `W_ml = relu(1 - |c_l - m|)`.

    `a` is the convolution of the normalised, narrowed states, its mean that of the text: tokens compete for boundaries.
    The first token begins the text, so `b` is 0 there. `c` stops at the number of units that the text may have, one
    and another for every `SHORTEST` tokens. That number depends on the text alone and M on L alone.

    Args:
        width: d, of the states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.enter = nn.LayerNorm(width), nn.Linear(width, HIDDEN, bias=False)
        self.boundary = nn.Conv1d(HIDDEN, 1, REACH, padding=REACH // 2, bias=False)

    def boundaries(self, states: Tensor, mask: Tensor) -> Tensor:
        """(N, L) probabilities that a unit begins at a token; 0 at padding and at the first token.

        Args:
            states: (N, L, d), token states or embeddings; what stands at padding does not matter.
            mask: bool, (N, L), true where a token is real.
        """
        kept = states.masked_fill(~mask.unsqueeze(-1), 0.0).to(self.enter.weight.dtype)
        hidden = self.enter(self.norm(kept)).masked_fill(~mask.unsqueeze(-1), 0.0)
        logits = full(self.boundary(hidden.transpose(1, 2)).squeeze(1)).masked_fill(~mask, 0.0)
        logits = logits - (logits.sum(dim=1) / mask.sum(dim=1)).unsqueeze(1) + RARE
        return (SHARPNESS * logits).sigmoid().masked_fill(~mask | (mask.cumsum(dim=1) == 1), 0.0)

    def forward(self, states: Tensor, mask: Tensor) -> Segments:
        """Weights and reality of all units; see `boundaries` for the arguments.

        Raises:
            ValueError: a text without a real token.
        """
        counts = mask.sum(dim=1)
        if not bool((counts > 0).all()):
            raise ValueError("UnitSegmenter: a text has no real token")
        last = (counts // SHORTEST).unsqueeze(1)
        number = torch.minimum(self.boundaries(states, mask).cumsum(dim=1), last)
        numbers = torch.arange(mask.shape[1] // SHORTEST + 1, device=mask.device).unsqueeze(-1)
        weights = (1.0 - (number.unsqueeze(1) - numbers).abs()).relu().masked_fill(~mask.unsqueeze(1), 0.0)
        weights = _heaviest(weights)
        return Segments(weights, weights.sum(dim=-1) > LEAST)


@runtime_checkable
class SoftReader(Protocol):
    """A backbone that can encode texts whose tokens count in part."""

    @property
    def word_width(self) -> int:
        """D of `word_vectors`."""
        ...

    def word_vectors(self, ids: Tensor) -> Tensor:
        """Ids (N, L) -> (N, L, D), each without its neighbours."""
        ...

    def token_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Any]:
        """Ids (N, L), bool mask (N, L), and what `encode_text` says of them."""
        ...

    def read_softly(self, ids: Tensor, weights: Tensor) -> Tensor:
        """(U, P) ids and their weights, of which some are above 0 -> (U, d); gradients flow to the weights."""
        ...


def learned_units(
    backbone: nn.Module, segmenter: UnitSegmenter, ids: Tensor | None, mask: Tensor, states: Tensor
) -> tuple[Tensor, Tensor]:
    """Vectors of the units of texts; gradients flow to boundaries and backbone.

    Args:
        backbone: a `SoftReader` encodes units again, others have their token states pooled (see the module).
        segmenter: cuts.
        ids: int64, (N, L); only a `SoftReader` needs them.
        mask: bool, (N, L), true where a token is real.
        states: (N, L, d), token states of one pass.

    Returns:
        (N, M, d), zeros where a unit is not real, and bool (N, M).

    Raises:
        ValueError: a text without a real token.
    """
    if isinstance(backbone, SoftReader):
        assert ids is not None
        return _read_again(backbone, segmenter(backbone.word_vectors(ids), mask), ids)
    found = segmenter(states, mask)
    kept = full(states).masked_fill(~mask.unsqueeze(-1), 0.0)
    return weighted_mean(kept, found.weights).masked_fill(~found.mask.unsqueeze(-1), 0.0), found.mask


@torch.no_grad()
def encode_learned_units(backbone: Any, segmenter: UnitSegmenter, texts: Sequence[str]) -> list[Tensor]:
    """Vectors (K, d) of each text's units, K at least 1: `DualEncoder.encode_units` with learned units.

    Whole texts are read. Of one that is longer than the backbone reads the rest is cut off, with a warning.

    Args:
        backbone: a `DualEncoder`, see `learned_units`.
        segmenter: cuts.
        texts: N captions.

    Raises:
        UsageError: a text holds no words.
    """
    found: list[Tensor] = []
    for first in range(0, len(texts), TEXTS):
        part = list(texts[first : first + TEXTS])
        for text in part:
            split_sentences(text)  # refuses what has no words, as other units do
        encoded = backbone.encode_text(part)
        ids = backbone.token_ids(part)[0] if isinstance(backbone, SoftReader) else None
        vectors, real = learned_units(backbone, segmenter, ids, encoded.mask, encoded.tokens)
        found += [own[keep] for own, keep in zip(vectors, real, strict=True)]
    return found


def state_width(backbone: Any) -> int:
    """Width of what a segmenter for this backbone reads."""
    return backbone.word_width if isinstance(backbone, SoftReader) else backbone.embedding_dim


def _read_again(backbone: SoftReader, found: Segments, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Every real unit encoded alone; see `learned_units`."""
    weights, order = _gathered(found.weights[found.mask])
    own = ids.unsqueeze(1).expand(-1, found.mask.shape[1], -1)[found.mask].gather(1, order)
    vectors = backbone.read_softly(own, weights)
    spread = vectors.new_zeros((*found.mask.shape, vectors.shape[-1]))
    return spread.index_put((found.mask,), vectors), found.mask


def _heaviest(weights: Tensor) -> Tensor:
    """(N, M, L): all but the `LONGEST` greatest weights of a unit become 0, of equal ones the earliest stay."""
    if weights.shape[-1] <= LONGEST:
        return weights
    order = weights.detach().sort(dim=-1, descending=True, stable=True).indices[..., LONGEST:]
    return weights.scatter(-1, order, 0.0)


def _gathered(weights: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens of each unit side by side, in order: (U, L) -> weights (U, P) and their places, P <= `LONGEST`."""
    places = torch.arange(weights.shape[1], device=weights.device)
    order = places.where(weights > 0, weights.shape[1]).sort(dim=1).indices[:, :LONGEST]
    return weights.gather(1, order), order
