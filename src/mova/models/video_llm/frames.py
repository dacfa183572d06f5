"""Preprocess frames for a video LLM, without torchvision.

The video processors of transformers need torchvision. `FrameProcessor` replaces them: it reads the same settings of a
checkpoint and does the same arithmetic with `models/two_tower/image_processor.py`. There are two kinds of
architectures: whole frames (Video-LLaVA, LLaVA-NeXT-Video, LLaVA-OneVision, InternVL), and patches of pairs of frames
whose size depends on the video (Qwen-VL).

Shape legend: T frames, H W source pixels, h w target pixels, G patches, D values per patch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers.video_utils import VideoMetadata

from mova.errors import ModelError, VideoError
from mova.models.two_tower.image_processor import CLIP_MEAN, CLIP_STD, FILTERS, HALF, ImageRule, resize
from mova.types import Frames

STRETCHED = 200
"""Ratio of longer to shorter side from which on the Qwen-VL models reject a picture."""


@dataclass(frozen=True)
class PatchRule:
    """Size and patches of frames in the Qwen-VL models.

    Attributes:
        patch, merge, depth: pixels per side of a patch, patches per side of a token, frames per patch.
        least, most: bounds on the pixels of a frame, or of the whole video if `volume`.
        tokens: maximum number of tokens per frame (`volume`) or per video, as in the models' reference code.
        volume: whether the bounds hold for the video (Qwen3-VL) or for each frame (Qwen2-VL, Qwen2.5-VL).
    """

    patch: int
    merge: int
    depth: int
    least: int
    most: int
    tokens: int
    volume: bool

    @property
    def factor(self) -> int:
        """Pixels per side of a token."""
        return self.patch * self.merge

    def target(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """Return the size (h, w) for a video of T frames: whole tokens, near its aspect ratio, within the bounds."""
        if max(height, width) / min(height, width) > STRETCHED:
            raise VideoError(
                "frames", f"{width} x {height} pixels are too long and thin for this model; crop the video"
            )
        unit = self.factor**2
        if self.volume:
            frames = max(frames, self.depth)  # a single frame is repeated to the depth of a patch
            share = max(min(self.tokens * unit, self.most // frames), int(self.least * 1.05))
            least, most = self.least, share * frames
            count = max(self.depth, round(frames / self.depth) * self.depth)
        else:
            total = int(self.tokens * unit * 0.9) * self.depth // frames
            least, most = self.least, max(min(self.most, total), int(self.least * 1.05))
            frames = count = 1
        if self.volume and min(height, width) < self.factor:
            scale = self.factor / min(height, width)
            height, width = int(height * scale), int(width * scale)
        tall, wide = (max(self.factor, round(side / self.factor) * self.factor) for side in (height, width))
        if count * tall * wide > most:
            shrink = math.sqrt(frames * height * width / most)
            tall, wide = (
                max(self.factor, math.floor(side / shrink / self.factor) * self.factor) for side in (height, width)
            )
        elif count * tall * wide < least:
            grow = math.sqrt(least / (frames * height * width))
            tall, wide = (math.ceil(side * grow / self.factor) * self.factor for side in (height, width))
        return tall, wide

    def cut(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Cut (T, 3, h, w) into patches (G, D) in the order of the vision towers; also return their grid (1, 3).

        The last frame is repeated if T is not a multiple of `depth`.
        """
        missing = -len(frames) % self.depth
        whole = torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)]) if missing else frames
        times, tall, wide = len(whole) // self.depth, whole.shape[2] // self.patch, whole.shape[3] // self.patch
        shape = (times, self.depth, 3, tall // self.merge, self.merge, self.patch, wide // self.merge, self.merge)
        parts = whole.reshape(*shape, self.patch).permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
        return parts.reshape(times * tall * wide, -1), torch.tensor([[times, tall, wide]])


_CLIP_CROP = ImageRule("shortest", 224, 224, crop=(224, 224), mean=CLIP_MEAN, std=CLIP_STD)
_SQUARE = ImageRule("exact", 384, 384, mean=CLIP_MEAN, std=CLIP_STD)
_QWEN2 = PatchRule(14, 2, 2, 128 * 28**2, 768 * 28**2, 128_000, volume=False)
_QWEN3 = PatchRule(16, 2, 2, 128 * 32**2, 768 * 32**2, 768, volume=True)
_QWEN = ImageRule("none", mean=CLIP_MEAN, std=CLIP_STD)
DEFAULTS: dict[str, tuple[ImageRule, PatchRule | None]] = {
    "VideoLlavaVideoProcessor": (_CLIP_CROP, None),
    "LlavaNextVideoVideoProcessor": (_CLIP_CROP, None),
    "LlavaOnevisionVideoProcessor": (_SQUARE, None),
    "InternVLVideoProcessor": (_SQUARE, None),
    "Qwen2VLVideoProcessor": (_QWEN, _QWEN2),
    "Qwen3VLVideoProcessor": (replace(_QWEN, mean=HALF, std=HALF), _QWEN3),
}
"""Defaults of each video processor of transformers for missing settings of a checkpoint."""
KINDS = {
    "video_llava": "VideoLlavaVideoProcessor",
    "llava_next_video": "LlavaNextVideoVideoProcessor",
    "llava_onevision": "LlavaOnevisionVideoProcessor",
    "internvl": "InternVLVideoProcessor",
    "qwen2_vl": "Qwen2VLVideoProcessor",
    "qwen2_5_vl": "Qwen2VLVideoProcessor",
    "qwen3_vl": "Qwen3VLVideoProcessor",
    "qwen3_vl_moe": "Qwen3VLVideoProcessor",
    "qwen3_5": "Qwen3VLVideoProcessor",
    "qwen3_5_moe": "Qwen3VLVideoProcessor",
}
"""`model_type` -> its video processor (the table of transformers is empty without torchvision)."""


class FrameProcessor:
    """Replacement for the video processor inside a processor of transformers.

    Args:
        kind: name of the video processor of transformers, one of `DEFAULTS`.
        settings: the checkpoint's settings for it; may be empty.

    Raises:
        ModelError: a filter or a size that is not supported here.
    """

    model_input_names: tuple[str, ...] = ("pixel_values_videos",)

    def __init__(self, kind: str, settings: Mapping[str, Any]) -> None:
        image, patches = DEFAULTS[kind]
        self.kind = kind
        self.image = _image_rule(image, settings, kind, sized=patches is None)
        self.patches = None if patches is None else _patch_rule(patches, settings)
        if self.patches is not None:
            self.patch_size, self.merge_size = self.patches.patch, self.patches.merge
            self.temporal_patch_size = self.patches.depth
            self.model_input_names = ("pixel_values_videos", "video_grid_thw")

    def __call__(
        self,
        videos: Sequence[Any],
        *,
        video_metadata: Sequence[Any] | None = None,
        **unused: Any,
    ) -> dict[str, Any]:
        """Return the tensors of one or many videos, each uint8 (T, H, W, 3); other arguments are ignored.

        As in the conversations of transformers, the videos may be lists of videos, and their times dictionaries.
        """
        flat = [pixels for part in videos for pixels in (part if isinstance(part, list) else [part])]
        done = [self.prepare(pixels) for pixels in flat]
        joined: dict[str, Any] = {
            "pixel_values_videos": torch.cat([pixels for pixels, _ in done])
            if self.patches is not None
            else torch.stack([pixels for pixels, _ in done])
        }
        if self.patches is not None:
            joined["video_grid_thw"] = torch.cat([grid for _, grid in done if grid is not None])
        if video_metadata is not None:
            joined["video_metadata"] = [
                VideoMetadata(**times) if isinstance(times, dict) else times for times in video_metadata
            ]
        return joined

    def short_side(self, frames: int, height: int, width: int) -> int:
        """Return the shorter side in pixels of T frames of H x W after resizing, before any crop."""
        rule = self.image.target(height, width) if self.patches is None else self.patches.target(frames, height, width)
        return min(rule)

    def prepare(self, pixels: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor | None]:
        """Prepare uint8 (T, H, W, 3): (T, 3, h, w), or patches (G, D) and their grid (1, 3); float32."""
        if self.patches is None:
            return self.image.apply(pixels, torch.device("cpu"), torch.float32), None
        frames = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
        size = self.patches.target(len(frames), *frames.shape[-2:])
        sized = resize(frames, size, self.image.resample).permute(0, 2, 3, 1)
        return self.patches.cut(self.image.normalize(sized, torch.float32))


def time_settings(frames: Frames) -> dict[str, Any]:
    """Return the times of frames for models that use them: a clock of one tick per second, and each frame's tick.

    Qwen3-VL writes `tick / fps` beside the frames; Qwen2.5-VL spaces its temporal positions by the mean step.
    """
    count = len(frames)
    step = float(frames.pts[-1] - frames.pts[0]) / (count - 1) if count > 1 else 1.0
    step = step or 1.0
    return {"fps": 1.0, "frames_indices": frames.pts.tolist(), "total_num_frames": count * step}


def _image_rule(rule: ImageRule, settings: Mapping[str, Any], kind: str, *, sized: bool) -> ImageRule:
    """Return the defaults of a kind with a checkpoint's own size, filter and normalization."""
    known = {key: value for key, value in settings.items() if value is not None}
    changes: dict[str, Any] = {}
    if "resample" in known:
        if known["resample"] not in FILTERS:
            raise ModelError(f"{kind}: resample {known['resample']} is not one of bilinear (2) and bicubic (3)")
        changes["resample"] = FILTERS[known["resample"]]
    changes["scale"] = float(known.get("rescale_factor", rule.scale)) if known.get("do_rescale", True) else 1.0
    normalise = known.get("do_normalize", True)
    changes["mean"] = tuple(known.get("image_mean", rule.mean)) if normalise else (0.0,) * 3
    changes["std"] = tuple(known.get("image_std", rule.std)) if normalise else (1.0,) * 3
    if sized:
        changes |= _sizes(rule, known, kind)
    return replace(rule, **changes)


def _sizes(rule: ImageRule, known: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the settings for resizing and cropping whole frames."""
    changes: dict[str, Any] = {}
    if not known.get("do_resize", True):
        changes["resize"] = "none"
    elif "size" in known:
        size = known["size"]
        if isinstance(size, int):
            size = {"shortest_edge": size}
        if size.get("shortest_edge"):
            changes |= {"resize": "shortest", "height": size["shortest_edge"], "width": size["shortest_edge"]}
        elif size.get("height") and size.get("width"):
            changes |= {"resize": "exact", "height": size["height"], "width": size["width"]}
        else:
            raise ModelError(f"{kind}: size {dict(size)} has neither shortest_edge nor height and width")
    if not known.get("do_center_crop", rule.crop is not None):
        changes["crop"] = None
    elif "crop_size" in known:
        crop = known["crop_size"]
        changes["crop"] = (crop, crop) if isinstance(crop, int) else (crop["height"], crop["width"])
    return changes


def _patch_rule(rule: PatchRule, settings: Mapping[str, Any]) -> PatchRule:
    """Return the defaults of a Qwen-VL kind with a checkpoint's own numbers."""
    size = settings.get("size") or {}
    values: dict[str, Any] = {
        "patch": settings.get("patch_size"),
        "merge": settings.get("merge_size"),
        "depth": settings.get("temporal_patch_size"),
        "least": settings.get("min_pixels") or size.get("shortest_edge"),
        "most": settings.get("max_pixels") or size.get("longest_edge"),
        "tokens": settings.get("max_video_tokens"),
    }
    numbers: dict[str, Any] = {key: int(value) for key, value in values.items() if value}
    return replace(rule, **numbers)
