"""Respects: subspaces, bases and masks against results by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mova.scoring.respects import Respect, axis_energy, centered, concept_mask, rotation, word_subspace
from mova.scoring.similarity import cosine


def test_a_rotation_is_orthogonal_and_zero_changes_no_bit() -> None:
    draws = torch.Generator().manual_seed(0)
    matrix = rotation(torch.randn(12, 12, generator=draws))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(12), atol=1e-5, rtol=0)
    assert torch.linalg.det(matrix) == pytest.approx(1.0, abs=1e-4)
    a, b = torch.randn(5, 12, generator=draws), torch.randn(4, 12, generator=draws)
    assert torch.equal(cosine(a @ rotation(torch.zeros(12, 12)), b), cosine(a, b))
    torch.testing.assert_close(cosine(a @ matrix, b @ matrix), cosine(a, b))


def test_a_rotation_of_two_axes_is_that_of_its_angle() -> None:
    angle = 0.3
    matrix = rotation(torch.tensor([[0.0, angle], [0.0, 0.0]]))
    expected = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    torch.testing.assert_close(matrix, expected)


def test_the_word_subspace_has_the_differences_and_nothing_else() -> None:
    values = torch.tensor([[1.0, 0.0, 0.0, 7.0], [0.0, 1.0, 0.0, 7.0], [0.0, 0.0, 1.0, 7.0]])
    basis = word_subspace(values)
    assert basis.shape == (4, 2)  # three values have two independent differences
    torch.testing.assert_close(basis.T @ basis, torch.eye(2))
    projector = basis @ basis.T
    torch.testing.assert_close(centered(values) @ projector, centered(values))
    common = torch.tensor([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    torch.testing.assert_close(common @ projector, torch.zeros(2, 4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("values", [torch.ones(1, 3), torch.ones(3, 3), torch.ones(3)])
def test_values_without_a_difference_are_refused(values: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="values"):
        word_subspace(values)


def test_values_that_differ_in_rounding_alone_are_refused() -> None:
    torch.manual_seed(0)
    value = torch.nn.functional.normalize(torch.randn(1, 192), dim=-1)
    with pytest.raises(ValueError, match="equal vectors"):
        word_subspace(value + 1e-8 * torch.randn(3, 192))
    assert word_subspace(torch.randn(3, 192)).shape == (192, 2)


def test_a_mask_is_a_plain_function_of_the_words() -> None:
    values = torch.tensor([[3.0, 1.0, 5.0], [-3.0, -1.0, 5.0]])
    energy = axis_energy(values, torch.eye(3))
    assert energy.tolist() == [9.0, 1.0, 0.0]
    mean, sharpness, offset = 10 / 3, 2.0, -1.0
    expected = [1 / (1 + math.exp(-(sharpness * math.log(e / mean) + offset))) for e in (9.0, 1.0)]
    mask = concept_mask(energy, sharpness, offset)
    assert mask[:2].tolist() == pytest.approx(expected)
    assert mask[2] < 1e-10
    assert concept_mask(energy, 0.0, offset).tolist() == pytest.approx([1 / (1 + math.e)] * 3)
    assert torch.isfinite(concept_mask(torch.zeros(3), sharpness, offset)).all()


def test_a_respect_sees_its_axes_only() -> None:
    respect = Respect(torch.diag(torch.tensor([1.0, 0.0, 0.0])), torch.tensor([0.1, 0.5, 0.5]))
    same, other = torch.tensor([[9.0, 1.0, -4.0]]), torch.tensor([[1.0, 8.0, 8.0], [-1.0, 1.0, -4.0]])
    assert respect.similarity(same, other).tolist() == [[-1.0, -1.0]]  # 1 / sqrt(129) is below the center's 0.1
    assert respect.similarity(same, 2 * same).tolist() == [[1.0]]
