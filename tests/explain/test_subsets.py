"""Weights of caption units and their picture, and the choice of frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mova.errors import UsageError
from mova.explain.keyframes import choose_frames, read_inputs, reduced
from mova.explain.subsets import Subsets, select_subsets, subset_weights
from mova.models.mova.model import Mova
from mova.models.tower_access import open_tower
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.plots.subsets import draw_subsets, unit_colors
from tests.support.fakes import ColourEncoder, write_colours


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(
        tmp_path_factory.mktemp("films") / "a $x$.mp4", [("red", 3), ("white", 4), ("blue", 3)], size=(60, 80)
    )


@pytest.fixture(scope="module")
def tiny() -> WorldsTiny:
    torch.manual_seed(0)
    words = ["<pad>", "<unk>", "red", "blue", "star", "ring"]
    config = WorldsTinyConfig(
        vocabulary=words,
        image_size=32,
        stem=[8, 8],
        hidden_size=16,
        heads=2,
        embedding_dim=16,
        background=["a red star"],
    )
    return WorldsTiny(config).eval()


def test_weights_are_the_softmax_with_the_threshold_as_none() -> None:
    generator = torch.Generator().manual_seed(4)
    frames, units = torch.randn(7, 8, generator=generator), torch.randn(3, 8, generator=generator)
    weights = subset_weights(ColourEncoder(), frames, units, 0.25).numpy()
    for t, row in enumerate(frames.double().numpy()):
        logits = [row @ u / np.linalg.norm(row) / np.linalg.norm(u) / 0.1 for u in units.double().numpy()]
        powers = np.exp([*logits, 2.5])
        assert np.abs(weights[t] - powers / powers.sum()).max() < 1e-5
    assert np.abs(weights.sum(axis=1) - 1).max() < 1e-6


def test_a_mova_with_masks_over_units_shows_its_own_weights(film: Path, tiny: WorldsTiny) -> None:
    torch.manual_seed(1)
    model = Mova.from_backbone(tiny, "subsets").eval()
    assert model.selector is not None
    torch.nn.init.normal_(model.selector.leave.weight, std=0.2)
    sentences = ["a red star", "a blue ring", "a ring"]
    subsets = select_subsets(model, film, sentences, 4)
    expected = model.selector.weights(model.encode_video(film).frames, model.encode_text(sentences).pooled)
    assert (subsets.rule, subsets.threshold) == ("unit masks", None)
    assert np.abs(subsets.weights - expected.detach().numpy()).max() < 1e-6
    assert np.abs(subsets.weights.sum(axis=1) - 1).max() < 1e-5
    for unsupported in (tiny, Mova.from_backbone(tiny, "repaired").eval()):
        assert select_subsets(unsupported, film, sentences, 4).rule == "softmax of cosines"


def test_frames_select_the_sentence_they_show_and_none_without_one(film: Path, tmp_path: Path) -> None:
    subsets = select_subsets(ColourEncoder(), film, ["It is red.", "A blue one.", "All is green."], 5)
    assert subsets.weights.shape == (40, 4)
    strongest = subsets.weights.argmax(axis=1)
    assert strongest.tolist() == [0] * 12 + [3] * 16 + [1] * 12
    assert len(subsets.frame_indices) == len(subsets.pictures) == 5
    document = subsets.to_json()
    assert list(document) == [
        "video", "model", "method", "rule", "threshold", "sentences", "frames", "times", "weights",
    ]  # fmt: skip
    assert document["threshold"] == 0.7
    for frame in document["frames"]:
        assert [row["sentence"] for row in frame["strongest"]] == subsets.strongest(
            document["times"].index(frame["time"])
        )
        assert sum(row["weight"] for row in frame["strongest"]) + frame["none"] == pytest.approx(1, abs=1e-5)
    draw_subsets(subsets, tmp_path / "new" / "subsets.png")
    picture = np.asarray(Image.open(tmp_path / "new" / "subsets.png").convert("RGB")).astype(int)
    red, blue = (np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) for colour in unit_colors(2))
    for colour in (red, blue):
        assert (np.abs(picture - colour).max(axis=2) < 3).sum() > 0.25 * 1.15 * 144 * 12.3 * 144


def test_one_frame_one_sentence_and_more_sentences_than_colours(tmp_path: Path) -> None:
    for frames, units in ((1, 1), (3, 45)):
        weights = np.full((frames, units + 1), 1 / (units + 1), dtype=np.float32)
        subsets = Subsets(
            video="film.mp4",
            model="m",
            sentences=tuple(f"Sentence {k} with many words to be cut off somewhere." for k in range(units)),
            rule="unit masks",
            threshold=None,
            duration=2.0,
            times=np.arange(frames) / 2,
            weights=weights,
            frame_indices=(0,),
            pictures=np.zeros((1, 90, 40, 3), dtype=np.uint8),
        )
        assert subsets.strongest(0) == list(range(min(units, 3)))
        draw_subsets(subsets, tmp_path / f"{units}.png")
        assert (tmp_path / f"{units}.png").stat().st_size > 1000
    assert len(set(unit_colors(45))) == 18


def test_the_chart_is_empty_where_frames_are_missing(tmp_path: Path) -> None:
    gapped = Subsets(
        video="film.mp4",
        model="m",
        sentences=("All of it.",),
        rule="unit masks",
        threshold=None,
        duration=10.0,
        times=np.concatenate([np.arange(8), np.arange(16, 20)]) / 2,
        weights=np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (12, 1)),
        frame_indices=(0,),
        pictures=np.zeros((1, 90, 160, 3), dtype=np.uint8),
        step=0.5,
    )
    red = np.array([int(unit_colors(1)[0][i : i + 2], 16) for i in (1, 3, 5)])
    counts = []
    for name, subsets in (("gap.png", gapped), ("none.png", replace(gapped, step=None))):
        draw_subsets(subsets, tmp_path / name)
        picture = np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int)
        counts.append((np.abs(picture - red).max(axis=2) < 3).sum())
    chart = 1.15 * 144 * 12.3 * 144
    assert counts[1] - counts[0] == pytest.approx(0.4 * chart, rel=0.05)


def test_the_best_frames_come_first_then_the_farthest() -> None:
    times = np.arange(20) / 2
    relevance = np.zeros((3, 20), dtype=np.float32)
    relevance[[0, 1, 2], [4, 15, 4]] = [0.5, 0.9, 0.7]
    assert choose_frames(relevance, times, 1) == [15]
    assert choose_frames(relevance, times, 2) == [4, 15]
    assert choose_frames(relevance, times, 3) == [4, 9, 15]
    assert choose_frames(relevance, times, 100) == list(range(20))
    assert choose_frames(np.zeros((2, 4), dtype=np.float32), times[:4], 2) == [0, 3]
    assert choose_frames(np.zeros((1, 1), dtype=np.float32), times[:1], 8) == [0]
    with pytest.raises(UsageError, match="must be at least 1"):
        choose_frames(relevance, times, 0)


def test_chosen_frames_are_read_as_the_model_saw_them(film: Path, tiny: WorldsTiny) -> None:
    encoded = tiny.encode_video(film)
    chosen = [0, 5, 6, len(encoded.times) - 1]
    pictures, inputs = read_inputs(open_tower(tiny), film, encoded.times, chosen)
    assert pictures.shape == (4, 60, 80, 3)
    with torch.no_grad():
        assert torch.allclose(tiny.image_features(inputs), encoded.frames[chosen], atol=1e-5)


def test_large_pictures_are_reduced_and_small_ones_left() -> None:
    pictures = np.zeros((2, 90, 160, 3), dtype=np.uint8)
    assert reduced(pictures, 45).shape == (2, 45, 80, 3)
    assert reduced(pictures, 91) is pictures
