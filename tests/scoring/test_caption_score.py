"""The evidence rule against a written-out float64 form, pair by pair."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from mova.errors import ModelError
from mova.scoring.caption_score import Evidence, EvidenceRule, gather_evidence
from mova.scoring.similarity import late_interaction, relevance


def drawn(lengths: list[int], width: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, width, generator=generator) for length in lengths]


VIDEOS = drawn([5, 1, 9, 5, 2, 30], 6, 0)
TEXTS = drawn([1, 3, 2, 1, 3, 4, 1], 6, 1)


def by_hand(rule: EvidenceRule, frames: Tensor, units: Tensor) -> float:
    """The rule for one pair, in float64, with every path of the order term listed."""
    z = torch.nn.functional.normalize(frames.double(), dim=-1)
    u = torch.nn.functional.normalize(units.double(), dim=-1)
    c = u @ z.T
    base = float(((c / 0.1).softmax(dim=1) * c).sum(dim=1).mean())
    order = base
    if len(u) <= len(z):
        paths = [sum(float(c[k, t]) for k, t in enumerate(path)) / 0.1 for path in combinations(range(len(z)), len(u))]
        order = 0.1 / len(u) * float(torch.tensor(paths, dtype=torch.float64).logsumexp(dim=0))
    if rule.global_share is not None and len(u) == 1:
        pooled, mean = ((c[0] / 0.2).softmax(dim=0)[:, None] * z).sum(dim=0), z.mean(dim=0)
        base = float(pooled @ u[0] / pooled.norm() + rule.global_share * (mean @ u[0]) / mean.norm())
    return len(u) ** rule.g * (base + rule.beta * order - rule.theta)


@pytest.mark.parametrize(
    "rule",
    [
        EvidenceRule(),
        EvidenceRule(g=0.5, theta=0.2),
        EvidenceRule(beta=0.75),
        EvidenceRule(global_share=0.0),
        EvidenceRule(g=0.25, theta=-0.1, beta=2.0, global_share=0.15),
    ],
)
def test_scores_equal_explicit_arithmetic(rule: EvidenceRule) -> None:
    scores = rule.score(VIDEOS, TEXTS)
    assert scores.dtype == torch.float32
    expected = [[by_hand(rule, video, text) for text in TEXTS] for video in VIDEOS]
    torch.testing.assert_close(scores.double(), torch.tensor(expected, dtype=torch.float64), atol=3e-6, rtol=3e-6)


def test_everything_zero_is_plain_late_interaction() -> None:
    rule = EvidenceRule()
    assert rule.plain
    assert not EvidenceRule(global_share=0.0).plain
    for v, video in enumerate(VIDEOS):
        alone = [float(late_interaction(relevance(text, video))) for text in TEXTS]
        assert rule.score(VIDEOS, TEXTS)[v].tolist() == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("cells", [1, 7, 60, 10**9])
def test_groups_of_any_size_give_the_same(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = EvidenceRule(0.5, 0.1, 0.5, 0.1)
    expected = rule.score(VIDEOS, TEXTS)
    monkeypatch.setattr("mova.scoring.caption_score.GROUP_FRAMES", max(1, cells // 3))
    torch.testing.assert_close(rule.weigh(gather_evidence(VIDEOS, TEXTS, cells=cells)), expected, atol=2e-6, rtol=2e-6)


def test_no_tensor_grows_with_videos_times_texts_times_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mova.scoring.caption_score.GROUP_FRAMES", 64)
    largest = 0

    def watch(scores: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        nonlocal largest
        largest = max(largest, scores.numel())
        return late_interaction(scores, frame_mask=frame_mask)

    monkeypatch.setattr("mova.scoring.caption_score.late_interaction", watch)
    gather_evidence(drawn([16] * 50, 4, 0), drawn([3] * 50, 4, 1), cells=1000)
    assert 500 < largest <= 1000


def test_a_text_with_more_units_than_frames_has_no_order_but_a_score() -> None:
    video, text = drawn([2], 5, 3)[0], drawn([3], 5, 4)[0]
    evidence = gather_evidence([video], [text])
    assert evidence.order is not None
    assert float(evidence.order) == float(evidence.late)
    assert math.isfinite(float(EvidenceRule(beta=1.0).score([video], [text])))


def test_order_separates_captions_that_late_interaction_cannot() -> None:
    video = torch.eye(4)
    in_order, flipped = torch.eye(4)[[0, 1, 3]], torch.eye(4)[[1, 0, 3]]
    plain = EvidenceRule().score([video], [in_order, flipped])[0]
    ordered = EvidenceRule(beta=0.1).score([video], [in_order, flipped])[0]
    assert float(plain[0]) == pytest.approx(float(plain[1]), abs=1e-6)
    assert float(ordered[0] - ordered[1]) > 0.02


def test_theta_and_g_never_change_the_best_video_for_a_text() -> None:
    plain = EvidenceRule().score(VIDEOS, TEXTS)
    weighed = EvidenceRule(g=1.0, theta=0.4).score(VIDEOS, TEXTS)
    assert torch.equal(plain.argmax(dim=0), weighed.argmax(dim=0))


def test_no_videos_no_texts_and_zero_vectors() -> None:
    assert EvidenceRule(beta=1.0, global_share=0.1).score(VIDEOS, []).shape == (len(VIDEOS), 0)
    assert EvidenceRule().score([], TEXTS).shape == (0, len(TEXTS))
    for rule in (EvidenceRule(), EvidenceRule(0.5, 0.0, 1.0, 0.1)):
        scores = rule.score([torch.zeros(3, 6), *VIDEOS], TEXTS)
        assert torch.isfinite(scores).all()
    with pytest.raises(ValueError, match="a video has no frame: vectors 1"):
        EvidenceRule().score([torch.ones(1, 6), torch.ones(0, 6)], TEXTS)
    with pytest.raises(ValueError, match="a text has no unit"):
        EvidenceRule().score(VIDEOS, [torch.ones(0, 6)])


def test_gradients_reach_frames_and_units() -> None:
    videos = [video.clone().requires_grad_() for video in VIDEOS[:3]]
    texts = [text.clone().requires_grad_() for text in TEXTS[:3]]
    EvidenceRule(0.5, 0.1, 0.5, 0.1).score(videos, texts).sum().backward()
    for leaf in (*videos, *texts):
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"g": -0.1}, "g must be at least 0"),
        ({"theta": 1.5}, r"theta must be in \[-1, 1\]"),
        ({"beta": float("nan")}, "beta must be a finite number"),
        ({"beta": None}, "beta must be a finite number"),
        ({"g": True}, "g must be a finite number"),
        ({"global_share": -1.0}, "global_share must be at least 0"),
        ({"gamma": 1.0}, "unknown parameter gamma; choose from g, theta"),
    ],
)
def test_a_wrong_rule_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        EvidenceRule.from_dict(settings)
    with pytest.raises((ValueError, TypeError)):
        EvidenceRule(**settings)


def test_a_rule_survives_a_configuration() -> None:
    rule = EvidenceRule(0.25, 0.1, 0.5, 0.05)
    assert EvidenceRule.from_dict(rule.to_dict()) == rule
    assert EvidenceRule.from_dict(None) == EvidenceRule.from_dict({}) == EvidenceRule()


def test_missing_terms_are_refused() -> None:
    bare = Evidence(torch.zeros(2, 2), torch.ones(2))
    with pytest.raises(ValueError, match="order=True"):
        EvidenceRule(beta=1.0).weigh(bare)
    with pytest.raises(ValueError, match="lone=True"):
        EvidenceRule(global_share=0.0).weigh(bare)
