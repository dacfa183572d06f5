"""Grad-CAM and occlusion against towers whose answer is known, real architectures, and rendered objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mova.errors import UsageError
from mova.explain import saliency
from mova.explain.maps import saliency_maps
from mova.explain.saliency import covers, grad_cam, occlusion, spread
from mova.models.mova.model import Mova
from mova.models.registry import load
from mova.models.tower_access import open_tower
from mova.models.two_tower.model import TwoTower
from mova.models.worlds_tiny.model import WorldsTiny
from mova.plots.saliency import draw_saliency, overlay
from mova.types import Frames
from mova.video.writer import write_mp4
from mova.worlds.factors import Event, Filler
from mova.worlds.render import render_event, render_scenery
from mova.worlds.writer import render_world, sample_world
from tests.support.fakes import ColourEncoder

TEXTS = ["A man opens a door.", "The dog runs across the street."]


def corner(pixels: Tensor) -> Tensor:
    """A tower that sees the brightness of the upper left 8 x 8 pixels, and nothing else."""
    bright = pixels[..., :8, :8].float().mean(dim=(1, 2, 3))
    return torch.stack([bright, torch.full_like(bright, 0.5)], dim=1)


def test_occlusion_of_a_tower_that_looks_at_one_corner() -> None:
    frames = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(0)) * 0.2
    frames[:, :, :8, :8] = 1.0
    maps = occlusion(corner, frames, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert maps.shape == (2, 2, 56, 56)
    for shows in maps[:, 0]:
        assert shows.argmax() in [56 * row + column for row in range(8) for column in range(8)]
        assert shows[:8, :8].min() > 0.05
    assert (maps[:, 1, :8, :8] < 0).all(), "what the corner shows hides the other sentence"
    assert maps[..., 16:, :].abs().max() < 1e-6
    assert maps[..., 16:].abs().max() < 1e-6


def test_occlusion_equals_the_explicit_mean_over_windows() -> None:
    rng = np.random.default_rng(1)
    tower = torch.from_numpy(rng.normal(size=(4, 3 * 20 * 33)).astype(np.float32))

    def encode(pixels: Tensor) -> Tensor:
        return pixels.flatten(1) @ tower.T

    frame, texts = rng.normal(size=(3, 20, 33)), rng.normal(size=(2, 4))
    saliency = occlusion(encode, torch.from_numpy(frame[None].astype(np.float32)), torch.from_numpy(texts).float())
    tall, wide = covers(20, 20).numpy(), covers(33, 20).numpy()

    def cosines(picture: np.ndarray) -> np.ndarray:
        vector = tower.numpy().astype(np.float64) @ picture.ravel()
        return texts @ vector / np.linalg.norm(vector) / np.linalg.norm(texts, axis=1)

    total, count = np.zeros((2, 20, 33)), np.zeros((20, 33))
    for rows in tall:
        for columns in wide:
            copy = frame.copy()
            copy[:, rows[:, None] & columns] = frame.mean(axis=(1, 2))[:, None]
            total[:, rows[:, None] & columns] += (cosines(frame) - cosines(copy))[:, None]
            count += rows[:, None] & columns
    assert np.abs(saliency[0].numpy() - total / count).max() < 1e-5


@pytest.mark.parametrize("side", [1, 2, 7, 33, 64, 224, 257])
@pytest.mark.parametrize("ratio", [1.0, 1.78])
def test_windows_cover_every_pixel_and_are_those_of_the_paper_at_224(side: int, ratio: float) -> None:
    windows = covers(round(side * ratio), side)
    assert windows.any(dim=0).all()
    assert len(set(windows.sum(dim=1).tolist())) == 1
    if side >= 33:
        assert len(windows) == 13 if ratio == 1.0 else len(windows) > 13
    if (side, ratio) == (224, 1.0):
        assert windows.sum(dim=1).tolist() == [32] * 13
        assert windows.int().argmax(dim=1).tolist() == list(range(0, 193, 16))


def test_a_uniform_frame_has_no_saliency_and_upsampling_keeps_a_constant() -> None:
    plain = torch.full((1, 9, 64, 64), 200, dtype=torch.uint8)
    assert occlusion(corner, plain, torch.eye(2)).abs().max() == 0
    tall, wide = covers(50, 40), covers(40, 40)
    falls = torch.full((1, 1, len(tall), len(wide)), 0.3)
    assert torch.allclose(spread(falls, tall, wide), torch.tensor(0.3))


class Toy(nn.Module):
    """Pixels are features: a reader sees them behind one extra token, or as a grid, and weights the positions."""

    def __init__(self, grid: bool) -> None:
        super().__init__()
        self.grid = grid
        self.reader = nn.Identity()
        self.places = nn.Parameter(torch.tensor([0.1, 0.4, 0.2, 0.7, -0.3, 0.5]))

    def forward(self, pixels: Tensor) -> Tensor:
        if self.grid:
            return torch.einsum("ndp,p->nd", self.reader(pixels).flatten(2), self.places)
        tokens = torch.cat([pixels.new_full((len(pixels), 1, 3), 0.2), pixels.flatten(2).transpose(1, 2)], dim=1)
        read = self.reader(tokens)
        return read[:, 0] + torch.einsum("npd,p->nd", read[:, 1:], self.places)


@pytest.mark.parametrize("grid", [True, False])
def test_grad_cam_equals_the_case_worked_out_by_hand(grid: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`v = lead + sum_p q_p A_p`, so `alpha = mean(q) (u - cos v / |v|) / |v|` for unit u."""
    monkeypatch.setattr(saliency, "CHUNK", 2)
    rng = np.random.default_rng(2)
    pixels, texts = rng.normal(size=(5, 3, 2, 3)), rng.normal(size=(2, 3))
    toy = Toy(grid)
    heat = grad_cam(toy, toy.reader, 1, torch.from_numpy(pixels).float(), torch.from_numpy(texts).float())
    q = toy.places.detach().double().numpy()
    expected = np.zeros((5, 2, 2, 3))
    for n, frame in enumerate(pixels.reshape(5, 3, 6)):
        v = frame @ q + (0.0 if grid else 0.2)
        length = np.linalg.norm(v)
        for s, text in enumerate(texts):
            u = text / np.linalg.norm(text)
            alpha = q.mean() * (u - (u @ v / length) * v / length) / length
            expected[n, s] = np.maximum(alpha @ frame, 0).reshape(2, 3)
    assert np.abs(heat.numpy() - expected).max() < 1e-5
    assert expected.max() > 0.01
    assert toy.places.grad is None
    assert not toy.reader._forward_pre_hooks


def test_a_tower_without_a_grid_is_reported() -> None:
    toy = Toy(grid=True)
    with pytest.raises(UsageError, match="use occlusion"):
        grad_cam(toy, nn.Identity(), 1, torch.rand(1, 3, 2, 3), torch.rand(1, 3))
    with pytest.raises(UsageError, match="4 x 6"):
        grad_cam(lambda x: toy(x[..., :2, :3]), toy.reader, 1, torch.rand(1, 3, 4, 6), torch.rand(1, 3))
    with pytest.raises(UsageError, match="ColourEncoder"):
        open_tower(ColourEncoder())


@pytest.fixture(params=["tiny_clip", "tiny_siglip", "tiny_siglip2", "tiny_naflex", "tiny_metaclip2", "tiny_aimv2"])
def tower(request: pytest.FixtureRequest) -> TwoTower:
    return TwoTower.from_checkpoint(request.getfixturevalue(request.param), precision="fp32", device="cpu")


def noise(size: tuple[int, int], count: int = 3) -> Frames:
    pixels = np.random.default_rng(3).integers(0, 255, (count, *size, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(count) / 2)


def test_every_tower_is_accessible(tower: TwoTower) -> None:
    frames = noise((40, 60))
    texts = tower.encode_text(TEXTS).pooled
    for model in (tower, Mova.from_backbone(tower, "subsets")):
        sight = open_tower(model)
        pixels = sight.prepare(frames)
        assert torch.equal(sight.encode(pixels), model.encode_frames(frames))
        assert sight.reader is not None
        maps = grad_cam(sight.encode, sight.reader, sight.cell, pixels, texts)
        rows, columns = pixels.shape[-2] // 8, pixels.shape[-1] // 8
        assert maps.shape == (3, 2, rows, columns)
        assert maps.min() >= 0
        assert maps.amax(dim=(0, 2, 3)).min() > 0
        covered = occlusion(sight.encode, pixels[:1], texts)
        assert covered.shape == (1, 2, *pixels.shape[-2:])
        assert covered.isfinite().all()


def test_grad_cam_of_clip_equals_gradients_at_its_own_hidden_states(tiny_clip: Path) -> None:
    model = TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu")
    sight = open_tower(model)
    pixels, texts = sight.prepare(noise((32, 32))), model.encode_text(TEXTS).pooled
    assert sight.reader is not None
    saliency = grad_cam(sight.encode, sight.reader, sight.cell, pixels, texts)
    clip = model.backbone
    vision = clip.vision_model(pixel_values=pixels, output_hidden_states=True)
    entering = vision.hidden_states[-2]
    vectors = clip.visual_projection(vision.pooler_output)
    for i, text in enumerate(texts):
        cosines = torch.cosine_similarity(vectors, text[None])
        (slope,) = torch.autograd.grad(cosines.sum(), entering, retain_graph=True)
        expected = (entering[:, 1:] * slope[:, 1:].mean(dim=1, keepdim=True)).sum(-1).relu().view(3, 4, 4)
        assert torch.allclose(saliency[:, i], expected, atol=1e-6)
        assert expected.max() > 0


def test_the_part_of_a_frame_that_a_tower_sees(tiny_clip: Path, tiny_siglip: Path) -> None:
    clip, siglip = (TwoTower.from_checkpoint(path, precision="fp32", device="cpu") for path in (tiny_clip, tiny_siglip))
    assert open_tower(clip).visible(100, 200) == (1.0, 0.5)
    assert open_tower(siglip).visible(100, 200) == (1.0, 1.0)
    assert open_tower(load("mova-worlds-tiny")).visible(200, 100) == (0.5, 1.0)


def test_a_cropping_tower_is_drawn_inside_its_crop(tiny_clip: Path, tmp_path: Path) -> None:
    film = write_mp4(tmp_path / "wide.mp4", [noise((40, 80), 24).pixels], fps=4.0)
    model = TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu")
    maps = saliency_maps(model, film, TEXTS, 4, "gradcam")
    assert maps.maps.shape == (2, 4, 4, 4)
    assert maps.to_json()["area"] == [0.25, 0, 0.75, 1]
    assert [maps.values[k].argmax() for k in range(2)] == maps.best.tolist()
    assert (saliency_maps(model, film, TEXTS, 1, "occlusion").best == -1).sum() <= 1
    draw_saliency(maps, tmp_path / "new" / "wide.png")
    assert np.asarray(Image.open(tmp_path / "new" / "wide.png").convert("L")).std() > 10
    model.backbone.vision_model.encoder.layers = torch.nn.ModuleList()
    with pytest.raises(UsageError, match="method occlusion"):
        saliency_maps(model, film, TEXTS, 4, "gradcam")


def test_overlays_are_transparent_at_zero_and_color_the_sign() -> None:
    values = np.array([[0.0, 0.5], [-1.0, 1.0]], dtype=np.float32)
    colours = overlay(values, 0.5)
    assert np.allclose(colours[..., 3], np.abs(values) * 0.5 * 0.85)
    assert colours[1, 1, 0] > 0.7 > 0.2 > colours[1, 1, 2]
    assert colours[1, 0, 2] > 0.5 > 0.2 > colours[1, 0, 0]
    assert np.isfinite(overlay(np.zeros((2, 2), dtype=np.float32))).all()


@pytest.fixture(scope="module")
def described_objects() -> list[tuple[Tensor, Tensor, np.ndarray]]:
    """Stacks of described events, their sentences' vectors, and where the renderer put the objects: (64, 64) bool."""
    model = load("mova-worlds-tiny")
    assert isinstance(model, WorldsTiny)
    events = []
    for style in ("flat", "outline", "shaded"):
        for index in range(5):
            world = sample_world(900_001, 30.0, style, index=index)
            described = [stretch for stretch in world.segments if stretch.role == "told"]
            for stretch, line in zip(described, world.singles, strict=True):
                assert isinstance(stretch.content, Event)
                times = stretch.span.start + stretch.span.duration / 2 + np.array([-0.5, 0.0, 0.5])
                since = times - stretch.span.start, stretch.span.duration, 64
                with_it = render_event(stretch.content, stretch.nuisance, style, *since)
                without = render_scenery(Filler(stretch.content.place, None), stretch.nuisance, style, *since)
                object_mask = (np.abs(with_it.astype(int) - without) > 12).any(axis=(0, 3))
                stack = model.stack(Frames(render_world(world, times, 64), times))[1:2]
                events.append((stack, model.encode_text(line.text).pooled, object_mask))
    return events


def pointing(
    described_objects: list[tuple[Tensor, Tensor, np.ndarray]], explain: Callable[[Tensor, Tensor], Tensor]
) -> float:
    """Share of maps whose highest place lies on an object (the pointing game of Zhang et al. 2018)."""
    hits = []
    for stack, text, object_mask in described_objects:
        values = torch.nn.functional.interpolate(explain(stack, text), (64, 64), mode="bilinear")[0, 0]
        hits.append(object_mask.ravel()[int(values.argmax())])
    return float(np.mean(hits))


def test_maps_of_the_shipped_model_fall_on_the_described_object(
    described_objects: list[tuple[Tensor, Tensor, np.ndarray]],
) -> None:
    sight = open_tower(load("mova-worlds-tiny"))
    reader = sight.reader
    assert reader is not None
    chance = float(np.mean([object_mask.mean() for *_, object_mask in described_objects]))
    assert pointing(described_objects[::3], lambda x, text: occlusion(sight.encode, x, text)) >= 0.8 > 4 * chance
    assert (
        pointing(described_objects, lambda x, text: grad_cam(sight.encode, reader, sight.cell, x, text)) >= 2 * chance
    )
