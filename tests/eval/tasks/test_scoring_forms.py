"""Forms of scoring against the functions that define them, in float64 or by the model itself."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from mova.errors import UsageError
from mova.eval.tasks import scoring_forms as forms
from mova.eval.tasks.scoring_forms import FORMS, MASKED, OF_DIMENSIONS, ScoringForm
from mova.models.embeddings import VideoEmbedding
from mova.models.mova.model import Mova
from mova.models.registry import load
from mova.scoring.caption_score import EvidenceRule
from mova.scoring.masked import ModularScore
from mova.types import Frames
from tests.support.known import Clips, KnownEncoder, cosines, drawn, known_split, pooled, row

TEXTS = ["A dog runs. A cat sleeps.", "A bird.", "Rain falls. It stops. The sun shines."]
VIDEOS = [Clips(count=n)(row(f"v{n}")) for n in (1, 4, 7)]


def late(text: list[str], frames: torch.Tensor) -> float:
    c = cosines(torch.cat([drawn(unit) for unit in text]), frames)
    w = np.exp(c / 0.1)
    return float((w / w.sum(axis=1, keepdims=True) * c).sum(axis=1).mean())


def test_global_and_late_scores_equal_explicit_arithmetic() -> None:
    model = KnownEncoder()
    scores = {}
    for name in ("global", "late", "rule"):
        form = ScoringForm(model, name)
        scores[name] = form.score(VIDEOS, form.encode(TEXTS)).numpy()
    expected = cosines(torch.cat([drawn(t) for t in TEXTS]), torch.stack([pooled(v.frames) for v in VIDEOS])).T
    np.testing.assert_allclose(scores["global"], expected, atol=1e-6)
    units = [model.units.split(text) for text in TEXTS]
    expected = np.array([[late(u, v.frames) for u in units] for v in VIDEOS])
    np.testing.assert_allclose(scores["late"], expected, atol=1e-5)
    np.testing.assert_allclose(scores["rule"], expected, atol=1e-5)


def test_the_rule_is_the_models_own_and_is_in_the_report() -> None:
    model = KnownEncoder()
    model.rule = EvidenceRule(g=0.5, theta=0.1, beta=0.3, global_share=0.2)
    form = ScoringForm(model, "rule")
    assert not form.used
    assert torch.equal(form.score(VIDEOS, form.encode(TEXTS)), model.score(VIDEOS, TEXTS))
    assert form.to_json() == {"form": "rule", "rule": model.rule.to_dict(), "units": model.units.to_dict()}
    assert form.used


def test_relevance_pools_frames_by_their_relevance_to_the_text() -> None:
    form = ScoringForm(KnownEncoder(), "relevance")
    scores = form.score(VIDEOS, form.encode(TEXTS)).numpy()
    for v, video in enumerate(VIDEOS):
        frames = video.frames.double().numpy()
        frames /= np.linalg.norm(frames, axis=1, keepdims=True)
        for n, text in enumerate(TEXTS):
            weights = np.exp(cosines(drawn(text), video.frames)[0] / 0.2)
            mixed = (weights / weights.sum()) @ frames
            expected = cosines(drawn(text), torch.from_numpy(mixed[None]))[0, 0]
            assert scores[v, n] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("preset", ["paper", "subsets"])
def test_modular_scores_are_the_models_own_in_any_number_of_texts(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Mova.from_backbone(load("mova-worlds-tiny"), preset).eval()
    rng = np.random.default_rng(0)
    videos = [
        model.encode_video(Frames(rng.integers(0, 256, (n, 64, 64, 3), dtype=np.uint8), np.arange(n) / 2))
        for n in (3, 5)
    ]
    expected = model.modular_similarity(videos, TEXTS)
    monkeypatch.setattr(forms, "TEXT_CHUNK", 2)
    form = ScoringForm(model, "modular")
    torch.testing.assert_close(form.score(videos, form.encode(TEXTS)), expected)
    with pytest.raises(UsageError, match="has no frame masks"):
        ScoringForm(Mova.from_backbone(load("mova-worlds-tiny"), "control"), "modular")


def test_unknown_forms_and_missing_masks_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown form; choose one of rule"):
        ScoringForm(KnownEncoder(), "best")
    with pytest.raises(UsageError, match="has no frame masks"):
        ScoringForm(KnownEncoder(), "modular")
    assert set(FORMS) >= {"rule", "late", "global", "relevance", "modular"}


def test_texts_that_the_model_cuts_are_counted() -> None:
    class Short(KnownEncoder):
        def encode_text(self, texts):  # type: ignore[no-untyped-def]
            embedding = super().encode_text(texts)
            embedding.dropped[:] = [max(0, len(t.split()) - 4) for t in texts]
            return embedding

    test = known_split([], model=Short())
    test.form.encode(TEXTS)
    assert test.form.cut == 2


def test_both_masks_meet_in_mod_and_the_temporal_mask_alone_in_tv() -> None:
    """The concept mask is not in tv. The temporal mask is in modular only as an input of the concept network."""
    torch.manual_seed(0)
    model = Mova.from_backbone(load("mova-worlds-tiny"), "paper").eval()
    videos = [VideoEmbedding(torch.randn(4, model.embedding_dim), np.arange(4.0), 4.0, step=1.0) for _ in range(3)]
    captions = ["A red circle rests.", "A blue square turns, then a star falls."]

    def scores() -> dict[str, Tensor]:
        results = {}
        for name in MASKED:
            form = ScoringForm(model, name)
            results[name] = form.score(videos, form.encode(captions))
        return results

    def changed(network: Any) -> set[str]:
        before = scores()
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(torch.randn_like(weight))
        return {name for name, value in scores().items() if not torch.equal(value, before[name])}

    assert changed(model.temporal) >= set(OF_DIMENSIONS)
    assert changed(model.concept) == {"modular", "mod", "mod-top", "mod-relevance"}
    subsets = Mova.from_backbone(load("mova-worlds-tiny"), "subsets")
    with pytest.raises(UsageError, match="choose --form modular"):
        ScoringForm(subsets, "mod-top")
    assert set(get_args(ModularScore)) == {*OF_DIMENSIONS, "agg"}


def test_a_concept_mask_of_captions_alone_has_no_temporal_mask() -> None:
    torch.manual_seed(0)
    model = Mova.from_backbone(load("mova-worlds-tiny"), "paper", masks="concept", concept_inputs="text").eval()
    video = VideoEmbedding(torch.randn(4, model.embedding_dim), np.arange(4.0), 4.0, step=1.0)
    form = ScoringForm(model, "mod")
    text = model.encode_text(TEXTS[:1])
    real = torch.ones(1, 4, dtype=torch.bool)
    masks = model.masks(video.frames[None], real, text.tokens, text.mask, text.pooled)
    assert torch.equal(masks.m_t, torch.ones_like(masks.m_t))
    assert torch.equal(masks.m_v[0], masks.m_v[0, :1].expand(4, -1))
    assert 0 < float(masks.m_v.detach().mean()) < 1
    seen = torch.nn.functional.cosine_similarity(video.frames * masks.m_v[0], text.pooled)
    torch.testing.assert_close(form.score([video], form.encode(TEXTS[:1]))[0, 0], seen.mean())
    with pytest.raises(UsageError, match="has no score 'tv-top'; choose from agg, mod, mod-top, mod-relevance"):
        model.modular_similarity([video], TEXTS, "tv-top")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has no masks for it"):
        ScoringForm(model, "tv")
