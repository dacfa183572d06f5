"""VideoPrism against transformers' own model and tokenizer, from the file to the vector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import AutoModel, AutoTokenizer

import mova
from mova.errors import UsageError
from mova.models.tiny_checkpoint import SIZE, WINDOW
from mova.models.video_prism.model import VideoPrism
from mova.scoring.windows.rule import WindowRule
from mova.search.index import Index
from mova.types import Frames
from mova.video.reader import stream
from tests.support.tiny_models import TEXT_LENGTH, build_video_prism

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "VideoPrismClipModel"), reason="this version of transformers has no VideoPrism"
)
TEXTS = ["A man opens a door.", "Two red squares move left!", "tea", "it's raining?"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_video_prism(tmp_path_factory.mktemp("checkpoints") / "tiny-video-prism")


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Any:
    return AutoModel.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> VideoPrism:
    loaded = mova.load(str(checkpoint), precision="fp32", device="cpu")
    assert isinstance(loaded, VideoPrism)
    return loaded


def test_a_file_becomes_the_window_vectors_that_transformers_gives(
    model: VideoPrism, reference: Any, film: Path
) -> None:
    pixels = Frames.concatenate(list(stream(film, fps=1))).pixels
    sized = [np.array(Image.fromarray(p).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for p in pixels]
    values = torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2).float() / 255
    starts = [0, 2, 3]
    with torch.inference_mode():
        windows = torch.stack([values[k : k + WINDOW] for k in starts])
        expected = reference.get_video_features(pixel_values_videos=windows).pooler_output.flatten(1)
    video = model.encode_video(film)
    assert video.windows is not None
    assert video.windows.tolist() == [[k, k + WINDOW] for k in starts]
    torch.testing.assert_close(video.frames, expected, atol=0.02, rtol=0)
    apart = (expected[0] - expected[-1]).abs().max()
    assert (video.frames - expected).abs().max() < 0.05 * apart, "the difference must be far below that of windows"


def test_texts_become_the_vectors_that_transformers_gives(model: VideoPrism, reference: Any, checkpoint: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    inputs = tokenizer(TEXTS, padding="max_length", max_length=TEXT_LENGTH, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        expected = reference.get_text_features(**inputs).pooler_output
    encoded = model.encode_text(TEXTS)
    torch.testing.assert_close(encoded.pooled, expected, atol=1e-5, rtol=1e-4)
    assert encoded.mask.sum(dim=1).tolist() == inputs["attention_mask"].sum(dim=1).tolist()
    for i, text in enumerate(TEXTS):
        torch.testing.assert_close(model.encode_text(text).pooled[0], expected[i], atol=1e-5, rtol=1e-4)


def test_a_saved_model_is_the_same_with_its_stride(model: VideoPrism, film: Path, tmp_path: Path) -> None:
    model.window = WindowRule(WINDOW, 1)
    try:
        model.save_pretrained(tmp_path / "saved")
        expected = model.encode_video(film)
    finally:
        model.window = WindowRule(WINDOW, 2)
    again = mova.load(str(tmp_path / "saved"), precision="fp32", device="cpu")
    assert isinstance(again, VideoPrism)
    assert again.window == WindowRule(WINDOW, 1)
    assert again.fingerprint() == model.fingerprint()
    assert torch.equal(again.encode_video(film).frames, expected.frames)
    assert torch.equal(again.encode_text(TEXTS).pooled, model.encode_text(TEXTS).pooled)


def test_half_precision_points_the_same_way(checkpoint: Path, model: VideoPrism, film: Path) -> None:
    half = VideoPrism.from_checkpoint(checkpoint, precision="bf16", device="cpu")
    assert half.fingerprint() == model.fingerprint()
    cosines = torch.cosine_similarity(half.encode_video(film).frames, model.encode_video(film).frames)
    assert cosines.min() > 0.99


def test_an_index_of_windows_finds_the_window_nearest_to_a_text(model: VideoPrism, film: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index", model)
    assert len(index.add(film.parent).indexed) == 1
    moments = index.search(TEXTS[1], k=1)
    cosines = model.relevance(model.encode_text(TEXTS[1]), model.encode_video(film))[0]
    assert moments[0].score == pytest.approx(float(cosines.max()), abs=2e-3)


def test_the_settings_of_frames_are_the_published_ones_if_there_are_none(tmp_path: Path) -> None:
    settings = VideoPrism.image_settings(tmp_path, "x")
    assert settings["size"] == {"height": 288, "width": 288}
    assert settings["do_normalize"] is False


def test_what_windows_cannot_do_is_refused(model: VideoPrism) -> None:
    from mova.models.families import input_adapter

    with pytest.raises(UsageError, match=f"encodes windows of {WINDOW} frames"):
        input_adapter(model)
