"""The closed-form fit: its optimum, what it recovers, and when it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from mova.errors import UsageError
from mova.features import fit as fit_module
from mova.features.fit import FitReport, choose_map, fit_ridge, reciprocal_ranks
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
    with pytest.raises(UsageError, match="49 captioned videos; a fit needs at least 50"):
        choose_map(unit(49, 4), unit(49, 4), unit(49, 4))


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
