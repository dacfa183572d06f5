"""Evidence for an alignment: log-odds from relevance, expected positions, and where the picture changes.

Relevance has another scale for every model and every video. Sentences that describe no video in particular are scored
against the frames of this very video, and their scores define the zero and the unit (`Background`).

Shape legend: K sentences, T frames, B background sentences, d width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit, gammaln, logit

from mova.scoring.chain import Array, ChainCosts
from mova.scoring.spans import runs

DEFAULT_COSTS = ChainCosts(change=3.0, enter=3.0, skip=2.0, repeat=4.0)
SMALLEST_SPREAD = 0.01
"""Least standard deviation of background scores that relevance is divided by: a few sentences may all score alike.
That of encoders with a common direction in all vectors is 0.02 to 0.05."""
PLAIN_SPREAD = 0.15
"""Unit of relevance if a model has a measured threshold and no background sentences."""
NOVELTY_RANGE = (-2.0, 4.0)
"""Bounds of the novelty, in standard deviations: a single hard cut must not decide alone."""
LENGTHS = (60.0, 630.0)
"""Seconds of the videos that the dependence of posteriors on length was fitted on."""
CERTAIN = np.float32(1e-7)
"""Smallest probability that is distinguished from zero."""
MOST_SHOWN = 8.0
"""Log-odds of the chain that a sentence is shown, beyond which more counts no more."""
ROWS_AT_ONCE = 32
"""Sentences whose log-odds are computed at once: intermediate results stay small."""
NO_BREAKS = np.empty(0, dtype=np.int64)
LOWEST_POSITION = -8.0
"""Least log-density of a position: no place in the video is excluded by order alone."""


@dataclass(frozen=True)
class AlignmentWeights:
    """Weight of each source of evidence in an alignment, calibrated per model on videos with known spans.

    Attributes:
        level: weight of a sentence's mean relevance over the video, in standard deviations of background scores.
        contrast: weight of a frame's relevance above that mean.
        peak: weight of a sentence's highest relevance, subtracted: a frame counts by how near it is to the best ones,
            so that a style that lowers all relevance lowers the bar.
        peak_seconds: the highest relevance is a mean over this much time.
        offset: log-odds against a sentence at a frame of background relevance.
        limit: upper bound of the log-odds of one frame.
        floor: bound of the log-odds against one frame.
        independent_seconds: a stretch of frames in favor of a sentence counts as at most this much time, because frames
            of one event are not independent: a long event is no better evidence than a short one. None: all of it.
        position: weight of the expected position of the k-th of K sentences.
        novelty: nats by which a change of state is cheaper, per standard deviation of novelty.
        novelty_seconds: length of the stretches before and after a frame that novelty compares.
        costs: of changes of state.
        order: log-odds of captions in temporal order, before the video is seen.
        slope, intercept: of the logistic map from the model's posteriors of frames, if the sentence is shown, to
            calibrated ones (Platt 1999), in log-odds.
        length: change of `intercept` in a video e times as long as `LENGTHS[0]`: the longer it is, the more moments may
            be taken for one. Not beyond `LENGTHS`.
        certainty: change of `intercept` per log-odds of the chain that the sentence is shown: where it is surer of a
            sentence, it may be too sure of its place.
        shown_slope, shown_intercept, shown_length: likewise, of the probabilities that sentences are shown at all.
        shown_peak, shown_level: log-odds that a sentence is shown, per standard deviation of its highest and of its
            mean relevance: what the chain, to which `peak` makes all sentences alike, does not count.

    The defaults are plain values, not calibrated. `mova.scoring.adaptive_weights` chooses weights for a model without
    its own.

    Example:
        >>> weights = AlignmentWeights(novelty=0.0)
        >>> weights.peak_frames(cell=0.5), AlignmentWeights.from_dict(weights.to_dict()) == weights
        (5, True)
    """

    level: float = 0.5
    contrast: float = 1.0
    peak: float = 0.3
    offset: float = 1.0
    limit: float = 3.0
    floor: float = 6.0
    independent_seconds: float | None = None
    position: float = 0.3
    novelty: float = 0.7
    peak_seconds: float = 2.5
    novelty_seconds: float = 1.0
    costs: ChainCosts = DEFAULT_COSTS
    order: float = 0.0
    slope: float = 1.0
    intercept: float = 0.0
    length: float = 0.0
    certainty: float = 0.0
    shown_slope: float = 1.0
    shown_intercept: float = 0.0
    shown_length: float = 0.0
    shown_peak: float = 0.0
    shown_level: float = 0.0

    @property
    def calibrated(self) -> bool:
        """Whether posteriors are mapped to calibrated ones, by fitted values."""
        return (self.slope, self.intercept, self.certainty) != (1.0, 0.0, 0.0)

    def peak_frames(self, cell: float) -> int:
        """Return the number of frames of `cell` seconds that the highest relevance is a mean of."""
        return max(1, round(self.peak_seconds / cell))

    def independent_frames(self, cell: float) -> float:
        """Return the number of frames of `cell` seconds that a stretch in favor of a sentence counts as at most.

        >>> AlignmentWeights(independent_seconds=4.0).independent_frames(cell=0.5)
        8.0
        """
        return math.inf if self.independent_seconds is None else max(1.0, self.independent_seconds / cell)

    def at_length(self, seconds: float) -> Self:
        """Return the weights for a video of a length, whose `length` and `shown_length` are in the intercepts.

        Example:
            >>> weights = AlignmentWeights(intercept=1.0, length=-0.5)
            >>> [round(weights.at_length(seconds).intercept, 2) for seconds in (5.0, 60.0, 630.0, 7200.0)]
            [1.0, 1.0, -0.18, -0.18]
        """
        ratio = math.log(min(max(seconds, LENGTHS[0]), LENGTHS[1]) / LENGTHS[0])
        return replace(
            self,
            intercept=self.intercept + self.length * ratio,
            shown_intercept=self.shown_intercept + self.shown_length * ratio,
            length=0.0,
            shown_length=0.0,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a configuration file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: an unknown or a missing key.
        """
        known = {entry.name for entry in fields(cls)}
        if not set(values) <= known:
            raise ValueError(f"unknown alignment weights: {', '.join(sorted(set(values) - known))}")
        costs = {"costs": ChainCosts(**values["costs"])} if "costs" in values else {}
        return cls(**{**values, **costs})


@dataclass(frozen=True)
class Background:
    """Mean and standard deviation of the relevance of sentences that a video does not show."""

    mean: float
    spread: float

    @classmethod
    def measure(cls, relevance: npt.ArrayLike) -> Self:
        """Measure the scores (B, T) of background sentences.

        Raises:
            ValueError: no values, or one is not finite.

        Example:
            >>> Background.measure([[0.1, 0.3], [0.1, 0.3]])
            Background(mean=0.2, spread=0.1)
        """
        values = np.asarray(relevance, dtype=np.float64)
        if values.size == 0 or not np.all(np.isfinite(values)):
            raise ValueError("background must contain at least one value, all finite")
        return cls(round(float(values.mean()), 12), max(round(float(values.std()), 12), SMALLEST_SPREAD))

    @classmethod
    def at_threshold(cls, threshold: float, weights: AlignmentWeights) -> tuple[Self, AlignmentWeights]:
        """Return the background and the weights for which a frame at a measured threshold has even odds.

        The mean relevance of a sentence over the video is then of no use.
        """
        mean = threshold - PLAIN_SPREAD * weights.offset / weights.contrast
        return cls(mean, PLAIN_SPREAD), replace(weights, level=weights.contrast, peak=0.0)


def log_odds(
    relevance: npt.ArrayLike,
    background: Background,
    weights: AlignmentWeights,
    peak_frames: int = 1,
    independent_frames: float = math.inf,
) -> Array:
    """Return the log-odds (K, T) that a frame shows a sentence rather than none, from relevance (K, T).

    Args:
        relevance: finite.
        background: of the same model and video.
        weights: of the model.
        peak_frames: number of frames that the highest relevance is a mean of.
        independent_frames: number of frames that a stretch in favor of a sentence counts as at most.

    Raises:
        ValueError: a value is not finite.

    Example:
        >>> weights = AlignmentWeights(level=1, contrast=1, peak=0, offset=2, limit=4, floor=8)
        >>> log_odds([[0.0, 0.4]], Background(mean=0.0, spread=0.1), weights).round(1).tolist()
        [[-2.0, 1.8]]
        >>> scores = [[-1.0, 0.4, 0.4, 0.4, 0.4, -1.0]]
        >>> log_odds(scores, Background(0.0, 0.1), replace(weights, level=0), independent_frames=2).round(1).tolist()
        [[-7.1, 1.2, 1.2, 1.2, 1.2, -7.1]]
    """
    curves = np.asarray(relevance)
    odds = np.empty(curves.shape)
    for first in range(0, len(odds), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        odds[rows] = curves[rows]
        if not np.all(np.isfinite(odds[rows])):
            raise ValueError("relevance contains NaN or infinite values")
        _to_log_odds(odds[rows], background, weights, peak_frames)
        if independent_frames < math.inf:
            _bound_stretches(odds[rows], independent_frames)
    return odds


def _to_log_odds(scaled: Array, background: Background, weights: AlignmentWeights, peak_frames: int) -> None:
    """Replace relevance by log-odds."""
    scaled -= background.mean
    scaled /= background.spread
    levels = scaled.mean(axis=1, keepdims=True)
    peaks = _highest(scaled, peak_frames)
    scaled *= weights.contrast
    scaled += (weights.level - weights.contrast) * levels - weights.peak * peaks - weights.offset
    bounds = np.where(scaled > 0, weights.limit, weights.floor)
    scaled /= bounds
    np.tanh(scaled, out=scaled)
    scaled *= bounds


def _highest(values: Array, count: int) -> Array:
    """Return the mean of the highest values of each row, (K, 1)."""
    first = max(0, values.shape[1] - max(1, count))
    highest: Array = np.partition(values, first, axis=1)[:, first:].mean(axis=1, keepdims=True)
    return highest


def _bound_stretches(odds: Array, most: float) -> None:
    """Scale stretches of positive log-odds (K, T) that are longer than `most` frames, so that they count as that many.

    The sum over a stretch becomes `most` times its mean.
    """
    for row in odds:
        positive = row > 0
        firsts, lasts = runs(positive, NO_BREAKS)
        lengths = lasts - firsts + 1
        row[positive] *= np.repeat(np.minimum(1.0, most / lengths), lengths)


def presence_odds(
    relevance: npt.ArrayLike, background: Background, weights: AlignmentWeights, peak_frames: int = 1
) -> Array:
    """Return the log-odds (K,) that sentences are shown, by their highest and mean relevance (K, T) alone.

    Arguments: see `log_odds`. They are relative to `shown_intercept`.

    Example:
        >>> weights = AlignmentWeights(shown_peak=2.0, shown_level=-1.0)
        >>> presence_odds([[0.0, 0.4], [0.1, 0.1]], Background(mean=0.0, spread=0.1), weights).round(1).tolist()
        [6.0, 1.0]
    """
    curves = np.asarray(relevance)
    odds = np.zeros(len(curves))
    if (weights.shown_peak, weights.shown_level) == (0.0, 0.0):
        return odds
    for i, curve in enumerate(curves):
        scaled = (curve.astype(np.float64) - background.mean) / background.spread
        odds[i] = weights.shown_peak * _highest(scaled[None], peak_frames).item() + weights.shown_level * scaled.mean()
    return odds


def calibrate_shown(shown: Array, weights: AlignmentWeights, presence: npt.ArrayLike = 0.0) -> Array:
    """Map the probabilities (K,) that sentences are shown to calibrated ones, with more evidence (`presence_odds`).

    Example:
        >>> calibrate_shown(np.array([0.2, 0.5, 0.8]), AlignmentWeights(shown_slope=2.0)).round(2)
        array([0.06, 0.5 , 0.94])
        >>> calibrate_shown(np.array([0.5, 0.5]), AlignmentWeights(shown_intercept=-1.0), [1.0, 3.0]).round(2)
        array([0.5 , 0.88])
    """
    added = np.asarray(presence, dtype=np.float64)
    if (weights.shown_slope, weights.shown_intercept) == (1.0, 0.0) and not added.any():
        return shown
    calibrated: Array = expit(weights.shown_slope * shown_odds(shown) + weights.shown_intercept + added)
    return calibrated


def shown_odds(shown: Array) -> Array:
    """Return the log-odds of the chain's probabilities that sentences are shown, up to `MOST_SHOWN`.

    >>> shown_odds(np.array([0.5, 1.0]))
    array([0., 8.])
    """
    odds: Array = np.clip(logit(np.clip(shown, CERTAIN, 1 - CERTAIN)), -MOST_SHOWN, MOST_SHOWN)
    return odds


def calibrate(
    posteriors: npt.NDArray[np.float32], shown: Array, calibrated_shown: Array, weights: AlignmentWeights
) -> npt.NDArray[np.float32]:
    """Map the posteriors (K, T) of a model to calibrated ones.

    They are the product of two probabilities: that the sentence is shown at all, and that a frame shows it if it is.

    Args:
        posteriors: of the model.
        shown: (K,), the model's probabilities that the sentences are shown.
        calibrated_shown: (K,), the calibrated ones (`calibrate_shown`).
        weights: of the model.

    Example:
        >>> values, certain = np.array([[0.0, 0.5, 1.0]], dtype=np.float32), np.ones(1)
        >>> calibrate(values, certain, certain, AlignmentWeights(intercept=1.0)).round(2)
        array([[0.  , 0.73, 1.  ]], dtype=float32)
        >>> calibrate(values / 2, certain / 2, 0.8 * certain, AlignmentWeights(intercept=1.0)).round(2)
        array([[0.  , 0.58, 0.8 ]], dtype=float32)
    """
    given = posteriors / np.maximum(shown, CERTAIN).astype(np.float32)[:, None]
    np.minimum(given, 1.0, out=given)
    if weights.calibrated:
        np.clip(given, CERTAIN, 1 - CERTAIN, out=given)
        logit(given, out=given)
        given *= np.float32(weights.slope)
        given += (weights.intercept + weights.certainty * shown_odds(shown)).astype(np.float32)[:, None]
        expit(given, out=given)
    given *= calibrated_shown.astype(np.float32)[:, None]
    return given


def position_odds(sentences: int, frames: int) -> Array:
    """Return the log-density (K, T) of the position of the k-th of K sentences that are spread evenly at random.

    That is the density of an order statistic, Beta(k, K - k + 1), relative to a uniform position. An encoder that
    knows nothing about a video thus falls back to equal parts in order.

    Example:
        >>> position_odds(2, 4).argmax(axis=1).tolist()
        [0, 3]
    """
    k = np.arange(1, sentences + 1)[:, None]
    x = (np.arange(frames) + 0.5)[None] / frames
    scale = gammaln(sentences + 1) - gammaln(k) - gammaln(sentences - k + 1)
    density: Array = scale + (k - 1) * np.log(x) + (sentences - k) * np.log1p(-x)
    return np.maximum(density, LOWEST_POSITION, out=density)


def novelty(frames: npt.ArrayLike, width: int) -> Array:
    """Return how much the picture changes before each frame, (T,), in standard deviations; the first value is 0.

    That is one minus the cosine of the mean vectors of `width` frames on both sides, as in audio segmentation (Foote
    2000).

    Args:
        frames: (T, d), in order of time.
        width: number of frames on each side; fewer at both ends.

    Raises:
        ValueError: not (T, d), a value is not finite, or the width is below 1.

    Example:
        >>> film = np.repeat(np.eye(2), 4, axis=0)
        >>> novelty(film, width=2).argmax()
        np.int64(4)
    """
    vectors = np.asarray(frames, dtype=np.float32)
    if vectors.ndim != 2 or not np.all(np.isfinite(vectors)) or width < 1:
        raise ValueError(f"frames must be finite (T, d), and the width at least 1, not {vectors.shape} and {width}")
    count = len(vectors)
    change = np.zeros(count)
    if count < 2:
        return change
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    before, after = np.zeros_like(unit), np.zeros_like(unit)
    for step in range(min(width, count - 1)):
        before[step + 1 :] += unit[: count - 1 - step]
        after[: count - step] += unit[step:]
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    inner = 1 - np.einsum("td,td->t", before, after)[1:] / np.maximum(norms[1:], 1e-6)
    spread = max(float(inner.std()), 1e-6)
    change[1:] = np.clip((inner - inner.mean()) / spread, *NOVELTY_RANGE)
    return change
