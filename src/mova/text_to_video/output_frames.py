"""One form for the frames of any text-to-video pipeline.

Pipelines of diffusers return an object with `frames` (or `videos`, `video`, `images`), or a tuple; in it a batch of
videos as lists of Pillow's images, NumPy arrays or tensors, channels first or last, bytes or floats.

Shape legend: B videos (1 here), T frames, H height, W width (pixels), C channels (3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import ModelError
from mova.types import Pixels

FIELDS = ("frames", "videos", "video", "images")
"""Where pipelines put their videos, in the order of looking."""
SLACK = 0.05
"""How far floats may pass their range (a decoder's overshoot) before they count as of another range."""


def to_pixels(output: Any) -> Pixels:
    """The only video of a pipeline's output.

    Args:
        output: what a call of the pipeline returned for one prompt. Floats lie in [0, 1], or in [-1, 1] where there
            are values below 0, or in [0, 255] where there are values above 1.

    Returns:
        uint8, (T, H, W, 3).

    Raises:
        ModelError: no such video, or values that are not finite (bfloat16 or float16 that overflowed).
    """
    array = _array(_content(output))
    while array.ndim == 5 and len(array) == 1:
        array = array[0]
    if array.ndim != 4:
        raise ModelError(f"the pipeline returned an array of shape {array.shape}, not one video of frames")
    return _bytes(_channels_last(array))


def _content(output: Any) -> Any:
    found = next((getattr(output, name) for name in FIELDS if getattr(output, name, None) is not None), None)
    if found is None and isinstance(output, tuple) and output:
        found = output[0]
    if found is None:
        raise ModelError(f"the pipeline returned {type(output).__name__}, which holds no frames")
    return found


def _array(content: Any) -> npt.NDArray[Any]:
    """NumPy's array of nested lists, tensors and images."""
    if isinstance(content, list | tuple):
        try:
            return np.stack([_array(each) for each in content])
        except ValueError as error:
            raise ModelError(f"the pipeline returned frames that do not fit together ({error})") from error
    if hasattr(content, "detach"):
        return np.asarray(content.detach().float().cpu().numpy())
    if hasattr(content, "convert"):
        return np.asarray(content.convert("RGB"))
    return np.asarray(content)


def _channels_last(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(T, H, W, 3) of it, of (T, 3, H, W) or of (3, T, H, W); the last axis is believed first."""
    axis = next((axis for axis in (3, 1, 0) if array.shape[axis] == 3), None)
    if axis is None:
        raise ModelError(f"the pipeline returned an array of shape {array.shape}, without an axis of 3 colours")
    return np.moveaxis(array, axis, 3)


def _bytes(array: npt.NDArray[Any]) -> Pixels:
    if array.dtype == np.uint8:
        return array
    values: npt.NDArray[Any] = array.astype(np.float32)
    if not np.isfinite(values).all():
        share = 1.0 - float(np.isfinite(values).mean())
        raise ModelError(f"{share:.1%} of the pipeline's values are not finite; take --dtype fp32, or bf16 for fp16")
    low, high = float(values.min()), float(values.max())
    if low < -1 - SLACK or high > 255 * (1 + SLACK):
        raise ModelError(f"the pipeline's values lie in [{low:.3g}, {high:.3g}], which is no range of colours")
    if high > 1 + SLACK:
        values = values / 255
    elif low < -SLACK:
        values = (values + 1) / 2
    return (values.clip(0, 1) * 255).round().astype(np.uint8)
