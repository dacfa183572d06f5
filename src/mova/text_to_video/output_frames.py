"""Convert the output of any text-to-video pipeline to uint8 frames.

Diffusers pipelines return an object with `frames` (or `videos`, `video`, `images`), or a tuple. It holds a batch of
videos as lists of Pillow images, NumPy arrays or tensors, channels first or last, bytes or floats.

Shape legend: T frames, H height, W width (pixels).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import ModelError
from mova.types import Pixels

FIELDS = ("frames", "videos", "video", "images")
"""Attributes in which pipelines store their videos, in order of precedence."""
SLACK = 0.05
"""How far floats may exceed their range (overshoot of a decoder) before another range is assumed."""


def to_pixels(output: Any) -> Pixels:
    """Return the single video of a pipeline's output.

    Args:
        output: return value of the pipeline for one prompt. Floats are taken as [0, 1], as [-1, 1] if there are values
            below 0, or as [0, 255] if there are values above 1.

    Returns:
        uint8, (T, H, W, 3).

    Raises:
        ModelError: not a single video, or values that are not finite (overflow in bfloat16 or float16).

    Example:
        >>> to_pixels((np.ones((1, 8, 16, 16, 3)),)).shape
        (8, 16, 16, 3)
    """
    array = _array(_content(output))
    while array.ndim == 5 and len(array) == 1:
        array = array[0]
    if array.ndim != 4:
        raise ModelError(f"the pipeline returned an array of shape {array.shape}, not one video of frames")
    return _bytes(_channels_last(array))


def to_videos(output: Any, count: int) -> list[Pixels]:
    """Return the videos of a pipeline's output for several prompts; see `to_pixels`.

    Args:
        output: return value of the pipeline.
        count: number of prompts.

    Raises:
        ModelError: another number of videos, or as of `to_pixels`.

    Example:
        >>> [video.shape for video in to_videos((np.ones((2, 8, 16, 16, 3)),), 2)]
        [(8, 16, 16, 3), (8, 16, 16, 3)]
    """
    array = _array(_content(output))
    if array.ndim != 5 or len(array) != count:
        raise ModelError(f"the pipeline returned an array of shape {array.shape}, not {count} videos of frames")
    return [_bytes(_channels_last(video)) for video in array]


def _content(output: Any) -> Any:
    content = next((getattr(output, name) for name in FIELDS if getattr(output, name, None) is not None), None)
    if content is None and isinstance(output, tuple) and output:
        content = output[0]
    if content is None:
        raise ModelError(f"the pipeline returned {type(output).__name__}, which contains no frames")
    return content


def _array(content: Any) -> npt.NDArray[Any]:
    """Convert nested lists, tensors and images to an array."""
    if isinstance(content, list | tuple):
        try:
            return np.stack([_array(item) for item in content])
        except ValueError as error:
            raise ModelError(f"the pipeline returned frames of different shapes ({error})") from error
    if hasattr(content, "detach"):
        return np.asarray(content.detach().float().cpu().numpy())
    if hasattr(content, "convert"):
        return np.asarray(content.convert("RGB"))
    return np.asarray(content)


def _channels_last(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert (T, H, W, 3), (T, 3, H, W) or (3, T, H, W) to (T, H, W, 3), preferring the last axis."""
    axis = next((axis for axis in (3, 1, 0) if array.shape[axis] == 3), None)
    if axis is None:
        raise ModelError(f"the pipeline returned an array of shape {array.shape}, without an axis of 3 color channels")
    return np.moveaxis(array, axis, 3)


def _bytes(array: npt.NDArray[Any]) -> Pixels:
    if array.dtype == np.uint8:
        return array
    values: npt.NDArray[Any] = array.astype(np.float32)
    if not np.isfinite(values).all():
        share = 1.0 - float(np.isfinite(values).mean())
        raise ModelError(f"{share:.1%} of the pipeline's values are not finite; use --dtype fp32 (or bf16 for fp16)")
    low, high = float(values.min()), float(values.max())
    if low < -1 - SLACK or high > 255 * (1 + SLACK):
        raise ModelError(f"the pipeline's values are in [{low:.3g}, {high:.3g}], which is not a color range")
    if high > 1 + SLACK:
        values = values / 255
    elif low < -SLACK:
        values = (values + 1) / 2
    return (values.clip(0, 1) * 255).round().astype(np.uint8)
