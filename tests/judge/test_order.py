"""Order faults, against a simulation that draws a time for each sentence."""

from __future__ import annotations

import numpy as np
import pytest

from mova.judge.order import SURE, order_faults, reversed_pairs


def test_probabilities_agree_with_drawn_times() -> None:
    rng = np.random.default_rng(3)
    posterior, shown = rng.random((4, 9)) ** 4, rng.random(4)
    times = np.stack([rng.choice(9, size=200_000, p=row / row.sum()) for row in posterior])
    found = reversed_pairs(posterior, shown)
    for i in range(4):
        for j in range(4):
            if i != j:
                before = (times[j] < times[i]).mean() + 0.5 * (times[j] == times[i]).mean()
                assert found[i, j] == pytest.approx(shown[i] * shown[j] * before, abs=0.005)


def test_sentences_about_the_same_seconds_are_no_fault() -> None:
    same = np.tile(np.ones(10), (2, 1))
    assert reversed_pairs(same, [1.0, 1.0])[0, 1] == pytest.approx(0.5)
    assert order_faults(same, [1.0, 1.0]) == ()


def test_a_sentence_without_any_posterior_has_no_fault() -> None:
    assert order_faults(np.array([[0.0, 0.0], [1.0, 0.0]]), [0.0, 1.0]) == ()


def test_overlapping_sentences_are_left_out_and_the_surest_fault_is_first() -> None:
    posterior = np.eye(3)[::-1]
    faults = order_faults(posterior, [1.0, 0.9, 0.95])
    assert [(fault.first, fault.second) for fault in faults] == [(0, 2), (0, 1), (1, 2)]
    assert all(fault.probability >= SURE for fault in faults)
    assert [(fault.first, fault.second) for fault in order_faults(posterior, [1, 1, 1], overlapping=(1,))] == [(0, 2)]
