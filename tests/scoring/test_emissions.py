"""Evidence of an alignment, against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from mova.scoring.emissions import (
    SMALLEST_SPREAD,
    AlignmentWeights,
    Background,
    calibrate,
    log_odds,
    novelty,
    position_odds,
    presence_odds,
)


def test_log_odds_equal_the_formula() -> None:
    rng = np.random.default_rng(0)
    relevance = rng.normal(0.2, 0.2, (3, 12))
    weights = AlignmentWeights(level=0.7, contrast=1.3, peak=0.4, offset=0.9, limit=2.0, floor=5.0)
    background = Background(0.1, 0.2)
    for curve, odds in zip(relevance, log_odds(relevance, background, weights, peak_frames=3), strict=True):
        u = (curve - 0.1) / 0.2
        raw = 0.7 * u.mean() + 1.3 * (u - u.mean()) - 0.4 * np.sort(u)[-3:].mean() - 0.9
        expected = np.where(raw > 0, 2 * np.tanh(raw / 2), 5 * np.tanh(raw / 5))
        np.testing.assert_allclose(odds, expected)


@pytest.mark.parametrize("most", [1.0, 2.5, 4.0, 50.0])
def test_a_long_stretch_in_favor_counts_as_a_short_one(most: float) -> None:
    relevance = np.random.default_rng(1).normal(0.0, 0.3, (6, 40)).cumsum(axis=1) / 3
    weights, background = AlignmentWeights(level=1.0, peak=0.0, offset=0.2), Background(0.0, 0.2)
    plain = log_odds(relevance, background, weights)
    bounded = log_odds(relevance, background, weights, independent_frames=most)
    for before, after in zip(plain, bounded, strict=True):
        expected, t = before.copy(), 0
        while t < len(before):
            end = t + 1
            while end < len(before) and (before[end] > 0) == (before[t] > 0):
                end += 1
            if before[t] > 0 and end - t > most:
                expected[t:end] *= most / (end - t)
            t = end
        np.testing.assert_allclose(after, expected)
    assert np.array_equal(plain, bounded) == (most == 50.0)


def test_a_frame_at_the_threshold_has_even_odds() -> None:
    background, weights = Background.at_threshold(0.4, AlignmentWeights())
    odds = log_odds([[0.4, 0.1, 0.9]], background, weights)[0]
    assert odds[0] == pytest.approx(0.0)
    assert odds[1] < 0 < odds[2]


def test_background_that_never_varies_has_a_smallest_spread() -> None:
    assert Background.measure(np.full((2, 3), 0.25)) == Background(0.25, SMALLEST_SPREAD)
    with pytest.raises(ValueError, match="at least one value"):
        Background.measure(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="finite"):
        Background.measure([[np.nan]])
    with pytest.raises(ValueError, match="NaN"):
        log_odds([[np.nan]], Background(0, 1), AlignmentWeights())


def test_positions_are_those_of_order_statistics() -> None:
    x = (np.arange(50) + 0.5) / 50
    for k, row in enumerate(position_odds(4, 50), start=1):
        np.testing.assert_allclose(row, np.maximum(beta(k, 5 - k).logpdf(x), -8.0), atol=1e-9)


@pytest.mark.parametrize("width", [1, 3, 30])
def test_novelty_compares_the_means_of_both_sides(width: int) -> None:
    frames = np.random.default_rng(0).normal(size=(12, 5))
    unit = frames / np.linalg.norm(frames, axis=1, keepdims=True)
    raw = []
    for t in range(1, 12):
        a, b = unit[max(0, t - width) : t].sum(axis=0), unit[t : t + width].sum(axis=0)
        raw.append(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    expected = np.clip((raw - np.mean(raw)) / np.std(raw), -2, 4)
    values = novelty(frames, width)
    assert values[0] == 0
    np.testing.assert_allclose(values[1:], expected, atol=1e-5)


def test_novelty_of_still_and_single_frames_is_zero() -> None:
    assert novelty(np.ones((1, 3)), 2).tolist() == [0.0]
    assert np.abs(novelty(np.ones((5, 3)), 2)).max() < 0.2
    with pytest.raises(ValueError, match="finite"):
        novelty([[np.inf, 0.0]], 1)


def test_weights_survive_a_configuration_file() -> None:
    weights = AlignmentWeights(level=2.0, slope=0.5)
    assert AlignmentWeights.from_dict(weights.to_dict()) == weights
    assert AlignmentWeights.from_dict({}) == AlignmentWeights()
    with pytest.raises(ValueError, match="unknown alignment weights: depth"):
        AlignmentWeights.from_dict({"depth": 1})


def test_calibration_keeps_the_order_of_posteriors() -> None:
    values, shown = np.linspace(0, 1, 11, dtype=np.float32)[None], np.ones(1)
    np.testing.assert_array_equal(calibrate(values, shown, shown, AlignmentWeights()), values)
    mapped = calibrate(values, shown, shown, AlignmentWeights(slope=0.8, intercept=0.5))
    assert mapped.dtype == np.float32
    assert np.all(np.diff(mapped) > 0)


def test_a_posterior_is_the_product_of_two_probabilities() -> None:
    weights = AlignmentWeights(slope=1.5, intercept=0.3, certainty=-0.4)
    shown, better = np.array([0.8, 0.5]), np.array([0.9, 0.1])
    posteriors = np.array([[0.2, 0.6], [0.1, 0.4]], dtype=np.float32)
    given = posteriors / shown[:, None]
    odds = 1.5 * np.log(given / (1 - given)) + 0.3 - 0.4 * np.log(shown / (1 - shown))[:, None]
    wanted = better[:, None] / (1 + np.exp(-odds))
    np.testing.assert_allclose(calibrate(posteriors, shown, better, weights), wanted, rtol=1e-5)


@pytest.mark.parametrize("weights", [AlignmentWeights(), AlignmentWeights(slope=0.9, certainty=-0.3)])
def test_no_posterior_is_above_the_probability_that_the_sentence_is_shown(weights: AlignmentWeights) -> None:
    posteriors = np.array([[0.0, 1e-9, 1.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    mapped = calibrate(posteriors, np.array([1.0, 0.0]), np.array([0.3, 0.0]), weights)
    assert np.all(np.isfinite(mapped))
    assert np.all(mapped.max(axis=1) <= [0.3 + 1e-6, 0.0])


def test_presence_is_read_from_the_highest_and_the_mean_relevance() -> None:
    rng, weights = np.random.default_rng(0), AlignmentWeights(shown_peak=2.0, shown_level=-0.5)
    curves, background = rng.normal(size=(4, 30)), Background(0.2, 0.5)
    scaled = (curves - 0.2) / 0.5
    wanted = [2.0 * np.sort(row)[-3:].mean() - 0.5 * row.mean() for row in scaled]
    np.testing.assert_allclose(presence_odds(curves, background, weights, 3), wanted)
    assert not presence_odds(curves, background, AlignmentWeights(), 3).any()


def test_the_length_of_a_video_moves_both_intercepts() -> None:
    weights = AlignmentWeights(intercept=1.0, length=-0.5, shown_intercept=-2.0, shown_length=0.25).at_length(630.0)
    ratio = np.log(10.5)
    assert weights.intercept == pytest.approx(1.0 - 0.5 * ratio)
    assert weights.shown_intercept == pytest.approx(-2.0 + 0.25 * ratio)
    assert weights.at_length(630.0) == weights
