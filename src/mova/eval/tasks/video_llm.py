"""Evaluate a video LLM on the tasks of two-tower models, by the log odds of Yes (SynViTA, Zanella et al. 2025, Eq. 1).

Scores are `log P(Yes) - log P(No)`: they rank as P(Yes) does, even where P(Yes) rounds to 1. Videos are processed one
at a time; all texts about a video share one pass over its frames.

Shape legend: V videos, N texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.data.manifest import Row
from mova.data.shards.members import video_file
from mova.errors import UsageError, VideoError
from mova.eval.tasks.encoding import Progress
from mova.eval.tasks.split import EvalSplit, make_split, open_split
from mova.models.encoder import DualEncoder
from mova.models.entailment import EntailmentModel
from mova.models.video_llm.prompt import Tail, Visual

TOWERS_ONLY = {"form": "--form", "fps": "--fps", "encode": "--features"}
"""Arguments of `open_split` that do not apply to a video LLM -> the options of the command line."""


@dataclass(frozen=True, eq=False)
class Watched:
    """A clip as model input, and the times of its frames in seconds."""

    visual: Visual
    times: npt.NDArray[np.float64]


class LogOdds:
    """Scores by a video LLM, in place of `scoring_forms.ScoringForm`.

    Attributes:
        used: whether a text has been encoded.
        cut: truncated texts; always 0.
    """

    name = "log odds"
    cut = 0

    def __init__(self, model: EntailmentModel) -> None:
        self.model, self.used = model, False

    def to_json(self) -> dict[str, Any]:
        """Return everything but the weights that decides the scores."""
        budget = self.model.budget
        frames = {"frames": budget.frames} if budget.frames is not None else {"rate": budget.rate, "most": budget.most}
        return {
            "form": self.name,
            "question": self.model.question.text,
            "budget": frames | {"rule": budget.rule, "max_frames": self.model.max_frames},
        }

    def encode(self, texts: Sequence[str]) -> list[Tail]:
        """Return the part of the prompt after the frames, for each text.

        Raises:
            UsageError: a text is empty or contains a control token.
        """
        self.used = True
        return self.model.tails(texts)

    def score(self, videos: Sequence[Watched], encoded: Sequence[Tail]) -> Tensor:
        """Return the log odds of Yes: float32, (V, N)."""
        return torch.stack([self.model.log_odds(video.visual, encoded) for video in videos])


def open_llm_split(
    model: EntailmentModel,
    manifest: str | Path,
    split: str | None = None,
    progress: Progress | None = None,
    quarantine: str | Path | None = None,
) -> EvalSplit:
    """Open a split of a manifest for evaluating a video LLM; see `open_split`.

    Raises:
        DataError: the manifest cannot be read.
        UsageError: no such split, or several splits and none named.
    """
    folder = Path(manifest).resolve().parent

    def encode(row: Row) -> Watched:
        """Sample and preprocess the frames of a row; a row of several clips is an error."""
        if row.parts:
            raise VideoError(row.id, "consists of several clips; write them to one file first")
        with video_file(folder / row.video) as path:
            frames = model.sample(path, row.start or 0.0, row.end)
        return Watched(model.prepare(frames), frames.pts)

    return make_split(model, manifest, split, encode, LogOdds(model), None, progress, quarantine, in_flight=1)


def open_any_split(
    model: DualEncoder | EntailmentModel, manifest: str | Path, split: str | None = None, **options: Any
) -> EvalSplit:
    """Open a split of a manifest for a two-tower model or a video LLM.

    Args:
        model: decides how clips are scored.
        manifest, split: see `open_split`.
        options: of `open_split`; None means the default.

    Raises:
        UsageError: `form`, `fps` or `encode` for a video LLM, and everything that `open_split` raises.
        DataError: the manifest cannot be read.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if not isinstance(model, EntailmentModel):
        return open_split(model, manifest, split, **options)
    if refused := sorted(TOWERS_ONLY[name] for name in options.keys() & TOWERS_ONLY.keys()):
        raise UsageError(f"{model.name} is a video LLM; {', '.join(refused)} is for two-tower models only")
    return open_llm_split(model, manifest, split, **options)
