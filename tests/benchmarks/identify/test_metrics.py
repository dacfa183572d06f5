"""Each metric on codes with known answers: perfect, random, permuted, mixed, with extra coordinates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.studies.identify.metrics import (
    atom_r2,
    atoms,
    block_r2,
    match_supports,
    regression_r2,
    sensitivity,
    support_scores,
)

K, W, N = 4, 2, 6000


@pytest.fixture(scope="module")
def truth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return z (N, K W), support (N, K) of two concepts each, and the support by coordinate (N, K W)."""
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (N, K * W))
    support = rng.random((N, K)).argsort(1).argsort(1) < 2
    return z, support, np.repeat(support, W, axis=1)


def test_regression_of_a_smooth_map_is_near_one_and_of_noise_near_zero() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1200, 2))
    assert regression_r2(x, np.stack([np.sin(2 * x[:, 0]), x[:, 0] * x[:, 1]], axis=1)) > 0.98
    assert abs(regression_r2(x, rng.standard_normal((1200, 3)))) < 0.05


def test_regression_of_half_the_variance_is_a_half() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1200, 1))
    assert regression_r2(x, x + rng.standard_normal((1200, 1))) == pytest.approx(0.5, abs=0.08)


def test_regression_without_inputs_or_of_constants_explains_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 2))
    assert regression_r2(np.empty((300, 0)), x) == 0
    assert regression_r2(x[:0], x[:0]) == 0
    assert regression_r2(np.ones((300, 1)), x) == 0
    assert regression_r2(x, np.ones((300, 2))) == 0
    assert regression_r2(x, np.stack([x[:, 0], np.ones(300)], axis=1)) > 0.98


def test_a_perfect_code_is_block_identified_both_ways(truth: tuple[np.ndarray, ...]) -> None:
    z, support, present = truth
    order = np.random.default_rng(1).permutation(K * W)
    bent = np.sinh(2 * z)[:, order]
    scores = block_r2(bent, present[:, order], z, support)
    assert scores["to_truth"] > 0.95
    assert scores["from_truth"] > 0.95
    assert abs(scores["absent"]) < 0.1


def test_a_random_code_is_at_chance(truth: tuple[np.ndarray, ...]) -> None:
    z, support, present = truth
    scores = block_r2(np.random.default_rng(1).standard_normal(z.shape), present, z, support)
    assert max(abs(value) for value in scores.values()) < 0.1


def test_an_open_mask_includes_absent_concepts(truth: tuple[np.ndarray, ...]) -> None:
    z, support, present = truth
    scores = block_r2(z, np.ones_like(present), z, support)
    assert scores["absent"] > 0.9
    assert scores["from_truth"] < 0.6


def test_a_mask_that_misses_a_coordinate_loses_it(truth: tuple[np.ndarray, ...]) -> None:
    z, support, present = truth
    half = present.copy()
    half[:, ::2] = False
    assert block_r2(z, half, z, support)["to_truth"] == pytest.approx(0.5, abs=0.1)


def test_too_few_frames_raise() -> None:
    with pytest.raises(ValueError, match="no support"):
        block_r2(np.zeros((10, 2)), np.ones((10, 2), bool), np.zeros((10, 2)), np.ones((10, 2), bool))


def test_permuted_supports_are_matched(truth: tuple[np.ndarray, ...]) -> None:
    present = truth[1]
    order = np.array([2, 0, 3, 1])
    assert match_supports(present[:, order], present).tolist() == np.argsort(order).tolist()
    assert support_scores(present[:, order], present, present) == (1.0, 1.0, 1.0)


def test_the_match_is_the_best_of_all_permutations() -> None:
    from itertools import permutations

    rng = np.random.default_rng(0)
    mask, real = rng.random((300, 5)) < 0.4, rng.random((300, 5)) < 0.4
    overlap = np.array([[2 * (a & b).sum() / (a.sum() + b.sum()) for b in real.T] for a in mask.T])
    match = match_supports(mask, real)
    best = max(sum(overlap[p[k], k] for k in range(5)) for p in permutations(range(5)))
    assert sum(overlap[match[k], k] for k in range(5)) == pytest.approx(best)


def test_extra_and_missing_coordinates_cost_precision_and_recall(truth: tuple[np.ndarray, ...]) -> None:
    present = truth[2]
    twice = np.concatenate([present, present], axis=1)
    assert support_scores(twice, present, present) == pytest.approx((0.5, 1.0, 1.0))
    fewer = present[:, 2:]
    precision, recall, _ = support_scores(fewer, present, present)
    assert precision == 1.0
    assert recall == pytest.approx(0.75, abs=0.02)
    assert match_supports(fewer, present)[:2].tolist() == [-1, -1]


def test_random_and_empty_masks_score_chance_and_zero(truth: tuple[np.ndarray, ...]) -> None:
    present = truth[2]
    random = np.random.default_rng(1).random(present.shape) < 0.5
    precision, recall, _ = support_scores(random, present, present)
    assert precision == pytest.approx(0.5, abs=0.03)
    assert recall == pytest.approx(0.5, abs=0.03)
    assert support_scores(np.zeros_like(present), present, present) == (0.0, 0.0, 0.0)


def test_recall_among_clear_cases_ignores_the_others(truth: tuple[np.ndarray, ...]) -> None:
    z, _, present = truth
    far = np.abs(z) > 0.5
    precision, recall, clear = support_scores(present & far, present, far)
    assert (precision, clear) == (1.0, 1.0)
    assert recall == pytest.approx(0.5, abs=0.03)


def test_intersections_isolate_each_concept_in_a_diverse_world(truth: tuple[np.ndarray, ...]) -> None:
    z, support, present = truth
    atom_masks = atoms(present, support)
    assert atom_masks.tolist() == np.repeat(np.eye(K, dtype=bool), W, axis=1).tolist()
    concept_r2, other_r2 = atom_r2(z, z, atom_masks)
    assert concept_r2 > 0.98
    assert abs(other_r2) < 0.1


def test_atoms_of_constant_companions_hold_both() -> None:
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (3000, 8))
    support = np.repeat(rng.random((3000, 2)).argsort(1) < 1, 2, axis=1)
    concept_r2, other_r2 = atom_r2(z, z, atoms(np.repeat(support, 2, axis=1), support))
    assert concept_r2 > 0.9
    assert other_r2 > 0.9


def test_a_gate_with_rare_errors_keeps_its_atoms_and_an_absent_concept_has_none(
    truth: tuple[np.ndarray, ...],
) -> None:
    _, support, present = truth
    erring = present ^ (np.random.default_rng(1).random(present.shape) < 0.02)
    assert np.array_equal(atoms(erring, support), atoms(present, support))
    support = support.copy()
    support[:, 0] = False
    assert not atoms(present, support)[0].any()


def test_an_empty_atom_predicts_nothing() -> None:
    z = np.random.default_rng(0).uniform(-1, 1, (600, 4))
    assert atom_r2(z, z, np.zeros((2, 4), bool)) == (0.0, 0.0)


def test_sensitivity_of_a_linear_code_is_the_ratio_of_its_weights() -> None:
    matrix = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0], [9.0, 9.0, 9.0]])
    latent = torch.randn(16, 3)
    weight = torch.tensor([1.0, 0.5, 0.0])
    ratio = sensitivity(lambda x: matrix @ x, latent, 1, weight)
    assert ratio == pytest.approx((0.5 + 0.5 * 1) / (1 + 2 + 0.5 * 3))
    assert sensitivity(lambda x: matrix @ x, latent, 1, torch.zeros(3)) == 0


def test_an_atom_of_frames_is_scored_where_its_concept_is_shown(truth: tuple[np.ndarray, ...]) -> None:
    """A frame shows nothing of an absent concept: its code is 0 there, and no evidence either way."""
    z, support, present = truth
    frames = z * present
    atom_masks = atoms(present, support)
    concept_r2, other_r2 = atom_r2(frames, z, atom_masks, support)
    assert concept_r2 > 0.98
    assert abs(other_r2) < 0.1
    assert atom_r2(frames, z, atom_masks)[0] < 0.8, "over all rows, it looks as if the atom missed its concept"
