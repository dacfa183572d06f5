"""False-alarm rates against counting, and against fresh draws whose truth is known."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from mova.scoring.false_alarm import (
    LEAST_SENTENCES,
    STRENGTH,
    FalseAlarms,
    Maxima,
    evidence,
    of_video,
    probability_shown,
    tail_rate,
)


def plain(values: np.ndarray) -> FalseAlarms:
    return FalseAlarms(10, 10, 0.0, np.sort(values)[::-1])


def test_below_the_tail_the_rate_is_a_count() -> None:
    background = np.sort(np.random.default_rng(0).normal(size=200))[::-1]
    for score in (-5.0, -0.4, 0.0, 0.9, float(background[30])):
        assert tail_rate(background, score) == pytest.approx((1 + (background >= score).sum()) / 201)


def test_the_rate_falls_with_the_score_and_is_never_zero() -> None:
    background = np.sort(np.random.default_rng(1).normal(size=120))[::-1]
    rates = [tail_rate(background, score) for score in np.linspace(-4, 40, 900)]
    assert all(a >= b for a, b in pairwise(rates))
    assert rates[0] == 1.0
    assert rates[-1] == pytest.approx(0.1 / 121), "not lower than a tenth of what can be counted"


@pytest.mark.parametrize(("draw", "excess"), [("normal", 1.2), ("gumbel", 1.2), ("uniform", 1.4)])
@pytest.mark.parametrize("bar", [0.01, 0.05, 0.1])
def test_fresh_draws_of_the_background_pass_the_bar_as_often_as_it_says(draw: str, excess: float, bar: float) -> None:
    """An exponential tail fits scores without a bound; those of a bounded distribution pass a little too often."""
    passed = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        alarms = plain(getattr(rng, draw)(size=121))
        passed.append(np.mean([alarms.rate(score) <= bar for score in getattr(rng, draw)(size=200)]))
    assert 0.25 * bar <= np.mean(passed) <= excess * bar


def test_too_few_or_equal_background_scores_are_only_counted() -> None:
    assert tail_rate(np.zeros(4), 9.0) == pytest.approx(1 / 5)
    assert tail_rate(np.zeros(99), 9.0) == pytest.approx(1 / 100)
    assert tail_rate(np.zeros(99), 0.0) == 1.0
    assert tail_rate(np.zeros(99), -1.0) == 1.0


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_scores_must_be_finite(score: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        plain(np.arange(50.0)).rate(score)
    with pytest.raises(ValueError, match="finite"):
        Maxima(3).add(np.full((3, 2), score))


def test_words_follow_the_bar() -> None:
    assert [evidence(rate) for rate in (0.0005, 0.01, 0.011, 0.05, 0.051, 1.0)] == [
        "strong",
        "strong",
        "weak",
        "weak",
        "none",
        "none",
    ]
    assert evidence(0.2, bar=0.3) == "weak"
    assert evidence(0.008, bar=0.005) == "none"


def test_best_scores_over_videos_are_those_of_all_frames_together() -> None:
    rng = np.random.default_rng(2)
    videos = [rng.normal(size=(40, frames)).astype(np.float32) for frames in (1, 7, 300, 33, 2)]
    maxima = Maxima(40)
    for curves in (*videos, np.empty((40, 0), np.float32)):
        maxima.add(curves)
    alarms = maxima.finish()
    whole = np.concatenate(videos, axis=1)
    np.testing.assert_allclose(alarms.maxima, np.sort(whole.max(axis=1))[::-1])
    np.testing.assert_allclose(alarms.maxima, of_video(whole).maxima)
    assert (alarms.frames, alarms.sampled) == (343, 343)
    assert alarms.resolution == pytest.approx(1 / 41)


def test_a_sample_is_extrapolated_to_the_whole_index() -> None:
    rng = np.random.default_rng(5)
    scores = rng.gumbel(scale=0.1, size=(200, 64_000))
    sample, whole = Maxima(200), Maxima(200)
    for start in range(0, 64_000, 1000):
        if start < 8000:
            sample.add(scores[:, start : start + 1000])
        whole.add(scores[:, start : start + 1000])
    extrapolated, measured = sample.finish(64_000), whole.finish()
    assert extrapolated.growth == pytest.approx(0.1 * np.log(2), rel=0.2)
    assert (extrapolated.sampled, extrapolated.frames) == (8000, 64_000)
    for score in np.quantile(measured.maxima, [0.3, 0.5, 0.9]):
        assert extrapolated.rate(score) == pytest.approx(measured.rate(score), rel=0.35)


def test_statistics_survive_a_file() -> None:
    maxima = Maxima(30)
    maxima.add(np.random.default_rng(6).normal(size=(30, 50)))
    alarms = maxima.finish(99)
    again = FalseAlarms.from_json(json.loads(json.dumps(alarms.to_json())))
    assert (again.frames, again.sampled) == (99, 50)
    assert again.growth == pytest.approx(alarms.growth, abs=1e-5)
    assert alarms.growth > 0
    for score in (-1.0, 1.5, 2.2, 4.0):
        assert again.rate(score) == pytest.approx(alarms.rate(score), rel=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"maxima": [1.0]},
        {"maxima": [float("nan")] * 30},
        {"growth": float("inf")},
        {"frames": 0},
        {"sampled": 0},
        {"frames": None},
        {"maxima": None},
    ],
)
def test_other_documents_are_refused(change: dict[str, object]) -> None:
    maxima = Maxima(LEAST_SENTENCES)
    maxima.add(np.random.default_rng(7).normal(size=(LEAST_SENTENCES, 5)))
    document = maxima.finish().to_json()
    with pytest.raises(ValueError, match=r"false-alarm|background"):
        FalseAlarms.from_json({**document, **change})
    with pytest.raises(ValueError, match="no frames"):
        Maxima(3).finish()


def test_a_sample_of_one_video_grows_too() -> None:
    """Of an index whose first video is the whole sample, both halves of that video tell how best scores grow."""
    curves = np.random.default_rng(0).gumbel(size=(400, 2000)) * 0.1
    alone = Maxima(400)
    alone.add(curves)
    assert alone.finish(8000).growth == pytest.approx(0.1 * np.log(2), rel=0.2)
    one_frame = Maxima(400)
    one_frame.add(curves[:, :1])
    assert one_frame.finish(10).growth == 0.0


def test_a_rate_becomes_the_probability_of_two_equally_likely_causes() -> None:
    """Sampled: rates of absent sentences are uniform, those of shown ones have the distribution function p^a."""
    rng = np.random.default_rng(0)
    shown, absent = rng.random(200_000) ** (1 / STRENGTH), rng.random(200_000)
    low, high = 0.04, 0.06
    near = [np.count_nonzero((rates > low) & (rates < high)) for rates in (shown, absent)]
    assert probability_shown(0.05) == pytest.approx(near[0] / sum(near), abs=0.01)
    falling = [probability_shown(rate) for rate in (0.0, 1e-9, 0.001, 0.05, 0.5, 1.0)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == falling[1] < 1
