"""The contract of models that answer whether a video shows a text, instead of comparing vectors.

Shape legend: T frames, N texts, I images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mova.models.video_llm.prompt import Budget, Question, Tail, Visual
from mova.types import Frames
from mova.video.isolated import Decoding


class EntailmentModel(Decoding, ABC):
    """A model that answers Yes or No.

    Attributes:
        name: display name: a name on the Hub or a folder.
        question: prompt that asks about a video and a text.
        budget: how many frames the model looks at.
        max_frames: a smaller maximum; None: the budget's.

    >>> from mova.models.registry import load_video_llm
    >>> model = load_video_llm("tiny-video-llm", max_frames=2)  # random weights
    >>> frames = model.sample("film.mp4", start=2.0, end=5.0)
    >>> len(frames), model.scores(frames, ["Two black discs shrink.", "A dog runs."]).shape
    (2, torch.Size([2]))
    """

    name: str
    question: Question
    budget: Budget
    max_frames: int | None

    @abstractmethod
    def sample(self, video: str | Path, start: float = 0.0, end: float | None = None) -> Frames:
        """Read the frames of `[start, end)` seconds that the model looks at.

        Raises:
            VideoError: the file cannot be read.
        """

    @abstractmethod
    def prepare(self, video: str | Path | Frames) -> Visual:
        """Return a video as model input, on the CPU."""

    @abstractmethod
    def tails(self, texts: Sequence[str]) -> list[Tail]:
        """Return the part of the prompt after the frames, for each text.

        Raises:
            UsageError: a text is empty or holds a control token.
        """

    @abstractmethod
    def log_odds(self, video: Any, texts: Sequence[str | Tail]) -> Tensor:
        """Return `log P(Yes) - log P(No)` of every text about one video: float32, (N,), on the CPU."""

    def scores(self, video: Any, texts: Sequence[str], **options: Any) -> Tensor:
        """Return P(Yes) against No of every text about one video: float32, (N,), in [0, 1]; options of `log_odds`."""
        return self.log_odds(video, texts, **options).sigmoid()

    @abstractmethod
    def figure_scores(self, images: Any, texts: Sequence[str], *, question: Question | None = None) -> Tensor:
        """Return P(Yes) of every image and text: float32, (I, N), in [0, 1], on the CPU."""

    def figure_pair_scores(
        self, images: Sequence[Any], texts: Sequence[str], *, question: Question | None = None
    ) -> Tensor:
        """Return P(Yes) of n pairs of an image and a text: float32, (n,), on the CPU; one pair at a time by default."""
        pairs = zip(images, texts, strict=True)
        return torch.cat([self.figure_scores([image], [text], question=question)[0] for image, text in pairs])

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of all that changes a score."""
