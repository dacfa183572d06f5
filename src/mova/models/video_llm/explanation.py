"""Explanations: how does a video differ from a description? VideoCon's second task (Bansal et al., CVPR 2024).

A video LLM is asked "What is the misalignment between this video and the description: "TEXT"?" and answers with a
sentence. It learns the answer by its log-likelihood, in the same pass over the frames as the questions that it answers
with Yes or No.

Shape legend: N texts about one video, A tokens of an answer with its end, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mova.errors import UsageError
from mova.models.video_llm.model import VideoLLM
from mova.models.video_llm.packed import can_pack, packed_logits
from mova.models.video_llm.prompt import Question, Tail, Visual, prompts
from mova.types import Frames


def explanation_question() -> Question:
    """Return VideoCon's question.

    >>> explanation_question().text
    'What is the misalignment between this video and the description: "{text}"?'
    """
    return Question(prompts()["explanation"]["text"])


def explained_tail(llm: VideoLLM, text: str, explanation: str) -> Tail:
    """Return the prompt that asks how a video differs from a description, with the answer.

    Raises:
        UsageError: a text is empty or contains a control token, or tokens of the model see those behind them, so that
            it would read the answer that it learns.

    >>> from mova.models.registry import load_video_llm
    >>> tail = explained_tail(load_video_llm("tiny-video-llm"), "Two black discs grow.", "They shrink.")
    >>> tail.answer.stop == len(tail)
    True
    """
    if llm.kind in prompts()["unshared"]:
        raise UsageError(f"{llm.name}: its tokens attend to those behind them, so it cannot learn explanations")
    return llm.prompter.answered(text, explanation, explanation_question())


def answer_and_explain(
    llm: VideoLLM,
    video: Visual,
    tails: Sequence[Tail],
    explained: Tail,
    *,
    keep: Sequence[Tensor | None] | None = None,
    run: Callable[..., Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the log-odds of N texts about one video, and the loss of an explanation, with gradients if enabled.

    Both come from one pass over the frames, unless the attention implementation does not support that.

    Args:
        llm: the model.
        video: from `prepare`.
        tails: N tails, from `tails`.
        explained: from `explained_tail`.
        keep: for each text None, or bool over its description's tokens; see `answer_packed`.
        run: called instead of the model, if something wraps it.

    Returns:
        float32 (N,), and the mean negative log-likelihood per token of the explanation, a scalar.

    >>> from mova.models.registry import load_video_llm
    >>> model = load_video_llm("tiny-video-llm", max_frames=2)  # random weights
    >>> tail = explained_tail(model, "Two black discs grow.", "They shrink, and do not grow.")
    >>> odds, loss = answer_and_explain(model, model.prepare("film.mp4"), model.tails(["Two black discs grow."]), tail)
    >>> odds.shape, loss.ndim
    (torch.Size([1]), 0)
    """
    answer = explained.answer
    if answer is None:
        raise ValueError("the explanation has no answer to learn; it must come from explained_tail")
    places = range(answer.start - 1, answer.stop - 1)
    if can_pack(llm.model):
        hidden = [*(keep or [None] * len(tails)), None]
        read = [*((len(tail) - 1,) for tail in tails), tuple(places)]
        logits = packed_logits(llm.model, video, [*tails, explained], read, keep=hidden, run=run)
        odds, answer_logits = llm.read_odds(logits[: len(tails)]), logits[len(tails) :]
    else:
        odds = llm.packed_log_odds(video, tails, keep=keep, run=run)
        answer_logits = packed_logits(llm.model, video, [explained], [tuple(places)], run=run)
    return odds, F.cross_entropy(answer_logits.float(), explained.ids[answer].to(answer_logits.device))


@torch.inference_mode()
def explain(llm: VideoLLM, video: Frames | Visual | str, text: str, *, most_tokens: int = 64) -> str:
    """Return how a video differs from a description, in the model's own words: its most probable next tokens.

    Args:
        llm: a model that was trained to explain; others answer in any form.
        video: a file, its frames, or the result of `prepare`.
        text: the description.
        most_tokens: the answer ends there, if the model has not ended it before.

    >>> from mova.models.registry import load_video_llm
    >>> model = load_video_llm("tiny-video-llm", max_frames=2)  # random weights
    >>> isinstance(explain(model, "film.mp4", "Two black discs grow.", most_tokens=4), str)
    True
    """
    visual = video if isinstance(video, Visual) else llm.prepare(video)
    (tail,) = llm.prompter.tails([text], explanation_question())
    written: list[int] = []
    end = llm.prompter.tokenizer.eos_token_id
    for _ in range(most_tokens):
        longer = Tail(torch.cat([tail.ids, torch.tensor(written, dtype=tail.ids.dtype)]), tail.description)
        logits = packed_logits(llm.model, visual, [longer], [(len(longer) - 1,)])
        token = int(logits[0].argmax())
        if token == end:
            break
        written.append(token)
    return str(llm.prompter.tokenizer.decode(written, skip_special_tokens=True)).strip()
