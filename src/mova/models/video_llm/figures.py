"""Ask a video LLM about single images: P(Yes) for "Does this figure show [t]?" (VQAScore, Lin et al. 2024).

Shape legend: I images, N texts, n pairs of an image and a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.errors import UsageError
from mova.models.video_llm.prefix_cache import answer_shared, answer_whole, prefill
from mova.models.video_llm.prompt import Prompter, Question, Visual, prompts
from mova.models.video_llm.yes_no import Answers, yes_log_probability
from mova.types import Frames


class Answering(Protocol):
    """A video LLM."""

    model: Any
    kind: str
    prompter: Prompter

    def answers(self, question: Question) -> Answers:
        """Return the tokens that answer a question."""
        ...


def figure_scores(
    llm: Answering, images: Frames | Sequence[Any], texts: Sequence[str], question: Question, batch: int
) -> Tensor:
    """Return P(Yes) of every image and text, (I, N); see `VideoLLM.figure_scores`."""
    yes = llm.answers(question).yes
    tails = llm.prompter.tails(texts, question, images=1)
    shared = llm.kind not in prompts()["unshared"]
    rows = []
    for image in images.pixels if isinstance(images, Frames) else images:
        visual = llm.prompter.images([to_pixels(image)], question)
        prefix = prefill(llm.model, visual) if shared else None
        if prefix is not None:
            rows.append(answer_shared(llm.model, prefix, tails, lambda logits: _read(logits, yes), batch=batch))
            continue
        with torch.inference_mode():
            parts = [tails[i : i + batch] for i in range(0, len(tails), batch)]
            answers = [
                answer_whole(llm.model, [visual] * len(part), part, lambda logits: _read(logits, yes)) for part in parts
            ]
        rows.append(torch.cat(answers))
    return torch.stack(rows).exp().float().cpu()


@torch.inference_mode()
def figure_pair_scores(llm: Answering, images: Sequence[Any], texts: Sequence[str], question: Question) -> Tensor:
    """Return P(Yes) of pairs, (n,): those whose images fit into one batch run together."""
    yes = llm.answers(question).yes
    tails = llm.prompter.tails(texts, question, images=1)
    visuals: dict[int, Visual] = {}
    for image in images:
        if id(image) not in visuals:
            visuals[id(image)] = llm.prompter.images([to_pixels(image)], question)
    listed = [visuals[id(image)] for image in images]
    result = torch.empty(len(listed))
    for group in alike(listed):
        answers = answer_whole(
            llm.model, [listed[i] for i in group], [tails[i] for i in group], lambda logits: _read(logits, yes)
        )
        result[group] = answers.exp().float().cpu()
    return result


def alike(visuals: Sequence[Visual]) -> list[list[int]]:
    """Return groups of the videos or images whose frames fit into one batch."""
    groups: dict[object, list[int]] = {}
    for i, visual in enumerate(visuals):
        shapes = tuple((key, tuple(value.shape[1:])) for key, value in sorted(visual.pixels.items()))
        groups.setdefault((shapes, tuple(sorted(visual.kinds))), []).append(i)
    return list(groups.values())


def to_pixels(image: Any) -> npt.NDArray[np.uint8]:
    """Return an array or a Pillow image as uint8 (H, W, 3).

    Raises:
        UsageError: it is something else.
    """
    array = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        raise UsageError(f"an image must be uint8 (H, W, 3), not {array.dtype} {array.shape}")
    return array


def _read(logits: Tensor, yes: Sequence[int]) -> Tensor:
    return yes_log_probability(logits, yes)
