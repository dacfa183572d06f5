"""The simulated world: invertible mixings, supports as configured, independent nuisance."""

from __future__ import annotations

import pytest
import torch

from benchmarks.studies.identify.world import Mixing, World, WorldConfig, draw_supports
from mova.errors import UsageError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_mixing_is_invertible(layers: int) -> None:
    mixing = Mixing(10, layers, generator())
    x = torch.rand(500, 10, generator=generator(1), dtype=torch.float64) * 4 - 2
    mixing.matrices = mixing.matrices.double()
    torch.testing.assert_close(mixing.inverse(mixing(x)), x, atol=1e-5, rtol=0)  # QR in float32: orthogonal to 1e-6


def test_the_condition_number_of_a_mixing_is_bounded_by_its_slope() -> None:
    mixing = Mixing(10, 2, generator())
    x = torch.rand(200, 10, generator=generator(1)) * 2 - 1
    condition = mixing.condition(x)
    assert bool((condition >= 1).all())
    assert float(condition.max()) <= Mixing.slope**-2


def test_a_mixing_is_not_linear() -> None:
    world = World(WorldConfig(), 0)
    draw = world.draw(4000, generator(1))
    latent = torch.cat([draw.z, draw.text_nuisance], dim=1)
    design = torch.cat([draw.text, torch.ones(4000, 1)], dim=1)
    rest = latent - design @ torch.linalg.lstsq(design, latent).solution
    assert float(rest.var(dim=0).mean() / latent.var()) > 0.05


def test_a_draw_has_the_documented_shapes_and_ranges() -> None:
    config = WorldConfig(concepts=4, width=3, frames=5, active=(1, 2), text_nuisance=1, scene=2, frame_nuisance=3)
    world = World(config, 0)
    draw = world.draw(50, generator(1))
    assert draw.z.shape == (50, 12)
    assert draw.text.shape == (50, 13)
    assert draw.frames.shape == (50, 5, 17)
    assert draw.support.shape == (50, 5, 4)
    for uniform in (draw.z, draw.text_nuisance, draw.scene, draw.frame_nuisance):
        assert float(uniform.abs().max()) <= 1
    sizes = draw.support.sum(-1)
    assert set(sizes.flatten().tolist()) == {1, 2}


def test_a_frame_shows_its_concepts_and_zero_for_the_others() -> None:
    world = World(WorldConfig(jitter=0.0), 0)
    draw = world.draw(64, generator(1))
    latent = world.frame_mixing.inverse(draw.frames.double())
    expected = draw.z.unsqueeze(1) * draw.support.repeat_interleave(2, dim=-1)
    torch.testing.assert_close(latent[..., :12], expected.double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        latent[..., 12:14], draw.scene.double().unsqueeze(1).expand(-1, 4, -1), atol=1e-4, rtol=0
    )


def test_jitter_affects_only_visible_concepts() -> None:
    world = World(WorldConfig(jitter=0.2), 0)
    draw = world.draw(2000, generator(1))
    visible = draw.support.repeat_interleave(2, dim=-1)
    latent = world.frame_mixing.inverse(draw.frames.double())[..., :12]
    away = latent - draw.z.unsqueeze(1)
    assert float(latent[~visible].abs().max()) < 1e-4
    assert float(away[visible].std()) == pytest.approx(0.2, rel=0.05)


def test_concepts_of_a_diverse_world_occur_with_all_others_and_tied_ones_only_together() -> None:
    diverse = draw_supports(WorldConfig(), 2000, generator()).flatten(0, 1).double()
    together = diverse.T @ diverse / len(diverse)
    off = ~torch.eye(6, dtype=torch.bool)
    assert float(together[off].max() / together[off].min()) < 1.2
    tied = draw_supports(WorldConfig(tied=2), 2000, generator()).flatten(0, 1)
    assert bool((tied[:, 0::2] == tied[:, 1::2]).all())
    assert set(tied.sum(-1).tolist()) == {2}


def test_causes_are_independent_of_each_other() -> None:
    draw = World(WorldConfig(), 0).draw(20_000, generator(1))
    columns = torch.cat(
        [draw.z, draw.text_nuisance, draw.scene, draw.frame_nuisance[:, 0], draw.support[:, 0].float()[:, :5]], dim=1
    )
    correlation = torch.corrcoef(columns.T)
    causes = 12 + 2 + 2 + 2
    off = correlation[:, :causes] - torch.eye(len(correlation))[:, :causes]
    assert float(off.abs().max()) < 0.04


def test_a_seed_determines_the_world() -> None:
    first, again, other = (World(WorldConfig(), seed).draw(8, generator(3)) for seed in (0, 0, 1))
    assert torch.equal(first.frames, again.frames)
    assert not torch.allclose(first.frames, other.frames)


@pytest.mark.parametrize("wrong", [{"tied": 4}, {"active": (0, 2)}, {"active": (3, 7)}, {"tied": 3, "active": (2, 3)}])
def test_an_invalid_configuration_raises(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="must"):
        WorldConfig(**wrong)  # type: ignore[arg-type]
