"""Qwen3-VL-Embedding against transformers' own model and processor, from the file to the vector."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel
from transformers.video_utils import VideoMetadata

import mova
from mova.errors import ModelError, UsageError
from mova.models.qwen_embedding.model import QwenEmbedding
from mova.models.registry import load_any
from mova.models.video_llm.model import VideoLLM
from mova.models.video_llm.processor import load_processor
from mova.scoring.windows.rule import WindowRule
from mova.search.index import Index
from mova.types import Frames
from mova.video.reader import stream
from tests.support.tiny_videollms import build

TEXTS = ["A man opens a door.", "tea", "Does this video entail the description: two squares move left?"]
WIDTH = 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build("qwen3_vl", tmp_path_factory.mktemp("qwen") / "tiny")
    (folder / "modules.json").write_text("[]", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> QwenEmbedding:
    loaded = mova.load(str(checkpoint), precision="fp32", device="cpu")
    assert isinstance(loaded, QwenEmbedding)
    loaded.window = WindowRule(4, 2)
    return loaded


def last_state(checkpoint: Path, prompt: str, **videos: Any) -> torch.Tensor:
    """The state of the last token of one prompt, alone, by transformers."""
    processor, reference = load_processor(checkpoint, "qwen3_vl"), AutoModel.from_pretrained(checkpoint).eval()
    inputs = processor(text=[prompt], **videos, text_kwargs={"return_tensors": "pt"})
    with torch.inference_mode():
        return reference(**{key: torch.as_tensor(value) for key, value in inputs.items()}).last_hidden_state[0, -1]


def conversation(user: str, instruction: str = "Represent the user's input.") -> str:
    return f"<|im_start|>system\n{instruction}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


def test_texts_become_the_last_state_of_the_published_prompt(model: QwenEmbedding, checkpoint: Path) -> None:
    expected = torch.stack([last_state(checkpoint, conversation(text)) for text in TEXTS])
    encoded = model.encode_text(TEXTS)
    torch.testing.assert_close(encoded.pooled, expected, atol=1e-5, rtol=1e-4)
    assert encoded.pooled.shape == (3, WIDTH)
    assert (expected[0] - expected[1]).abs().max() > 0.1, "texts differ"
    assert encoded.dropped.tolist() == [0, 0, 0]


def test_a_file_becomes_the_last_states_of_its_windows(model: QwenEmbedding, checkpoint: Path, film: Path) -> None:
    pixels = Frames.concatenate(list(stream(film, fps=1))).pixels
    assert len(pixels) == 7
    video = model.encode_video(film)
    assert video.windows is not None
    assert video.windows.tolist() == [[0, 4], [2, 6], [3, 7]]
    user = "<|vision_start|><|video_pad|><|vision_end|>"
    clock = {"fps": 1.0, "frames_indices": [0.0, 1.0, 2.0, 3.0], "total_num_frames": 4}
    for k, start in enumerate((0, 2, 3)):
        metadata = {"videos_kwargs": {"video_metadata": [VideoMetadata(**clock)]}}
        expected = last_state(checkpoint, conversation(user), videos=[pixels[start : start + 4]], **metadata)
        torch.testing.assert_close(video.frames[k], expected, atol=1e-5, rtol=1e-4)
    assert (video.frames[0] - video.frames[1]).abs().max() > 0.01, "windows differ"


def test_the_instruction_and_the_width_are_part_of_the_model(checkpoint: Path, film: Path, tmp_path: Path) -> None:
    settings = {"width": 16, "instruction": "Find the video", "video_instruction": "Say what happens!"}
    small = QwenEmbedding.from_checkpoint(checkpoint, precision="fp32", device="cpu", window_frames=2, **settings)
    expected = last_state(checkpoint, conversation("tea", "Find the video."))
    torch.testing.assert_close(small.encode_text("tea").pooled[0], expected[:16], atol=1e-5, rtol=1e-4)
    plain = QwenEmbedding.from_checkpoint(checkpoint, precision="fp32", device="cpu", window_frames=2)
    assert small.fingerprint() != plain.fingerprint()
    assert small.video_fingerprint() != plain.video_fingerprint()
    small.save_pretrained(tmp_path / "small")
    again = mova.load(str(tmp_path / "small"), precision="fp32", device="cpu")
    assert isinstance(again, QwenEmbedding)
    assert again.fingerprint() == small.fingerprint()
    assert again.window == WindowRule(2, 1)
    assert torch.equal(again.encode_video(film).frames, small.encode_video(film).frames)
    assert torch.equal(again.encode_text(TEXTS).pooled, small.encode_text(TEXTS).pooled)
    with pytest.raises(UsageError, match="width must be from 1 to 32"):
        QwenEmbedding.from_checkpoint(checkpoint, width=64)


def test_an_index_of_windows_finds_and_reranks(model: QwenEmbedding, film: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index", model)
    assert len(index.add(film.parent).indexed) == 1
    moments = index.search("A square moves.", k=3)
    assert moments
    video = model.encode_video(film)
    best = float(model.relevance(model.encode_text("A square moves."), video).max())
    assert moments[0].score == pytest.approx(best, abs=2e-3)
    again = index.search("A square moves.", k=3, rerank=model)
    assert {m.score for m in again} == {m.score for m in moments}


def test_windows_of_one_frame_are_single_frames(checkpoint: Path, film: Path) -> None:
    single = QwenEmbedding.from_checkpoint(checkpoint, precision="fp32", device="cpu", window_frames=1)
    video = single.encode_video(film)
    frames = Frames.concatenate(list(stream(film, fps=1)))
    torch.testing.assert_close(single.encode_frames(frames), video.frames, atol=1e-5, rtol=1e-4)
    pictures = torch.from_numpy(single.encode(list(frames.pixels[:2])))
    expected = torch.nn.functional.normalize(video.frames[:2], dim=1)
    torch.testing.assert_close(pictures, expected, atol=1e-5, rtol=1e-4)


def test_half_precision_points_the_same_way(checkpoint: Path, model: QwenEmbedding) -> None:
    half = QwenEmbedding.from_checkpoint(checkpoint, precision="bf16", device="cpu")
    assert half.fingerprint() == model.fingerprint()
    cosines = torch.cosine_similarity(half.encode_text(TEXTS).pooled, model.encode_text(TEXTS).pooled)
    assert cosines.min() > 0.99


def test_checkpoints_for_conversation_stay_video_llms(checkpoint: Path, tmp_path: Path) -> None:
    chat = shutil.copytree(checkpoint, tmp_path / "chat", ignore=shutil.ignore_patterns("modules.json"))
    assert isinstance(load_any(chat), VideoLLM)
    with pytest.raises(ModelError, match="is a video LLM for conversation"):
        mova.load(str(chat))
    named = shutil.copytree(chat, tmp_path / "Tiny-VL-Embedding")
    assert isinstance(load_any(named), QwenEmbedding)


def test_the_command_saves_a_model_with_other_settings(
    checkpoint: Path, tiny_clip: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    words = ("models", "set", checkpoint, tmp_path / "small")
    code, out, err = call(*words, "--width", 8, "--instruction", "Find it", "--window-frames", 2, "--json")
    assert code == 0, err
    assert json.loads(out) == {
        "model": str(tmp_path / "small"),
        "width": 8,
        "instruction": "Find it",
        "window_frames": 2,
    }
    small = mova.load(str(tmp_path / "small"), precision="fp32", device="cpu")
    assert isinstance(small, QwenEmbedding)
    expected = last_state(checkpoint, conversation("tea", "Find it."))
    torch.testing.assert_close(small.encode_text("tea").pooled[0], expected[:8], atol=1e-5, rtol=1e-4)
    assert small.window == WindowRule(2, 1)
    other = tmp_path / "other"
    for wrong, message in (
        ((*words, "--width", 8), "is not an empty folder"),
        (("models", "set", checkpoint, other), "give at least one of --width"),
        (("models", "set", checkpoint, other, "--width", 64), "width must be from 1 to 32"),
        (("models", "set", tiny_clip, other, "--width", 8), "has no settings to change"),
    ):
        code, _, err = call(*wrong)
        assert (code, message in err) == (2, True), err
