"""Pictures and frames in memory, of any common type, as pixels.

Shape legend: T frames, H height, W width (pixels), C channels (1: grey, 3: RGB).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError
from mova.types import Pixels

CHANNELS = (1, 3)


def is_picture(value: object) -> bool:
    """Return whether a value is one picture: a PIL image, or an array or a tensor of three dimensions.

    >>> is_picture(np.zeros((4, 4, 3), np.uint8)), is_picture(np.zeros((2, 4, 4, 3), np.uint8)), is_picture("a.png")
    (True, False, False)
    """
    return is_pil(value) or (is_array(value) and np.ndim(_peek(value)) == 3)


def is_array(value: object) -> bool:
    """Return whether a value is a NumPy array or a PyTorch tensor.

    >>> is_array(np.zeros(3)), is_array([0, 0])
    (True, False)
    """
    return isinstance(value, np.ndarray) or _is_tensor(value)


def is_pil(value: object) -> bool:
    """Return whether a value is a picture of Pillow, without importing Pillow.

    >>> from PIL import Image
    >>> is_pil(Image.new("RGB", (4, 4)))
    True
    """
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def pixels_of(value: Any) -> Pixels:
    """Return the frames of a video, or one picture, as uint8 (T, H, W, 3).

    Args:
        value: a NumPy array or a PyTorch tensor (T, H, W, C), (T, C, H, W), (H, W, C) or (C, H, W), uint8; a PIL image;
            or a list of pictures of one size.

    Raises:
        UsageError: another type, shape or value type, pictures of different sizes, or none.

    >>> pixels_of(np.zeros((2, 4, 6, 1), np.uint8)).shape
    (2, 4, 6, 3)
    """
    if is_pil(value):
        return _of_array(np.asarray(value.convert("RGB")), "the picture")
    if is_array(value):
        return _of_array(_peek(value), "the array" if isinstance(value, np.ndarray) else "the tensor")
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _of_list(value)
    raise UsageError(
        f"a {type(value).__name__} is not a video; pass a path, an open binary file, a uint8 array or tensor "
        "(T, H, W, 3), a list of pictures, or mova.Frames"
    )


def _of_list(pictures: Sequence[Any]) -> Pixels:
    if not pictures:
        raise UsageError("the list of pictures is empty")
    frames = []
    for number, picture in enumerate(pictures):
        if not is_picture(picture):
            raise UsageError(
                f"item {number} of the list is a {type(picture).__name__}, not a picture; one video is a list of PIL "
                "images or arrays (H, W, 3). Several videos are passed one by one, or to `encode` and `score`"
            )
        frames.append(pixels_of(picture))
        if frames[-1].shape != frames[0].shape:
            first, this = (f"{part.shape[2]}x{part.shape[1]}" for part in (frames[0], frames[-1]))
            raise UsageError(
                f"picture {number} has {this} pixels and picture 0 has {first}; the frames of one video need one size"
            )
    return np.concatenate(frames)


def _of_array(array: npt.NDArray[Any], what: str) -> Pixels:
    if array.ndim not in (3, 4):
        raise UsageError(
            f"{what} has the shape {_shape(array)}; (T, H, W, 3) or (H, W, 3) expected"
            + ("; pass several videos as a list" if array.ndim == 5 else "")
        )
    if array.dtype != np.uint8:
        raise UsageError(f"{what} is {array.dtype}{_values(array)}; uint8 from 0 to 255 expected{_advice(array)}")
    if not array.size:
        raise UsageError(f"{what} has the shape {_shape(array)}: it is empty")
    frames = array if array.ndim == 4 else array[None]
    last, second = frames.shape[3] in CHANNELS, frames.shape[1] in CHANNELS
    if last and second and frames.shape[3] != frames.shape[1]:
        last, second = frames.shape[3] == 3, frames.shape[1] == 3
    if last == second:
        advice = "drop the alpha channel (array[..., :3])" if frames.shape[3] == 4 else "3 channels (RGB) are expected"
        raise UsageError(
            f"{what} has the shape {_shape(array)}, in which "
            + ("no axis is" if not last else "two axes may be")
            + f" that of the channels; {advice if not last else 'pass mova.Frames, whose last axis has the channels'}"
        )
    if second:
        frames = frames.transpose(0, 2, 3, 1)
    return np.require(np.broadcast_to(frames, (*frames.shape[:3], 3)), requirements=["C", "W"])


def _shape(array: npt.NDArray[Any]) -> str:
    return f"({', '.join(map(str, array.shape))})"


def _values(array: npt.NDArray[Any]) -> str:
    """Return the range of the values, for messages."""
    if array.dtype.kind not in "fiu" or not array.size:
        return ""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return ", with values that are not finite (NaN)"
    return f", from {array.min():.6g} to {array.max():.6g}"


def _advice(array: npt.NDArray[Any]) -> str:
    if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        return "; convert it with (255 * array).round().astype('uint8')"
    return ""


def _is_tensor(value: object) -> bool:
    return any(kind.__module__ == "torch" and kind.__name__ == "Tensor" for kind in type(value).__mro__)


def _peek(value: Any) -> npt.NDArray[Any]:
    """Return an array or a tensor as an array, without a copy where that is possible."""
    if isinstance(value, np.ndarray):
        return value
    tensor = value.detach().cpu()
    if tensor.dtype.is_floating_point:
        tensor = tensor.float()  # NumPy has no bfloat16
    array: npt.NDArray[Any] = tensor.numpy()
    return array
