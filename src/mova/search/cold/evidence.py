"""The caption score of `mova.scoring.caption_score` in NumPy, for one text and without torch.

Shape legend: T frames, K units of a text, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FRAME_TEMPERATURE = 0.1
POOLING_TEMPERATURE = 0.2
"""As in `mova.scoring.similarity`."""

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]


class Rule(NamedTuple):
    """Parameters of `S = K^g (B + beta * order - theta)`, see `mova.scoring.caption_score.EvidenceRule`."""

    g: float = 0.0
    theta: float = 0.0
    beta: float = 0.0
    global_share: float | None = None


def caption_scores(videos: Sequence[npt.NDArray[np.floating[Any]]], units: _F32, rule: Rule) -> _F32:
    """Return the score of a text for each video.

    Args:
        videos: frame vectors, (T, d) each.
        units: vectors of the text's units, (K, d).
        rule: parameters of the score.

    Example:
        >>> tea, door = np.eye(2, dtype=np.float32)
        >>> videos = [np.stack([tea, tea, door])]
        >>> for caption in ([tea, door], [door, tea]):
        ...     print(f"{caption_scores(videos, np.stack(caption), Rule(beta=0.25))[0]:.2f}")
        1.26
        1.12
    """
    return np.array([_score(_unit(video), _unit(units), rule) for video in videos], dtype=np.float32)


def _score(frames: _F64, units: _F64, rule: Rule) -> float:
    cosines = units @ frames.T
    count = len(units)
    late = base = float(_softmax(cosines / FRAME_TEMPERATURE, cosines).mean())
    if rule.global_share is not None and count == 1:
        base = _pooled(cosines[0], frames) + rule.global_share * _overall(cosines[0], frames)
    if rule.beta:
        base += rule.beta * (_order(cosines) if count <= len(frames) else late)
    return float(count**rule.g * (base - rule.theta))


def _softmax(logits: _F64, values: _F64) -> _F64:
    """Return the means of values under the softmax of logits, along the last axis."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (weights * values).sum(axis=-1) / weights.sum(axis=-1)


def _order(cosines: _F64) -> float:
    """Return the soft maximum of the mean cosine over all increasing choices of one frame per unit, (K, T)."""
    energies = cosines / FRAME_TEMPERATURE
    through = np.logaddexp.accumulate(energies[0])
    for row in energies[1:]:
        before = np.append(-np.inf, through[:-1])
        through = np.logaddexp.accumulate(row + before)
    return float(FRAME_TEMPERATURE * through[-1] / len(energies))


def _pooled(cosines: _F64, frames: _F64) -> float:
    """Return the cosine of a unit with the frames pooled by their relevance to it."""
    weights = np.exp((cosines - cosines.max()) / POOLING_TEMPERATURE)
    weights /= weights.sum()
    length = np.sqrt(max(float(np.square(weights @ frames).sum()), 1e-12))
    return float(weights @ cosines) / length


def _overall(cosines: _F64, frames: _F64) -> float:
    """Return the cosine of a unit with the mean of all frames."""
    length = max(float(np.linalg.norm(frames.mean(axis=0))), 1e-6)
    return float(cosines.mean()) / length


def _unit(vectors: npt.NDArray[np.floating[Any]]) -> _F64:
    rows = vectors.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
