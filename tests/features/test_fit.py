"""The closed-form fit: its optimum, what it recovers, and when it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from mova.errors import UsageError
from mova.features import fit as fit_module
from mova.features.fit import FitReport, choose_map, fit_ridge, reciprocal_ranks, split_folds
from mova.models.fitted.model import Fitted
from mova.models.registry import load

Call = Callable[..., tuple[int, str, str]]


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_map_is_the_minimum_of_the_ridge_loss() -> None:
    videos, texts = unit(40, 6), unit(40, 6, seed=1)
    fitted = fit_ridge(videos, texts, 0.5)
    x = (videos - videos.mean(dim=0)).double()
    y = (texts - texts.mean(dim=0)).double()
    scale = max(0.0, float((x * y).sum() / (x * x).sum()))
    ridge = 0.5 * float((x * x).sum(dim=1).mean())
    change = (fitted.weight.double() - scale * torch.eye(6, dtype=torch.float64)).requires_grad_()
    loss = (y - scale * x - x @ change.T).square().sum() + ridge * change.square().sum()
    (gradient,) = torch.autograd.grad(loss, change)
    assert gradient.abs().max() < 1e-5
    assert torch.allclose(fitted(videos).mean(dim=0), torch.zeros(6), atol=1e-6)


def test_a_strong_ridge_keeps_the_directions() -> None:
    videos = unit(60, 8)
    texts = F.normalize(videos + 0.3 * unit(60, 8, seed=1), dim=-1)
    kept = fit_ridge(videos, texts, 1e9)(videos)
    centered = videos - videos.mean(dim=0)
    assert torch.allclose(F.cosine_similarity(kept, centered), torch.ones(60), atol=1e-4)


def test_a_rotation_is_found_on_held_out_rows() -> None:
    texts = unit(200, 12)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(2)))[0]
    videos = F.normalize(texts @ turn + 0.05 * unit(200, 12, seed=3), dim=-1)
    chosen, report = choose_map(videos, texts, texts)
    assert report.helps
    assert report.recall_before < 20 < 80 < report.recall_after
    assert reciprocal_ranks(chosen(videos), texts).mean() > 0.9
    assert (report.rows, report.gallery) == (200, 40)


def test_noise_is_refused() -> None:
    helped = [
        choose_map(unit(100, 12, seed=s), unit(100, 12, seed=s + 50), unit(100, 12, seed=s + 50)) for s in range(5)
    ]
    assert sum(report.helps for _, report in helped) <= 1


def test_an_encoder_that_is_right_already_is_kept() -> None:
    texts = unit(100, 16)
    _, report = choose_map(texts, texts, texts)
    assert report.recall_before == 100
    assert not report.helps


def test_few_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="49 captioned images and clips; a fit needs at least 50"):
        choose_map(unit(49, 4), unit(49, 4), unit(49, 4))


def test_clips_of_one_file_are_held_out_together() -> None:
    files = [f"{number % 17}.mp4" for number in range(60)]
    folds = split_folds(files, seed=3)
    assert sorted(row for fold in folds for row in fold.tolist()) == list(range(60))
    owners = [{files[row] for row in fold.tolist()} for fold in folds]
    assert sum(map(len, owners)) == 17, "no file is in two folds"
    with pytest.raises(UsageError, match="captions of 4 files; held-out figures need at least 5"):
        split_folds(["a", "b", "c", "d"] * 20, seed=0)


def test_repeated_clips_of_a_file_do_not_count_as_a_gain() -> None:
    """Each file has its own random text, so nothing can be learned for other files."""
    videos, words = unit(12, 16), unit(12, 16, seed=1)
    rows = torch.arange(12).repeat(8)
    noisy = F.normalize(videos[rows] + 0.02 * unit(96, 16, seed=2), dim=-1)
    queries = F.normalize(words[rows] + 0.02 * unit(96, 16, seed=3), dim=-1)
    _, leaky = choose_map(noisy, queries, queries)
    _, fair = choose_map(noisy, queries, queries, [str(row) for row in rows.tolist()])
    assert leaky.helps
    assert leaky.rank_after > 1.5 * fair.rank_after
    assert not fair.helps


def test_ties_count_against_the_right_video() -> None:
    videos = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert reciprocal_ranks(videos, videos).tolist() == [0.5, 0.5, 1.0]


@pytest.mark.parametrize("helps", [True, False])
def test_the_command_saves_a_model_only_if_it_helps(
    call: Call, worlds_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helps: bool
) -> None:
    monkeypatch.setattr(fit_module, "LEAST_ROWS", 5)
    monkeypatch.setattr(FitReport, "helps", property(lambda report: helps))
    words = ("fit", worlds_manifest, tmp_path / "mine", "--model", "mova-worlds-tiny", "--json")
    code, out, _ = call(*words)
    document = json.loads(out)
    assert (code, document["rows"], document["skipped"]) == (0 if helps else 1, 10, 0)
    assert document["helps"] is helps
    assert (tmp_path / "mine").exists() is helps
    if helps:
        assert isinstance(load(tmp_path / "mine"), Fitted)
        code, _, err = call(*words)
        assert (code, "name a new folder" in err) == (2, True)


COLORS = {"red": (200, 30, 30), "green": (20, 160, 40), "blue": (30, 50, 200), "white": (240, 240, 240)}
SIDES = ("left", "right")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 noisy pictures of one colored half, each with its caption in a text file; one picture is damaged."""
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for number in range(96):
        color, side = list(COLORS)[number % 4], SIDES[number // 4 % 2]
        pixels = draw.integers(0, 60, (48, 64, 3))
        half = slice(0, 32) if side == "left" else slice(32, 64)
        pixels[:, half] = np.clip(COLORS[color] + draw.integers(-15, 16, (48, 32, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.png")
        (folder / f"{number:03d}.txt").write_text(f"A {color} wall on the {side}.\n", encoding="utf-8")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "broken.txt").write_text("A broken picture.", encoding="utf-8")
    return folder


def test_a_folder_of_captioned_images_with_a_real_architecture(
    call: Call, photos: Path, tiny_clip: Path, worlds_manifest: Path, tmp_path: Path
) -> None:
    model = tmp_path / "mine"
    code, out, err = call("fit", photos, model, "--model", tiny_clip, "--json")
    document = json.loads(out)
    assert (code, document["rows"], document["images"], document["skipped"]) == (0, 96, 96, 1)
    assert "broken.jpg" in err
    assert document["rank_after"] > 2 * document["rank_before"]
    fitted = load(model)
    assert isinstance(fitted, Fitted)
    red, blue = (fitted.encode_video(photos / f"{number:03d}.png") for number in (0, 2))
    scores = fitted.similarity([red, blue], fitted.encode_text(["A red wall on the left.", "A blue wall on the left."]))
    assert scores.argmax(dim=0).tolist() == [0, 1]
    code, out, _ = call("index", worlds_manifest.parent, "--model", model, "--index", tmp_path / "index", "--json")
    assert (code, len(json.loads(out)["indexed"])) == (0, 10), "videos are searched with the model of the images"


def test_wrong_captions_are_refused(call: Call, photos: Path, tiny_clip: Path, tmp_path: Path) -> None:
    names = sorted(photos.glob("*.png"))
    order = np.random.default_rng(1).permutation(len(names))
    lines = ["file_name,caption"]
    for name, other in zip(names, order.tolist(), strict=True):
        lines.append(f"{name},{names[other].with_suffix('.txt').read_text(encoding='utf-8').strip()}")
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    code, out, _ = call("fit", tmp_path / "t.csv", tmp_path / "mine", "--model", tiny_clip)
    assert (code, "not saved: the fit does not help" in out) == (1, True)
    assert "96 images and 0 clips" in out
    assert not (tmp_path / "mine").exists()


def test_images_and_clips_in_one_table(
    photos: Path, tiny_clip: Path, worlds_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [json.loads(line) for line in worlds_manifest.read_text(encoding="utf-8").splitlines()]
    lines = [{"file_name": str(photos / f"{number:03d}.png"), "text": f"Picture {number}."} for number in range(45)]
    for clip in clips[:5]:
        video = str(worlds_manifest.parent / clip["video"])
        lines.append({"video": video, "text": "Things move.", "start": 0, "end": 5})
        lines.append({"video": video, "text": "Things stop.", "start": 5, "end": 10})
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    fitted, report = fit_module.fit(load(tiny_clip), table)
    assert (report.rows, report.images, report.skipped) == (55, 45, 0)
    assert fitted.config.report["images"] == 45
