"""X-CLIP (Ni et al. 2022, arXiv 2208.02816) as transformers has it: a vector per window of several frames.

A window's vector is that of `XCLIPModel.get_video_features`: the frames exchange messages inside the image tower, and a
small transformer integrates them. A text's vector is that of `get_text_features`. The paper also adds to each text a
prompt that is made from the patches of each video (its section 3.3). Such a text has another vector for each window, so
an index cannot use it, and it is left out here: cosines differ from those of `XCLIPModel.forward`.

Shape legend: T frames, W windows, n frames per window, h w model input pixels, d shared width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from mova.models.inputs.windows import WindowReading
from mova.models.two_tower.checkpoint_encoder import CheckpointEncoder
from mova.models.two_tower.config import TwoTowerConfig
from mova.models.x_clip.config import XClipConfig
from mova.scoring.windows.rule import WindowRule
from mova.types import Frames


class XClip(WindowReading, CheckpointEncoder):
    """An X-CLIP model with the interface of `DualEncoder`, over windows.

    `from_checkpoint` reads a checkpoint of the Hub; `save_pretrained` and `from_pretrained` use mova's folder format.
    The number of frames per window is the checkpoint's, and `frame_rate` decides how many seconds they span.

    >>> from mova.models.tiny_checkpoint import write_tiny_x_clip
    >>> model = XClip.from_checkpoint(write_tiny_x_clip("tiny-x-clip", ["a dog runs"]))  # random weights
    >>> video = model.encode_video("film.mp4")
    >>> model.window, video.frames.shape
    (WindowRule(frames=4, stride=2), torch.Size([4, 24]))
    >>> video.windows.tolist(), video.times.tolist()
    ([[0.0, 4.0], [2.0, 6.0], [4.0, 8.0], [6.0, 10.0]], [0.0, 3.0, 5.0, 7.0])
    """

    config_class: type[TwoTowerConfig] = XClipConfig
    video_features = "get_video_features"

    def __init__(self, config: XClipConfig, backbone: PreTrainedModel | None = None, tokenizer: Any = None) -> None:
        super().__init__(config, backbone, tokenizer)
        frames = int(config.backbone["vision_config"]["num_frames"])
        self.window = WindowRule(frames, config.window_stride or max(1, frames // 2))

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save weights, configuration with the stride of the windows, tokenizer and model card into one folder."""
        self.config.window_stride = self.window.stride
        super().save_pretrained(save_directory, *args, **kwargs)

    def prepare_frames(self, frames: Frames) -> Tensor:
        """Resize and crop frames by the checkpoint's settings: uint8 (T, h, w, 3)."""
        return self.image_rule.shape(torch.from_numpy(np.ascontiguousarray(frames.pixels)).to(self.device))

    def encode_windows(self, windows: Tensor, rate: float) -> Tensor:
        """Encode windows of prepared frames, at any rate: uint8 (W, n, h, w, 3) -> float32 (W, d)."""
        pixels = self.image_rule.normalize(windows.flatten(0, 1), self.compute_dtype)
        return self.image_features(pixels.unflatten(0, windows.shape[:2]))

    def image_features(self, pixels: Tensor) -> Tensor:
        """Encode windows of normalized pixels: (W, n, 3, h, w) -> (W, d) float32; gradients flow."""
        return self.backbone.get_video_features(pixel_values=pixels.to(self.compute_dtype)).pooler_output.float()
