"""Several texts behind one video in one pass give what whole prompts give, and the same gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mova.models.video_llm import packed as videollm_packed
from mova.models.video_llm.model import VideoLLM
from mova.models.video_llm.packed import can_pack
from mova.types import Frames
from tests.support.tiny_videollms import FAMILIES, build

VIDEO = Frames(np.random.default_rng(3).integers(0, 255, (4, 40, 48, 3), dtype=np.uint8), np.arange(4.0))
TEXTS = ["a dog runs to the left", "tea", 'two men, then "one"', "a dog runs to the left"]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_packed_prompts_are_whole_prompts(kind: str, attention: str, tmp_path: Path) -> None:
    model = VideoLLM.from_pretrained(build(kind, tmp_path), precision="fp32", device="cpu")
    model.model.set_attn_implementation(attention)
    assert can_pack(model.model)
    video, tails = model.prepare(VIDEO), model.tails(TEXTS)
    hidden = torch.arange(tails[3].description.stop - tails[3].description.start) % 3 > 0
    keep = [None, None, None, hidden]
    weights = [weight for name, weight in model.model.named_parameters() if "k_proj" in name or "qkv" in name]
    unpacked = model.pair_log_odds([video] * 4, tails, keep=keep)
    expected = torch.autograd.grad(unpacked.square().sum(), weights, allow_unused=True)
    packed = model.packed_log_odds(video, tails, keep=keep)
    gradients = torch.autograd.grad(packed.square().sum(), weights, allow_unused=True)
    torch.testing.assert_close(packed, unpacked, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(packed[0], packed[3], atol=1e-4)
    for gradient, expected_gradient in zip(gradients, expected, strict=True):
        assert (gradient is None) == (expected_gradient is None)
        if gradient is not None and expected_gradient is not None:
            torch.testing.assert_close(gradient, expected_gradient, rtol=1e-3, atol=1e-4)


def test_where_packing_is_not_possible_whole_prompts_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = VideoLLM.from_pretrained(build("qwen2_5_vl", tmp_path), precision="fp32", device="cpu")
    video, tails = model.prepare(VIDEO), model.tails(TEXTS)
    calls = []

    def run(**inputs: torch.Tensor) -> object:
        calls.append(tuple(inputs["input_ids"].shape))
        return model.model(**inputs)

    packed = model.packed_log_odds(video, tails, run=run)
    config = model.model.get_decoder().config
    monkeypatch.setattr(type(config), "_attn_implementation", "flash_attention_2", raising=False)
    assert not can_pack(model.model)
    monkeypatch.undo()
    monkeypatch.setattr(videollm_packed, "can_pack", lambda model: False)
    torch.testing.assert_close(model.packed_log_odds(video, tails, run=run), packed)
    longest = len(video) + max(map(len, tails))
    assert calls == [(1, len(video) + sum(map(len, tails))), (4, longest)]
