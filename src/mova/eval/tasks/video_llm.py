"""A video LLM on a manifest's split: the same tasks as for two towers, by log odds of Yes (SynViTA, Eq. 1).

Scores are `log P(Yes) - log P(No)`: they rank as f does, also where f rounds to 1. One video is run at a time, with all
texts that are asked about it behind one pass over its frames.

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
from mova.errors import UsageError, VideoError
from mova.eval.tasks.encoding import Progress
from mova.eval.tasks.split import EvalSplit, make_split, open_split
from mova.models.encoder import DualEncoder
from mova.models.entailment import EntailmentModel
from mova.models.video_llm.prompt import Tail, Visual

TOWERS_ONLY = {"form": "--form", "fps": "--fps", "encode": "--features"}
"""Options of `tasks.open_split` that mean nothing to a video LLM, as people write them."""


@dataclass(frozen=True, eq=False)
class Watched:
    """A clip as the model takes it, and the times of its frames, seconds."""

    visual: Visual
    times: npt.NDArray[np.float64]


class LogOdds:
    """Scoring by a video LLM, in place of `scoring_forms.ScoringForm`.

    Attributes:
        used: whether a text was asked about yet.
        cut: texts that were cut; always 0, since nothing is.
    """

    name = "log odds"
    cut = 0

    def __init__(self, model: EntailmentModel) -> None:
        self.model, self.used = model, False

    def to_json(self) -> dict[str, Any]:
        """What decides the scores beside the weights."""
        budget = self.model.budget
        frames = {"frames": budget.frames} if budget.frames is not None else {"rate": budget.rate, "most": budget.most}
        return {
            "form": self.name,
            "question": self.model.question.text,
            "budget": frames | {"rule": budget.rule, "max_frames": self.model.max_frames},
        }

    def encode(self, texts: Sequence[str]) -> list[Tail]:
        """Texts as what follows the frames in a prompt.

        Raises:
            UsageError: a text is empty or holds a control token.
        """
        self.used = True
        return self.model.tails(texts)

    def score(self, videos: Sequence[Watched], encoded: Sequence[Tail]) -> Tensor:
        """float32, (V, N) log odds."""
        return torch.stack([self.model.log_odds(video.visual, encoded) for video in videos])


def open_llm_split(
    model: EntailmentModel,
    manifest: str | Path,
    split: str | None = None,
    progress: Progress | None = None,
    quarantine: str | Path | None = None,
) -> EvalSplit:
    """A split of a manifest, ready to be measured with a video LLM; see `tasks.open_split`.

    Raises:
        DataError: the manifest cannot be read.
        UsageError: no such split, or several splits and none named.
    """
    folder = Path(manifest).resolve().parent

    def encode(row: Row) -> Watched:
        """A row's clip as the model sees it; raises VideoError where it cannot be read, or is several."""
        if row.parts:
            raise VideoError(row.id, "is made of several clips; write them as a file first")
        frames = model.sample(folder / row.video, row.start or 0.0, row.end)
        return Watched(model.prepare(frames), frames.pts)

    return make_split(model, manifest, split, encode, LogOdds(model), None, progress, quarantine, in_flight=1)


def open_any_split(
    model: DualEncoder | EntailmentModel, manifest: str | Path, split: str | None = None, **options: Any
) -> EvalSplit:
    """A split of a manifest with a model of either kind.

    Args:
        model: decides how clips are scored.
        manifest, split: see `tasks.open_split`.
        options: of `tasks.open_split`; those that are None count as left out.

    Raises:
        UsageError: `form`, `fps` or `encode` for a video LLM, and what `tasks.open_split` raises.
        DataError: the manifest cannot be read.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if not isinstance(model, EntailmentModel):
        return open_split(model, manifest, split, **given)
    if strange := sorted(TOWERS_ONLY[key] for key in given.keys() & TOWERS_ONLY.keys()):
        raise UsageError(f"{model.name} is a video LLM; {', '.join(strange)} is for two-tower models only")
    return open_llm_split(model, manifest, split, **given)
