"""Signed distances to the shapes of Worlds: negative inside, in units of the object's radius, y pointing down.

Distances need only be accurate near the outline, where they soften the edge; far away some are bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

EXTENT = 1.12
"""Largest extent of any shape from its centre, in radii."""


def _circle(x: Array, y: Array) -> Array:
    return np.hypot(x, y) - 0.92


def _square(x: Array, y: Array) -> Array:
    return np.maximum(abs(x), abs(y)) - 0.78


def _triangle(x: Array, y: Array) -> Array:
    return np.maximum(0.875 * abs(x) - 0.484 * (y + 1.0), y - 0.74)


_WEDGE = math.pi / 5
_TIP, _NOTCH = 1.1, 0.48
_EDGE = math.dist((0.0, _TIP), (_NOTCH * math.sin(_WEDGE), _NOTCH * math.cos(_WEDGE)))
_EDGE_SIDE = np.float32(_NOTCH * math.sin(_WEDGE) / _EDGE)
_EDGE_UP = np.float32((_NOTCH * math.cos(_WEDGE) - _TIP) / _EDGE)


def _star(x: Array, y: Array) -> Array:
    """Mirror a five-pointed star twice into half a point's wedge about the upward axis, leaving one edge."""
    side, up = abs(x), -y
    normal = np.float32(math.cos(_WEDGE)), np.float32(-math.sin(_WEDGE))
    for _ in range(2):
        over = 2 * np.maximum(side * normal[0] + up * normal[1], 0)
        side, up = abs(side - over * normal[0]), up - over * normal[1]
    return (up - np.float32(_TIP)) * _EDGE_SIDE - side * _EDGE_UP


def _heart(x: Array, y: Array) -> Array:
    side = abs(x)
    point = (side + abs(y - 0.15) - 0.8) * np.float32(math.sqrt(0.5))
    return np.minimum(point, np.hypot(side - 0.4, y + 0.25) - 0.566)


def _cross(x: Array, y: Array) -> Array:
    across, down = abs(x), abs(y)
    return np.maximum(np.minimum(across, down) - 0.29, np.maximum(across, down) - 0.95)


def _ring(x: Array, y: Array) -> Array:
    return abs(np.hypot(x, y) - 0.75) - 0.21


def _crescent(x: Array, y: Array) -> Array:
    return np.maximum(np.hypot(x + 0.1, y) - 0.96, 0.80 - np.hypot(x - 0.42, y))


def _arrow(x: Array, y: Array) -> Array:
    down = abs(y)
    shaft = np.maximum(down - 0.24, abs(x + 0.35) - 0.6)
    head = np.maximum(0.1 - x, (0.75 * x + 0.85 * down - 0.7125) / np.float32(1.134))
    return np.minimum(shaft, head)


def _hourglass(x: Array, y: Array) -> Array:
    return np.maximum((abs(x) - 0.14 - 0.72 * abs(y)) * np.float32(0.81), abs(y) - 0.9)


def _corner(x: Array, y: Array) -> Array:
    post = np.maximum(abs(x + 0.55) - 0.27, abs(y) - 0.85)
    foot = np.maximum(abs(y - 0.58) - 0.27, abs(x) - 0.82)
    return np.minimum(post, foot)


_SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "ring": _ring,
    "crescent": _crescent,
    "arrow": _arrow,
    "hourglass": _hourglass,
    "corner": _corner,
}


def distance(shape: str, x: Array, y: Array) -> Array:
    """Return the signed distance at points `x`, `y` (arrays of equal shape), all in radii.

    Example:
        >>> distance("circle", np.array([0.0, 2.0]), np.array([0.0, 0.0]))
        array([-0.92,  1.08])
    """
    return _SHAPES[shape](x, y)
