"""Learned units: a soft segmentation of a caption, trained by the matching loss alone.

A small convolution over tokens predicts where a new unit begins. The running sum of these probabilities numbers the
units, and a token belongs to the units with the nearest numbers: to at most two adjacent units, with weights that sum
to 1. Neither boundary labels nor punctuation are needed. In our trial overlapping windows of 8 words, trained alike,
performed as well; learned units are fewer and easier to read.

How a unit is encoded depends on the backbone. For a `SoftReader` (`WorldsTiny`) word embeddings decide the boundaries,
and every unit is encoded again, alone, with its own weights and from the first position, like a sentence of its own.
For any other backbone (`TwoTower`) the token states of one pass over the whole caption decide the boundaries, and a
unit is their weighted mean. These states contain the words around them (in CLIP, those before), and CLIP was never
trained to match them with images, so learned units are useless there until the text tower is trained with them.

Shape legend: N texts, L tokens, M units per text (some of them not real), U real units of all texts, P tokens per
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
"""Number of tokens that decide a boundary: two before, two after."""
SHARPNESS, RARE = 2.0, -1.8
"""Factor on the logits, and their mean: sigmoid(2 * -1.8) = 0.027, a boundary every 37 tokens before training. The mean
is not learned: if it were, training would raise all boundaries before separating them, and end with small pieces."""
LONGEST = 20
"""Maximum number of tokens per unit: those with the greatest weights."""
SHORTEST = 4
"""A text may have one unit, and one more per this many tokens."""
LEAST = 0.5
"""A unit whose total weight is at most this is not real."""
GROUPS, GROUPED = 4, 32
"""Most groups of units of similar length that are read apart, without padding, and least units in one."""
TEXTS = 256
"""Texts whose token states are held at once."""


class Segments(NamedTuple):
    """Texts in units, in order.

    Attributes:
        weights: (N, M, L), how much of each token belongs to each unit, 0 for padding.
        mask: bool, (N, M), true where a unit is real: at least one per text.
    """

    weights: Tensor
    mask: Tensor


class UnitSegmenter(nn.Module):
    """Predicts where units begin.

    `b_l = sigmoid(2 (a_l - mean a - 1.8))`, `c = cumsum b`, `W_ml = relu(1 - |c_l - m|)`.

    `a` is the convolution of the normalized, narrowed states, and its mean is that of the text: tokens compete for
    boundaries. The first token begins the text, so `b` is 0 there. `c` stops at the maximum number of units of the
    text, see `SHORTEST`. That number depends on the text alone, and M on L alone.

    Args:
        width: d, of the states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.enter = nn.LayerNorm(width), nn.Linear(width, HIDDEN, bias=False)
        self.boundary = nn.Conv1d(HIDDEN, 1, REACH, padding=REACH // 2, bias=False)

    def boundaries(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return the probabilities (N, L) that a unit begins at a token; 0 at padding and at the first token.

        Args:
            states: (N, L, d), token states or embeddings; values at padding are ignored.
            mask: bool, (N, L), true where a token is real.
        """
        kept = states.masked_fill(~mask.unsqueeze(-1), 0.0).to(self.enter.weight.dtype)
        hidden = self.enter(self.norm(kept)).masked_fill(~mask.unsqueeze(-1), 0.0)
        logits = full(self.boundary(hidden.transpose(1, 2)).squeeze(1)).masked_fill(~mask, 0.0)
        logits = logits - (logits.sum(dim=1) / mask.sum(dim=1)).unsqueeze(1) + RARE
        return (SHARPNESS * logits).sigmoid().masked_fill(~mask | (mask.cumsum(dim=1) == 1), 0.0)

    def forward(self, states: Tensor, mask: Tensor) -> Segments:
        """Return the weights and the mask of all units; arguments as for `boundaries`.

        Raises:
            ValueError: a text without a real token.
        """
        counts = mask.sum(dim=1)
        if not bool((counts > 0).all()):
            raise ValueError("UnitSegmenter: a text has only padding tokens")
        last = (counts // SHORTEST).unsqueeze(1)
        number = torch.minimum(self.boundaries(states, mask).cumsum(dim=1), last)
        numbers = torch.arange(mask.shape[1] // SHORTEST + 1, device=mask.device).unsqueeze(-1)
        weights = (1.0 - (number.unsqueeze(1) - numbers).abs()).relu().masked_fill(~mask.unsqueeze(1), 0.0)
        weights = _heaviest(weights)
        return Segments(weights, weights.sum(dim=-1) > LEAST)


@runtime_checkable
class SoftReader(Protocol):
    """A backbone that can encode texts with weighted tokens."""

    @property
    def word_width(self) -> int:
        """Width D of `word_vectors`."""
        ...

    def word_vectors(self, ids: Tensor) -> Tensor:
        """Embed ids (N, L) to (N, L, D), each without its neighbors."""
        ...

    def token_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Any]:
        """Tokenize texts: ids (N, L), bool mask (N, L), and dropped tokens."""
        ...

    def read_softly(self, ids: Tensor, weights: Tensor) -> Tensor:
        """Encode ids (U, P) with weights, some above 0, to (U, d); gradients flow to the weights."""
        ...


def learned_units(
    backbone: nn.Module, segmenter: UnitSegmenter, ids: Tensor | None, mask: Tensor, states: Tensor
) -> tuple[Tensor, Tensor]:
    """Encode the units of texts; gradients flow to boundaries and backbone.

    Args:
        backbone: a `SoftReader` encodes units again; of any other the token states are pooled (see the module).
        segmenter: splits texts into units.
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
    segments = segmenter(states, mask)
    kept = full(states).masked_fill(~mask.unsqueeze(-1), 0.0)
    return weighted_mean(kept, segments.weights).masked_fill(~segments.mask.unsqueeze(-1), 0.0), segments.mask


@torch.no_grad()
def encode_learned_units(backbone: Any, segmenter: UnitSegmenter, texts: Sequence[str]) -> list[Tensor]:
    """Encode the learned units of each text, (K, d), K at least 1; see `DualEncoder.encode_units`.

    Whole texts are read. A text beyond the backbone's maximum length is cut, with a warning.

    Args:
        backbone: a `DualEncoder`, see `learned_units`.
        segmenter: splits texts into units.
        texts: N captions.

    Raises:
        UsageError: a text holds no words.
    """
    encoded_units: list[Tensor] = []
    for first in range(0, len(texts), TEXTS):
        part = list(texts[first : first + TEXTS])
        for text in part:
            split_sentences(text)  # raises for a text without words, as other unit rules do
        encoded = backbone.encode_text(part)
        ids = backbone.token_ids(part)[0] if isinstance(backbone, SoftReader) else None
        vectors, real = learned_units(backbone, segmenter, ids, encoded.mask, encoded.tokens)
        encoded_units += [rows[keep] for rows, keep in zip(vectors, real, strict=True)]
    return encoded_units


def state_width(backbone: Any) -> int:
    """Return the input width of a segmenter for this backbone."""
    return backbone.word_width if isinstance(backbone, SoftReader) else backbone.embedding_dim


def _read_again(backbone: SoftReader, segments: Segments, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Encode every real unit alone; see `learned_units`."""
    weights, order = _gathered(segments.weights[segments.mask])
    unit_ids = ids.unsqueeze(1).expand(-1, segments.mask.shape[1], -1)[segments.mask].gather(1, order)
    vectors = _read_grouped(backbone, unit_ids, weights)
    spread = vectors.new_zeros((*segments.mask.shape, vectors.shape[-1]))
    return spread.index_put((segments.mask,), vectors), segments.mask


def _read_grouped(backbone: SoftReader, ids: Tensor, weights: Tensor) -> Tensor:
    """Encode units (U, P), whose tokens come before the padding, to (U, d); units of similar length together."""
    count = min(GROUPS, len(ids) // GROUPED)
    if count < 2:
        return backbone.read_softly(ids, weights)
    lengths = (weights > 0).sum(dim=1)
    order = lengths.argsort()
    groups = order.tensor_split(count)
    longest = torch.stack([lengths[group[-1]] for group in groups]).tolist()
    parts = [backbone.read_softly(ids[g, :n], weights[g, :n]) for g, n in zip(groups, longest, strict=True)]
    return torch.cat(parts)[order.argsort()]


def _heaviest(weights: Tensor) -> Tensor:
    """Set all but the `LONGEST` greatest weights of a unit (N, M, L) to 0; of equal weights the earliest stay."""
    if weights.shape[-1] <= LONGEST:
        return weights
    order = weights.detach().sort(dim=-1, descending=True, stable=True).indices[..., LONGEST:]
    return weights.scatter(-1, order, 0.0)


def _gathered(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Gather the tokens of each unit, in order: (U, L) -> weights (U, P) and their indices, P <= `LONGEST`."""
    indices = torch.arange(weights.shape[1], device=weights.device)
    order = indices.where(weights > 0, weights.shape[1]).sort(dim=1).indices[:, :LONGEST]
    return weights.gather(1, order), order
