"""Draw the places of Worlds in each style. Drawings are cached: they fill most of every frame.

A drawing extends beyond the frame by a margin, so that the camera can drift. Coordinates do not depend on the
resolution: u points right and v down, both in [0, 1] inside the frame.

Shape legend: P side of the drawing in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mova.worlds.factors import PLACES
from mova.worlds.shapes import Array

Colour = tuple[float, float, float]

MARGIN = 0.06
"""Margin on each side, as a share of the frame."""
OVERSAMPLING = 2
SMALL = 256
"""Frame size up to which all drawings are cached (all styles and places at 64 pixels: 10 MB); few larger ones are."""
PIXEL_GRID = 64
"""Maximum number of grid cells per side in the pixel style."""


class Canvas:
    """A drawing in progress: colours, and the layer of each pixel (for outlines)."""

    def __init__(self, side: int, margin: int) -> None:
        axis = (np.arange(side, dtype=np.float32) + 0.5 - margin) / (side - 2 * margin)
        self.u, self.v = axis[None, :], axis[:, None]
        self.pixels = np.zeros((side, side, 3), dtype=np.float32)
        self.layer = np.zeros((side, side), dtype=np.int32)
        self._layers = 0

    def paint(self, mask: npt.NDArray[np.bool_], colour: Colour, outlined: bool = True) -> None:
        """Fill where `mask` (broadcast to the drawing) is true; small marks have no outline."""
        mask = np.broadcast_to(mask, self.layer.shape)
        self.pixels[mask] = colour
        if outlined:
            self._layers += 1
            self.layer[mask] = self._layers

    def gradient(self, top: Colour, bottom: Colour) -> None:
        """Fill everything with a gradient from `top` to `bottom`."""
        mix = np.clip(self.v, 0, 1)[..., None]
        self.pixels[:] = np.array(top, np.float32) * (1 - mix) + np.array(bottom, np.float32) * mix

    def box(self, left: float, right: float, top: float, bottom: float) -> npt.NDArray[np.bool_]:
        """Return the mask of a rectangle."""
        return (self.u >= left) & (self.u < right) & (self.v >= top) & (self.v < bottom)

    def disc(self, u: float, v: float, radius: float, flat: float = 1.0) -> npt.NDArray[np.bool_]:
        """Return the mask of an ellipse, `flat` times as high as wide."""
        return (self.u - u) ** 2 + ((self.v - v) / flat) ** 2 < radius**2

    def peak(self, u: float, top: float, bottom: float, half: float) -> npt.NDArray[np.bool_]:
        """Return the mask of a triangle whose base is at `bottom` and `2 * half` wide."""
        return (abs(self.u - u) * (bottom - top) < (self.v - top) * half) & (self.v < bottom)


def _beach(c: Canvas, rng: np.random.Generator) -> None:
    c.gradient((186, 216, 238), (222, 236, 242))
    c.paint(c.v > 0.40, (104, 168, 200))
    shore = (
        0.62 + 0.10 * (c.u - 0.5) * rng.uniform(-1, 1) + 0.025 * np.sin(c.u * rng.uniform(6, 10) + rng.uniform(0, 6))
    )
    c.paint(c.v > shore - 0.035, (246, 248, 246))
    c.paint(c.v > shore, (234, 213, 164))
    foot, lean = rng.uniform(0.06, 0.16), rng.uniform(0.05, 0.12)
    height = (0.86 - c.v) / 0.56
    c.paint((abs(c.u - foot - lean * height**2) < 0.018) & (height > 0) & (height < 1), (146, 110, 78))
    for angle in (-2.7, -2.0, -1.1, -0.3, 0.4, 2.7):
        du, dv = c.u - foot - lean, c.v - 0.30
        along = du * math.cos(angle) + dv * math.sin(angle)
        aside = -du * math.sin(angle) + dv * math.cos(angle) + 0.9 * along**2
        c.paint((along > 0) & (along < 0.17) & (abs(aside) < 0.02 * (1.1 - along / 0.17)), (84, 132, 84), False)


def _night(c: Canvas, rng: np.random.Generator) -> None:
    c.gradient((16, 18, 46), (44, 46, 92))
    for u, v, r in zip(
        rng.uniform(-0.05, 1.05, 60), rng.uniform(-0.05, 0.75, 60), rng.uniform(0.003, 0.008, 60), strict=True
    ):
        c.paint(c.disc(u, v, r), (226, 226, 240), False)
    hills = 0.86 + 0.05 * np.sin(c.u * rng.uniform(4, 7) + rng.uniform(0, 6))
    c.paint(c.v > hills, (10, 11, 26))


def _forest(c: Canvas, rng: np.random.Generator) -> None:
    c.gradient((166, 190, 150), (140, 164, 120))
    for row, (top, tone) in enumerate(((0.10, (112, 144, 104)), (0.02, (84, 116, 80)))):
        for k in range(7):
            u = (k + 0.5 * row) / 6 + rng.uniform(-0.04, 0.04)
            foot = 0.78 + 0.07 * row
            c.paint(c.box(u - 0.014, u + 0.014, foot - 0.2, foot), (98, 76, 56))
            crown = top + rng.uniform(0, 0.16)
            for step in range(3):
                low = crown + (step + 1) * (foot - 0.08 - crown) / 3
                c.paint(c.peak(u, crown + step * 0.12, low, 0.045 + 0.02 * step), tone)
    c.paint(c.v > 0.82 + 0.015 * np.sin(c.u * 20 + rng.uniform(0, 6)), (104, 118, 74))


def _snow(c: Canvas, rng: np.random.Generator) -> None:
    c.gradient((176, 190, 208), (206, 214, 224))
    for k in range(3):
        u, top, half = (k + rng.uniform(0.1, 0.6)) / 2.6, rng.uniform(0.14, 0.30), rng.uniform(0.28, 0.4)
        c.paint(c.peak(u, top, 0.75, half), (136, 148, 168))
        c.paint(c.peak(u, top, top + 0.14, half * 0.14 / (0.75 - top)), (240, 244, 250))
    c.paint(c.v > 0.66 + 0.04 * np.sin(c.u * rng.uniform(4, 8) + rng.uniform(0, 6)), (226, 232, 240))
    c.paint(c.v > 0.82 + 0.03 * np.sin(c.u * rng.uniform(3, 6) + rng.uniform(0, 6)), (240, 244, 248))
    for u, v in zip(rng.uniform(-0.05, 1.05, 70), rng.uniform(-0.05, 1.0, 70), strict=True):
        c.paint(c.disc(u, v, 0.007), (252, 253, 255), False)


def _desert(c: Canvas, rng: np.random.Generator) -> None:
    c.gradient((244, 222, 184), (248, 232, 204))
    for level, tone in ((0.46, (226, 186, 132)), (0.60, (212, 168, 110)), (0.78, (196, 150, 94))):
        wave = level + 0.07 * abs(np.sin(c.u * rng.uniform(2.0, 3.5) + rng.uniform(0, 6))) - 0.03
        c.paint(c.v > wave, tone)
    u, foot = rng.uniform(0.82, 0.94), 0.74
    bars = [(-0.022, 0.022, -0.34, 0.0), (-0.09, 0.0, -0.16, -0.12), (-0.09, -0.055, -0.26, -0.12)]
    bars += [(0.0, 0.09, -0.11, -0.07), (0.055, 0.09, -0.22, -0.07)]
    for left, right, top, bottom in bars:
        c.paint(c.box(u + left, u + right, foot + top, foot + bottom), (94, 134, 92), False)


def _sea(c: Canvas, rng: np.random.Generator) -> None:
    c.gradient((172, 202, 222), (204, 222, 232))
    c.paint(c.v > 0.22, (62, 112, 160))
    for k in range(8):
        level = 0.30 + 0.1 * k
        crest = level + 0.018 * np.sin(c.u * rng.uniform(14, 22) + rng.uniform(0, 6))
        c.paint(c.v > crest, (58 - 3 * k, 106 - 5 * k, 154 - 6 * k))
        c.paint(abs(c.v - crest) < 0.006, (132, 172, 204), False)


def _city(c: Canvas, rng: np.random.Generator) -> None:
    c.gradient((190, 190, 202), (220, 212, 210))
    left = -0.08
    while left < 1.08:
        width, top, tone = rng.uniform(0.13, 0.2), rng.uniform(0.12, 0.42), rng.uniform(96, 140)
        c.paint(c.box(left, left + width, top, 0.84), (tone, tone, tone + 10))
        for k in range(3):
            for row in range(12):
                u, v = left + width * (k + 0.5) / 3, top + 0.05 + 0.06 * row
                if v < 0.8 and rng.random() < 0.75:
                    c.paint(c.box(u - 0.014, u + 0.014, v - 0.015, v + 0.015), (218, 204, 160), False)
        left += width + rng.uniform(0.0, 0.02)
    c.paint(c.v > 0.84, (92, 92, 98))
    c.paint((abs(c.v - 0.93) < 0.008) & ((c.u * 6 + rng.random()) % 1 < 0.55), (226, 226, 220), False)


def _room(c: Canvas, rng: np.random.Generator) -> None:
    c.gradient((226, 208, 196), (220, 200, 188))
    c.paint((c.u * 9 + rng.random()) % 1 < 0.5, (216, 194, 182), False)
    across = (c.u - 0.5) / (0.35 + 0.8 * np.maximum(c.v - 0.7, 0)) * 3.2 + rng.random()
    deep = np.log(np.maximum(c.v - 0.62, 0.02)) * 4.2
    c.paint(c.v > 0.7, (208, 182, 152))
    c.paint((c.v > 0.7) & ((np.floor(across) + np.floor(deep)) % 2 == 0), (150, 116, 92), False)
    c.paint((c.v > 0.67) & (c.v <= 0.7), (246, 240, 232))
    left = float(rng.choice([0.06, 0.66])) + rng.uniform(-0.03, 0.03)
    c.paint(c.box(left, left + 0.28, 0.10, 0.44), (250, 246, 240))
    for pane in (0.02, 0.15):
        for top in (0.12, 0.285):
            c.paint(c.box(left + pane, left + pane + 0.11, top, top + 0.135), (186, 212, 226), False)


_DRAW: dict[str, Callable[[Canvas, np.random.Generator], None]] = {
    "beach": _beach,
    "night": _night,
    "forest": _forest,
    "snow": _snow,
    "desert": _desert,
    "sea": _sea,
    "city": _city,
    "room": _room,
}


def _texture(side: int, rng: np.random.Generator) -> Array:
    """Return a smooth random pattern around 0, (P, P, 1): two octaves of bilinear value noise."""
    total = np.zeros((side, side), dtype=np.float32)
    for cells, weight in ((7, 1.0), (23, 0.6)):
        grid = rng.standard_normal((cells + 2, cells + 2)).astype(np.float32)
        at = np.linspace(0, cells, side, dtype=np.float32)
        low = at.astype(np.intp)
        rest = at - low
        rows = grid[low] * (1 - rest)[:, None] + grid[low + 1] * rest[:, None]
        total += weight * (rows[:, low] * (1 - rest) + rows[:, low + 1] * rest)
    return total[..., None]


def _edges(layer: npt.NDArray[np.int32], width: int) -> npt.NDArray[np.bool_]:
    """Return whether another layer begins within `width` pixels to the left or above, (P, P)."""
    edge = np.zeros(layer.shape, dtype=bool)
    for step in range(1, width + 1):
        edge[step:] |= layer[step:] != layer[:-step]
        edge[:, step:] |= layer[:, step:] != layer[:, :-step]
    return edge


def _grey(pixels: Array) -> Array:
    return pixels.mean(axis=-1, keepdims=True)


def _styled(c: Canvas, style: str, size: int, rng: np.random.Generator) -> Array:
    """Return the drawing in a style, float (P, P, 3) in [0, 255]."""
    texture = _texture(len(c.layer), rng)
    pixels = c.pixels + 4.0 * texture
    edges = _edges(c.layer, max(1, round(0.011 * size)))[..., None]
    if style == "outline":
        pixels = np.where(edges, 24.0, 255 - 0.82 * (255 - c.pixels))
    elif style == "shaded":
        light = 0.74 + 0.40 * (1 - np.clip(c.v, 0, 1))[..., None] - 0.12 * np.clip(c.u, 0, 1)[..., None]
        pixels = (c.pixels + 11.0 * texture) * light
    elif style == "pixel":
        pixels = np.round(c.pixels / 24.0) * 24.0
    elif style == "bright":
        pixels = _grey(c.pixels) + 1.6 * (c.pixels - _grey(c.pixels))
        pixels = 255 - 0.58 * (255 - pixels)
    elif style == "neon":
        glow = 255 * c.pixels / np.maximum(c.pixels.max(axis=-1, keepdims=True), 40)
        pixels = np.where(edges, 0.75 * glow, 0.30 * (1.5 * c.pixels - 0.5 * _grey(c.pixels)))
    elif style == "sketch":
        paper = 255 - 0.62 * (255 - (0.45 * c.pixels + 0.55 * _grey(c.pixels)))
        hatch = np.sin((c.u - c.v) * 190.0)[..., None] * (255 - _grey(c.pixels)) * 0.09
        grain = rng.standard_normal((*c.layer.shape, 1)).astype(np.float32) * 5
        pixels = np.where(edges, 108.0, paper + hatch + grain)
    return np.clip(pixels, 0, 255).astype(np.float32)


def scenery(place: str, style: str, variant: int, size: int) -> npt.NDArray[np.uint8]:
    """Return the drawing of a place, read-only uint8 (P, P, 3) with P = size + 2 * round(MARGIN * size).

    Args:
        place: one of `FACTORS["place"]`.
        style: one of `mova.worlds.render.STYLES`.
        variant: layout, from 0 to `mova.worlds.nuisance.VARIANTS` - 1; the same in every style and size.
        size: width and height of the frame in pixels.
    """
    cached = _small if size <= SMALL else _big
    return cached(place, style, variant, size)


def _drawn(place: str, style: str, variant: int, size: int) -> npt.NDArray[np.uint8]:
    margin = round(MARGIN * size)
    canvas = Canvas(OVERSAMPLING * (size + 2 * margin), OVERSAMPLING * margin)
    rng = np.random.default_rng([PLACES.index(place), variant])
    _DRAW[place](canvas, rng)
    fine = _styled(canvas, style, OVERSAMPLING * size, rng)
    side = size + 2 * margin
    coarse = fine.reshape(side, OVERSAMPLING, side, OVERSAMPLING, 3).mean(axis=(1, 3))
    pixels = (coarse + 0.5).astype(np.uint8)
    pixels.flags.writeable = False
    return pixels


_small = lru_cache(maxsize=512)(_drawn)
_big = lru_cache(maxsize=16)(_drawn)
