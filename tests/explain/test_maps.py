"""Occlusion of the vector of a whole video against features that are covered by hand, and through `mova explain`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mova.errors import UsageError
from mova.explain import maps as maps_module
from mova.explain.maps import saliency_maps, within, without_each
from mova.explain.saliency import covers
from mova.models.gexia.model import Gexia
from mova.models.tower_access import open_tower
from mova.models.two_tower.model import TwoTower
from mova.plots.saliency import draw_saliency, overlay
from mova.types import Frames
from mova.video.writer import write_mp4

Call = Callable[..., tuple[int, str, str]]
TEXTS = ["A man opens a door.", "The dog runs across the street."]


@pytest.fixture(scope="module")
def model(tiny_clip: Path) -> Gexia:
    torch.manual_seed(1)
    backbone = TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu")
    return Gexia.from_backbone(backbone, bases=3, heads=2, frames={"image": 1, "short": 3, "long": 3}, video_rounds=2)


def some_frames(count: int) -> Frames:
    pixels = np.random.default_rng(count).integers(0, 255, (count, 40, 40, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(count, dtype=np.float64))


def falls_by_hand(model: Gexia, frames: Frames, position: int, texts: torch.Tensor) -> np.ndarray:
    """Cover every window of one frame's input, encode all frames anew, and take the mean over windows of a pixel."""
    inputs = torch.cat(list(model.backbone.image_batches(frames)))
    real = torch.ones(1, len(inputs), dtype=torch.bool)
    side = inputs.shape[-1]

    def scores(pixels: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            vectors = model.video_vectors(model.dense_of(pixels), real, torch.tensor([2])).double()
        return torch.cosine_similarity(vectors, texts.double()).numpy()

    total, count = np.zeros((len(texts), side, side)), np.zeros((side, side))
    windows, plain = covers(side, side), scores(inputs)
    for rows in windows:
        for columns in windows:
            copy, cover = inputs.clone(), rows[:, None] & columns
            copy[position][:, cover] = inputs[position].mean(dim=(1, 2))[:, None]
            total[:, cover.numpy()] += (plain - scores(copy))[:, None]
            count += cover.numpy()
    return total / count


def test_occlusion_of_a_full_video_equals_explicit_covering(model: Gexia, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = some_frames(3)
    texts = model.encode_text(TEXTS).pooled
    dense = model.dense_video(frames)
    pixels = open_tower(model.backbone).prepare(frames)
    expected = falls_by_hand(model, frames, 1, texts)
    for largest in (7 * dense.dense.numel(), maps_module.MAX_CELLS):
        monkeypatch.setattr(maps_module, "MAX_CELLS", largest)
        maps = maps_module.occlusion(within(open_tower(model).fusion, dense, 1), pixels[1:2], texts)
        assert np.abs(maps[0].numpy() - expected).max() < 1e-5
    assert np.abs(expected).max() > 1e-4


def test_a_frame_left_out_is_a_video_without_it(model: Gexia) -> None:
    frames = some_frames(3)
    text = model.encode_text(TEXTS).pooled
    wholes, falls = without_each(open_tower(model).fusion, model.dense_video(frames), text)
    embedding = model.encode_video(frames)
    assert embedding.whole is not None
    assert np.allclose(wholes, torch.cosine_similarity(embedding.whole[None], text).numpy(), atol=1e-6)
    for position in range(3):
        remaining = [i for i in range(3) if i != position]
        rest = model.encode_video(Frames(frames.pixels[remaining], frames.pts[remaining])).whole
        assert rest is not None
        expected = wholes - torch.cosine_similarity(rest[None], text).numpy()
        assert np.allclose(falls[:, position], expected, atol=1e-6)


def test_leaving_out_the_only_frame_changes_no_score(model: Gexia) -> None:
    wholes, falls = without_each(
        open_tower(model).fusion, model.dense_video(some_frames(1)), model.encode_text(TEXTS).pooled
    )
    assert wholes.shape == (2,)
    assert falls.tolist() == [[0.0], [0.0]]


def test_explain_takes_a_gexia(call: Call, model: Gexia, tmp_path: Path) -> None:
    """Shown are frames that the vector is made of, at most three of a film of six seconds."""
    film = write_mp4(tmp_path / "film.mp4", [some_frames(24).pixels], fps=4.0)
    model.save_pretrained(tmp_path / "gexia")
    options = ("--text", " ".join(TEXTS), "--frames", 8, "--model", tmp_path / "gexia")
    code, out, err = call(
        "explain", film, *options, "--method", "occlusion", "--plot", tmp_path / "where.png", "--json"
    )
    document = json.loads(out)
    assert code == 0, err
    assert document["sentences"] == [*TEXTS, " ".join(TEXTS)]
    assert len(document["cosines"]) == 3
    times = [frame["time"] for frame in document["frames"]]
    assert len(times) == 3
    assert times == sorted(times)
    assert {"sentence", "fall", "map"} == set(document["frames"][0]["sentences"][0])
    assert np.asarray(Image.open(tmp_path / "where.png").convert("L")).std() > 10
    code, _, err = call("explain", film, *options, "--method", "gradcam", "--plot", tmp_path / "no.png")
    assert code == 2
    assert "method occlusion" in err


def test_frames_of_a_whole_video_are_coloured_by_one_scale() -> None:
    weak, strong = np.array([[0.0, 0.1]], dtype=np.float32), np.array([[0.0, -0.4]], dtype=np.float32)
    assert overlay(weak)[0, 1, 3] == overlay(strong)[0, 1, 3] == pytest.approx(0.85)
    assert overlay(weak, highest=0.4)[0, 1, 3] == pytest.approx(0.85 / 4)
    assert (overlay(weak, highest=0.0)[0, 0, 3], overlay(weak, highest=0.4)[0, 0, 3]) == (0, 0)


def test_maps_and_picture_of_a_whole_video(model: Gexia, tmp_path: Path) -> None:
    film = write_mp4(tmp_path / "film.mp4", [some_frames(24).pixels], fps=4.0)
    maps = saliency_maps(model, film, TEXTS[:1], 2, "occlusion")
    assert maps.sentences == tuple(TEXTS[:1])
    assert maps.values.shape == (1, 2)
    assert maps.best.tolist() == [maps.values[0].argmax()]
    assert maps.measure == "fall"
    draw_saliency(maps, tmp_path / "new" / "one.png")
    assert (tmp_path / "new" / "one.png").exists()
    with pytest.raises(UsageError, match="must be at least 1"):
        saliency_maps(model, film, TEXTS, 0, "occlusion")
