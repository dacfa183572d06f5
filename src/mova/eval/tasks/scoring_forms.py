"""Forms of scoring a text against a video, by name: a report says which one its figures are of.

Texts are encoded once, in batches; videos come group by group. Scores of one form compare with each other only.

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
from mova.scoring.caption_score import EvidenceRule, gather_evidence

FORMS = {
    "rule": "the model's evidence rule over units of the text (`model.score`)",
    "late": "plain late interaction over units of the text",
    "global": "cosine of one vector a text and one a video (`model.similarity`)",
    "relevance": "cosine of one vector a text with the frames pooled by their relevance to it",
    "modular": "through the masks of every pair (`model.modular_similarity`, models with masks alone)",
}


class Scoring(Protocol):
    """What a task needs to score texts against clips: `ScoringForm`, or a video LLM in `eval/tasks/video_llm.py`.

    Attributes:
        name: of the form.
        used: whether a text was encoded yet.
        cut: texts so far that the model's length has cut.
    """

    name: str
    used: bool
    cut: int

    def to_json(self) -> dict[str, Any]:
        """What decides the scores beside the weights."""

    def encode(self, texts: Sequence[str]) -> Any:
        """Texts as `score` takes them."""

    def score(self, videos: Sequence[Any], encoded: Any) -> Tensor:
        """(V, N) scores, higher is better, of clips that were encoded for this form."""


class ScoringForm:
    """One form of scoring with one model.

    Args:
        model: encodes texts.
        name: one of `FORMS`.

    Attributes:
        used: whether a text was encoded yet.
        cut: texts so far that the model's length has cut; counted where texts are encoded whole.

    Raises:
        UsageError: no such form, or the model has no masks to score through.
    """

    def __init__(self, model: DualEncoder, name: str) -> None:
        if name not in FORMS:
            known = "; ".join(f"{form} ({meaning})" for form, meaning in FORMS.items())
            raise UsageError(f"--form {name}: not known; there are {known}")
        if name == "modular" and not model.scores_modular:
            raise UsageError(f"--form modular: {model.name} has no masks of frames; take another form")
        self.model, self.name, self.used, self.cut = model, name, False, 0

    def to_json(self) -> dict[str, Any]:
        """The form as a report states it: what decides the scores beside the weights."""
        found: dict[str, Any] = {"form": self.name}
        if self.name == "rule":
            found["rule"] = self.model.rule.to_dict()
        if self.name in ("rule", "late"):
            found["units"] = self.model.units.to_dict()
        return found

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Any:
        """Texts as `score` takes them.

        Raises:
            UsageError: a text holds no words.
        """
        self.used = True
        if self.name in ("rule", "late"):
            return self.model.encode_units(texts)
        if self.name == "modular" and self.model.selects_units:
            vectors = self.model.encode_units(texts)
            return [vectors[i : i + TEXT_CHUNK] for i in range(0, len(vectors), TEXT_CHUNK)]
        parts = [self.model.encode_text(list(texts[i : i + TEXT_CHUNK])) for i in range(0, len(texts), TEXT_CHUNK)]
        self.cut += sum(int((part.dropped > 0).sum()) for part in parts)
        return parts if self.name == "modular" else torch.cat([part.pooled for part in parts])

    @torch.no_grad()
    def score(self, videos: Sequence[VideoEmbedding], encoded: Any) -> Tensor:
        """How well each video shows each text.

        Args:
            videos: at least one.
            encoded: N texts, at least one, as `encode` gave them.

        Returns:
            float32, (V, N), higher is better.
        """
        frames = [video.frames for video in videos]
        if self.name == "global":
            return self.model.similarity(videos, _lone(encoded))
        if self.name == "relevance":
            found = gather_evidence(frames, list(encoded.unsqueeze(1)), order=False, lone=True).pooled
            assert found is not None
            return found
        if self.name == "modular":
            return torch.cat([self.model.modular_similarity(videos, chunk).float() for chunk in encoded], dim=1)
        rule = self.model.rule if self.name == "rule" else EvidenceRule()
        return rule.score(frames, encoded)


def _lone(pooled: Tensor) -> TextEmbedding:
    """(N, d) vectors as texts without token states, which for many captions would not fit."""
    mask = torch.ones(len(pooled), 1, dtype=torch.bool, device=pooled.device)
    return TextEmbedding(pooled, pooled.unsqueeze(1), mask, np.zeros(len(pooled), dtype=np.int64))
