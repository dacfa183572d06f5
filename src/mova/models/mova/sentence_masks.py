"""The masks of a MoVA for every frame of one video and every sentence, each sentence as a text of its own.

Shape legend: S sentences, T frames, L tokens, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mova.models.embeddings import TextEmbedding
from mova.models.encoder import DualEncoder
from mova.models.mova.model import Mova
from mova.scoring.similarity import full, paired_cosine

MaskTarget = Literal["dimensions", "units"]
CHUNK = 256
"""Frames whose masks are computed at once."""


@dataclass(frozen=True, eq=False)
class SentenceMasks:
    """What the masks of a model let through, for every sentence and frame.

    Attributes:
        target: what the temporal mask selects: "dimensions" of a sentence's vector, or "units", whole sentences.
        selected: float32, (S, T), in [0, 1]: how much of a sentence a frame selects. For dimensions, the share
            `|z_T * m_t|^2 / |z_T|^2` of the vector's energy; for units, the weight of the sentence.
        seen: float32, (S, T), in [0, 1]: the share `|z_t * m_v|^2 / |z_t|^2` of the frame's energy that the concept
            mask lets through; 1 without concept masks.
        scores: float32, (S, T), masked cosines `cos(z_t * m_v, z_T * m_t)`; for units `cos(z_t * m_v, z_T * m_v)`.
        m_t, m_v: (S, T, d), the masks of the text and of the frame in that cosine; None if it has none.
    """

    target: MaskTarget
    selected: Tensor
    seen: Tensor
    scores: Tensor
    m_t: Tensor | None
    m_v: Tensor | None

    def of_frames(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """Return `m_t` and `m_v` of some frames, (S, F, d) each; None if the cosine has no masks."""
        if self.m_t is None or self.m_v is None:
            return None
        return self.m_t[:, list(chosen)], self.m_v[:, list(chosen)]


@torch.no_grad()
def sentence_masks(model: DualEncoder, frames: Tensor, sentences: TextEmbedding) -> SentenceMasks | None:
    """Compute the masks of a MoVA for the frames of a video and sentences; None for a model without such masks.

    Args:
        model: any model. Masks over dimensions and over units count; the mask of the warm-up (`smartclip`), which reads
            the caption alone, does not.
        frames: (T, d).
        sentences: S sentences, encoded by the model.

    Example:
        >>> import mova
        >>> from mova.models.mova.model import Mova
        >>> model = Mova.from_backbone(mova.load("mova-worlds-tiny", device="cpu"), "paper")
        >>> masks = sentence_masks(model, torch.randn(5, 192), model.encode_text(["a red star", "a blue ring"]))
        >>> masks.target, tuple(masks.scores.shape), tuple(masks.m_v.shape)
        ('dimensions', (2, 5), (2, 5, 192))
    """
    if not isinstance(model, Mova):
        return None
    if model.selector is not None:
        return _of_units(model, frames, sentences.pooled.to(frames.device))
    if model.concept is None:
        return None
    rows = [_of_dimensions(model, frames, sentences, s) for s in range(len(sentences.pooled))]
    m_t, m_v = (torch.stack(side) for side in zip(*rows, strict=True))
    text, seen = full(sentences.pooled.to(frames.device)).unsqueeze(1), full(frames)
    return SentenceMasks(
        "dimensions",
        _share(text, m_t),
        _share(seen, m_v),
        paired_cosine(seen * m_v, text * m_t).float(),
        m_t,
        m_v,
    )


def _of_dimensions(model: Mova, frames: Tensor, sentences: TextEmbedding, index: int) -> tuple[Tensor, Tensor]:
    """Return both masks (T, d) of one sentence."""
    real = sentences.mask[index]
    tokens, text = (
        sentences.tokens[index, real][None].to(frames.device),
        sentences.pooled[index][None].to(frames.device),
    )
    parts = []
    for chunk in frames.split(CHUNK):
        every = [torch.ones(1, len(rows), dtype=torch.bool, device=frames.device) for rows in (chunk, tokens[0])]
        masks = model.masks(chunk[None], every[0], tokens, every[1], text)
        parts.append((masks.m_t[0].float(), masks.m_v[0].float()))
    m_t, m_v = (torch.cat(side) for side in zip(*parts, strict=True))
    return m_t, m_v


def _of_units(model: Mova, frames: Tensor, units: Tensor) -> SentenceMasks:
    """Return the weights of sentences as units of one caption, and their concept masks, if there are any."""
    assert model.selector is not None
    real = [torch.ones(1, len(rows), dtype=torch.bool, device=frames.device) for rows in (frames, units)]
    keys = model.selector.read(units[None], real[1])
    selection = model.selector(frames[None], real[0], keys)
    weights, cosines = selection.weights[0, 0].float(), selection.cosines[0, 0].float()
    if keys.concepts is None:
        return SentenceMasks("units", weights, torch.ones_like(weights), cosines, None, None)
    mask = keys.concepts[0].float().unsqueeze(1).expand(-1, len(frames), -1)
    return SentenceMasks("units", weights, _share(full(frames), mask), cosines, mask, mask)


def _share(vectors: Tensor, mask: Tensor) -> Tensor:
    """Return the share of the energy of vectors, broadcast to (S, T, d), that a mask (S, T, d) lets through, (S, T)."""
    whole = vectors.square().sum(dim=-1).expand(mask.shape[:2])
    return ((vectors * mask).square().sum(dim=-1) / whole.clamp_min(torch.finfo(whole.dtype).tiny)).float()
