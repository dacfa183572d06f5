"""Concepts without pairs: the start of the basis, the term that keeps words apart, and the choice on validation."""

from __future__ import annotations

import torch

from benchmarks.studies.open_concepts import BASES, CANDIDATES, CONCEPTS, best_on_validation, subspaces_first
from mova.models.relations.fit import FitSettings, fit, overlap
from mova.scoring.respects import axis_energy, rotation, word_subspace


def test_the_start_is_orthogonal_and_holds_the_concept_in_its_first_axes() -> None:
    draws = torch.Generator().manual_seed(0)
    values = {name: torch.randn(3, 10, generator=draws) for name in CONCEPTS}
    for concept in CONCEPTS:
        start = subspaces_first(concept, values)
        torch.testing.assert_close(start.T @ start, torch.eye(10), atol=1e-5, rtol=0)
        span = word_subspace(values[concept])
        torch.testing.assert_close(start[:, :2] @ (start[:, :2].T @ span), span, atol=1e-5, rtol=0)
        energy = axis_energy(values[concept], start)
        assert float(energy[:2].sum() / energy.sum()) > 0.9999


def test_words_are_kept_apart_without_a_pair_of_the_concept() -> None:
    draws = torch.Generator().manual_seed(1)
    frames, labels = torch.randn(64, 8, generator=draws), {"known": torch.arange(64) % 2}
    values = {name: torch.randn(3, 8, generator=draws) for name in ("known", "open")}
    apart = []
    for weight in (0.0, 3.0):
        fitted = fit(frames, labels, values, FitSettings(steps=30, batch=32, apart=weight))
        basis = rotation(fitted.generator)
        apart.append(float(overlap(torch.stack([axis_energy(rows, basis) for rows in values.values()]))))
    assert apart[1] < apart[0] - 0.1


def test_the_choice_for_a_concept_does_not_see_its_own_figure() -> None:
    good, other = CANDIDATES[0], next(iter(BASES))
    validation = {name: dict.fromkeys(CONCEPTS, 0.5) for name in CANDIDATES}
    validation[other]["shape"] = 1.0
    assert best_on_validation(validation, "shape", CANDIDATES) == good
    assert best_on_validation(validation, "place", CANDIDATES) == other
