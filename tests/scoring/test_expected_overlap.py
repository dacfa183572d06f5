"""The posterior from which frames are worth being covered, against every span there is."""

from __future__ import annotations

import numpy as np
import pytest

from mova.scoring.expected_overlap import LEAST_POSTERIOR, MOST_POSTERIOR, least_posteriors, most_probable_place


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_is_that_of_the_best_of_all_spans(seed: int) -> None:
    rng = np.random.default_rng(seed)
    posterior = rng.beta(0.3, 0.6, (8, 12)) * rng.uniform(0.2, 1.0, (8, 1))
    for row, bound in zip(posterior, least_posteriors(posterior), strict=True):
        spans = [(a, b) for a in range(12) for b in range(a + 1, 13)]
        best = max(row[a:b].sum() / (b - a + row.sum() - row[a:b].sum()) for a, b in spans)
        assert bound == pytest.approx(np.clip(best / (1 + best), LEAST_POSTERIOR, MOST_POSTERIOR), abs=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_the_most_probable_place_is_the_best_of_all_spans(seed: int) -> None:
    row = np.random.default_rng(seed).beta(0.3, 0.6, 12)
    spans = [(a, b) for a in range(12) for b in range(a + 1, 13)]
    best = max(
        spans, key=lambda span: row[slice(*span)].sum() / (span[1] - span[0] + row.sum() - row[slice(*span)].sum())
    )
    assert most_probable_place(row) == best
    assert most_probable_place(np.array([0.0, 1e-4, 0.0])) == (1, 2)


def test_certain_and_absent_sentences() -> None:
    rows = np.array([[0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1e-6, 0, 0, 1e-6, 0]], dtype=np.float32)
    assert least_posteriors(rows).tolist() == [MOST_POSTERIOR, MOST_POSTERIOR, LEAST_POSTERIOR]
    assert least_posteriors(np.zeros((0, 4))).shape == (0,)
