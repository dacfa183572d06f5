"""The stretches of a video in which a curve is high, for any scale of the curve.

Shape legend: S sentences, T sampled frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.scoring.spans import locate
from mova.types import ScoredSpan


def half_height(curve: npt.ArrayLike) -> float:
    """Return the middle between the median of a curve (T,) and its maximum.

    >>> half_height([0.0, 0.0, 1.0, 0.2, 0.0])
    0.5
    """
    values = np.asarray(curve, dtype=np.float64)
    return float((np.median(values) + values.max()) / 2)


def active_stretches(
    curve: npt.ArrayLike, times: npt.ArrayLike, duration: float, step: float | None = None
) -> tuple[ScoredSpan, ...]:
    """Return the stretches in which a curve is at least half as high as its peak, counted from its median.

    Masked cosines have no threshold that was measured, and their level differs by model and sentence. So the rule is
    relative: it also finds a stretch for a sentence that the video does not show.

    Args:
        curve: (T,) scores of the sampled frames, finite.
        times: (T,) seconds.
        duration: seconds of the video.
        step: seconds between sampled frames, where it is known; no stretch bridges missing frames.

    Returns:
        Spans in order of time, each with its highest score; a single lower frame does not split one. None for a
        constant curve.

    Example:
        >>> found = active_stretches([0, 0, 0, 0, 9, 8, 0, 5, 0, 0, 6], range(11), 11.0)
        >>> [(stretch.span.start, stretch.span.end) for stretch in found]
        [(4.0, 8.0), (10.0, 11.0)]
    """
    values = np.asarray(curve, dtype=np.float64)
    if not values.max() > np.median(values):
        return ()
    return locate(values, times, duration, half_height(values), step=step)


@dataclass(frozen=True, eq=False)
class ScoreCurves:
    """The scores of all sampled frames of a video with sentences.

    Attributes:
        times, duration, step: seconds of the T frames, of the video, and between frames, where that is known.
        curves: float32, (S, T).
    """

    times: npt.NDArray[np.float64]
    duration: float
    step: float | None
    curves: npt.NDArray[np.float32]

    def active(self, sentence: int) -> tuple[ScoredSpan, ...]:
        """Return the active stretches of a sentence, see `active_stretches`."""
        return active_stretches(self.curves[sentence], self.times, self.duration, self.step)

    def to_json(self) -> dict[str, Any]:
        """Return times, curves and active stretches for a document."""
        return {
            "times": [round(float(time), 3) for time in self.times],
            "curves": [[round(float(value), 6) for value in curve] for curve in self.curves],
            "active": [[_row(found) for found in self.active(sentence)] for sentence in range(len(self.curves))],
        }


def _row(found: ScoredSpan) -> dict[str, float]:
    return {"start": round(found.span.start, 3), "end": round(found.span.end, 3), "score": round(found.score, 6)}
