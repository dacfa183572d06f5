"""Named ways to score a text against a video; every report records which one it used.

Texts are encoded once, in batches; videos arrive in groups. Only scores of the same form can be compared.

Shape legend: V videos, N texts, K units of a text, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mova.errors import UsageError
from mova.models.encoder import TEXT_CHUNK, DualEncoder, TextEmbedding, VideoEmbedding
from mova.models.inputs.captions import encode_captions, score_captions
from mova.scoring.caption_score import EvidenceRule, gather_evidence

FORMS = {
    "rule": "the model's evidence rule over units of the text (`model.score`)",
    "late": "plain late interaction over units of the text",
    "global": "cosine of one vector per text and one per video (`model.similarity`)",
    "relevance": "cosine of one vector per text with the frames pooled by their relevance to it",
    "modular": "through the masks of every pair (`model.modular_similarity`; only models with masks)",
    "mod": "mean cosine of masked frames and masked texts (only models with masks over dimensions)",
    "mod-top": "the same, mean of the three best frames",
    "mod-relevance": "the same, frames weighted by their relevance to the text",
    "tv": "mean cosine of frames and texts under the temporal mask (only models with masks over dimensions)",
    "tv-top": "the same, mean of the three best frames",
    "tv-relevance": "the same, frames weighted by their relevance to the text",
}
OF_DIMENSIONS = ("mod", "mod-top", "mod-relevance", "tv", "tv-top", "tv-relevance")
"""Forms that need masks over dimensions."""
MASKED = ("modular", *OF_DIMENSIONS)
"""Forms that compute masks for every pair of a video and a text."""


class TextScorer(Protocol):
    """Scores texts against clips: a `ScoringForm`, or a video LLM (`mova.eval.tasks.video_llm`).

    Attributes:
        name: of the form.
        used: whether a text has been encoded.
        cut: texts truncated so far to the model's length.
    """

    name: str
    used: bool
    cut: int

    def to_json(self) -> dict[str, Any]:
        """Return everything but the weights that decides the scores."""

    def encode(self, texts: Sequence[str]) -> Any:
        """Encode texts for `score`."""

    def score(self, videos: Sequence[Any], encoded: Any) -> Tensor:
        """Score clips that were encoded for this form, higher is better: (V, N)."""


class ScoringForm:
    """One scoring form with one model.

    Args:
        model: encodes texts.
        name: one of `FORMS`.

    Attributes:
        used: whether a text has been encoded.
        cut: texts truncated so far to the model's length; counted by forms that encode whole texts.

    Raises:
        UsageError: no such form, or the model has no masks to score through.
    """

    def __init__(self, model: DualEncoder, name: str) -> None:
        if name not in FORMS:
            known = "; ".join(f"{form} ({meaning})" for form, meaning in FORMS.items())
            raise UsageError(f"--form {name}: unknown form; choose one of {known}")
        if name in MASKED and not model.scores_modular:
            raise UsageError(f"--form {name}: {model.name} has no frame masks; choose another form")
        if name in OF_DIMENSIONS and name not in model.modular_scores:
            raise UsageError(f"--form {name}: {model.name} has no masks for it; choose --form modular")
        self.model, self.name, self.used, self.cut = model, name, False, 0

    def to_json(self) -> dict[str, Any]:
        """Return the form for a report: everything but the weights that decides the scores."""
        settings: dict[str, Any] = {"form": self.name}
        if self.name == "rule":
            settings["rule"] = self.model.rule.to_dict()
            if self.model.comparison_weight:
                settings["comparisons"] = self.model.comparison_weight
        if self.name in ("rule", "late"):
            settings["units"] = self.model.units.to_dict()
        if (rounds := getattr(getattr(self.model, "config", None), "chosen_rounds", None)) is not None:
            settings["iter"] = rounds  # GEXIA
        return settings

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Any:
        """Encode texts for `score`.

        Raises:
            UsageError: a text contains no words.
        """
        self.used = True
        if self.name == "rule":
            return encode_captions(self.model, texts)
        if self.name == "late":
            return self.model.encode_units(texts)
        if self.name == "modular" and self.model.selects_units:
            vectors = self.model.encode_units(texts)
            return [vectors[i : i + TEXT_CHUNK] for i in range(0, len(vectors), TEXT_CHUNK)]
        parts = [self.model.encode_text(list(texts[i : i + TEXT_CHUNK])) for i in range(0, len(texts), TEXT_CHUNK)]
        self.cut += sum(int((part.dropped > 0).sum()) for part in parts)
        return parts if self.name in MASKED else torch.cat([part.pooled for part in parts])

    @torch.no_grad()
    def score(self, videos: Sequence[VideoEmbedding], encoded: Any) -> Tensor:
        """Score how well each video shows each text.

        Args:
            videos: at least one.
            encoded: N texts, at least one, from `encode`.

        Returns:
            float32, (V, N), higher is better.
        """
        frames = [video.frames for video in videos]
        if self.name == "global":
            return self.model.similarity(videos, _pooled_only(encoded))
        if self.name == "relevance":
            scores = gather_evidence(frames, list(encoded.unsqueeze(1)), order=False, lone=True).pooled
            assert scores is not None
            return scores
        if self.name in MASKED:
            score = None if self.name == "modular" else self.name
            parts = [self.model.modular_similarity(videos, chunk, score).float() for chunk in encoded]
            return torch.cat(parts, dim=1)
        if self.name == "rule":
            return score_captions(self.model, frames, encoded)
        return EvidenceRule().score(frames, encoded)


def _pooled_only(pooled: Tensor) -> TextEmbedding:
    """Wrap vectors (N, d) as texts without token states, which would not fit in memory for many captions."""
    mask = torch.ones(len(pooled), 1, dtype=torch.bool, device=pooled.device)
    return TextEmbedding(pooled, pooled.unsqueeze(1), mask, np.zeros(len(pooled), dtype=np.int64))
