"""Optical flow between two frames by the iterative Lucas-Kanade method on a pyramid.

Lucas and Kanade, An iterative image registration technique (IJCAI 1981); Bouguet's pyramid (Intel, 2001). It needs no
weights, and sees motion where there is texture; a region without texture keeps the flow of its coarser level.

Shape legend: H height, W width (pixels).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, map_coordinates, median_filter, zoom

Image = npt.NDArray[np.float32]

WINDOW = 2.0
"""Standard deviation of the window over which motion is taken as constant, in pixels."""
ITERATIONS = 4
SMALLEST = 12
"""Shorter side of the coarsest level, in pixels."""
DAMPING = 1e-4
"""Added to the diagonal of the structure tensor of images in [0, 1]: below it, a region has no texture."""
LONGEST_STEP = 1.0
"""Pixels by which one iteration may change the flow."""


def optical_flow(first: Image, second: Image) -> Image:
    """Return the flow (H, W, 2) in pixels, down and right, that takes each pixel of `first` to `second`.

    Args:
        first, second: gray images (H, W) in [0, 1].

    Example:
        >>> y, x = np.mgrid[:32, :32]
        >>> wave = lambda shift: (0.5 + 0.5 * np.sin((x - shift) / 3) * np.sin(y / 4)).astype(np.float32)
        >>> optical_flow(wave(0.0), wave(1.5))[8:24, 8:24].mean(axis=(0, 1)).round(1).tolist()
        [-0.0, 1.5]
    """
    pyramid = [(first, second)]
    while min(pyramid[-1][0].shape) >= 2 * SMALLEST:
        pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    flow = np.zeros((*pyramid[-1][0].shape, 2), dtype=np.float32)
    for one, other in reversed(pyramid):
        factors = (one.shape[0] / flow.shape[0], one.shape[1] / flow.shape[1])
        if factors != (1.0, 1.0):
            flow = np.stack([zoom(flow[..., axis], factors, order=1) * factors[axis] for axis in (0, 1)], axis=-1)
        for _ in range(ITERATIONS):
            flow = _refined(one, other, flow)
    return flow


def warp(image: npt.NDArray[np.float32], flow: Image) -> npt.NDArray[np.float32]:
    """Return the image seen at `pixel + flow`: (H, W) or (H, W, C), edges repeated.

    Example:
        >>> warp(np.arange(4, dtype=np.float32)[None], np.full((1, 4, 2), [0, 1], np.float32)).tolist()
        [[1.0, 2.0, 3.0, 3.0]]
    """
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]]
    places = [rows + flow[..., 0], columns + flow[..., 1]]
    if image.ndim == 2:
        return map_coordinates(image, places, order=1, mode="nearest").astype(np.float32)
    channels = [map_coordinates(image[..., c], places, order=1, mode="nearest") for c in range(image.shape[-1])]
    return np.stack(channels, axis=-1).astype(np.float32)


def middle(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], flow: Image) -> npt.NDArray[np.float32]:
    """Return the frame halfway between two frames (H, W, C), if everything moves straight and at one speed.

    Args:
        first, second: the frames.
        flow: their flow.
    """
    half = 0.5 * flow
    there = half - (warp(half, half) - half)  # flow at the pixel from which this one came, to first order
    return 0.5 * (warp(first, -there) + warp(second, there))


def _halved(image: Image) -> Image:
    return zoom(gaussian_filter(image, 1.0), 0.5, order=1)


def _refined(one: Image, other: Image, flow: Image) -> Image:
    """Return the flow after one step of Gauss-Newton at every pixel."""
    moved = warp(other, flow)
    down, right = np.gradient(0.5 * (moved + one))
    change = moved - one
    products = np.stack([down * down, down * right, right * right, down * change, right * change])
    a, b, d, u, v = gaussian_filter(products, (0.0, WINDOW, WINDOW))
    a, d = a + DAMPING, d + DAMPING
    determinant = a * d - b * b
    step = np.stack([(b * v - d * u) / determinant, (b * u - a * v) / determinant], axis=-1)
    step = np.clip(step, -LONGEST_STEP, LONGEST_STEP)
    return median_filter(flow + step, (3, 3, 1)).astype(np.float32)
