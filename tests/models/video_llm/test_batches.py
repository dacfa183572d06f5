"""Clips that are asked about together have the scores of clips that are asked about one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mova.models.video_llm.batches import log_odds_table
from mova.models.video_llm.model import VideoLLM
from mova.types import Frames
from tests.support.tiny_videollms import build


def frames(seed: int, count: int) -> Frames:
    rng = np.random.default_rng(seed)
    return Frames(rng.integers(0, 255, (count, 40, 56, 3), dtype=np.uint8), np.arange(count) * 0.7)


@pytest.mark.parametrize("kind", ["llava_onevision", "internvl", "qwen3_vl"])
def test_a_batch_of_clips_of_any_length_scores_as_each_alone(kind: str, tmp_path: Path) -> None:
    model = VideoLLM.from_pretrained(build(kind, tmp_path / kind), precision="fp32", device="cpu")
    clips = [model.prepare(frames(seed, count)) for seed, count in enumerate((4, 2, 4, 6))]
    for texts in (["a dog runs"], ["a dog runs", "No."]):
        expected = torch.stack([model.log_odds(clip, texts) for clip in clips])
        torch.testing.assert_close(log_odds_table(model, clips, texts), expected, rtol=0, atol=2e-4)
    assert len({round(float(value), 3) for value in expected[:, 0]}) == 4, "the clips differ"
