"""Nuisance parameters of Worlds: variation that no caption mentions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

VARIANTS = 8
"""Layouts per place (see `mova.worlds.scenery`)."""
NOISE_LEVELS = (0.0, 2.0, 4.0, 7.0)
"""Standard deviations of sensor noise, on a scale of 255."""


@dataclass(frozen=True)
class Nuisance:
    """One draw of all nuisance parameters.

    Attributes:
        variant, flip: layout of the scenery, and whether it is mirrored.
        gain: factors of red, green and blue; `gamma` applies to all channels.
        hue, saturation: of the objects' colours, as a share of a turn and as a factor.
        drift: swing of the camera to the right and down, as a share of the frame; `drift_phase` in turns.
        noise: index into `NOISE_LEVELS`; `vignette`: darkening of the corners.
        clutter: number of specks in the scenery; `seed` places them and the noise.
        phase, speed: of the motion, in turns and as a factor; `clockwise` is the sense of rotation.
        shift: of the whole arrangement, as a share of the frame; `scale`: of the objects, within their size class.
        tilt: resting angle, radians.
    """

    variant: int
    flip: bool
    gain: tuple[float, float, float]
    gamma: float
    hue: float
    saturation: float
    drift: tuple[float, float]
    drift_phase: float
    noise: int
    vignette: float
    clutter: int
    seed: int
    phase: float
    speed: float
    clockwise: bool
    shift: tuple[float, float]
    scale: float
    tilt: float

    def to_json(self) -> dict[str, Any]:
        """Return all fields by name."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def sample_nuisance(rng: np.random.Generator) -> Nuisance:
    """Draw all parameters independently; numbers are rounded so that a manifest stores them exactly."""
    u = [round(float(x), 4) for x in rng.random(16)]
    integers = rng.integers(0, [VARIANTS, 2, len(NOISE_LEVELS), 7, 2**31, 2])
    spread = [round(2 * x - 1, 4) for x in u]
    return Nuisance(
        variant=int(integers[0]),
        flip=bool(integers[1]),
        gain=(round(1 + 0.05 * spread[0], 4), round(1 + 0.05 * spread[1], 4), round(1 + 0.05 * spread[2], 4)),
        gamma=round(1 + 0.18 * spread[3], 4),
        hue=round(0.014 * spread[4], 4),
        saturation=round(0.82 + 0.18 * u[5], 4),
        drift=(round(0.035 * spread[6], 4), round(0.035 * spread[7], 4)),
        drift_phase=u[8],
        noise=int(integers[2]),
        vignette=round(0.3 * max(0.0, spread[9]), 4),
        clutter=int(integers[3]),
        seed=int(integers[4]),
        phase=u[10],
        speed=round(1 + 0.2 * spread[11], 4),
        clockwise=bool(integers[5]),
        shift=(round(0.04 * spread[12], 4), round(0.04 * spread[13], 4)),
        scale=round(1 + 0.06 * spread[14], 4),
        tilt=round(0.12 * spread[15], 4),
    )
