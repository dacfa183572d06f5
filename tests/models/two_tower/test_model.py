"""Two towers against transformers' own processors and models, file to feature, for each family."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from mova.errors import UsageError
from mova.models.background_captions import background_sentences
from mova.models.two_tower.config import TwoTowerConfig
from mova.models.two_tower.image_processor import resize, resize_in_two_passes
from mova.models.two_tower.model import TwoTower
from mova.models.two_tower.text_processor import TextRule
from mova.scoring.caption_score import EvidenceRule
from mova.text.units import UnitRule
from mova.types import Frames
from mova.video.reader import stream
from tests.support.tiny_models import BUILDERS, TEXT_LENGTH, WIDTH, build_clip

FAMILIES = tuple(BUILDERS)
PROCESSORS: dict[str, Any] = {
    "clip": CLIPImageProcessorPil,
    "siglip": SiglipImageProcessorPil,
    "siglip2": SiglipImageProcessorPil,
    "naflex": Siglip2ImageProcessorPil,
    "metaclip2": CLIPImageProcessorPil,
    "aimv2": CLIPImageProcessorPil,
}
LIKE_CLIP = {"clip", "metaclip2", "aimv2"}
"""Their texts are masked and pooled at their end, and their frames cropped."""
TEXTS = [
    "A man opens a door.",
    "Two red squares move left, while a small GREEN circle stands still!",
    "tea",
    "Naïve café; the dog & the cat run across the street - it's raining?",
]


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def checkpoint(family: str, request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(f"tiny_{family}")


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> TwoTower:
    return TwoTower.from_checkpoint(checkpoint, precision="fp32", device="cpu")


@pytest.fixture(scope="session")
def reference(checkpoint: Path) -> Any:
    return AutoModel.from_pretrained(checkpoint, attn_implementation="eager").eval()


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of 96 x 64 with a square that moves over a gradient."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w") as container:
        track = container.add_stream("mpeg4", rate=8)
        track.width, track.height, track.pix_fmt = 96, 64, "yuv420p"
        ramp = np.linspace(0, 255, 96, dtype=np.uint8)
        for i in range(16):
            picture = np.repeat(np.stack([ramp, ramp[::-1], np.roll(ramp, 9 * i)], -1)[None], 64, axis=0).copy()
            picture[20:44, 4 * i : 4 * i + 24] = (250, 30, 20)
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode())
    return path


@pytest.fixture
def frames() -> Frames:
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (7, 9, 16, 3), dtype=np.uint8)
    pixels = np.stack([np.array(Image.fromarray(p).resize((80, 45), Image.Resampling.BICUBIC)) for p in small])
    return Frames(pixels, np.arange(7.0))


def by_transformers(reference: Any, checkpoint: Path, family: str, pixels: np.ndarray) -> torch.Tensor:
    processor = PROCESSORS[family].from_pretrained(checkpoint)
    inputs = processor([Image.fromarray(picture) for picture in pixels], return_tensors="pt")
    with torch.inference_mode():
        return reference.get_image_features(**inputs).pooler_output


def text_by_transformers(reference: Any, checkpoint: Path, family: str, texts: list[str]) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    if family in LIKE_CLIP:
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    else:
        texts = [text.lower() for text in texts]
        inputs = tokenizer(texts, padding="max_length", max_length=64, truncation=True, return_tensors="pt")
        inputs = {"input_ids": inputs["input_ids"]}
    with torch.inference_mode():
        return reference.get_text_features(**inputs).pooler_output


def test_a_file_becomes_the_vectors_that_transformers_gives(
    model: TwoTower, reference: Any, checkpoint: Path, family: str, film: Path
) -> None:
    frames = Frames.concatenate(list(stream(film, fps=4)))
    assert len(frames) == 8
    actual = model.encode_frames(frames)
    expected = by_transformers(reference, checkpoint, family, frames.pixels)
    assert actual.shape == (8, WIDTH)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, atol=0.02, rtol=0)
    apart = (expected[0] - expected[-1]).abs().max()
    assert (actual - expected).abs().max() < 0.05 * apart, "the difference must be far below that between frames"


@pytest.mark.parametrize("size", [(45, 80), (80, 45), (32, 32), (20, 100), (300, 211)], ids=str)
def test_pixels_agree_with_pillow_within_two_steps(
    model: TwoTower, checkpoint: Path, family: str, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    rule = model.image_rule
    actual = rule.apply(pixels, torch.device("cpu"), torch.float32)
    processor = PROCESSORS[family].from_pretrained(checkpoint)
    expected = processor([Image.fromarray(p) for p in pixels], return_tensors="pt")["pixel_values"]
    if family == "naflex":
        rows, columns = actual.shape[-2] // 8, actual.shape[-1] // 8
        cut = actual.view(2, 3, rows, 8, columns, 8).permute(0, 2, 4, 3, 5, 1)
        actual = cut.reshape(2, rows * columns, 8 * 8 * 3)
        assert expected[:, rows * columns :].abs().sum() == 0, "as many patches as the processor makes"
        expected = expected[:, : rows * columns]
    step = torch.tensor(rule.std).min() * 255
    assert actual.shape == expected.shape
    difference = (actual - expected).abs() * step
    other_order = (
        size[0] > size[1] and family not in LIKE_CLIP
    )  # Pillow 12 filters the height first where it shrinks more
    assert difference.max() < (16 if other_order else 2.01)
    assert difference.mean() < (0.4 if other_order else 0.06)


@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("size", "target"),
    [((80, 45), (32, 32)), ((45, 80), (32, 56)), ((20, 30), (64, 96)), ((90, 32), (32, 32))],
    ids=str,
)
def test_resizing_is_pillow_width_first_on_every_device(
    size: tuple[int, int], target: tuple[int, int], resample: str
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    kind = Image.Resampling[resample.upper()]
    wide = [Image.fromarray(p).resize((target[1], size[0]), kind) for p in pixels]
    expected = np.stack([np.array(p.resize(target[::-1], kind)) for p in wide]).astype(int)
    frames = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    for resizer in (resize, resize_in_two_passes):
        resized = resizer(frames, target, resample).permute(0, 2, 3, 1).numpy()
        assert resized.dtype == np.uint8
        assert np.abs(resized - expected).max() <= 2
        assert np.abs(resized - expected).mean() < 0.06


def test_texts_become_the_vectors_that_transformers_gives(
    model: TwoTower, reference: Any, checkpoint: Path, family: str
) -> None:
    actual = model.encode_text(TEXTS)
    torch.testing.assert_close(
        actual.pooled, text_by_transformers(reference, checkpoint, family, TEXTS), atol=1e-5, rtol=1e-4
    )
    assert actual.tokens.shape[:1] + actual.tokens.shape[2:] == (len(TEXTS), WIDTH)
    assert actual.mask.shape == actual.tokens.shape[:2]
    assert actual.dropped.tolist() == [0] * len(TEXTS)


def test_a_text_is_encoded_alike_alone_and_in_a_batch(model: TwoTower, monkeypatch: pytest.MonkeyPatch) -> None:
    together = model.encode_text(TEXTS)
    monkeypatch.setattr("mova.models.two_tower.checkpoint_encoder.TEXT_BATCH", 2)
    batched = model.encode_text(TEXTS)
    torch.testing.assert_close(together.pooled, batched.pooled, atol=1e-5, rtol=1e-4)
    for i, text in enumerate(TEXTS):
        alone = model.encode_text(text)
        torch.testing.assert_close(alone.pooled[0], together.pooled[i], atol=1e-5, rtol=1e-4)
        real, batch_mask = alone.mask[0], together.mask[i]
        assert int(real.sum()) == int(batch_mask.sum())
        torch.testing.assert_close(alone.tokens[0][real], together.tokens[i][batch_mask], atol=1e-5, rtol=1e-4)


def test_frames_do_not_depend_on_their_batch(model: TwoTower, frames: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    batched = model.encode_frames(frames)
    monkeypatch.setattr("mova.models.two_tower.model.FRAME_BATCH", 3)
    torch.testing.assert_close(model.encode_frames(frames), batched, atol=1e-5, rtol=1e-4)
    assert model.encode_frames(frames[:0]).shape == (0, WIDTH)


def test_logits_agree_with_transformers(
    model: TwoTower, reference: Any, checkpoint: Path, family: str, frames: Frames
) -> None:
    if family == "naflex":
        pytest.skip("transformers takes its frames as patches; covered by the vectors")
    pixels = model.image_rule.apply(frames.pixels, torch.device("cpu"), torch.float32)
    rows, _ = model.text_rule.token_ids(model.tokenizer, TEXTS)
    ids, mask = model.text_rule.pad(rows, model.tokenizer.pad_token_id, "right")
    attention = {"attention_mask": mask.long()} if family in LIKE_CLIP else {}
    with torch.inference_mode():
        expected = reference(pixel_values=pixels, input_ids=ids, **attention).logits_per_image
        outputs = model(pixels, ids, mask)
    unit = [torch.nn.functional.normalize(outputs[key], dim=-1) for key in ("frames", "texts")]
    actual = outputs["scale"] * (unit[0] @ unit[1].T) + (0 if outputs["bias"] is None else outputs["bias"])
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    assert (outputs["bias"] is None) == (family in LIKE_CLIP)


def test_token_states_hold_the_pooled_one_where_the_family_pools(model: TwoTower, family: str) -> None:
    if family == "naflex":
        pytest.skip("pools like SigLIP")
    text = model.encode_text(TEXTS)
    if family in LIKE_CLIP:
        at = text.mask.sum(dim=1) - 1
    else:
        at = torch.full((len(TEXTS),), TEXT_LENGTH - 1)
        assert text.tokens.shape[1] == TEXT_LENGTH
    torch.testing.assert_close(text.tokens[torch.arange(len(TEXTS)), at], text.pooled, atol=1e-5, rtol=1e-4)


def test_clip_is_padded_to_the_longest_only(tiny_clip: Path) -> None:
    model = TwoTower.from_checkpoint(tiny_clip, precision="fp32")
    assert model.encode_text("tea").tokens.shape[1] < 10


def test_the_old_end_of_text_number_pools_at_the_same_token(tiny_clip: Path, tmp_path: Path) -> None:
    old = build_clip(tmp_path / "old", old_eos=True)
    assert AutoModel.from_pretrained(old).config.text_config.eos_token_id == 2
    a = TwoTower.from_checkpoint(tiny_clip, precision="fp32").encode_text(TEXTS)
    b = TwoTower.from_checkpoint(old, precision="fp32").encode_text(TEXTS)
    torch.testing.assert_close(a.pooled, b.pooled)


@pytest.mark.parametrize("kind", ["siglip", "siglip2", "naflex"])
def test_siglip_families_do_not_see_capitals(kind: str, request: pytest.FixtureRequest) -> None:
    model = TwoTower.from_checkpoint(request.getfixturevalue(f"tiny_{kind}"), precision="fp32")
    a, b = model.encode_text(["A Dog RUNS", "a dog runs"]).pooled
    torch.testing.assert_close(a, b)


def test_a_sentence_of_any_length_is_read_to_its_end(model: TwoTower, caplog: pytest.LogCaptureFixture) -> None:
    long = " ".join(["the old woman reads"] * 40) + " a letter"
    parts = model.text_parts(long)
    assert " ".join(parts) == long
    assert len(parts) > 1
    with caplog.at_level(logging.WARNING):
        encoded = model.encode_sentences(["tea", long, "a small cup"])
    assert not caplog.records
    expected = torch.nn.functional.normalize(model.encode_text(parts).pooled, dim=-1).mean(dim=0)
    torch.testing.assert_close(encoded.unit_vectors()[1], (expected / expected.norm()).numpy(), atol=1e-5, rtol=1e-4)
    short = model.encode_text(["tea", "a small cup"])
    torch.testing.assert_close(encoded.pooled[[0, 2]], short.pooled, atol=1e-5, rtol=1e-4)
    assert encoded.mask.sum(dim=1).tolist()[1] == int(model.encode_text(parts).mask.sum())


def test_dropped_tokens_are_counted_and_reported(
    model: TwoTower, family: str, checkpoint: Path, reference: Any, caplog: pytest.LogCaptureFixture
) -> None:
    long = " ".join(["the old woman reads"] * 40)
    full = len(AutoTokenizer.from_pretrained(checkpoint)(long.lower(), verbose=False)["input_ids"])
    with caplog.at_level(logging.WARNING):
        text = model.encode_text(["tea", long])
    assert text.dropped.tolist() == [0, full - model.text_rule.length]
    messages = [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()]
    assert len(messages) == 1
    assert str(full - model.text_rule.length) in messages[0]
    torch.testing.assert_close(
        text.pooled[1:], text_by_transformers(reference, checkpoint, family, [long]), atol=1e-5, rtol=1e-4
    )


def test_saved_and_loaded_is_bit_equal(model: TwoTower, frames: Frames, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "saved")
    again = TwoTower.from_pretrained(tmp_path / "saved")
    assert {p.suffix for p in (tmp_path / "saved").iterdir()} >= {".safetensors", ".json", ".md"}
    for (name, a), (_, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(model.encode_frames(frames), again.encode_frames(frames))
    assert torch.equal(model.encode_text(TEXTS).tokens, again.encode_text(TEXTS).tokens)
    assert again.fingerprint() == model.fingerprint()
    assert again.name == str(tmp_path / "saved")
    assert model.name in (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")


def test_calibration_is_saved(tiny_clip: Path, tmp_path: Path) -> None:
    model = TwoTower.from_checkpoint(tiny_clip, precision="fp32")
    model.relevance_threshold = 0.31
    model.rule = EvidenceRule(g=0.25, theta=0.1, beta=0.5, global_share=0.1)
    model.units = UnitRule(longest=14, keep_sentences=False)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "README.md").write_text("# My own card\n", encoding="utf-8")
    model.save_pretrained(tmp_path / "saved")
    again = TwoTower.from_pretrained(tmp_path / "saved")
    assert (again.relevance_threshold, again.rule, again.units) == (0.31, model.rule, model.units)
    assert TwoTower.from_checkpoint(tiny_clip, precision="fp32").rule.plain
    assert (tmp_path / "saved" / "README.md").read_text(encoding="utf-8") == "# My own card\n"


def test_long_captions_through_a_stretched_table(tiny_clip: Path, tmp_path: Path) -> None:
    short = TwoTower.from_checkpoint(tiny_clip, precision="fp32")
    long = TwoTower.from_checkpoint(tiny_clip, precision="fp32", text_length=248)
    table = long.backbone.text_model.embeddings.position_embedding.weight
    assert table.shape[0] == 248
    assert table.requires_grad
    few = ["A man opens a door.", "tea"]
    assert torch.equal(short.encode_text(few).pooled, long.encode_text(few).pooled), "20 positions stay"
    caption = " ".join(["Two red squares move left."] * 20)
    assert short.encode_text(caption).dropped[0] > 0
    text = long.encode_text(caption)
    assert text.dropped[0] == 0
    long.save_pretrained(tmp_path / "long")
    again = TwoTower.from_pretrained(tmp_path / "long")
    assert torch.equal(again.encode_text(caption).tokens, text.tokens)
    assert long.fingerprint() != short.fingerprint()


def test_a_shorter_text_length_only_cuts(tiny_clip: Path) -> None:
    model = TwoTower.from_checkpoint(tiny_clip, precision="fp32", text_length=6)
    text = model.encode_text("Two red squares move left and stand still")
    assert text.mask.sum() == 6
    assert text.dropped[0] > 0
    assert model.encode_text("tea").pooled.shape == (1, WIDTH)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_invalid_text_lengths(kind: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(UsageError, match="text_length"):
        TwoTower.from_checkpoint(request.getfixturevalue(f"tiny_{kind}"), text_length=2 if kind == "clip" else 248)


def test_a_head_can_be_trained_on_encoded_frames(tiny_clip: Path, frames: Frames) -> None:
    vectors = TwoTower.from_checkpoint(tiny_clip).encode_frames(frames)
    head = torch.nn.Linear(WIDTH, 2)
    head(vectors).sum().backward()
    assert head.weight.grad.any()


def test_every_weight_gets_a_gradient(tiny_clip: Path, frames: Frames) -> None:
    model = TwoTower.from_checkpoint(tiny_clip, precision="fp32").train()
    pixels = model.image_rule.apply(frames.pixels, torch.device("cpu"), torch.float32)
    rows, _ = model.text_rule.token_ids(model.tokenizer, TEXTS)
    ids, mask = model.text_rule.pad(rows, model.tokenizer.pad_token_id, "right")
    outputs = model(pixels, ids, mask)
    loss = outputs["scale"] * (outputs["frames"] @ outputs["texts"].T).square().mean()
    loss.backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert [n for n in still if "k_proj.bias" not in n] == []


def test_bf16_stays_close_and_keeps_fingerprint_and_scale(checkpoint: Path, model: TwoTower, frames: Frames) -> None:
    half = TwoTower.from_checkpoint(checkpoint, precision="bf16", device="cpu")
    assert half.compute_dtype == torch.bfloat16
    vectors = half.encode_frames(frames)
    assert vectors.dtype == torch.float32
    alike = torch.nn.functional.cosine_similarity(vectors, model.encode_frames(frames))
    assert alike.min() > 0.99
    assert half.encode_text(TEXTS).tokens.dtype == torch.float32
    assert half.fingerprint() == model.fingerprint()
    assert torch.equal(half.logit_scale, model.logit_scale)


def test_fingerprint_sees_one_weight_the_tokenizer_and_the_preprocessing(tiny_clip: Path, tmp_path: Path) -> None:
    model = TwoTower.from_checkpoint(tiny_clip, precision="fp32")
    before = model.fingerprint()
    with torch.no_grad():
        model.backbone.vision_model.post_layernorm.weight[0] += 1e-6
    assert model.fingerprint() != before
    folder = shutil.copytree(tiny_clip, tmp_path / "other")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"resample": 2}))
    assert TwoTower.from_checkpoint(folder, precision="fp32").fingerprint() != before
    assert TwoTower.from_checkpoint(tiny_clip, precision="fp32").fingerprint() == before


def test_background_sentences_are_many_and_different() -> None:
    sentences = background_sentences()
    assert len(sentences) >= 100
    assert len(set(sentences)) == len(sentences)
    assert all(sentence.endswith(".") and 2 < len(sentence.split()) < 12 for sentence in sentences)


def test_an_empty_text_is_rejected(tiny_clip: Path) -> None:
    with pytest.raises(UsageError, match="no text"):
        TwoTower.from_checkpoint(tiny_clip).encode_text([])


def test_configuration_round_trip() -> None:
    config = TwoTowerConfig(text=TextRule(77).to_dict(), frame_rate=2.0)
    assert TwoTowerConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()
