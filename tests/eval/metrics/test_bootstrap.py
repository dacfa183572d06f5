"""Bootstrap intervals against the normal approximation, and what pairing must do."""

from __future__ import annotations

import numpy as np
import pytest

from mova.eval.metrics.bootstrap import bootstrap, median, paired_bootstrap


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(size=400)
    interval = bootstrap(values)
    spread = 1.96 * values.std() / np.sqrt(400)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - spread, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + spread, abs=0.01)
    assert bootstrap(values) == interval
    assert bootstrap(values, seed=1) != interval


def test_pairing_cancels_shared_variance() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(scale=10, size=300)
    better = paired_bootstrap(hard, hard + 0.5 + 0.1 * rng.normal(size=300))
    assert better.low > 0.4
    assert better.high < 0.6
    assert better.p == pytest.approx(1 / 2000)
    apart = bootstrap(hard)
    assert apart.high - apart.low > 1


def test_a_system_does_not_differ_from_itself() -> None:
    values = np.random.default_rng(0).integers(0, 2, 50)
    interval = paired_bootstrap(values, values)
    assert (interval.value, interval.low, interval.high, interval.p) == (0.0, 0.0, 0.0, 1.0)


def test_the_chunk_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=30)
    interval = bootstrap(values, median, draws=100)
    monkeypatch.setattr("mova.eval.metrics.bootstrap._VALUES_AT_ONCE", 90)
    assert bootstrap(values, median, draws=100) == interval


def test_invalid_samples_raise() -> None:
    for call, message in (
        (lambda: bootstrap([]), "must be a non-empty array"),
        (lambda: bootstrap([1.0, np.nan]), "without NaN"),
        (lambda: bootstrap([1.0], level=1.0), "between 0 and 1"),
        (lambda: paired_bootstrap([1.0], [1.0, 2.0]), "the same queries"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
