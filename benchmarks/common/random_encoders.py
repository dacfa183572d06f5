"""Tiny checkpoints of real architectures with random weights, one of each family of encoders that mova loads.

What they reach is what chance, the length of windows and the number of vectors alone reach. Their sizes are those of
the tests, so their speed is not that of published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

from mova.models.tiny_checkpoint import write_tiny_clip, write_tiny_x_clip
from tests.support.tiny_models import BUILDERS, build_video_prism
from tests.support.tiny_sentence_models import build_language_model, build_own_clip
from tests.support.tiny_videollms import build

Writer = Callable[[Path, Sequence[str], int], Path]
"""(folder, texts, seed) -> the folder of a checkpoint."""


def drawn_again(write: Callable[[Path], Path]) -> Writer:
    """Return a writer whose weights depend on the seed: the rows of each matrix in another order."""

    def of_seed(folder: Path, texts: Sequence[str], seed: int) -> Path:
        made = write(folder)
        generator = torch.Generator().manual_seed(seed)
        for file in sorted(made.rglob("*.safetensors")):
            weights = load_file(file)
            for name, weight in sorted(weights.items()):
                if weight.ndim > 1:
                    weights[name] = weight[torch.randperm(len(weight), generator=generator)].contiguous()
            save_file(weights, file, {"format": "pt"})
        return made

    return of_seed


def _embedding(folder: Path) -> Path:
    """Write a Qwen3-VL-Embedding: those have the modules of sentence-transformers."""
    build("qwen3_vl", folder)
    (folder / "modules.json").write_text("[]", encoding="utf-8")
    return folder


def random_encoders() -> dict[str, Writer]:
    """Return the writer of each random encoder that the installed packages can load, by name."""
    found: dict[str, Writer] = {"random-clip": write_tiny_clip, "random-x-clip": write_tiny_x_clip}
    found["random-naflex"] = drawn_again(BUILDERS["naflex"])
    if hasattr(transformers, "VideoPrismClipModel"):
        found["random-video-prism"] = drawn_again(build_video_prism)
    found["random-qwen-embedding"] = drawn_again(_embedding)
    if find_spec("sentence_transformers") is not None:
        found["random-sentence-clip"] = drawn_again(build_own_clip)
        found["random-sentence-video"] = drawn_again(lambda folder: build_language_model("qwen2_5_vl", folder))
    return found
