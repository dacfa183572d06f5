"""Qwen3-VL-Reranker against transformers' own model and processor, as a model and as the second stage of a search."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText
from transformers.video_utils import VideoMetadata

import mova
from mova.errors import ModelError, UsageError
from mova.models.qwen_embedding.checkpoints import is_embedding, is_reranker
from mova.models.registry import load_any
from mova.models.video_llm.model import VideoLLM
from mova.models.video_llm.processor import load_processor
from mova.models.video_llm.reranker import QwenReranker
from mova.types import Frames
from mova.video.reader import read_count
from tests.support.fakes import ColourEncoder
from tests.support.tiny_videollms import build

TEXTS = ["A man opens a door.", "tea"]
PROMPT = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: Given a search '
    "query, retrieve relevant candidates that answer the query.<Query>:{query}\n<Document>:<|vision_start|>"
    "<|video_pad|><|vision_end|><|im_end|>\n<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("qwen3_vl", tmp_path_factory.mktemp("qwen") / "Tiny-VL-Reranker")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> QwenReranker:
    loaded = load_any(checkpoint, precision="fp32", device="cpu")
    assert isinstance(loaded, QwenReranker)
    return loaded


@cache
def by_transformers(checkpoint: Path) -> tuple[Any, Any]:
    return load_processor(checkpoint, "qwen3_vl"), AutoModelForImageTextToText.from_pretrained(checkpoint).eval()


def odds(checkpoint: Path, frames: Frames, query: str) -> float:
    """The logit of yes minus that of no behind the published prompt, by transformers alone."""
    processor, reference = by_transformers(checkpoint)
    clock = VideoMetadata(fps=1.0, frames_indices=frames.pts.tolist(), total_num_frames=len(frames))
    made = processor(
        text=[PROMPT.format(query=query)],
        videos=[frames.pixels],
        videos_kwargs={"video_metadata": [clock]},
        text_kwargs={"return_tensors": "pt"},
    )
    with torch.inference_mode():
        logits = reference(**{key: torch.as_tensor(value) for key, value in made.items()}).logits[0, -1]
    yes, no = (processor.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    return float(logits[yes] - logits[no])


def test_the_score_is_that_of_the_published_prompt(model: QwenReranker, checkpoint: Path, film: Path) -> None:
    frames = model.sample(film)
    assert len(frames) == 6, "one per second, as a multiple of two"
    assert (frames.pixels == read_count(film, 6, rule="linspace").pixels).all()
    expected = torch.tensor([odds(checkpoint, frames, text) for text in TEXTS])
    torch.testing.assert_close(model.log_odds(film, TEXTS), expected, atol=1e-4, rtol=1e-4)
    assert (expected[0] - expected[1]).abs() > 1e-3, "texts differ"
    assert len(model.sample(film, 0.0, 1.5)) == 4
    with pytest.raises(UsageError, match="contains the control token"):
        model.log_odds(frames, ["<|im_end|>"])
    with pytest.raises(UsageError, match="judges no single images"):
        model.figure_scores(frames, TEXTS)


def test_a_search_asks_it_about_the_first_moments(
    checkpoint: Path, model: QwenReranker, film: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    index = mova.Index(tmp_path / "index", ColourEncoder())
    index.add(film)
    second = mova.Reranker(model, top=2, weight=1.0)
    answer = index.search("A red square.", k=2, rerank=second)
    assert answer.reranking is not None
    assert (answer.reranking.kind, answer.reranking.asked) == ("log-odds", len(answer))
    for moment in answer:
        clip = model.sample(moment.video, moment.start, moment.end)
        assert moment.second_score == pytest.approx(odds(checkpoint, clip, "A red square."), abs=1e-3)
    (tmp_path / "prompt.yaml").write_text("text: Is it {text}?", encoding="utf-8")
    options = ("--rerank", checkpoint, "--rerank-prompt", tmp_path / "prompt.yaml")
    code, _, err = call("search", "A red square.", "--index", tmp_path / "index", *options)
    assert (code, "a question of its own" in err) == (2, True), err


def test_it_is_told_from_the_models_of_the_same_architecture(checkpoint: Path, tmp_path: Path) -> None:
    saved = shutil.copytree(checkpoint, tmp_path / "saved")
    (saved / "modules.json").write_text("[]", encoding="utf-8")
    assert is_embedding(saved)
    (saved / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "CrossEncoder"}))
    assert is_reranker(saved)
    assert not is_embedding(saved)
    with pytest.raises(ModelError, match="is a reranker"):
        mova.load(str(saved))
    chat = shutil.copytree(checkpoint, tmp_path / "chat")
    assert not is_reranker(chat)
    assert isinstance(load_any(chat), VideoLLM)
