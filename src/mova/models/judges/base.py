"""The contract of image models that judge texts: P(Yes) for "Does this figure show [t]?" (VQAScore, Lin et al. 2024).

Shape legend: I images, N texts, n pairs of an image and a text, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mova.errors import UsageError
from mova.models.video_llm.figures import to_pixels
from mova.models.video_llm.prompt import Question, prompts
from mova.models.video_llm.yes_no import Answers, yes_log_probability
from mova.types import Frames

BATCH = 16
"""Pairs per batch."""


class FigureJudge(ABC):
    """An image model that answers Yes or No.

    Attributes:
        name: display name: a name on the Hub or a folder.

    >>> import numpy as np
    >>> class Half(FigureJudge):
    ...     name = "half"
    ...     def pair_log_probabilities(self, images, texts, question):
    ...         return torch.full((len(texts),), 0.5).log()
    ...     def fingerprint(self):
    ...         return "half"
    >>> Half().figure_scores([np.zeros((8, 8, 3), np.uint8)] * 2, ["a dog", "a cat", "a man"]).shape
    torch.Size([2, 3])
    """

    name: str

    @abstractmethod
    def pair_log_probabilities(self, images: Sequence[Any], texts: Sequence[str], question: Question | None) -> Tensor:
        """Return log P(Yes) of n pairs in one batch, (n,).

        Args:
            images: n images, uint8 (H, W, 3).
            texts: n texts, not empty.
            question: another question than the model's own.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of all that changes a score."""

    def figure_pair_scores(
        self, images: Sequence[Any], texts: Sequence[str], *, question: Question | None = None
    ) -> Tensor:
        """Return P(Yes) of n pairs of an image and a text: float32, (n,), on the CPU.

        Raises:
            UsageError: a text is empty, or an image is not uint8 (H, W, 3).
        """
        if any(not text.strip() for text in texts):
            raise UsageError("a description is empty; it needs at least one word")
        stripped, pixels = [text.strip() for text in texts], [to_pixels(image) for image in images]
        parts = []
        with torch.inference_mode():
            for first in range(0, len(stripped), BATCH):
                chosen = slice(first, first + BATCH)
                parts.append(self.pair_log_probabilities(pixels[chosen], stripped[chosen], question).float().cpu())
        return torch.cat(parts).exp() if parts else torch.zeros(0)

    def figure_scores(
        self, images: Frames | Sequence[Any], texts: Sequence[str], *, question: Question | None = None
    ) -> Tensor:
        """Return P(Yes) of every image and text: float32, (I, N), on the CPU."""
        listed = list(images.pixels if isinstance(images, Frames) else images)
        pairs = [(image, text) for image in listed for text in texts]
        scores = self.figure_pair_scores(*([pair[i] for pair in pairs] for i in (0, 1)), question=question)
        return scores.view(len(listed), len(texts))


def judge_prompt(kind: str, text: str, question: Question | None) -> str:
    """Return the whole prompt of a judge for a text.

    Args:
        kind: a key of `judges` in `prompts.yaml`.
        text: the description.
        question: another question than the judge's own.

    >>> judge_prompt("instructblip", "a dog", None)
    'Question: Does this figure show "a dog"? Please answer yes or no.'
    """
    judge = prompts()["judges"][kind]
    asked = (question.text if question is not None else judge["question"]).replace("{text}", text)
    return judge["template"].replace("{question}", asked)


def read_yes(logits: Tensor, answers: Answers) -> Tensor:
    """Return log P(Yes) of next-token logits (n, V): (n,)."""
    return yes_log_probability(logits, answers.yes)


def answers_of(tokenizer: Any, question: Question | None) -> Answers:
    """Return the tokens that answer a question, by default yes and no."""
    return Answers.of(tokenizer) if question is None else Answers.of(tokenizer, question.yes_words, question.no_words)
