"""Masks of sentences over a video, Grad-CAM of the masked cosine, and active stretches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mova.errors import UsageError
from mova.explain.maps import saliency_maps
from mova.explain.masks import mask_weights
from mova.explain.saliency import grad_cam
from mova.explain.stretches import active_stretches
from mova.models.mova.model import Mova
from mova.models.mova.sentence_masks import sentence_masks
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.plots.masks import draw_masks
from mova.plots.saliency import ACTIVE, draw_saliency
from mova.scoring.masked import modular_score
from tests.support.fakes import ColourEncoder, write_colours

Call = Callable[..., tuple[int, str, str]]
SENTENCES = ["a red star", "a blue ring red"]
WIDTH = 16


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("films") / "film.mp4", [("red", 3), ("white", 3), ("blue", 2)])


def tiny() -> WorldsTiny:
    torch.manual_seed(0)
    words = ["<pad>", "<unk>", "a", "red", "blue", "star", "ring"]
    config = WorldsTinyConfig(
        vocabulary=words, image_size=32, stem=[8, 8], hidden_size=WIDTH, heads=2, embedding_dim=WIDTH
    )
    return WorldsTiny(config).eval()


def masked(preset: str, **settings: object) -> Mova:
    """A MoVA whose masks differ by frame and text and are about half open."""
    torch.manual_seed(1)
    model = Mova.from_backbone(tiny(), preset, heads=2, **settings)
    for network in (model.temporal, model.concept):
        if network is not None:
            nn.init.normal_(network.head.logits.weight, std=2.0)
            nn.init.zeros_(network.head.logits.bias)
    return model.eval()


@pytest.mark.parametrize("preset", ["paper", "repaired"])
def test_masks_of_sentences_are_those_of_the_model_pair_by_pair(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mova.models.mova.sentence_masks.CHUNK", 3)
    model, frames = masked(preset), torch.randn(7, WIDTH)
    texts = model.encode_text(SENTENCES)
    found = sentence_masks(model, frames, texts)
    assert found is not None
    assert found.m_t is not None
    assert found.m_v is not None
    assert 0.1 < float(found.m_t.mean()) < 0.9
    for s in range(2):
        real = texts.mask[s]
        ones = torch.ones(1, 7, dtype=torch.bool)
        inputs = (texts.tokens[s, real][None], real[real][None], texts.pooled[s][None])
        masks = model.masks(frames[None], ones, *inputs)
        assert torch.equal(found.m_t[s], masks.m_t[0])
        assert torch.equal(found.m_v[s], masks.m_v[0])
        whole = modular_score(frames[None], texts.pooled[s][None], masks.m_t, masks.m_v, ones, "mod").detach()
        assert float(found.scores[s].mean()) == pytest.approx(float(whole), abs=1e-6)
        text = texts.pooled[s].double().numpy()
        energy = [np.sum((text * row) ** 2) / np.sum(text**2) for row in masks.m_t[0].detach().numpy()]
        assert np.allclose(found.selected[s].numpy(), energy, atol=1e-6)


def test_masks_over_units_are_the_weights_of_the_sentences() -> None:
    frames = torch.randn(5, WIDTH)
    model = masked("subsets", unit_concepts="soft")
    texts = model.encode_text(SENTENCES)
    found = sentence_masks(model, frames, texts)
    assert found is not None
    assert found.target == "units"
    assert torch.allclose(found.selected.T, model.unit_weights(frames, texts.pooled)[:, :2], atol=1e-6)
    assert found.m_v is not None
    plain = sentence_masks(masked("subsets"), frames, texts)
    assert plain is not None
    assert plain.m_v is None
    assert torch.allclose(plain.scores, model.relevance(texts, frames), atol=1e-6)
    for other in (tiny(), masked("control"), masked("smartclip"), ColourEncoder()):
        assert sentence_masks(other, frames, texts) is None


def test_frames_list_the_texts_that_they_match_best(film: Path, tmp_path: Path) -> None:
    for preset, texts in (("paper", 3), ("subsets", 2)):
        weights = mask_weights(masked(preset), film, SENTENCES, 4)
        assert weights.scores.shape == (texts, len(weights.times))
        ranking = weights.scores if preset == "paper" else weights.selected
        for frame in weights.to_json()["frames"]:
            t = int(np.abs(weights.times - frame["time"]).argmin())
            values = [ranking[row["sentence"], t] for row in frame["strongest"]]
            assert values == sorted(ranking[:, t], reverse=True)[:3]
            assert ("m_v" in frame["strongest"][0]) == (preset == "paper")
        draw_masks(weights, tmp_path / preset / "masks.png")
        assert np.asarray(Image.open(tmp_path / preset / "masks.png").convert("L")).std() > 10


def test_a_model_without_masks_names_what_to_use(call: Call, film: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="method subsets"):
        mask_weights(ColourEncoder(), film, ["It is red."], 4)
    model = tmp_path / "paper"
    masked("paper").save_pretrained(model)
    options = ("--text", "A red star. A blue ring.", "--model", model, "--frames", 3, "--json")
    code, out, err = call("explain", film, "--method", "masks", "--plot", tmp_path / "m.png", *options)
    assert code == 0, err
    document = json.loads(out)
    assert (document["target"], document["score"], len(document["sentences"])) == ("dimensions", "masked cosine", 3)
    code, out, err = call("explain", film, "--method", "gradcam", "--plot", tmp_path / "g.png", *options)
    assert code == 0, err
    document = json.loads(out)
    assert document["score"] == "masked cosine"
    assert [len(curve) for curve in document["curves"]] == [len(document["times"])] * 2
    code, _, err = call("explain", film, "--by", "color", "--plot", tmp_path / "g.png", *options)
    assert (code, "--method shared" in err) == (2, True)


class Sum(nn.Module):
    """A tower whose vector is a weighted sum of its positions."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.Identity()
        self.places = torch.tensor([0.1, 0.4, 0.2, 0.7, -0.3, 0.5])

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.einsum("ndp,p->nd", self.reader(pixels).flatten(2), self.places)


def test_grad_cam_of_the_masked_cosine_is_that_of_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """`y = cos(v * m_v, u * m_t)` with `v = sum_p q_p A_p`: `alpha = mean(q) dy / dv`, by central differences."""
    monkeypatch.setattr("mova.explain.saliency.CHUNK", 2)
    rng = np.random.default_rng(2)
    pixels, texts = rng.normal(size=(5, 4, 2, 3)), rng.normal(size=(2, 4))
    m_t, m_v = (rng.integers(0, 2, size=(2, 5, 4)).astype(float) for _ in range(2))
    m_t[..., 0] = m_v[..., 0] = 1.0
    m_v[0, 0] = 0.0
    toy = Sum()
    q = toy.places.double().numpy()
    inputs = [torch.from_numpy(part).float() for part in (pixels, texts, m_t, m_v)]
    heat = grad_cam(toy, toy.reader, 1, inputs[0], inputs[1], (inputs[2], inputs[3])).numpy()

    def y(v: np.ndarray, s: int, n: int) -> float:
        a, b = v * m_v[s, n], texts[s] * m_t[s, n]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    for n in range(5):
        v = pixels[n].reshape(4, 6) @ q
        for s in range(2):
            if not m_v[s, n].any():
                assert not heat[n, s].any(), "a closed mask leaves nothing to explain"
                continue
            slope = [(y(v + h, s, n) - y(v - h, s, n)) / 2e-5 for h in 1e-5 * np.eye(4)]
            expected = np.maximum(q.mean() * np.array(slope) @ pixels[n].reshape(4, 6), 0).reshape(2, 3)
            assert np.abs(heat[n, s] - expected).max() < 1e-4
    whole = torch.ones(2, 5, 4)
    plain = grad_cam(toy, toy.reader, 1, inputs[0], inputs[1])
    assert torch.allclose(grad_cam(toy, toy.reader, 1, inputs[0], inputs[1], (whole, whole)), plain, atol=1e-6)


def test_grad_cam_explains_the_masked_cosine_where_there_are_masks(film: Path, tmp_path: Path) -> None:
    model = masked("paper")
    maps = saliency_maps(model, film, SENTENCES, 4, "gradcam")
    encoded = model.encode_video(film)
    found = sentence_masks(model, encoded.frames, model.encode_text(SENTENCES))
    assert found is not None
    assert maps.timeline is not None
    assert maps.score == "masked cosine"
    assert np.allclose(maps.timeline.curves, found.scores.numpy(), atol=1e-6)
    chosen = [int(np.abs(encoded.times - time).argmin()) for time in maps.times]
    assert np.allclose(maps.values, found.scores.numpy()[:, chosen], atol=1e-6)
    for preset, method in (("subsets", "gradcam"), ("paper", "occlusion")):
        assert saliency_maps(masked(preset), film, SENTENCES, 2, method).score == "cosine"
    draw_saliency(maps, tmp_path / "where.png")
    picture = np.asarray(Image.open(tmp_path / "where.png").convert("RGB")).astype(int)
    red = np.array([int(ACTIVE[i : i + 2], 16) for i in (1, 3, 5)])
    assert (np.abs(picture - red).max(axis=2) < 3).sum() > 200


def test_stretches_are_where_a_curve_is_half_as_high_as_its_peak() -> None:
    curve = np.array([0.1, 0.1, 0.9, 0.2, 0.8, 0.1, 0.1, 0.55, 0.1, 0.1])
    for scale, offset in ((1.0, 0.0), (0.01, -5.0)):
        found = active_stretches(scale * curve + offset, np.arange(10.0), 10.0)
        assert [(stretch.span.start, stretch.span.end) for stretch in found] == [(2.0, 5.0), (7.0, 8.0)]
    assert active_stretches(np.full(4, 0.3), np.arange(4.0), 4.0) == ()
    assert active_stretches([0.4], [0.0], 2.0) == ()
