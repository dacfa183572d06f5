"""VideoPrism (Zhao et al. 2024, arXiv 2402.13217) as transformers has it: a vector per window of several frames.

A window's vector is that of `VideoPrismClipModel.get_video_features`: a spatial encoder sees each frame, a temporal one
each place over time, and both are pooled. A text's vector is that of `get_text_features`: the state of a class token
behind its last word. Frames are resized to a square, without crop and normalization.

Shape legend: T frames, W windows, n frames per window, h w model input pixels, N texts, L tokens, d shared width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from mova.models.backbone import START_SCALE
from mova.models.hub import read_json
from mova.models.inputs.windows import WindowReading
from mova.models.two_tower.checkpoint_encoder import CheckpointEncoder
from mova.models.two_tower.config import TwoTowerConfig
from mova.models.video_prism.config import VideoPrismConfig
from mova.scoring.windows.rule import WindowRule
from mova.types import Frames


class VideoPrism(WindowReading, CheckpointEncoder):
    """A VideoPrism model with the interface of `DualEncoder`, over windows.

    `from_checkpoint` reads a checkpoint of the Hub; `save_pretrained` and `from_pretrained` use mova's folder format.
    The number of frames per window is the checkpoint's, and `frame_rate` decides how many seconds they span.

    >>> model = VideoPrism.from_checkpoint("tiny-video-prism")  # random weights
    >>> video = model.encode_video("film.mp4")
    >>> model.window, video.frames.shape, model.encode_text("A dog runs.").pooled.shape
    (WindowRule(frames=4, stride=2), torch.Size([4, 32]), torch.Size([1, 32]))
    """

    config_class: type[TwoTowerConfig] = VideoPrismConfig
    video_features = "get_video_features"

    def __init__(
        self, config: VideoPrismConfig, backbone: PreTrainedModel | None = None, tokenizer: Any = None
    ) -> None:
        super().__init__(config, backbone, tokenizer)
        frames = int(config.backbone["vision_config"]["num_frames"])
        self.window = WindowRule(frames, config.window_stride or max(1, frames // 2))

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save weights, configuration with the stride of the windows, tokenizer and model card into one folder."""
        self.config.window_stride = self.window.stride
        super().save_pretrained(save_directory, *args, **kwargs)

    @staticmethod
    def image_settings(folder: Path, name: str) -> dict[str, Any]:
        """Return the settings of frames: those of the checkpoint's video processor, else the published ones."""
        published = {"size": {"height": 288, "width": 288}, "do_normalize": False, "resample": 3}
        for file in ("video_preprocessor_config.json", "preprocessor_config.json"):
            if (folder / file).is_file():
                return {**published, **_known(read_json(folder / file)), "image_processor_type": "SiglipImageProcessor"}
        values = read_json(folder / "processor_config.json") if (folder / "processor_config.json").is_file() else {}
        known = _known(values.get("video_processor") or {})
        return {**published, **known, "image_processor_type": "SiglipImageProcessor"}

    def prepare_frames(self, frames: Frames) -> Tensor:
        """Resize frames by the checkpoint's settings: uint8 (T, h, w, 3)."""
        return self.image_rule.shape(torch.from_numpy(np.ascontiguousarray(frames.pixels)).to(self.device))

    def encode_windows(self, windows: Tensor, rate: float) -> Tensor:
        """Encode windows of prepared frames, at any rate: uint8 (W, n, h, w, 3) -> float32 (W, d)."""
        pixels = self.image_rule.normalize(windows.flatten(0, 1), self.compute_dtype)
        return self.image_features(pixels.unflatten(0, windows.shape[:2]))

    def image_features(self, pixels: Tensor) -> Tensor:
        """Encode windows of normalized pixels: (W, n, 3, h, w) -> (W, d) float32; gradients flow."""
        pixels = pixels.to(self.compute_dtype)
        pooled: Tensor = self.backbone.get_video_features(pixel_values_videos=pixels).pooler_output
        return pooled.flatten(1).float()

    def text_features(self, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled vectors (N, d) and the states of all tokens (N, L, d), float32; gradients flow."""
        output = self.backbone.get_text_features(input_ids=input_ids, attention_mask=mask.long())
        return output.pooler_output.float(), output.last_hidden_state[:, :-1].float()

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run both towers on a batch; `scale` is `START_SCALE`, since published checkpoints have no factor."""
        return {**super().forward(*args, **kwargs), "scale": torch.tensor(START_SCALE, device=self.device)}

    @property
    def embedding_dim(self) -> int:
        """Width d of the shared space."""
        return int(self.backbone.config.text_config.hidden_size)

    @property
    def compute_dtype(self) -> torch.dtype:
        """Type of the towers' weights."""
        dtype: torch.dtype = self.backbone.text_model.layernorm.weight.dtype
        return dtype


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that say how frames are resized and scaled."""
    names = ("size", "do_resize", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "resample")
    return {name: settings[name] for name in names if settings.get(name) is not None}
