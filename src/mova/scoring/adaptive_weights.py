"""Weights of an alignment for a model without calibrated ones, chosen for each video.

Some encoders recognize single moments, others only the video as a whole. Where the relevance of a caption rises and
falls over time no more than that of background sentences, it says nothing about moments; the order of the sentences
and the changes of the picture then decide. No labels are needed.

Shape legend: K sentences, T frames, B background sentences.
"""

from __future__ import annotations

from dataclasses import astuple, fields

import numpy as np
import numpy.typing as npt

from mova.scoring.chain import Array, ChainCosts
from mova.scoring.emissions import AlignmentWeights, Background

STRUCTURE = AlignmentWeights(
    level=0.0,
    contrast=0.3,
    peak=0.0,
    offset=0.1,
    position=0.1,
    novelty=1.0,
    costs=ChainCosts(change=2.0, enter=2.0, skip=12.0, repeat=10.0),
    order=10.0,
)
"""For relevance that says little about moments: chosen for `mova-natural`, which uses it, on 32 described clips, in
round numbers from a plateau (`docs/reference/alignment.md`). Every sentence is shown, since such relevance cannot tell.
A change of the picture counts a nat per standard deviation. All frames of a sentence share the evidence of its expected
position, so that its weight is small. `order` was set: what such relevance says against order counts for little."""
RELEVANCE = AlignmentWeights(
    level=1.067,
    contrast=1.044,
    peak=0.637,
    offset=0.718,
    limit=3.113,
    floor=6.171,
    independent_seconds=4.0,
    position=0.0,
    novelty=0.713,
    costs=ChainCosts(change=3.846, enter=1.764, skip=2.764, repeat=5.0),
    order=1.0,
)
"""For relevance that finds moments: fitted to `mova-worlds-tiny` on Worlds of 60 and 630 s, with and without noise
in its frame vectors and sentences of other videos, so that they also suit less accurate encoders. The bound on
stretches came later, as it is for `mova-worlds-tiny`, with the other weights unchanged."""
LEAST_RISE, FULL_RISE = 0.2, 0.9
"""Excess rise, in standard deviations of background scores, from which relevance counts at all, and fully."""

SHORT_PEAK = 4
"""The highest relevance is a mean of at most one frame in this many: in a short video, a moment is short as well."""


def weights_for_video(relevance: npt.ArrayLike, background: npt.ArrayLike, peak_frames: int) -> AlignmentWeights:
    """Return weights between `STRUCTURE` and `RELEVANCE` for a caption and a video.

    Args:
        relevance: (K, T), finite, of the caption's sentences.
        background: (B, T), finite, of background sentences on the same video.
        peak_frames: number of frames that the highest relevance is a mean of.

    Raises:
        ValueError: no background scores, or one is not finite.

    Example:
        >>> flat = np.zeros((4, 20))
        >>> weights_for_video(flat, flat, peak_frames=2) == STRUCTURE
        True
    """
    share = moment_strength(relevance, background, peak_frames)
    mixed = {
        entry.name: (1 - share) * getattr(STRUCTURE, entry.name) + share * getattr(RELEVANCE, entry.name)
        for entry in fields(AlignmentWeights)
        if entry.name not in ("costs", "independent_seconds")
    }
    seconds = RELEVANCE.independent_seconds
    bound = seconds / share if seconds and share > 0 else None  # of `STRUCTURE`, all of a stretch counts
    sides = zip(astuple(STRUCTURE.costs), astuple(RELEVANCE.costs), strict=True)
    costs = ChainCosts(*((1 - share) * a + share * b for a, b in sides))
    return AlignmentWeights(**mixed, independent_seconds=bound, costs=costs)


def moment_strength(relevance: npt.ArrayLike, background: npt.ArrayLike, peak_frames: int) -> float:
    """Return how clearly relevance finds moments of this video, from 0 to 1.

    The rise of a sentence is its highest relevance minus its mean over the video. The measure is the excess of the
    mean rise of the caption's stronger half of sentences over the mean rise of background sentences: half of a caption
    may describe another video. It does not change if all cosines are scaled or shifted.

    Arguments and errors: see `weights_for_video`.

    Example:
        >>> caption, background = np.eye(3).repeat(4, axis=1), np.full((5, 12), 0.1)
        >>> moment_strength(caption, background, peak_frames=2)
        1.0
    """
    noise = Background.measure(background)
    rises = np.sort(_rises(np.asarray(relevance, dtype=np.float64), peak_frames))
    usual = _rises(np.asarray(background, dtype=np.float64), peak_frames).mean()
    excess = float(rises[len(rises) // 2 :].mean() - usual) / noise.spread
    return float(np.clip((excess - LEAST_RISE) / (FULL_RISE - LEAST_RISE), 0.0, 1.0)) ** 2


def _rises(curves: Array, peak_frames: int) -> Array:
    frames = curves.shape[1]
    first = frames - max(1, min(peak_frames, frames // SHORT_PEAK))
    rises: Array = np.partition(curves, first, axis=1)[:, first:].mean(axis=1) - curves.mean(axis=1)
    return rises
