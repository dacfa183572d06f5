"""The stage before MoVA: images as one-frame videos, SmartCLIP's objective, and what the next stage takes over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mova.data.batch import PairVectors
from mova.data.dataset import Draw, PairDataset
from mova.data.manifest import read_manifest, write_manifest
from mova.errors import ModelError, UsageError
from mova.models.mova.build import carry_masks
from mova.models.mova.model import Mova
from mova.models.registry import load
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.train.objectives.base import CachedEncoder
from mova.train.objectives.smartclip import SmartClip
from mova.train.recipe import Recipe, load_recipe
from mova.train.run import train
from mova.video.reader import FrameRule, read_count
from tests.support.pair_batches import unread_batch

SMALL = {"vocabulary": ["red", "blue"], "image_size": 16, "stem": [8], "hidden_size": 16, "heads": 2}


def write_image(path: Path, pixels: np.ndarray) -> Path:
    """One picture by FFmpeg, as its name's end says."""
    codec = {".png": "png", ".jpg": "mjpeg"}[path.suffix]
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = "rgb24" if codec == "png" else "yuvj444p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def images_manifest(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Worlds' rows with a picture from each in the video's place, png and jpg in turn; no durations."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "coco").mkdir()
    rows = []
    for number, row in enumerate(read_manifest(worlds_manifest)):
        name = f"coco/{row.id}{('.png', '.jpg')[number % 2]}"
        write_image(folder / name, read_count(worlds_manifest.parent / row.video, 1).pixels[0])
        rows.append(
            replace(row, video=name, duration=None, captions=tuple(replace(c, sentences=()) for c in row.captions))
        )
    return write_manifest(folder / "manifest.jsonl", rows)


@pytest.fixture(scope="session")
def warm_recipe(tiny_clip: Path, images_manifest: Path) -> Callable[..., Recipe]:
    """The shipped recipe, one step of it on a tiny CLIP."""

    def recipe(name: str = "warmup-sharegpt4v", **more: Any) -> Recipe:
        small = {
            "model.source": tiny_clip,
            "data.manifest": images_manifest,
            "training.max_steps": 1,
            "training.save_steps": 1,
            "training.warmup_steps": 0,
            "training.per_device_train_batch_size": 3,
            "training.cache_chunk": 2,
            "training.dataloader_num_workers": 0,
            "training.logging_steps": 1,
            "training.report_to": "[]",
        }
        return load_recipe(name, {key: str(value) for key, value in (small | more).items()})

    return recipe


@pytest.fixture(scope="session")
def warm(warm_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a warm-up."""
    folder = tmp_path_factory.mktemp("warm-up")
    train(warm_recipe(**{"training.learning_rate": 1e-3, "training.encoder_learning_rate": 1e-3}), folder)
    return folder


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("rule", [FrameRule(1, fps=1.0), FrameRule(64, fps=1.0), FrameRule(1, "segment_midpoint")])
def test_an_image_is_a_video_of_one_frame(tmp_path: Path, suffix: str, rule: FrameRule) -> None:
    rows, columns = np.mgrid[:48, :64]
    pixels = np.stack([rows * 4, columns * 3, rows + columns], axis=-1).astype(np.uint8)
    frames = rule.read(write_image(tmp_path / f"picture{suffix}", pixels))
    assert frames.pixels.shape == (1, 48, 64, 3)
    assert frames.pts.tolist() == [0.0]
    worst = np.abs(frames.pixels[0].astype(int) - pixels).max()
    assert worst == 0 if suffix == ".png" else worst < 40


def test_captions_without_listed_sentences_are_split_and_drawn_per_epoch(images_manifest: Path) -> None:
    data = PairDataset(images_manifest, split="train", sampling=FrameRule(1, fps=1.0), captions="sentence")
    drawn = {data[Draw(0, epoch)].text for epoch in range(12)}  # type: ignore[union-attr]
    assert len(drawn) > 1
    assert all(any(text in caption.text for caption in data.rows[0].captions) for text in drawn)


def vectors_of(images: int, tokens: int, width: int, seed: int = 0) -> PairVectors:
    """Random vectors of a batch of images, one text shorter than the others, two texts of one image."""
    generator = torch.Generator().manual_seed(seed)
    real = torch.ones(images, tokens, dtype=torch.bool)
    real[1, 3:] = False
    group = torch.arange(images)
    group[2] = 0
    return PairVectors(
        frames=torch.randn(images, 1, width, generator=generator),
        texts=torch.randn(images, width, generator=generator),
        tokens=torch.randn(images, tokens, width, generator=generator),
        scale=torch.tensor(12.0),
        frame_mask=torch.ones(images, 1, dtype=torch.bool),
        token_mask=real,
        group=group,
    )


def small_mova(preset: str, **settings: Any) -> Mova:
    torch.manual_seed(1)
    return Mova.from_backbone(WorldsTiny(WorldsTinyConfig(embedding_dim=24, **SMALL)), preset, **settings)


def written_out(model: Mova, vectors: PairVectors, weight: float) -> float:
    """The loss pair by pair, in float64."""
    assert model.temporal is not None
    z, u, h = (F.normalize(x.double(), dim=-1) for x in (vectors.frames, vectors.texts, vectors.tokens))
    network = model.temporal.double()
    count = len(u)
    scores, probabilities = torch.zeros(count, count), []
    for n in range(count):
        tokens = h[n, vectors.token_mask[n]][None]
        p = network(u[n][None, None], network.read(tokens, torch.ones(1, tokens.shape[1], dtype=torch.bool)))[0, 0]
        probabilities.append(p)
        mask = (p > 0.5).double() if model.config.hard else p
        for v in range(count):
            scores[v, n] = 12.0 * F.cosine_similarity(z[v, 0] * mask, u[n], dim=0)
    same_video, exact = vectors.group[:, None] == vectors.group, scores.double()
    losses = []
    for logits, right in ((exact, same_video), (exact.T, same_video.T)):
        rows = [-(logits[i].softmax(0)[right[i]].sum()).log() for i in range(count)]
        losses.append(torch.stack(rows).mean())
    model.float()
    return float((losses[0] + losses[1]) / 2 + weight * torch.stack(probabilities).mean())


@pytest.mark.parametrize("settings", [{}, {"hard": False}, {"form": "joint", "last_residual": True}])
def test_the_loss_equals_explicit_arithmetic(settings: dict[str, Any]) -> None:
    model = small_mova("smartclip", **settings)
    vectors = vectors_of(5, 7, 24)
    with torch.no_grad():
        loss, parts = SmartClip(sparsity=0.3).forward(unread_batch(len(vectors)), CachedEncoder(model, vectors))
        expected = written_out(model, vectors, 0.3)
    assert float(loss) == pytest.approx(expected, abs=2e-5)
    assert float(loss) == pytest.approx(float(parts["one_way"] + 0.3 * parts["sparsity"]), abs=1e-6)
    assert 0 <= float(parts["density"]) <= 1


def test_the_mask_depends_on_the_caption_alone_and_padding_never_counts() -> None:
    model, objective = small_mova("smartclip"), SmartClip()
    vectors = vectors_of(4, 6, 24)
    before = objective.scores(vectors, model)
    changed_frames = vectors.frames.clone()
    changed_frames[0] = changed_frames[0] + 1
    moved = objective.scores(replace(vectors, frames=changed_frames), model)
    assert torch.equal(before[1:], moved[1:])
    tokens = vectors.tokens.clone()
    tokens[1, 3:] = float("nan")
    assert torch.allclose(before, objective.scores(replace(vectors, tokens=tokens), model), atol=1e-6)
    frames = torch.cat([vectors.frames, torch.full_like(vectors.frames, 9.0)], dim=1)
    mask = torch.tensor([[True, False]]).expand(4, 2)
    padded = objective.scores(replace(vectors, frames=frames, frame_mask=mask), model)
    assert torch.allclose(before, padded, atol=1e-6)


def test_sparsity_closes_masks_and_the_contrast_alone_need_not() -> None:
    density = []
    for weight in (0.0, 5.0):
        model = small_mova("smartclip")
        vectors = vectors_of(6, 5, 24)
        assert model.temporal is not None
        optimiser = torch.optim.Adam(model.temporal.parameters(), lr=3e-3)
        for _ in range(40):
            loss, parts = SmartClip(weight).forward(unread_batch(len(vectors)), CachedEncoder(model, vectors))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert torch.isfinite(loss)
        density.append(float(parts["density"]))
    assert density[1] < density[0] - 0.2


def test_unsupported_smartclip_settings_are_named() -> None:
    with pytest.raises(UsageError, match="sparsity must be 0 or more"):
        SmartClip(-0.1)
    vectors = vectors_of(4, 6, 24)
    with pytest.raises(UsageError, match=r"model\.preset to smartclip"):
        SmartClip().scores(vectors, small_mova("repaired"))
    model = small_mova("smartclip")
    with pytest.raises(UsageError, match="no frame masks"):
        model.modular_similarity([], "A red square.")


def test_one_warm_up_step_changes_every_weight(warm: Path, warm_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    model = load(warm, precision="fp32", device="cpu")
    assert isinstance(model, Mova)
    assert (model.config.masks, model.concept, model.selector) == ("caption", None, None)
    rates = {"training.learning_rate": 0.0, "training.encoder_learning_rate": 0.0}
    before = dict(train(warm_recipe(**rates), tmp_path).named_parameters())
    assert [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])] == []
    assert model.backbone.text_rule.length == 248
    log = (warm / "log.jsonl").read_text("utf-8")
    assert all(name in log for name in ('"one_way"', '"sparsity"', '"density"', '"eval_R@1"'))


@pytest.mark.parametrize(
    ("preset", "more", "carried"),
    [
        ("repaired", {}, ["temporal"]),
        ("paper", {}, []),
        ("paper", {"form": "cross", "last_residual": False}, ["temporal"]),
        ("subsets", {}, []),
    ],
)
def test_the_next_stage_takes_over_fitting_masks(
    preset: str, more: dict[str, Any], carried: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    start, model = small_mova("smartclip"), small_mova(preset, **more)
    assert start.temporal is not None
    for weight in start.temporal.parameters():
        weight.data += 0.25
    fresh = {name: weight.clone() for name, weight in model.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        assert carry_masks(start, model) == carried
    assert bool(caplog.records) == (not carried)
    for name, weight in model.state_dict().items():
        if carried and name.startswith("temporal."):
            assert torch.equal(weight, start.state_dict()[name])
        else:
            assert torch.equal(weight, fresh[name])


@pytest.mark.parametrize("preset", ["subsets", "repaired"])
def test_mova_trains_one_step_from_the_folder_of_a_warm_up(
    warm: Path, warm_recipe: Callable[..., Recipe], worlds_manifest: Path, tmp_path: Path, preset: str
) -> None:
    settings: dict[str, Any] = {"model.source": warm, "data.manifest": worlds_manifest, "data.frames": 3}
    settings |= {"model.preset": preset, "objective.preset": preset, "training.learning_rate": 0.0}
    settings |= {"training.encoder_learning_rate": 0.0}
    model = train(warm_recipe("activitynet", **settings), tmp_path)
    start = load(warm, precision="fp32", device="cpu").state_dict()
    names = [name for name in start if name in model.state_dict()]
    assert [name for name in names if not torch.equal(start[name], model.state_dict()[name])] == []
    assert any(name.startswith("temporal.") for name in names) == (preset == "repaired")
    assert '"eval_R@1"' in (tmp_path / "log.jsonl").read_text("utf-8")
    assert isinstance(load(tmp_path, precision="fp32", device="cpu"), Mova)


def test_a_different_text_length_between_stages_is_rejected(
    warm: Path, warm_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"texts of up to 248 tokens.*first stage"):
        train(warm_recipe("activitynet", **{"model.source": warm, "model.text_length": 100}), tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "mova"}')
    with pytest.raises(ModelError):
        train(warm_recipe("activitynet", **{"model.source": tmp_path}), tmp_path / "run")
