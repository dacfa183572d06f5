"""Masks around backbones: the contract of all models, presets, saving, re-scoring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.speed.training_step import PUBLISHED, SEQUENTIAL, parameters
from mova.baselines.temporal_transformer import TemporalTransformer
from mova.data.batch import PairVectors
from mova.errors import ModelError, UsageError
from mova.eval.tasks.scoring_forms import ScoringForm
from mova.models.background_captions import relevance_threshold
from mova.models.encoder import VideoEmbedding
from mova.models.mova.config import PRESETS, MovaConfig
from mova.models.mova.model import Mova
from mova.models.registry import load
from mova.models.two_tower.model import TwoTower
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.scoring.caption_score import EvidenceRule
from mova.scoring.masked import modular_score
from mova.scoring.pooling import pad_rows
from mova.text.units import UnitRule
from mova.train.objectives.mova import MovaObjective
from mova.types import Frames
from tests.support.fakes import ColourEncoder

CAPTIONS = ["A man opens a door. Then he pours tea.", "A red star rises.", "Two squares. A dog runs! Children play."]
WORDS = ["<pad>", "<unk>", *sorted({w.strip(".!").lower() for c in CAPTIONS for w in c.split()})]
MASKED = ["paper", "repaired", "subsets"]


def clip(count: int, seed: int = 0) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(count) / 2)


def worlds() -> WorldsTiny:
    torch.manual_seed(0)
    config = WorldsTinyConfig(
        vocabulary=WORDS,
        image_size=32,
        stem=[8, 16],
        hidden_size=16,
        heads=2,
        embedding_dim=24,
        relevance_threshold=0.4,
    )
    return WorldsTiny(config).eval()


@pytest.fixture
def backbones(tiny_clip: Path, tiny_siglip: Path) -> dict:
    return {
        "clip": lambda: TwoTower.from_checkpoint(tiny_clip, precision="fp32"),
        "long clip": lambda: TwoTower.from_checkpoint(tiny_clip, precision="fp32", text_length=248),
        "siglip": lambda: TwoTower.from_checkpoint(tiny_siglip, precision="fp32"),
        "worlds": worlds,
    }


def around(backbone: object, preset: str, **settings: object) -> Mova:
    torch.manual_seed(1)
    model = Mova.from_backbone(backbone, preset, **settings)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.startswith("backbone."):
                weight += 0.1 * torch.randn_like(weight)
    return model


def videos(model: Mova) -> list[VideoEmbedding]:
    return [model.encode_video(clip(n, seed=n)) for n in (5, 2, 1)]


def pair(model: Mova) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Three videos and their texts as a training batch."""
    frames, frame_mask = pad_rows([video.frames for video in videos(model)])
    texts = model.encode_text(CAPTIONS)
    return frames, frame_mask, texts.tokens, texts.mask, texts.pooled


@pytest.mark.parametrize("kind", ["clip", "long clip", "siglip", "worlds"])
@pytest.mark.parametrize("preset", [*MASKED, "control"])
def test_a_saved_folder_holds_everything(kind: str, preset: str, backbones: dict, tmp_path: Path) -> None:
    made = around(backbones[kind](), preset)
    made.save_pretrained(tmp_path / "mine")
    again = load(tmp_path / "mine", precision="fp32")
    assert isinstance(again, Mova)
    assert again.config.preset == preset
    assert {key: getattr(again.config, key) for key in PRESETS[preset]} == PRESETS[preset]
    assert again.name == str(tmp_path / "mine")
    for name in ("frame_rate", "context", "fixed_frame_rate", "relevance_threshold", "embedding_dim"):
        assert getattr(again, name) == getattr(made, name)
    assert tuple(again.background) == tuple(made.background)
    assert again.fingerprint() == made.fingerprint() == made.backbone.fingerprint()
    assert torch.equal(again.encode_frames(clip(3)), made.encode_frames(clip(3)))
    words = " ".join(CAPTIONS * 12) if kind == "long clip" else CAPTIONS[0]
    assert torch.equal(again.encode_text(words).tokens, made.encode_text(words).tokens)
    if preset != "control":
        torch.testing.assert_close(
            again.modular_similarity(videos(again), CAPTIONS), made.modular_similarity(videos(made), CAPTIONS)
        )
    card = (tmp_path / "mine" / "README.md").read_text()
    assert f"| preset | {preset} |" in card
    assert f"{made.added_parameters().parameters:,}" in card


def test_calibration_is_saved(tmp_path: Path) -> None:
    model = around(worlds(), "subsets")
    model.relevance_threshold, model.rule, model.units = 0.7, EvidenceRule(g=0.5, theta=0.1), UnitRule(longest=9)
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert (again.relevance_threshold, again.rule, again.units) == (0.7, model.rule, model.units)
    assert again.backbone.rule == model.rule
    assert again.encode_units(["red star " * 5])[0].shape[0] == len(model.units.split("red star " * 5)) > 1
    torch.testing.assert_close(again.score(videos(again), CAPTIONS), model.backbone.score(videos(model), CAPTIONS))


def test_the_encoder_contract_is_served_by_the_backbone(backbones: dict) -> None:
    backbone = backbones["worlds"]()
    model = around(backbone, "repaired")
    assert torch.equal(model.encode_frames(clip(4)), backbone.encode_frames(clip(4)))
    assert torch.equal(model.encode_video(clip(4)).frames, backbone.encode_video(clip(4)).frames)
    timeline, expected = model.align(clip(6), CAPTIONS[0]), backbone.align(clip(6), CAPTIONS[0])
    for sentence, expected_sentence in zip(timeline.sentences, expected.sentences, strict=True):
        np.testing.assert_array_equal(sentence.relevance, expected_sentence.relevance)
    with pytest.raises(UsageError, match="frames per second"):
        model.encode_video(clip(3), fps=1.0)


@pytest.mark.parametrize("preset", ["paper", "repaired"])
@pytest.mark.parametrize("hard", [True, False])
def test_masks_of_a_batch(preset: str, hard: bool, backbones: dict) -> None:
    model = around(backbones["clip"](), preset, hard=hard)
    frames, frame_mask, tokens, token_mask, text = pair(model)
    masks = model.masks(frames, frame_mask, tokens, token_mask, text)
    for mask, p in ((masks.m_t, masks.p_t), (masks.m_v, masks.p_v)):
        assert mask.shape == frames.shape
        assert torch.equal(mask, (p > 0.5).float() if hard else p)
        assert not mask[~frame_mask].any()
        assert p[frame_mask].min() > 0
    garbage = frames.masked_fill(~frame_mask.unsqueeze(-1), float("nan"))
    wider = torch.cat([garbage, torch.full((3, 2, frames.shape[2]), float("nan"))], dim=1)
    again = model.masks(wider, torch.nn.functional.pad(frame_mask, (0, 2)), tokens, token_mask, text)
    torch.testing.assert_close(again.p_t[:, :5], masks.p_t, atol=1e-6, rtol=0)
    torch.testing.assert_close(again.p_v[:, :5], masks.p_v, atol=1e-6, rtol=0)


@pytest.mark.parametrize("preset", ["paper", "repaired"])
@pytest.mark.parametrize("score", ["mod", "agg"])
def test_rescoring_equals_the_masks_of_each_pair(preset: str, score: str, backbones: dict, monkeypatch) -> None:
    model = around(backbones["worlds"](), preset)
    encoded, texts = videos(model), model.encode_text(CAPTIONS)
    scores = model.modular_similarity(encoded, CAPTIONS, score)
    for v, video in enumerate(encoded):
        for n in range(3):
            frames = video.frames[None]
            real = torch.ones(1, len(video.frames), dtype=torch.bool)
            m = model.masks(frames, real, texts.tokens[n : n + 1], texts.mask[n : n + 1], texts.pooled[n : n + 1])
            expected = modular_score(frames, m.text, m.m_t, m.m_v, real, score)
            torch.testing.assert_close(scores[v, n], expected[0], atol=1e-6, rtol=0)
    monkeypatch.setattr("mova.models.mova.model.READ_POSITIONS", 3)
    torch.testing.assert_close(model.modular_similarity(encoded, texts, score), scores, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        model.modular_similarity(encoded[1:2], CAPTIONS[2], score), scores[1:2, 2:], atol=1e-6, rtol=0
    )


def test_subsets_score_all_pairs(backbones: dict, monkeypatch) -> None:
    model = around(backbones["siglip"](), "subsets", unit_concepts="soft")
    encoded, units = videos(model), model.encode_units(CAPTIONS)
    assert [len(embedding) for embedding in units] == [2, 1, 3]
    scores = model.modular_similarity(encoded, CAPTIONS)
    frames, frame_mask = pad_rows([video.frames for video in encoded])
    torch.testing.assert_close(scores, model.unit_similarity(frames, frame_mask, *pad_rows(units)))
    monkeypatch.setattr("mova.models.mova.model.SCORED_CELLS", 1)
    torch.testing.assert_close(model.modular_similarity(encoded, units), scores, atol=1e-6, rtol=0)
    covered = model.modular_similarity(encoded, CAPTIONS, "subc")
    assert (covered - scores).abs().max() > 1e-4


def test_unsupported_requests_are_reported(backbones: dict) -> None:
    control, dimensions, units = (around(backbones["worlds"](), p) for p in ("control", "repaired", "subsets"))
    encoded = videos(control)
    with pytest.raises(UsageError, match="no frame masks"):
        control.modular_similarity(encoded, CAPTIONS)
    with pytest.raises(UsageError, match="not over dimensions"):
        units.masks(*pair(units))
    frames, frame_mask, tokens, token_mask, text = pair(dimensions)
    with pytest.raises(ValueError, match="not 1 texts for 3 videos"):
        dimensions.masks(frames, frame_mask, tokens[:1], token_mask[:1], text[:1])
    with pytest.raises(UsageError, match="selects no units"):
        dimensions.unit_similarity(*pad_rows([v.frames for v in encoded]), *pad_rows(units.encode_units(CAPTIONS)))
    with pytest.raises(UsageError, match="encode_units"):
        units.modular_similarity(encoded, units.encode_text(CAPTIONS))
    with pytest.raises(UsageError, match="encoding by this model"):
        dimensions.modular_similarity(encoded, units.encode_units(CAPTIONS))
    with pytest.raises(UsageError, match="sub"):
        dimensions.modular_similarity(encoded, CAPTIONS, "sub")
    with pytest.raises(UsageError, match="no video"):
        dimensions.modular_similarity([], CAPTIONS)
    with pytest.raises(UsageError, match="no text"):
        units.modular_similarity(encoded, [])
    with pytest.raises(UsageError, match=r"colours-a.*TwoTower, WorldsTiny"):
        Mova.from_backbone(ColourEncoder())
    with pytest.raises(UsageError, match="paper, repaired"):
        Mova.from_backbone(worlds(), "best")
    with pytest.raises(UsageError, match="no setting deep"):
        Mova.from_backbone(worlds(), deep=3)
    with pytest.raises(UsageError, match="divide"):
        Mova.from_backbone(worlds(), heads=7)
    with pytest.raises(UsageError, match="masks 'all' are unknown"):
        MovaConfig(masks="all")


def loss_of(model: Mova) -> Tensor:
    """A loss through backbone and masks."""
    pixels = torch.randint(0, 256, (4, 9, 32, 32), dtype=torch.uint8)
    ids = torch.randint(2, len(WORDS), (2, 6))
    out = model(stacks=pixels, input_ids=ids, attention_mask=torch.ones_like(ids))
    frames, all_real = out["frames"].view(2, 2, -1), torch.ones(2, 2, dtype=torch.bool)
    if model.config.masks == "units":
        units = out["texts"].view(2, 1, -1)
        return model.unit_similarity(frames, all_real, units, all_real[:, :1]).sum()
    m = model.masks(frames, all_real, out["tokens"], torch.ones(2, 6, dtype=torch.bool), out["texts"])
    return modular_score(m.frames, m.text, m.m_t, m.m_v, all_real).sum() + m.p_t.mean() + m.p_v.mean()


@pytest.mark.parametrize("preset", MASKED)
def test_every_mask_parameter_is_trained_and_a_frozen_backbone_is_not(preset: str) -> None:
    model = around(worlds(), preset, unit_concepts="soft").train()
    statistics = {name: value.clone() for name, value in model.backbone.named_buffers()}
    model.freeze_backbone()
    loss_of(model).backward()
    for name, weight in model.named_parameters():
        if name.startswith("backbone."):
            assert weight.grad is None, name
        else:
            assert weight.grad is not None, name
            assert torch.isfinite(weight.grad).all(), name
    assert all(torch.equal(value, statistics[name]) for name, value in model.backbone.named_buffers())
    assert model.training
    assert not model.backbone.training
    model.freeze_backbone(False)
    loss_of(model).backward()
    assert model.backbone.training
    assert model.backbone.frame_tower.project.weight.grad.abs().sum() > 0
    assert model.backbone.text_tower.project.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("preset", MASKED)
def test_detached_mask_losses_leave_the_backbone_alone(preset: str) -> None:
    model = around(worlds(), preset, detached=True)
    loss_of(model).backward()
    assert all(weight.grad is None for weight in model.backbone.parameters())


def test_checkpointing_reaches_the_masks() -> None:
    model = around(worlds(), "paper").train()
    torch.manual_seed(5)
    plain = loss_of(model)
    model._set_gradient_checkpointing(enable=True)
    assert model.temporal.gradient_checkpointing
    torch.manual_seed(5)
    torch.testing.assert_close(loss_of(model), plain)


def test_added_parameters() -> None:
    backbone = worlds()
    size = sum(weight.numel() for weight in backbone.parameters())
    assert around(backbone, "control").added_parameters() == (0, 0.0)
    model = around(backbone, "paper")
    added = model.added_parameters()
    assert added.parameters == sum(weight.numel() for weight in model.parameters()) - size
    assert added.share == added.parameters / size
    assert around(backbone, "paper", depth=3).added_parameters().parameters > added.parameters


def test_damaged_and_foreign_folders_are_refused(tiny_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a MoVA"):
        Mova.from_pretrained(tiny_clip)
    around(worlds(), "repaired").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    assert any(name.startswith("temporal.") for name in weights)
    save_file({k: v for k, v in weights.items() if "concept.pool.query" not in k}, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="1 weights are missing"):
        load(tmp_path)


def test_around_the_shipped_model(tmp_path: Path) -> None:
    backbone = load("mova-worlds-tiny")
    model = around(backbone, "subsets")
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert again.fingerprint() == backbone.fingerprint()
    assert relevance_threshold(again, again.encode_video(clip(3))) == backbone.relevance_threshold


def test_half_precision_is_for_the_backbone(backbones: dict, tmp_path: Path) -> None:
    made = around(backbones["clip"](), "repaired")
    made.save_pretrained(tmp_path)
    half = load(tmp_path, precision="bf16")
    assert half.backbone.compute_dtype == torch.bfloat16
    assert half.temporal.head.logits.weight.dtype == torch.float32
    assert half.fingerprint() == made.fingerprint()
    assert half.modular_similarity(videos(half), CAPTIONS).dtype == torch.float32


def test_the_temporal_transformer_makes_the_vector_of_a_video_and_no_other(tmp_path: Path) -> None:
    """Against CLIP4Clip's head with the same weights; frames, masks and index stay those of the backbone."""
    torch.manual_seed(0)
    model = Mova.from_backbone(worlds(), "paper", temporal_blocks=2, heads=2, positions=6).eval()
    plain = Mova.from_backbone(model.backbone, "paper", heads=2)
    before = model.similarity([model.encode_video(clip(5))], model.encode_text(CAPTIONS))
    torch.testing.assert_close(before, plain.similarity([plain.encode_video(clip(5))], plain.encode_text(CAPTIONS)))
    with torch.no_grad():
        for weight in model.sequence.parameters():  # type: ignore[union-attr]
            weight.add_(0.3 * torch.randn_like(weight))
    head = TemporalTransformer(24, depth=2, heads=2, positions=6)
    head.sequence.load_state_dict(model.sequence.state_dict())  # type: ignore[union-attr]
    texts = model.encode_text(CAPTIONS)
    for count in (1, 5, 6):
        video = model.encode_video(clip(count))
        frames, real = video.frames[None], torch.ones(1, count, dtype=torch.bool)
        expected = head(frames, real, texts.pooled, texts.tokens, texts.mask)
        torch.testing.assert_close(model.similarity([video], texts), expected)
        stored = VideoEmbedding(video.frames, video.times, video.duration)
        torch.testing.assert_close(model.similarity([stored], texts), expected)
        assert torch.equal(video.frames, plain.encode_video(clip(count)).frames)
    assert model.fingerprint() == plain.fingerprint()
    video = model.encode_video(clip(13))
    few = VideoEmbedding(video.frames[[1, 3, 5, 7, 9, 11]], np.arange(6.0), 6.0)
    torch.testing.assert_close(model.similarity([video], texts), model.similarity([few], texts))
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(load(tmp_path).similarity([video], texts), model.similarity([video], texts))
    with pytest.raises(UsageError, match="temporal_blocks"):
        MovaConfig(temporal_blocks=-1)


def test_the_global_loss_trains_the_temporal_transformer_by_the_score_of_evaluation() -> None:
    torch.manual_seed(0)
    model = Mova.from_backbone(worlds(), "control", temporal_blocks=1, heads=2, positions=4).eval()
    with torch.no_grad():
        for weight in model.sequence.parameters():  # type: ignore[union-attr]
            weight.add_(0.3 * torch.randn_like(weight))
    frames, texts = torch.randn(3, 7, 24), torch.randn(3, 24)
    mask = torch.arange(7) < torch.tensor([[7], [3], [4]])
    vectors = PairVectors(frames, mask, texts, torch.arange(3), torch.tensor(5.0))
    scores = MovaObjective("control", late=0.0).scores(vectors, model)
    videos = [
        VideoEmbedding(row[real], np.arange(float(len(row[real]))), 9.0) for row, real in zip(frames, mask, strict=True)
    ]
    expected = ScoringForm(model, "global").score(videos, texts)
    torch.testing.assert_close(scores.detach(), expected)
    scores.sum().backward()
    assert all(weight.grad is not None for weight in model.sequence.parameters())  # type: ignore[union-attr]


def test_parameters_of_the_published_systems_within_a_hundredth_either_way() -> None:
    """Counted with the real architecture, without weights; CLIP4Clip by its parts, and what masks add by theirs."""
    counts = parameters()
    width = 512
    block, norm, linear = 12 * width**2 + 13 * width, 2 * width, width**2 + width
    sequence = 4 * block + 128 * width
    tmn = 2 * block + 3 * norm + linear
    cmn = block + 2 * norm + (width + norm + 3 * linear) + norm + linear
    clip_b16 = 149_620_737 + (248 - 77) * width
    assert counts[SEQUENTIAL] == clip_b16 + sequence
    assert counts["MoVA, paper"] == clip_b16 + tmn + cmn
    assert counts[PUBLISHED] == clip_b16 + tmn + cmn + sequence
    assert 0.99 < counts[SEQUENTIAL] / 162.3e6 < 1.01
    assert 0.99 < counts[PUBLISHED] / 174.7e6 < 1.01
    assert not 0.99 < counts["MoVA, paper"] / 174.7e6 < 1.01
