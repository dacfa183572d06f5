"""GEXIA around backbones: the contract, mixed #iter, saving, streaming, what learns, what it costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

from mova.data.batch import PairBatch
from mova.errors import ModelError, UsageError, VideoError
from mova.models.families import input_adapter
from mova.models.gexia.config import GexiaConfig
from mova.models.gexia.flops import measure_costs
from mova.models.gexia.frame_reservoir import FrameReservoir
from mova.models.gexia.inputs import GexiaInputs
from mova.models.gexia.model import Gexia
from mova.models.registry import load
from mova.models.two_tower.config import TwoTowerConfig
from mova.models.two_tower.image_processor import ImageRule
from mova.models.two_tower.model import TwoTower
from mova.models.two_tower.text_processor import TextRule
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.search.rank import rank_videos
from mova.types import Frames
from mova.video.probe import probe
from mova.video.reader import stream
from tests.support.tiny_models import BUILDERS, clip_tokenizer

TEXTS = ["A red star rises.", " ".join(["Two squares move and a dog runs."] * 5)]
WORDS = ["<pad>", "<unk>", "red", "star", "rises", "squares", "move", "dog", "runs"]
KINDS = ["clip", "siglip", "siglip2", "worlds"]


def clip(count: int, seed: int = 0) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(count) / 2)


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict:
    sources = {kind: BUILDERS[kind](tmp_path_factory.mktemp("gexia") / kind) for kind in KINDS[:3]}

    def worlds() -> WorldsTiny:
        torch.manual_seed(0)
        sizes = {"image_size": 32, "stem": [8, 16], "hidden_size": 16, "heads": 2, "embedding_dim": 24}
        return WorldsTiny(WorldsTinyConfig(vocabulary=WORDS, background=["nothing"], **sizes)).eval()

    made = {kind: (lambda k=kind: TwoTower.from_checkpoint(sources[k], precision="fp32")) for kind in sources}
    return {**made, "worlds": worlds}


def around(backbone: object, **settings: object) -> Gexia:
    torch.manual_seed(1)
    return Gexia.from_backbone(backbone, bases=3, heads=2, **settings)


def learning(model: Gexia) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_folder_holds_everything(kind: str, backbones: dict, tmp_path: Path) -> None:
    made = around(backbones[kind](), rounds={"long": 2}, video_rounds=1, temperatures="granularity")
    made.relevance_threshold = 0.3
    made.make_head(["dance", "sport", "talk"], multiple=True)
    made.save_pretrained(tmp_path / "mine")
    again = load(tmp_path / "mine", precision="fp32")
    assert isinstance(again, Gexia)
    assert (again.config.rounds["long"], again.config.video_rounds, len(again.log_scale)) == (2, 1, 5)
    assert (again.relevance_threshold, again.labels, again.config.multiple_labels) == (0.3, made.labels, True)
    assert again.fingerprint() == made.fingerprint()
    reloaded, original = again.encode_video(clip(5)), made.encode_video(clip(5))
    assert torch.equal(reloaded.frames, original.frames)
    assert torch.equal(reloaded.whole, original.whole)
    assert torch.equal(again.encode_text(TEXTS).pooled, made.encode_text(TEXTS).pooled)
    assert torch.equal(again.classify([reloaded]), made.classify([original]))
    assert learning(again) == learning(around(backbones[kind]())) | {"head.weight", "head.bias"}
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "long 2" in card
    assert "| classes of the head | 3 (several per video) |" in card
    assert again.backbone.fingerprint() == made.backbone.fingerprint()


def test_foreign_folders_are_refused(backbones: dict, tmp_path: Path) -> None:
    backbones["worlds"]().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not a GEXIA"):
        Gexia.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_contract(kind: str, backbones: dict) -> None:
    model = around(backbones[kind]())
    video, text = model.encode_video(clip(6)), model.encode_text(TEXTS)
    assert video.frames.shape == (6, 24)
    assert text.tokens.shape == (*text.mask.shape, 24)
    assert torch.isfinite(text.tokens).all()
    cosines = F.cosine_similarity(video.whole[None], text.pooled)
    torch.testing.assert_close(model.similarity([video], text)[0], cosines)
    assert model.relevance(text, video).shape == (2, 6)
    assert len(model.align(clip(6), "A red star rises. A dog runs.").sentences) == 2
    torch.testing.assert_close(model.encode_frames(clip(6)), video.frames)
    with pytest.raises(UsageError, match="no text"):
        model.encode_text([])
    with pytest.raises(VideoError, match="no frame"):
        model.encode_video(clip(0))


def test_video_vectors_rank_videos(backbones: dict) -> None:
    model = around(backbones["clip"]())
    videos = [model.encode_video(clip(4, seed)) for seed in range(5)]
    cosines = model.similarity(videos, model.encode_text(TEXTS[0]))[:, 0]
    ranked = rank_videos(model, TEXTS[0], videos, k=3)
    assert [i for i, _ in ranked] == cosines.argsort(descending=True)[:3].tolist()
    assert [score for _, score in ranked] == pytest.approx(cosines.sort(descending=True).values[:3].tolist())
    stored = [replace(video, whole=None) for video in videos]
    with pytest.raises(UsageError, match="leave --features out"):
        rank_videos(model, TEXTS[0], stored)


def test_a_video_uses_the_frames_and_rounds_of_its_length(backbones: dict) -> None:
    model = around(backbones["clip"](), long_seconds=3.0, frames={"short": 2, "long": 3})
    dense = model.dense_frames(clip(6))
    for count, rounds, chosen in ((1, 0, [0]), (3, 1, [0, 2]), (6, 3, [0, 2, 5])):
        real = torch.ones(1, len(chosen), dtype=torch.bool)
        expected = model.video_vectors(dense[chosen], real, torch.tensor([rounds]))[0]
        torch.testing.assert_close(model.encode_video(clip(6)[:count], fps=1.0).whole, expected)
    model.config.video_rounds, model.config.long_seconds = 3, 99.0
    torch.testing.assert_close(model.encode_video(clip(6), fps=1.0).whole, expected)


def test_frames_of_a_clip_follow_the_length_of_the_clip(backbones: dict) -> None:
    model = around(backbones["clip"](), frames={"short": 2, "long": 3})
    late = Frames(clip(6).pixels, clip(6).pts + 100.0)
    assert model.dense_video(late).rounds == model.config.rounds["short"]
    torch.testing.assert_close(model.encode_video(late).whole, model.encode_video(clip(6)).whole)


def test_fixed_rounds_keep_the_frames_of_each_length(backbones: dict) -> None:
    model = around(
        backbones["clip"](), long_seconds=2.0, rounds={"short": 1, "long": 1}, frames={"short": 2, "long": 3}
    )
    model.config.video_rounds = 1
    assert len(model.dense_video(clip(6), fps=2.0).dense) == 3
    assert len(model.dense_video(clip(3), fps=2.0).dense) == 2


def test_rounds_of_texts_follow_their_words_and_padding(backbones: dict) -> None:
    for kind in KINDS:
        model = around(backbones[kind](), long_words=10)
        together = model.encode_text([*TEXTS, "star"])
        for i, (text, rounds) in enumerate(zip([*TEXTS, "star"], [1, 3, 1], strict=True)):
            model.config.text_rounds = rounds
            torch.testing.assert_close(model.encode_text(text).pooled[0], together.pooled[i], rtol=0, atol=1e-6)
            model.config.text_rounds = None
        before = model.fingerprint()
        model.config.text_rounds = 2
        assert model.fingerprint() != before
        model.config.text_rounds = None
        assert model.fingerprint() == before
        model.config.rounds["long"] = 5
        assert model.fingerprint() != before


@pytest.mark.parametrize("kind", ["clip", "worlds"])
def test_a_mixed_batch_equals_one_by_one(kind: str, backbones: dict) -> None:
    model = around(backbones[kind]())
    adapter = input_adapter(model)
    assert isinstance(adapter, GexiaInputs)
    counts, names = [3, 1, 4, 2], ["LVST", "IT", "LVLT", "SVST"]
    frames = torch.stack([torch.from_numpy(adapter.resize(clip(4, i).pixels)) for i in range(4)])
    mask = torch.arange(4) < torch.tensor(counts)[:, None]
    ids, token_mask, _ = adapter.tokenize(["red star", "dog", TEXTS[1], "star rises dog runs"])
    rounds = adapter.granularities(names, 4)
    batch = PairBatch(frames, mask, ids, token_mask, torch.arange(4), torch.zeros(4), **rounds)
    assert rounds["video_rounds"].tolist() == [3, 0, 3, 1]
    assert rounds["text_rounds"].tolist() == [1, 1, 3, 1]
    with torch.no_grad():
        vectors = adapter.encode(model, batch)
        assert vectors.scale.item() == pytest.approx(1 / 0.07)
        for i, (count, length) in enumerate(zip(counts, token_mask.sum(dim=1), strict=True)):
            single = batch.slice(i, i + 1)
            single = replace(single, frames=single.frames[:, :count], frame_mask=single.frame_mask[:, :count])
            single = replace(single, input_ids=single.input_ids[:, :length], token_mask=single.token_mask[:, :length])
            alone = adapter.encode(model, single)
            torch.testing.assert_close(alone.frames[0], vectors.frames[i], rtol=0, atol=1e-6)
            torch.testing.assert_close(alone.texts[0], vectors.texts[i], rtol=0, atol=1e-6)
    with pytest.raises(UsageError, match="one vector"):
        adapter.encode(model, replace(batch, unit_mask=mask))
    with pytest.raises(UsageError, match=r"data\.granularities"):
        adapter.granularities([], 4)


def test_a_file_is_streamed_to_the_vectors_of_its_frames(
    backbones: dict, worlds_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next(worlds_manifest.parent.glob("*.mp4"))
    model = around(backbones["worlds"](), frames={"short": 5})
    frames = Frames.concatenate(list(stream(path, fps=model.frame_rate)))
    monkeypatch.setattr("mova.models.inputs.reading.DECODE_CHUNK", 3)
    streamed, in_memory = model.encode_video(path), model.encode_video(frames)
    torch.testing.assert_close(streamed.frames, in_memory.frames, rtol=0, atol=1e-6)
    torch.testing.assert_close(streamed.whole, in_memory.whole, rtol=0, atol=1e-6)
    assert streamed.duration == probe(path).duration


@pytest.mark.parametrize(("frames", "most"), [(1, 4), (8, 4), (9, 4), (100, 4), (1000, 7)])
def test_kept_frames_are_even_and_few(frames: int, most: int) -> None:
    kept = FrameReservoir(most)
    for part in torch.arange(frames).split(13):
        kept.add(part)
        assert len(kept._kept) <= 2 * most
    indices = kept.evenly(most).tolist()
    assert kept.chosen(most) == indices
    assert kept.seen == frames
    assert len(indices) == min(frames, most)
    if frames <= 2 * most:
        assert indices == np.linspace(0, frames - 1, len(indices)).astype(int).tolist()
    else:
        assert np.abs(np.array(indices) - np.linspace(0, frames - 1, most)).max() <= frames / most


def test_dense_features_of_the_small_model_change_none_of_its_vectors(backbones: dict) -> None:
    model = backbones["worlds"]()
    stacks = model.stack(clip(4))
    dense = model.dense_images(stacks)
    assert dense.shape == (4, 1 + 64, 16)
    pooled = torch.cat([dense[:, 0], dense[:, 1:].mean(dim=1)], dim=-1)
    expected = model.frame_tower.project(model.frame_tower.norm(pooled))
    torch.testing.assert_close(model.image_features(stacks), expected)
    ids, mask, _ = model.token_ids(TEXTS)
    states = model.text_tower.project(model.text_tower.norm(model.dense_texts(ids, mask)))
    torch.testing.assert_close(model.encode_text(TEXTS).tokens, states)


def test_dense_features_of_clip_are_its_last_states(backbones: dict) -> None:
    backbone = backbones["clip"]()
    pixels = torch.randn(2, 3, 32, 32)
    dense = backbone.dense_images(pixels)
    assert dense.shape == (2, 17, 48)
    inner = backbone.backbone
    expected = inner.visual_projection(inner.vision_model.post_layernorm(dense[:, 0]))
    torch.testing.assert_close(backbone.image_features(pixels), expected)
    assert around(backbone, class_token=False).dense_of(pixels).shape == (2, 16, 48)
    assert around(backbones["siglip"](), class_token=False).dense_of(pixels).shape == (2, 16, 24)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("freeze", ["none", "vision", "text", "encoders"])
def test_every_weight_that_may_learn_has_a_gradient_and_no_other(kind: str, freeze: str, backbones: dict) -> None:
    model = around(backbones[kind]()).freeze(freeze).train()
    (images,) = model.backbone.image_batches(clip(2))
    ids, mask, _ = model.backbone.token_ids(TEXTS)
    scores = model(images, torch.ones(2, 1, dtype=torch.bool), torch.tensor([1, 3]), ids, mask, torch.tensor([1, 3]))
    (scores["scale"] * (scores["videos"] * scores["texts"]).sum()).backward()
    moving = learning(model)
    assert {name for name, weight in model.named_parameters() if weight.grad is not None} == moving
    images_tower, texts_tower = model.backbone.towers
    assert images_tower.training == (freeze in ("none", "text"))
    assert texts_tower.training == (freeze in ("none", "vision"))
    assert any(name.startswith("backbone.") for name in moving) == (freeze != "encoders")


def test_scratch_keeps_the_architecture_only(backbones: dict) -> None:
    model = around(backbones["clip"]())
    before = model.backbone.fingerprint()
    model.randomize_encoders()
    assert model.backbone.fingerprint() != before


def test_zero_shot_and_head(backbones: dict) -> None:
    model = around(backbones["clip"]())
    videos = [model.encode_video(clip(n, n)) for n in (1, 4)]
    expected = model.similarity(videos, model.encode_text(["A video of a cat.", "A video of a dog."]))
    torch.testing.assert_close(model.zero_shot(videos, ["cat", "dog"]), expected)
    with pytest.raises(UsageError, match="no classification head"):
        model.classify(videos)
    model.make_head(["cat", "dog"])
    head = model.head
    model.make_head(["cat", "dog"])
    assert model.head is head
    torch.testing.assert_close(model.classify(videos), head(torch.stack([video.whole for video in videos])))
    with pytest.raises(UsageError, match="whole videos"):
        model.classify([model.backbone.encode_video(clip(2))])
    with pytest.raises(UsageError, match="two labels"):
        model.make_head(["cat", "cat"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rounds": {"huge": 9}}, "rounds has no setting huge"),
        ({"rounds": {"long": -1}}, ">= 0"),
        ({"frames": {"long": 0}}, ">= 1"),
        ({"bases": 0}, "bases"),
        ({"video_rounds": -1}, "video_rounds"),
        ({"temperatures": "many"}, "temperatures"),
        ({"long_seconds": 0.0}, "long_seconds"),
    ],
)
def test_invalid_settings_are_rejected(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GexiaConfig(**settings)


def test_invalid_calls_are_explained(backbones: dict) -> None:
    model = around(backbones["worlds"]())
    for settings, message in (
        ({"surprise": 1}, "no setting surprise"),
        ({"heads": 5}, "heads 5 must divide the width"),
    ):
        with pytest.raises(UsageError, match=message):
            Gexia.from_backbone(backbones["worlds"](), **settings)
    with pytest.raises(UsageError, match="freeze 'all'"):
        model.freeze("all")
    with pytest.raises(UsageError, match="GEXIA goes around"):
        Gexia.from_backbone(model)


def test_operations_are_counted(backbones: dict) -> None:
    model = around(backbones["clip"]())
    costs = measure_costs(model, "long")
    assert costs.parameters == costs.backbone_parameters + costs.approximation_parameters + 1
    assert costs.per_frame == pytest.approx(costs.tower_per_frame + costs.approximation_per_video / 32)
    dense, width, bases, positions = 48, 24, 3, 32 * 17
    attention = 2 * bases * positions * width + 2 * bases * width**2
    itself = 2 * bases * bases * width + 12 * bases * width**2
    read = positions * dense * 2 * width
    assert costs.approximation_per_video * 1e9 == pytest.approx(2 * read + 4 * (attention + itself))
    assert model.report("short")["frames"] == 16


@pytest.mark.slow
def test_the_cost_of_a_frame_with_vit_b_32_is_as_published() -> None:
    config = CLIPConfig()
    config.text_config.vocab_size, config.text_config.num_hidden_layers = 700, 1
    rule = ImageRule("shortest", 224, 224, crop=(224, 224))
    settings = TwoTowerConfig(config.to_dict(), rule.to_dict(), TextRule(77).to_dict())
    model = Gexia.from_backbone(TwoTower(settings, CLIPModel(config), clip_tokenizer()))
    costs = measure_costs(model, "long")
    assert costs.tower_per_frame == pytest.approx(4.4, abs=0.05)
    assert costs.per_frame == pytest.approx(costs.paper_per_frame, abs=0.3)
