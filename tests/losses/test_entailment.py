"""SynViTA's losses against the equations as printed, in float64; extreme logits; gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mova.losses.entailment import (
    consistency_loss,
    real_loss,
    synthetic_loss,
    synvita_loss,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def printed(f: Tensor, g: Tensor, w: Tensor, gamma: float) -> tuple[float, float, float]:
    """Write out Eq. 2, 5 and 6 with probabilities; videos and texts in the order real, synthetic; means over n."""
    real = synthetic = consistency = 0.0
    for i in range(len(f)):
        real -= math.log(f[i, 0, 0]) + math.log(1 - f[i, 0, 1])
        synthetic -= w[i] * (math.log(f[i, 1, 1]) + math.log(1 - f[i, 1, 0]))
        for z, other in ((0, 1), (1, 0)):
            first = max(0.0, gamma + g[i, z, z] - f[i, z, z])
            second = max(0.0, gamma + f[i, z, other] - g[i, z, other])
            consistency += w[i] * (first + second)
    return tuple(float(value) / len(f) for value in (real, synthetic, consistency))


def test_losses_equal_the_published_equations() -> None:
    z, common, weights = drawn(6, 2, 2), drawn(6, 2, 2, seed=1), torch.rand(6, dtype=torch.float64)
    real, synthetic, consistency = printed(z.sigmoid(), common.sigmoid(), weights, 0.2)
    assert real_loss(z).item() == pytest.approx(real, rel=1e-12)
    assert synthetic_loss(z, weights).item() == pytest.approx(synthetic, rel=1e-12)
    assert consistency_loss(z, common, weights).item() == pytest.approx(consistency, rel=1e-12)
    total, parts = synvita_loss(z, weights, common, consistency=0.01)
    assert total.item() == pytest.approx(real + synthetic + 0.01 * consistency, rel=1e-12)
    assert set(parts) == {"real", "synthetic", "consistency"}
    assert set(synvita_loss(z, weights)[1]) == {"real", "synthetic"}


def test_consistency_is_zero_when_all_margins_hold() -> None:
    z = torch.tensor([[[6.0, -6.0], [-6.0, 6.0]]])
    middle = torch.zeros(1, 2, 2)
    assert consistency_loss(z, middle, torch.ones(1)).item() == 0.0
    assert consistency_loss(z, z, torch.ones(1)).item() == pytest.approx(4 * 0.2)
    assert consistency_loss(-z, middle, torch.ones(1)).item() > 2.0


def test_one_form_of_the_shared_part_can_be_expanded() -> None:
    z, one, weights = drawn(3, 2, 2), drawn(3, 2, seed=1), torch.ones(3, dtype=torch.float64)
    wide = one[..., None].expand(-1, -1, 2)
    f, g = z.sigmoid(), one.sigmoid()
    true, false = f[:, [0, 1], [0, 1]], f[:, [0, 1], [1, 0]]
    expected = ((0.2 + g - true).clamp_min(0) + (0.2 + false - g).clamp_min(0)).sum(1).mean()
    torch.testing.assert_close(consistency_loss(z, wide, weights), expected)


@pytest.mark.parametrize("size", [50.0, 200.0, 1e4])
def test_extreme_scores_stay_finite_and_so_do_gradients(size: float) -> None:
    """Everything is wrong with certainty, where the logarithm of a rounded probability is minus infinity."""
    z = (size * torch.tensor([[[-1.0, 1.0], [1.0, -1.0]]])).expand(4, 2, 2).clone().requires_grad_()
    total, parts = synvita_loss(z, torch.ones(4), z, consistency=1.0)
    total.backward()
    assert torch.isfinite(total)
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert parts["real"].item() == pytest.approx(2 * size, rel=1e-6)
    assert (z.grad != 0).all()


def test_gradients_are_correct_and_weights_get_none() -> None:
    z, common = drawn(3, 2, 2).requires_grad_(), drawn(3, 2, 2, seed=1).requires_grad_()
    weights = torch.rand(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: synvita_loss(a, weights, b, consistency=0.7)[0], (z, common))
    synvita_loss(z, weights, common, consistency=0.7)[0].backward()
    assert weights.grad is None


def test_weight_zero_excludes_the_synthetic_video() -> None:
    z, common = drawn(3, 2, 2).requires_grad_(), drawn(3, 2, 2, seed=1)
    synvita_loss(z, torch.zeros(3, dtype=torch.float64), common, consistency=1.0)[0].backward()
    assert z.grad is not None
    assert (z.grad[:, 1] == 0).all()
    assert (z.grad[:, 0] != 0).all()


def test_invalid_calls_raise() -> None:
    with pytest.raises(ValueError, match="shared part"):
        synvita_loss(drawn(2, 2, 2), torch.ones(2), consistency=1.0)
    with pytest.raises(ValueError, match=r"\(n, 2, 2\)"):
        consistency_loss(drawn(2, 2, 2), drawn(2, 2), torch.ones(2))


def test_a_triplet_listed_once_per_synthetic_video_counts_its_real_video_once() -> None:
    """Two items that share a real video: n times the mean is L_real + L_syn(1) + L_syn(2) + lambda L_scr of both."""
    z, common = drawn(2, 2, 2), drawn(2, 2, 2)
    z[1, 0], common[1, 0] = z[0, 0], common[0, 0]  # the same real video with the same captions
    weights = torch.tensor([0.7, 0.2], dtype=z.dtype)
    total, parts = synvita_loss(z, weights, common, 0.3, shares=torch.full((2,), 0.5, dtype=z.dtype))
    alone = [synvita_loss(z[i : i + 1], weights[i : i + 1], common[i : i + 1], 0.3)[1] for i in range(2)]
    synthetic = sum(part["synthetic"] + 0.3 * part["consistency"] for part in alone)
    torch.testing.assert_close(2 * total, alone[0]["real"] + synthetic)
    torch.testing.assert_close(2 * parts["real"], alone[0]["real"])
