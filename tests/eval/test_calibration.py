"""The choice of an evidence rule: what helps is chosen, what does not is left at zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mova.eval.calibration import Grid, calibrate
from mova.eval.metrics.ranking import retrieval_metrics
from mova.scoring.caption_score import Evidence, EvidenceRule


def evidence(seed: int, videos: int = 12, texts: int = 12) -> Evidence:
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.rand(videos, texts, generator=generator) for _ in range(4)]
    units = torch.randint(1, 5, (texts,), generator=generator).float()
    return Evidence(parts[0] + 0.3 * torch.eye(videos, texts), units, *parts[1:])


def test_the_winner_is_the_best_of_the_table_and_the_table_is_true() -> None:
    measured = evidence(0)
    calibrated = calibrate(measured, ordered=True)
    assert calibrated.trials[0].rule.plain
    assert len({trial.rule for trial in calibrated.trials}) == len(calibrated.trials)
    best = max(trial.objective for trial in calibrated.trials)
    chosen = next(trial for trial in calibrated.trials if trial.rule == calibrated.rule)
    assert chosen.objective == pytest.approx(best)
    assert best > calibrated.trials[0].objective
    for trial in calibrated.trials[:: len(calibrated.trials) // 25]:
        scores = trial.rule.weigh(measured).numpy()
        assert trial.text_to_video == pytest.approx(retrieval_metrics(scores.T)["R@1"])
        assert trial.video_to_text == pytest.approx(retrieval_metrics(scores)["R@1"])
    assert calibrate(measured, ordered=True) == calibrated
    assert calibrated.to_json()["trials"][0] == {
        "g": 0.0,
        "theta": 0.0,
        "beta": 0.0,
        "global_share": None,
        "t2v": calibrated.trials[0].text_to_video,
        "v2t": calibrated.trials[0].video_to_text,
    }


def test_zero_wins_where_nothing_helps() -> None:
    late = torch.eye(6)
    perfect = Evidence(late, torch.tensor([1.0, 2, 3, 1, 2, 3]), late, late, late)
    calibrated = calibrate(perfect, ordered=True)
    assert calibrated.rule.plain
    assert calibrated.trials[0].objective == 100.0
    constant = torch.full((6, 6), 0.5)
    assert calibrate(Evidence(constant, torch.ones(6), constant, constant, constant)).rule.plain


def test_captions_that_explain_more_are_preferred_where_that_is_right() -> None:
    """Video i holds facts 0 .. i, and all captions of fewer facts are true of it too: only K can tell."""
    count = 6
    late = torch.where(torch.arange(count)[:, None] >= torch.arange(count), 0.9, 0.2)
    calibrated = calibrate(Evidence(late, torch.arange(1, count + 1).float()), grid=Grid(global_share=(None,)))
    assert calibrated.rule.g > 0
    assert calibrated.rule.beta == 0
    plain, best = calibrated.trials[0], max(calibrated.trials, key=lambda trial: trial.objective)
    assert plain.video_to_text < 50
    assert best.video_to_text == 100.0
    assert best.text_to_video == plain.text_to_video


def test_order_is_tried_only_where_captions_are_declared_ordered() -> None:
    measured = evidence(3)
    measured = Evidence(measured.late, measured.units, measured.late + torch.eye(12), measured.pooled, measured.overall)
    assert all(trial.rule.beta == 0 for trial in calibrate(measured).trials)
    assert calibrate(measured, ordered=True).rule.beta > 0


def test_the_share_is_tried_only_where_a_text_has_one_unit() -> None:
    measured = evidence(4)
    long = Evidence(measured.late, measured.units + 1, measured.order, measured.pooled, measured.overall)
    assert {trial.rule.global_share for trial in calibrate(long).trials} == {None}
    right = Evidence(measured.late, torch.ones(12), None, torch.eye(12), torch.zeros(12, 12))
    assert calibrate(right).rule == EvidenceRule(global_share=0.0)


def test_several_texts_per_video_and_distractors() -> None:
    late = torch.tensor([[0.9, 0.8, 0.1, 0.85], [0.2, 0.1, 0.7, 0.75]])
    measured = Evidence(late, torch.full((4,), 2.0))
    calibrated = calibrate(measured, [0, 0, 1, -1])
    plain = calibrated.trials[0]
    assert plain.text_to_video == 100.0
    assert plain.video_to_text == pytest.approx(100 / 3), "siblings are no rivals, the distractor beats two of three"
    np.testing.assert_allclose(calibrate(measured, [0, -1, 1, -1]).trials[0].video_to_text, 50.0)


def test_invalid_evidence_raises() -> None:
    measured = evidence(5)
    for owners in ([0, 1], [-1] * 12, [*range(11), 12], [*range(11), -2]):
        with pytest.raises(ValueError, match="owners must name"):
            calibrate(measured, owners)
    with pytest.raises(ValueError, match="NaN"):
        calibrate(Evidence(measured.late * float("nan"), measured.units + 1))
    with pytest.raises(ValueError, match="order=True"):
        calibrate(Evidence(measured.late, measured.units + 1), ordered=True)
    with pytest.raises(ValueError, match="the plain rule can win"):
        Grid(g=(0.5, 1.0))
