"""Poses of the objects of a Worlds event over time: path, angle, growth and opacity of every copy.

Speeds are chosen so that three frames half a second apart identify every motion: passes take about four seconds,
bounces and blinks about one, and turns are slow enough that no shape's symmetry hides them.

Shape legend: T times, N = T * copies object images, ordered by time, then copy. Lengths are shares of the frame; y
points down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mova.worlds.factors import Event
from mova.worlds.nuisance import Nuisance

Floats = npt.NDArray[np.float64]

RADIUS = {("large", 1): 0.180, ("large", 2): 0.155, ("large", 3): 0.125}
RADIUS |= {("small", 1): 0.100, ("small", 2): 0.095, ("small", 3): 0.085}
"""Radius of an object by size class and count, as a share of the frame."""
BESIDE = 0.86
"""Scale of the main objects next to a second one."""
SECOND_RADIUS = 0.115
PASS_SECONDS, GROWTH_SECONDS, BOUNCE_SECONDS, ORBIT_SECONDS, BLINK_SECONDS = 4.0, 2.2, 1.15, 2.4, 1.0
TURNS_PER_SECOND = 0.25
GROWTH = (0.60, 1.15)
"""Smallest and largest scale of a growing or shrinking object."""
DIM = 0.10
"""Opacity of a blinking object while it is off."""
SPACING, GROWING_SPACING = 2.7, 2.8
"""Distance between the centres of copies, in radii; larger if they grow or shrink."""


@dataclass(frozen=True, eq=False)
class Poses:
    """Images of equal objects.

    Attributes:
        frame: int (N,), frame index of each image.
        centre: (N, 2), x and y.
        radius: (N,); `stretch` (N,) widens by this factor and flattens by the same factor.
        angle: (N,) radians; `opacity` (N,) in [0, 1].
    """

    frame: npt.NDArray[np.intp]
    centre: Floats
    radius: Floats
    stretch: Floats
    angle: Floats
    opacity: Floats

    def moved(self, offset: Floats) -> Poses:
        """Return a copy shifted by an offset per frame, (T, 2)."""
        return replace(self, centre=self.centre + offset[self.frame])


def poses(event: Event, seconds: Floats, duration: float, nuisance: Nuisance) -> Poses:
    """Return the poses of all copies of an event's main object.

    Args:
        event: the event.
        seconds: (T,) from the event's start, within [0, duration].
        duration: length of the event in seconds.
        nuisance: phase, speed and other variation.
    """
    radius = RADIUS[event.size, event.count] * nuisance.scale * (1.0 if event.relation is None else BESIDE)
    spacing = GROWING_SPACING if event.motion in ("growing", "shrinking") else SPACING
    extent = spacing * radius * (event.count - 1) / 2
    in_column = _in_column(event)
    room = (0.43 - radius - (0.0 if in_column else extent), 0.43 - radius - (extent if in_column else 0.0))
    path, growth, stretch, angle, opacity = _move(event.motion, seconds, duration, nuisance, room)
    spread = np.linspace(-extent, extent, event.count) if event.count > 1 else np.zeros(1)
    copies = np.zeros((event.count, 2))
    copies[:, 1 if in_column else 0] = spread
    centre = np.array(_home(event)) + np.array(nuisance.shift) + path[:, None] + copies
    times = len(seconds)

    def per_copy(value: Floats) -> Floats:
        return np.repeat(value, event.count)

    return Poses(
        np.repeat(np.arange(times), event.count),
        centre.reshape(-1, 2),
        per_copy(radius * growth),
        per_copy(stretch),
        per_copy(angle),
        per_copy(opacity),
    )


def second_poses(event: Event, seconds: Floats, nuisance: Nuisance) -> Poses | None:
    """Return the poses of the second object, which does not move; None if there is none."""
    if event.relation is None:
        return None
    ones = np.ones(len(seconds))
    x, y = _home(event)
    centre = (np.array([1 - x, 1 - y]) + np.array(nuisance.shift)) * ones[:, None]
    frame = np.arange(len(seconds))
    return Poses(frame, centre, SECOND_RADIUS * nuisance.scale * ones, ones, -nuisance.tilt * ones, ones)


def _home(event: Event) -> tuple[float, float]:
    """Return the centre of the main objects' path; the second object is opposite."""
    if event.relation is None:
        return (0.5, 0.5)
    return {"above": (0.5, 0.27), "below": (0.5, 0.73), "left_of": (0.27, 0.5), "right_of": (0.73, 0.5)}[
        event.relation[0]
    ]


def _in_column(event: Event) -> bool:
    """Return whether copies are stacked vertically: across their path, and facing a second object at their side."""
    if event.relation is not None:
        return event.relation[0] in ("left_of", "right_of")
    return event.motion in ("left_to_right", "right_to_left")


def _move(
    motion: str, seconds: Floats, duration: float, nuisance: Nuisance, room: tuple[float, float]
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return path (T, 2), growth, stretch, angle and opacity (T,) of a motion with `room` on either side of home."""
    times = len(seconds)
    path, growth, stretch = np.zeros((times, 2)), np.ones(times), np.ones(times)
    angle, opacity = np.full(times, nuisance.tilt), np.ones(times)
    turn = 1.0 if nuisance.clockwise else -1.0
    across, down = max(room[0], 0.15), max(room[1], 0.15)
    if motion in ("left_to_right", "right_to_left"):
        sign = 1 if motion == "left_to_right" else -1
        path[:, 0] = sign * across * (2 * _sweep(seconds, duration, PASS_SECONDS, nuisance) - 1)
    elif motion in ("rising", "falling"):
        sign = 1 if motion == "falling" else -1
        path[:, 1] = sign * down * (2 * _sweep(seconds, duration, PASS_SECONDS, nuisance) - 1)
    elif motion == "bouncing":
        height = abs(np.sin(math.pi * (seconds * nuisance.speed / BOUNCE_SECONDS + nuisance.phase)))
        path[:, 1] = down - 2 * down * height
        stretch += 0.22 * np.clip(1 - height / 0.3, 0, 1)
    elif motion == "spinning":
        angle += turn * 2 * math.pi * TURNS_PER_SECOND * nuisance.speed * seconds
    elif motion == "circling":
        around = 2 * math.pi * (turn * seconds * nuisance.speed / ORBIT_SECONDS + nuisance.phase)
        orbit = min(0.2, across, down)
        path[:, 0], path[:, 1] = orbit * np.cos(around), orbit * np.sin(around)
    elif motion in ("growing", "shrinking"):
        swept = _sweep(seconds, duration, GROWTH_SECONDS, nuisance)
        swept = swept if motion == "growing" else 1 - swept
        growth = GROWTH[0] * (GROWTH[1] / GROWTH[0]) ** swept
    elif motion == "blinking":
        on = (seconds * nuisance.speed / BLINK_SECONDS + nuisance.phase) % 1.0 < 0.5
        opacity = np.where(on, 1.0, DIM)
    else:
        raise ValueError(f"unknown motion {motion!r}")
    return path, growth, stretch, angle, opacity


def _sweep(seconds: Floats, duration: float, period: float, nuisance: Nuisance) -> Floats:
    """Return repeated sweeps from 0 to 1: a whole number fills the event; `phase` cuts off the start of each."""
    sweeps = max(1, round(duration * nuisance.speed / period))
    return (
        np.minimum(seconds / duration * sweeps, sweeps - 1e-9) % 1.0 * (1 - 0.15 * nuisance.phase)
        + 0.15 * nuisance.phase
    )
