"""Occlusion of a video LLM against videos that are covered by hand, and through `mova explain`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mova.errors import UsageError
from mova.explain import saliency
from mova.explain.saliency import covers
from mova.explain.video_llm import covered, occlude_video_llm
from mova.models.video_llm.model import VideoLLM
from mova.types import Frames
from mova.video.writer import write_mp4
from tests.support.tiny_videollms import build

TEXTS = ["A man opens a door.", "The dog runs across the street."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("qwen2_5_vl", tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def model(folder: Path) -> VideoLLM:
    return VideoLLM.from_pretrained(folder, precision="fp32", device="cpu", max_frames=4)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds at two frames per second, wider than tall."""
    pixels = np.random.default_rng(0).integers(0, 255, (8, 3, 4, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_mp4(path, [Frames(np.kron(pixels, np.ones((1, 16, 16, 1), np.uint8)), np.arange(8) / 2)])
    return path


@pytest.fixture
def few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the side at strides of half: nine windows of a square, not 169."""
    monkeypatch.setattr(saliency, "WINDOW", 1 / 2)
    monkeypatch.setattr(saliency, "STRIDE", 1 / 2)


def test_maps_equal_the_score_drops_of_explicitly_covered_videos(
    model: VideoLLM, film: Path, few_windows: None
) -> None:
    progress: list[tuple[int, int]] = []
    maps = occlude_video_llm(model, film, TEXTS, 2, lambda done, of: progress.append((done, of)))
    frames = model.sample(film)
    texts = [*TEXTS, " ".join(TEXTS)]
    plain = model.log_odds(frames, texts).numpy()
    assert maps.sentences == tuple(texts)
    assert maps.video_scores == pytest.approx(plain, abs=1e-4)

    def falls(pixels: np.ndarray) -> np.ndarray:
        return plain - model.log_odds(Frames(pixels, frames.pts), texts).numpy()

    hidden = []
    for position in range(len(frames)):
        copy = frames.pixels.copy()
        copy[position] = copy[position].mean(axis=(0, 1)).round()
        hidden.append(falls(copy))
    tall, wide = (covers(side, 48).numpy() for side in frames.pixels.shape[1:3])
    assert progress[-1] == (len(progress), len(frames) + 2 * len(tall) * len(wide))
    positions = [frames.pts.tolist().index(time) for time in maps.times]
    assert maps.values == pytest.approx(np.stack(hidden, axis=1)[:, positions], abs=1e-4)
    assert {int(np.argmax(row)) for row in np.stack(hidden, axis=1)} & set(positions)
    total, count = np.zeros((len(texts), *frames.pixels.shape[1:3])), np.zeros(frames.pixels.shape[1:3])
    for rows in tall:
        for columns in wide:
            copy, cover = frames.pixels.copy(), rows[:, None] & columns
            copy[positions[0]][cover] = frames.pixels[positions[0]].mean(axis=(0, 1)).round()
            total[:, cover] += falls(copy)[:, None]
            count += cover
    assert maps.maps[:, 0] == pytest.approx(total / count, abs=1e-4)


def test_a_cover_changes_one_frame_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 4, 6, 3), dtype=np.uint8)
    window = np.zeros((1, 4, 6), dtype=bool)
    window[0, 1:3, 2:5] = True
    (copy,) = covered(pixels, 1, window)
    assert (copy[1][window[0]] == pixels[1].mean(axis=(0, 1)).round()).all()
    assert (copy[1][~window[0]] == pixels[1][~window[0]]).all()
    assert (copy[[0, 2]] == pixels[[0, 2]]).all()


def test_invalid_requests_are_explained(model: VideoLLM, film: Path) -> None:
    with pytest.raises(UsageError, match="no sentence"):
        occlude_video_llm(model, film, [], 2)
    with pytest.raises(UsageError, match="must be at least 1"):
        occlude_video_llm(model, film, TEXTS, 0)


def test_the_command_draws_it(
    call: Callable[..., tuple[int, str, str]], folder: Path, film: Path, few_windows: None, tmp_path: Path
) -> None:
    words = ("explain", film, "--text", TEXTS[0], "--model", folder, "--plot", tmp_path / "why.png")
    code, out, err = call(*words, "--method", "occlusion", "--frames", 1, "--max-frames", 2, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert len(document["log_odds"]) == 1
    assert document["frames"][0]["sentences"][0].keys() == {"sentence", "fall", "map"}
    assert (tmp_path / "why.png").stat().st_size > 5000
    code, _, err = call(*words)
    assert code == 2
    assert "a video LLM has no frame vectors; use --method occlusion" in err
