"""Adapters sit on the language model's attention only, start as nothing, and come back from PEFT's format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.tiny_videollms import build

pytest.importorskip("peft")

from mova.errors import ModelError, UsageError
from mova.models.video_llm.lora import attach_lora, attention_targets
from mova.models.video_llm.model import VideoLLM, is_video_llm
from mova.types import Frames

VIDEO = Frames(np.random.default_rng(3).integers(0, 255, (4, 40, 48, 3), dtype=np.uint8), np.arange(4.0))
TEXTS = ["a dog runs", "tea"]


@pytest.mark.parametrize("kind", ["video_llava", "internvl", "qwen3_vl"])
def test_adapters_train_save_and_load(kind: str, tmp_path: Path) -> None:
    model = VideoLLM.from_pretrained(build(kind, tmp_path / "base"), precision="fp32", device="cpu")
    before = model.scores(VIDEO, TEXTS)
    model.attach_lora(rank=4, alpha=8, dropout=0.0)
    torch.testing.assert_close(model.scores(VIDEO, TEXTS), before)
    trained = [name for name, weight in model.model.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * 4 * 2  # two layers, four projections, A and B
    assert all("language_model" in name and "self_attn" in name and "lora_" in name for name in trained)
    optimiser = torch.optim.SGD([w for w in model.model.parameters() if w.requires_grad], lr=1.0)
    model.pair_log_odds([VIDEO], [TEXTS[0]]).sum().backward()
    optimiser.step()
    after = model.scores(VIDEO, TEXTS)
    assert not torch.allclose(after, before, atol=1e-6)
    folder = model.save_adapters(tmp_path / "adapters")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in folder.iterdir()}
    assert is_video_llm(folder)
    again = VideoLLM.from_pretrained(folder, precision="fp32", device="cpu")
    torch.testing.assert_close(again.scores(VIDEO, TEXTS), after)
    assert again.fingerprint() == model.fingerprint()
    with pytest.raises(UsageError, match="already"):
        again.attach_lora()


def test_scores_have_no_dropout_before_training_begins(tmp_path: Path) -> None:
    options = {"precision": "fp32", "device": "cpu"}
    model = VideoLLM.from_pretrained(build("qwen2_5_vl", tmp_path / "base"), **options)
    model.attach_lora(rank=4, alpha=8, dropout=0.5)
    for name, weight in model.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    expected = model.scores(VIDEO, TEXTS)
    torch.testing.assert_close(model.scores(VIDEO, TEXTS), expected)
    folder = model.save_adapters(tmp_path / "adapters")
    further = VideoLLM.from_pretrained(folder, **options, trainable=True)
    torch.testing.assert_close(further.scores(VIDEO, TEXTS), expected)
    assert any(weight.requires_grad for weight in further.model.parameters())


def test_defaults_are_the_papers_and_the_tower_stays_free(tmp_path: Path) -> None:
    model = VideoLLM.from_pretrained(build("llava_onevision", tmp_path / "base"), precision="fp32", device="cpu").model
    pattern = attention_targets(model)
    wrapped = attach_lora(model)
    config = wrapped.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout, config.target_modules) == (32, 32, 0.05, pattern)
    assert not any("lora" in name for name, _ in model.model.vision_tower.named_modules())


def test_errors_are_reported(tmp_path: Path) -> None:
    model = VideoLLM.from_pretrained(build("qwen2_5_vl", tmp_path / "base"), precision="fp32", device="cpu")
    with pytest.raises(UsageError, match="rank"):
        model.attach_lora(rank=0)
    with pytest.raises(UsageError, match="no adapters to save"):
        model.save_adapters(tmp_path / "a")
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        model.load_adapters(tmp_path)
    other = VideoLLM.from_pretrained(build("internvl", tmp_path / "other"), precision="fp32", device="cpu")
    other.attach_lora(rank=2)
    wrong = other.save_adapters(tmp_path / "wrong")
    (wrong / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="do not fit"):
        model.load_adapters(wrong)
