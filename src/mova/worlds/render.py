"""Render Worlds events and fillers in a style, with nuisances that no caption mentions.

All requested times of a clip are computed at once. Scenery is a crop of a cached drawing; objects are signed distance
fields, evaluated only inside their bounding boxes.

Shape legend: T frames, N object images (T times copies), b side of a bounding box in pixels; y points down.
"""

from __future__ import annotations

import colorsys
import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mova.types import Pixels
from mova.worlds.factors import Event, Filler, sample_filler
from mova.worlds.motion import Poses, poses, second_poses
from mova.worlds.nuisance import NOISE_LEVELS, Nuisance
from mova.worlds.scenery import MARGIN, PIXEL_GRID, scenery
from mova.worlds.shapes import EXTENT, Array, distance

TRAIN_STYLES = ("flat", "outline", "shaded", "pixel", "bright", "neon")
HELD_OUT_STYLE = "sketch"
"""Never used in training: it measures generalization to an unseen style."""
STYLES = (*TRAIN_STYLES, HELD_OUT_STYLE)

RGB: dict[str, tuple[int, int, int]] = {
    "red": (218, 36, 36),
    "orange": (246, 138, 24),
    "yellow": (250, 220, 50),
    "green": (44, 160, 62),
    "blue": (38, 86, 220),
    "purple": (150, 56, 190),
    "black": (26, 26, 30),
    "white": (250, 250, 250),
}
_LIGHT = ("yellow", "white", "orange")
_DARK_CONTOUR, _LIGHT_CONTOUR = (20.0, 20.0, 24.0), (252.0, 252.0, 252.0)
_CONTOUR = {
    "flat": 0.009,
    "outline": 0.018,
    "shaded": 0.007,
    "pixel": 0.016,
    "bright": 0.020,
    "neon": 0.010,
    "sketch": 0.012,
}
"""Width of an object's contour, as a share of the frame."""
_NOISE_SLACK = 61
GLOW = 3.0
"""Reach of the neon glow beyond the contour, in contour widths."""


def render_event(
    event: Event, nuisance: Nuisance, style: str, times: npt.ArrayLike, duration: float, size: int
) -> Pixels:
    """Render frames of an event.

    Args:
        event: the event; its shape may also be one of `OTHER_SHAPES`.
        nuisance: variation that no caption mentions.
        style: one of `STYLES`.
        times: (T,) seconds from the event's start, each in [0, duration].
        duration: length of the event in seconds.
        size: width and height in pixels.

    Returns:
        uint8 (T, size, size, 3). A frame depends only on its own time, not on the other requested times.

    Example:
        >>> event = Event("star", "red", "small", "rising", "room")
        >>> from mova.worlds.nuisance import sample_nuisance
        >>> nuisance = sample_nuisance(np.random.default_rng(0))
        >>> render_event(event, nuisance, "flat", [0.0, 0.5], duration=3.0, size=32).shape
        (2, 32, 32, 3)
    """
    return _render(event.place, event, nuisance, style, times, duration, size)


def render_scenery(
    filler: Filler, nuisance: Nuisance, style: str, times: npt.ArrayLike, duration: float, size: int
) -> Pixels:
    """Render frames of a filler; arguments and result as for `render_event`."""
    return _render(filler.place, filler.stranger, nuisance, style, times, duration, size)


def render_filler(
    rng: np.random.Generator, nuisance: Nuisance, style: str, times: npt.ArrayLike, duration: float, size: int
) -> Pixels:
    """Render frames of a filler drawn with `rng`."""
    return render_scenery(sample_filler(rng), nuisance, style, times, duration, size)


def _render(
    place: str,
    event: Event | None,
    nuisance: Nuisance,
    style: str,
    times: npt.ArrayLike,
    duration: float,
    size: int,
) -> Pixels:
    seconds = np.clip(np.asarray(times, dtype=np.float64), 0.0, duration)
    fine = size
    if style == "pixel":
        size = min(size, PIXEL_GRID)
    table = _palette(nuisance)
    offset = _drift(seconds, nuisance)
    frames = _background(place, nuisance, style, table, offset, size)
    if event is not None:
        second = second_poses(event, seconds, nuisance)
        if second is not None and event.relation is not None:
            _draw(frames, event.relation[1], event.relation[2], second.moved(offset), nuisance, style, table)
        main = poses(event, seconds, duration, nuisance)
        _draw(frames, event.shape, event.colour, main.moved(offset), nuisance, style, table)
    _sensor(frames, seconds, nuisance)
    pixels = frames.astype(np.uint8)
    if fine != size:
        nearest = (np.arange(fine) * size) // fine
        pixels = pixels[:, nearest[:, None], nearest]
    return pixels


def _palette(nuisance: Nuisance) -> Array:
    """Return the output value of each channel and input value, (3, 256)."""
    return (_gamma(round(nuisance.gamma, 2)) * np.array(nuisance.gain, np.float32)[:, None]).astype(np.float32)


@lru_cache(maxsize=64)
def _gamma(gamma: float) -> Array:
    return (255 * np.linspace(0, 1, 256, dtype=np.float32) ** gamma).astype(np.float32)


def _drift(seconds: npt.NDArray[np.float64], nuisance: Nuisance) -> npt.NDArray[np.float64]:
    """Return the camera's offset, a slow swing, as a share of the frame, (T, 2)."""
    swing = np.sin(2 * math.pi * (0.11 * nuisance.speed * seconds + nuisance.drift_phase))
    return swing[:, None] * np.array(nuisance.drift)


def _background(
    place: str, nuisance: Nuisance, style: str, table: Array, offset: npt.NDArray[np.float64], size: int
) -> Array:
    """Return the place as the drifting camera sees it, float32 (T, size, size, 3)."""
    whole = scenery(place, style, nuisance.variant, size)
    if nuisance.flip:
        whole = whole[:, ::-1]
    coloured = np.empty(whole.shape, dtype=np.float32)
    for channel in range(3):
        coloured[..., channel] = table[channel].take(whole[..., channel])
    margin = round(MARGIN * size)
    if nuisance.clutter:
        _specks(coloured, nuisance, size)
    frames = np.empty((len(offset), size, size, 3), dtype=np.float32)
    for frame, (right, down) in zip(frames, np.rint(offset * size).astype(int), strict=True):
        x, y = margin - right, margin - down
        frame[:] = coloured[y : y + size, x : x + size]
    return frames


def _specks(scene: Array, nuisance: Nuisance, size: int) -> None:
    """Scatter small grey and brown specks over the scene, in place."""
    spots = np.random.default_rng(nuisance.seed).random((nuisance.clutter, 4))
    for x, y, tone, wide in spots:
        half = max(1, round((0.005 + 0.007 * wide) * size))
        row, column = int(y * (len(scene) - half)), int(x * (len(scene) - half))
        scene[row : row + half, column : column + 2 * half] = (70 + 90 * tone, 66 + 80 * tone, 60 + 70 * tone)


def _sensor(frames: Array, seconds: npt.NDArray[np.float64], nuisance: Nuisance) -> None:
    """Apply vignette and noise in place, clipped to [0, 255]."""
    size = frames.shape[1]
    if nuisance.vignette:
        frames *= 1 - nuisance.vignette * _corners(size)
    if NOISE_LEVELS[nuisance.noise]:
        tile = _noise(size, nuisance.noise)
        for frame, tick in zip(frames, np.rint(seconds * 1000).astype(np.int64).tolist(), strict=True):
            position = (nuisance.seed + tick * 2654435761) % (_NOISE_SLACK * _NOISE_SLACK)
            y, x = divmod(position, _NOISE_SLACK)
            frame += tile[y : y + size, x : x + size]
    np.clip(frames, 0, 255, out=frames)


@lru_cache(maxsize=4)
def _corners(size: int) -> Array:
    """Return (size, size, 1): 0 in the middle, 1 in the corners."""
    axis = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    return ((axis[:, None] + axis[None]) / 2)[..., None]


@lru_cache(maxsize=8)
def _noise(size: int, level: int) -> Array:
    """Return a tile of noise larger than a frame; each frame uses a different part of it."""
    side = size + _NOISE_SLACK
    rng = np.random.default_rng([size, level])
    return (NOISE_LEVELS[level] * rng.standard_normal((side, side, 3), dtype=np.float32)).astype(np.float32)


def _paint_of(colour: str, nuisance: Nuisance, style: str, table: Array) -> tuple[Array, Array]:
    """Return fill and contour colour after the palette shift, float32 (3,) each."""
    hue, light, saturation = colorsys.rgb_to_hls(*(c / 255 for c in RGB[colour]))
    if style == "neon" and colour not in ("black", "white"):
        light = min(0.62, light + 0.08)
    if style == "bright" and colour not in ("black", "white"):
        light = min(0.60, light + 0.04)
    fill = colorsys.hls_to_rgb((hue + nuisance.hue) % 1.0, light, saturation * nuisance.saturation)
    index = [int(255 * c) for c in fill]
    light_contour = style in ("bright", "neon") or (style == "flat" and colour in ("black", "blue", "purple"))
    if colour == "white" or (style == "bright" and colour in _LIGHT) or style in ("outline", "sketch"):
        light_contour = False
    if colour == "black":
        light_contour = True
    contour = np.array(_LIGHT_CONTOUR if light_contour else _DARK_CONTOUR, np.float32)
    painted = np.array([table[channel, value] for channel, value in enumerate(index)], np.float32)
    if style == "neon" and colour != "black":
        contour = np.minimum(painted * 1.15 + 25, 255)
    return painted, contour


def _draw(frames: Array, shape: str, colour: str, at: Poses, nuisance: Nuisance, style: str, table: Array) -> None:
    """Blend the copies of one object into all frames, in place."""
    size = frames.shape[1]
    contour = max(0.8, _CONTOUR[style] * size)
    reach = contour * (1 + GLOW) if style == "neon" else contour
    radius = at.radius * size
    box = int(2 * math.ceil(EXTENT * float((radius * at.stretch).max()) + reach + 1))
    centre = at.centre * size
    corner = np.floor(centre - box / 2).astype(np.intp)
    steps = np.arange(box, dtype=np.float32) + 0.5
    x = (corner[:, 0] - centre[:, 0]).astype(np.float32)[:, None, None] + steps[None, None, :]
    y = (corner[:, 1] - centre[:, 1]).astype(np.float32)[:, None, None] + steps[None, :, None]
    cos, sin = (f(at.angle).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    wide = (radius * at.stretch).astype(np.float32)[:, None, None]
    high = (radius / at.stretch).astype(np.float32)[:, None, None]
    local_x, local_y = (cos * x + sin * y) / wide, (cos * y - sin * x) / high
    away = distance(shape, local_x, local_y) * np.minimum(wide, high)
    fill, edge = _paint_of(colour, nuisance, style, table)
    rgb, alpha = _coat(style, away, local_x, local_y, fill, edge, contour)
    alpha *= at.opacity.astype(np.float32)[:, None, None]
    rgb *= alpha[..., None]
    rest = (1 - alpha)[..., None]
    for k, (left, top) in enumerate(corner.tolist()):
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + box, size), min(top + box, size)
        if x0 >= x1 or y0 >= y1:
            continue
        window = frames[at.frame[k], y0:y1, x0:x1]
        inner = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        window *= rest[k][inner]
        window += rgb[k][inner]


def _coat(style: str, away: Array, x: Array, y: Array, fill: Array, edge: Array, contour: float) -> tuple[Array, Array]:
    """Return colours (N, b, b, 3) and coverage (N, b, b) of objects from the signed distance in pixels."""
    if style == "pixel":
        inside, alpha = (away < 0).astype(np.float32), (away < contour).astype(np.float32)
    else:
        inside, alpha = np.clip(0.5 - away, 0, 1), np.clip(0.5 + contour - away, 0, 1)
    body: Array = fill
    if style == "shaded":
        light = 0.92 - 0.22 * x - 0.30 * y
        shine = np.clip(1 - 3.2 * ((x + 0.30) ** 2 + (y + 0.38) ** 2), 0, 1) * 70
        body = fill * light[..., None] + shine[..., None]
    elif style == "sketch":
        stripe = 0.30 * (np.sin((x + y) * 11.0) > 0.35)
        body = fill + stripe[..., None].astype(np.float32) * (238 - fill)
    rgb = edge + (body - edge) * inside[..., None]
    if style == "neon":
        beyond = np.maximum(away - contour, 0) / (GLOW * contour)
        alpha = np.maximum(alpha, 0.55 * np.exp(-beyond) * np.clip(1 - beyond, 0, 1))
    return rgb.astype(np.float32), alpha.astype(np.float32)
