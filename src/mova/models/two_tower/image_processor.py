"""Resize, crop and normalize frames in torch by a checkpoint's own settings.

The reference is Pillow, which the processors of transformers use: it filters along the width, rounds to uint8, then
filters along the height. torch's uint8 kernel on a CPU does the same (at most 2 of 255 apart, 0.008 on average, at six
to ten times Pillow's speed). On other devices both passes run one by one with the same rounding between them. Pillow 12
filters the height first if that shrinks more, which earlier releases do not; on noise the two orders then differ by up
to 16 of 255, 0.4 on average.

Shape legend: T frames, H W source pixels, h w target pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from mova.errors import ModelError

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the supported filters."""
MAX_PATCHES = 256
"""Patches per frame of SigLIP 2 NaFlex, unless its settings specify another number."""

_CLIP_DEFAULTS: dict[str, Any] = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "resample": 3,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
}
_VIDEO_MAE_DEFAULTS = _CLIP_DEFAULTS | {"resample": 2, "image_mean": HALF, "image_std": HALF}
_SIGLIP_DEFAULTS: dict[str, Any] = {"size": {"height": 224, "width": 224}, "resample": 3}
_NAFLEX_DEFAULTS: dict[str, Any] = {"resample": 2, "patch_size": 16, "max_num_patches": MAX_PATCHES}
DEFAULTS = {
    "CLIP": _CLIP_DEFAULTS,
    "ChineseCLIP": _CLIP_DEFAULTS,
    "VideoMAE": _VIDEO_MAE_DEFAULTS,
    "Siglip": _SIGLIP_DEFAULTS,
    "Siglip2": _NAFLEX_DEFAULTS,
}
"""Defaults of each processor of transformers for keys missing from `preprocessor_config.json`."""


@dataclass(frozen=True)
class ImageRule:
    """Image preprocessing of a checkpoint.

    Attributes:
        resize: "shortest" (shorter side to `height`, aspect ratio kept), "exact" (to `height` x `width`), "patches"
            (aspect ratio kept, sides multiples of `patch`, at most `max_patches` of them: SigLIP 2 NaFlex), or
            "none".
        height, width: pixels; unused by "patches" and "none".
        resample: "bilinear" or "bicubic", antialiased.
        crop: (height, width) of the center crop (a smaller frame is padded with zeros), or None.
        scale: factor from 0..255 to the unit of `mean` and `std`.
        mean, std: per channel; the tower's input is `(pixel * scale - mean) / std`.
        patch, max_patches: pixels per side of a patch, and maximum number of patches; for "patches" alone.
    """

    resize: Literal["shortest", "exact", "patches", "none"]
    height: int = 0
    width: int = 0
    resample: str = "bicubic"
    crop: tuple[int, int] | None = None
    scale: float = 1 / 255
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF
    patch: int = 0
    max_patches: int = 0

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], name: str) -> ImageRule:
        """Read the image settings of a checkpoint on the Hub (the content of `preprocessor_config.json`).

        Args:
            settings: the parsed file.
            name: the checkpoint, for messages.

        Raises:
            ModelError: a processor or a filter that is not supported here.
        """
        kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "none")
        family = kind.removesuffix("Pil").removesuffix("Fast")
        family = family.removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
        if family not in DEFAULTS:
            raise ModelError(
                f"{name}: its image processor is {kind}, and only those of {', '.join(DEFAULTS)} are "
                "supported; choose another checkpoint (`mova models` lists some)"
            )
        merged = DEFAULTS[family] | {key: value for key, value in settings.items() if value is not None}
        resample = int(merged["resample"])
        if resample not in FILTERS:
            raise ModelError(f"{name}: resample {resample} is not one of bilinear (2) and bicubic (3)")
        common: dict[str, Any] = {"resample": FILTERS[resample], "scale": 1.0}
        if merged.get("do_rescale", True):
            common["scale"] = float(merged.get("rescale_factor", 1 / 255))
        normalize = merged.get("do_normalize", True)
        common["mean"] = tuple(merged.get("image_mean", HALF)) if normalize else (0.0,) * 3
        common["std"] = tuple(merged.get("image_std", HALF)) if normalize else (1.0,) * 3
        if merged.get("do_center_crop", False):
            common["crop"] = _pair(merged["crop_size"])
        if family == "Siglip2":
            patch, most = int(merged["patch_size"]), int(merged["max_num_patches"])
            return cls(resize="patches", patch=patch, max_patches=most, **common)
        if not merged.get("do_resize", True):
            return cls(resize="none", **common)
        size = merged["size"]
        if isinstance(size, int) or "shortest_edge" in size:
            edge = size if isinstance(size, int) else int(size["shortest_edge"])
            return cls(resize="shortest", height=edge, width=edge, **common)
        height, width = _pair(size)
        return cls(resize="exact", height=height, width=width, **common)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageRule:
        """Restore a rule from `to_dict`."""
        tuples = {"crop", "mean", "std"}
        plain: dict[str, Any] = {k: tuple(v) if k in tuples and v else v for k, v in values.items()}
        return cls(**plain)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a configuration file."""
        return asdict(self)

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Return the size (h, w) of a frame of `height` x `width` after resizing, before any crop."""
        if self.resize == "exact":
            return self.height, self.width
        if self.resize == "shortest":
            long = int(self.height * max(height, width) / min(height, width))
            return (self.height, long) if height <= width else (long, self.height)
        if self.resize == "patches":
            return _fit_patches(height, width, self.patch, self.max_patches)
        return height, width

    def apply(self, pixels: npt.NDArray[np.uint8], device: torch.device, dtype: torch.dtype) -> Tensor:
        """Resize, crop and normalize.

        Args:
            pixels: uint8, (T, H, W, 3).
            device: where the work is done.
            dtype: type of the result; the arithmetic is float32.

        Returns:
            (T, 3, h, w).
        """
        return self.normalize(self.shape(torch.from_numpy(np.ascontiguousarray(pixels)).to(device)), dtype)

    def shape(self, pixels: Tensor) -> Tensor:
        """Resize and crop: uint8 (T, H, W, 3) -> uint8 (T, h, w, 3)."""
        frames = pixels.permute(0, 3, 1, 2)
        frames = self.crop_center(resize(frames, self.target(*frames.shape[-2:]), self.resample))
        return frames.permute(0, 2, 3, 1)

    def normalize(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """Normalize: uint8 (T, h, w, 3) -> (T, 3, h, w); the arithmetic is float32."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        frames = pixels.permute(0, 3, 1, 2)
        return torch.addcmul(-mean / std, frames.float(), self.scale / std).to(dtype).contiguous()

    def crop_center(self, frames: Tensor) -> Tensor:
        """Crop (T, 3, H, W) -> (T, 3, h, w); a frame smaller than the crop is padded with zeros."""
        if self.crop is None:
            return frames
        (height, width), (tall, wide) = self.crop, frames.shape[-2:]
        top, left = (tall - height) // 2, (wide - width) // 2
        return F.pad(frames, (-left, width - wide + left, -top, height - tall + top))


def resize(frames: Tensor, size: tuple[int, int], resample: str) -> Tensor:
    """Resize uint8 frames with antialiasing as Pillow does: (T, 3, H, W) -> (T, 3, h, w), uint8."""
    if frames.shape[-2:] == size:
        return frames
    if frames.device.type == "cpu":
        return F.interpolate(frames, size, mode=resample, antialias=True, align_corners=False)
    return resize_in_two_passes(frames, size, resample)


def resize_in_two_passes(frames: Tensor, size: tuple[int, int], resample: str) -> Tensor:
    """Resize without a uint8 kernel: width first, rounded, then height, rounded."""
    for step in ((frames.shape[-2], size[1]), size):
        if frames.shape[-2:] != step:
            exact = F.interpolate(frames.float(), step, mode=resample, antialias=True, align_corners=False)
            frames = exact.round_().clamp_(0, 255).to(torch.uint8)
    return frames


def _pair(size: int | Mapping[str, Any]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size["height"]), int(size["width"]))


def _fit_patches(height: int, width: int, patch: int, most: int) -> tuple[int, int]:
    """Return the largest (h, w) in whole patches that keeps the aspect ratio and needs at most `most` patches.

    The scale is bisected down to 1e-5, as the published preprocessing does (SigLIP 2, section 2.4.2), so that
    borderline ratios round the same way.
    """

    def scaled(side: int, scale: float) -> int:
        return max(1, math.ceil(side * scale / patch))

    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        middle = (low + high) / 2
        if scaled(height, middle) * scaled(width, middle) <= most:
            low = middle
        else:
            high = middle
    return scaled(height, low) * patch, scaled(width, low) * patch
