"""Video LLMs run where MOVA_DEVICE and MOVA_PRECISION say, as dual encoders do; options of the call go first."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mova.errors import UsageError
from mova.models.registry import load_any, load_judge, load_video_llm
from tests.support.tiny_videollms import FAMILIES, build


def test_the_environment_counts_where_the_call_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(next(iter(FAMILIES)), tmp_path / "model")
    monkeypatch.setenv("MOVA_DEVICE", "cpu")
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        monkeypatch.setenv("MOVA_PRECISION", name)
        for load in (load_video_llm, load_any, load_judge):
            assert load(folder).model.dtype == dtype  # type: ignore[operator,union-attr]
    assert load_video_llm(folder, precision="bf16").model.dtype == torch.bfloat16  # type: ignore[attr-defined]
    monkeypatch.setenv("MOVA_DEVICE", "cuda:x")
    with pytest.raises(UsageError, match="MOVA_DEVICE"):
        load_video_llm(folder)
    assert load_video_llm(folder, device="cpu").model.device.type == "cpu"  # type: ignore[attr-defined]
