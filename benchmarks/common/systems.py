"""A trained model ready to score: frames and captions to vectors, and vectors to scores by several forms.

Shape legend: V videos, N = V captions, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mova.eval.metrics.ranking import retrieval_metrics
from mova.losses.global_contrast import mean_pooled_scores, relevance_pooled_scores
from mova.models.encoder import TextEmbedding
from mova.models.mova.model import Mova
from mova.models.worlds_tiny.model import WorldsTiny
from mova.scoring.caption_score import gather_evidence
from mova.scoring.masked import ModularScore, modular_score
from mova.scoring.pooling import pad_rows

CHUNK = 16
"""Texts whose tokens are scored at once, and videos whose masks are computed at once."""
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Texts:
    """Captions encoded by the text tower."""

    whole: TextEmbedding
    units: list[Tensor]


class System:
    """A trained model that scores every n-th sample."""

    def __init__(self, model: nn.Module, every: int = 1) -> None:
        self.model, self.every = model, every
        self.backbone: WorldsTiny = cast(Any, model).backbone

    @torch.no_grad()
    def frames(self, samples: npt.NDArray[np.uint8]) -> Tensor:
        """Encode samples, (..., 9, h, w) -> (..., d)."""
        flat = torch.from_numpy(samples).flatten(0, samples.ndim - 4)
        parts = []
        for chunk in flat.split(256):
            parts.append(self.backbone.frame_tower(self.backbone._normalize(chunk)).float())
        return torch.cat(parts).view(*samples.shape[:-3], -1)

    def texts(self, captions: Sequence[Sequence[str]]) -> Texts:
        """Encode captions, given as lists of units."""
        whole = self.backbone.encode_text([" ".join(units) for units in captions])
        vectors = self.backbone.encode_text([unit for units in captions for unit in units]).pooled
        return Texts(whole, list(vectors.split([len(units) for units in captions])))

    @torch.no_grad()
    def scores(self, form: str, frames: Tensor, texts: Texts) -> Tensor:
        """Score by one form, without pair masks, (V, N)."""
        real = torch.ones(frames.shape[:2], dtype=torch.bool)
        if form == "global":
            return mean_pooled_scores(frames, real, texts.whole.pooled)
        if form == "relevance":
            return relevance_pooled_scores(frames, real, texts.whole.pooled)
        if form == "late":
            return gather_evidence(list(frames), texts.units, order=False, lone=False).late
        if form == "subsets":
            units, unit_mask = pad_rows(texts.units)
            return cast(Mova, self.model).unit_similarity(frames, real, units, unit_mask)
        if form == "tokens":
            chunks = zip(texts.whole.tokens.split(CHUNK), texts.whole.mask.split(CHUNK), strict=True)
            return torch.cat([cast(Mova, self.model).unit_similarity(frames, real, *chunk) for chunk in chunks], dim=1)
        head: Callable[..., Tensor] = cast(Any, self.model).head
        return head(frames, real, texts.whole.pooled, texts.whole.tokens, texts.whole.mask)

    @torch.no_grad()
    def modular(
        self, frames: Tensor, texts: Texts, selected: npt.NDArray[np.bool_], names: Sequence[ModularScore]
    ) -> dict[ModularScore, Scores]:
        """Compute modular scores of the selected pairs, 0 elsewhere, (V, N); all from the same masks."""
        scores = {name: np.zeros(selected.shape) for name in names}
        whole = texts.whole
        for n in range(selected.shape[1] if names else 0):
            for rows in torch.from_numpy(np.flatnonzero(selected[:, n])).split(CHUNK):
                count, length = len(rows), int(whole.mask[n].sum())
                real = torch.ones(count, frames.shape[1], dtype=torch.bool)
                text = [whole.tokens[n, :length], whole.mask[n, :length], whole.pooled[n]]
                text = [part.expand(count, *part.shape) for part in text]
                masks = cast(Mova, self.model).masks(frames[rows], real, *text)
                for name in names:
                    values = modular_score(masks.frames, masks.text, masks.m_t, masks.m_v, real, name)
                    scores[name][rows.numpy(), n] = values.double().numpy()
        return scores


def both_ways(t2v: Scores, v2t: Scores | None = None) -> tuple[float, float]:
    """Return R@1 text-to-video and video-to-text from (V, N) scores (`v2t` if they differ by direction)."""
    back = t2v if v2t is None else v2t
    forward = retrieval_metrics(np.ascontiguousarray(t2v.T))["R@1"]
    return forward, retrieval_metrics(np.ascontiguousarray(back))["R@1"]
