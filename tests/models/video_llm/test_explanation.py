"""Explanations: tokens of an answer, its loss against the library's own, one pass with the yes-or-no questions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mova.errors import UsageError
from mova.models.video_llm import explanation as explanations
from mova.models.video_llm import packed
from mova.models.video_llm.explanation import answer_and_explain, explain, explained_tail
from mova.models.video_llm.model import VideoLLM
from mova.types import Frames
from tests.support.tiny_videollms import FAMILIES, build

VIDEO = Frames(np.random.default_rng(3).integers(0, 255, (4, 40, 48, 3), dtype=np.uint8), np.arange(4.0))
CAPTION, ANSWER = "a dog runs to the left", "It runs to the right, not to the left."


def opened(kind: str, folder: Path) -> VideoLLM:
    return VideoLLM.from_pretrained(build(kind, folder), precision="fp32", device="cpu")


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_loss_of_an_explanation_is_that_of_the_library(kind: str, tmp_path: Path) -> None:
    """Against transformers' loss on the whole conversation, with every token but the answer's left out."""
    llm = opened(kind, tmp_path)
    video, tails, tail = llm.prepare(VIDEO), llm.tails([CAPTION, "tea"]), explained_tail(llm, CAPTION, ANSWER)
    assert tail.answer is not None
    tokenizer = llm.prompter.tokenizer
    words = tokenizer.decode(tail.ids[tail.answer])
    assert words.strip() == f"{ANSWER}{tokenizer.eos_token}"
    asked = tokenizer.decode(tail.ids[: tail.answer.start])
    assert f'What is the misalignment between this video and the description: "{CAPTION}"?' in asked
    ids = torch.cat([video.ids, tail.ids])[None]
    labels = torch.full_like(ids, -100)
    labels[0, len(video) + tail.answer.start :] = tail.ids[tail.answer]
    kinds = {key: torch.cat([value, value.new_zeros(len(tail))])[None] for key, value in video.kinds.items()}
    with torch.no_grad():
        whole = llm.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, **kinds, **dict(video.pixels)
        )
        odds, loss = answer_and_explain(llm, video, tails, tail)
    torch.testing.assert_close(loss, whole.loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(odds, llm.packed_log_odds(video, tails).detach(), rtol=1e-4, atol=1e-5)


def test_without_a_mask_of_every_token_the_explanation_runs_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = opened("qwen2_5_vl", tmp_path)
    video, tails, tail = llm.prepare(VIDEO), llm.tails([CAPTION, "tea"]), explained_tail(llm, CAPTION, ANSWER)
    together = answer_and_explain(llm, video, tails, tail)
    for module in (packed, explanations):
        monkeypatch.setattr(module, "can_pack", lambda model: False)
    alone = answer_and_explain(llm, video, tails, tail)
    for first, second in zip(together, alone, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="one text at a time"):
        packed.packed_logits(llm.model, video, tails, [(0,), (0,)])


def test_the_model_writes_what_it_finds_most_probable(tmp_path: Path) -> None:
    llm = opened("video_llava", tmp_path)
    video = llm.prepare(VIDEO)
    written = explain(llm, VIDEO, CAPTION, most_tokens=5)
    (tail,) = llm.prompter.tails([CAPTION], explanations.explanation_question())
    ids = torch.cat([video.ids, tail.ids])[None]
    pixels = dict(video.pixels)
    made = llm.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), **pixels, max_new_tokens=5, do_sample=False
    )
    expected = llm.prompter.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
    assert written == expected.strip()


def test_refused_texts_and_models(tmp_path: Path) -> None:
    llm = opened("video_llava", tmp_path)
    with pytest.raises(UsageError, match="an answer is empty"):
        explained_tail(llm, CAPTION, "  ")
    with pytest.raises(UsageError, match="the answer 'a <image> of it' contains the control token"):
        explained_tail(llm, CAPTION, "a <image> of it")
    llm.kind = "paligemma"
    with pytest.raises(UsageError, match="its tokens attend to those behind them"):
        explained_tail(llm, CAPTION, ANSWER)
