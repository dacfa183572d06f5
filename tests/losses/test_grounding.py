"""Grounding losses against the written-out form."""

from __future__ import annotations

import torch

from mova.losses.contrastive import symmetric_nce
from mova.losses.grounding import frame_sentence_nce, late_interaction_scores, paragraph_nce


def test_late_interaction_of_a_batch_equals_loops() -> None:
    torch.manual_seed(0)
    cosines = torch.rand(12, 5) * 2 - 1
    video = torch.tensor([0, 1, 2] * 4)
    paragraphs = torch.tensor([[0, -1], [1, 2], [3, 4]])
    scores = late_interaction_scores(cosines, video, paragraphs, 3)
    for v in range(3):
        for p, row in enumerate(paragraphs.tolist()):
            pooled = []
            for k in (k for k in row if k >= 0):
                c = cosines[video == v, k]
                pooled.append(((c / 0.1).softmax(0) * c).sum())
            torch.testing.assert_close(scores[v, p], torch.stack(pooled).mean())


def test_pairs_that_are_true_by_coincidence_are_excluded() -> None:
    torch.manual_seed(0)
    cosines, scale = torch.randn(4, 6), torch.tensor(3.0)
    positive = torch.zeros(4, 6, dtype=torch.bool)
    positive[[0, 1, 2], [0, 1, 2]] = True
    truth = positive.clone()
    truth[0, 4] = True
    to_text, to_frames = frame_sentence_nce(cosines, scale, positive, truth)
    changed = cosines.clone()
    changed[0, 4] = 99.0
    to_text_changed, to_frames_changed = frame_sentence_nce(changed, scale, positive, truth)
    torch.testing.assert_close((to_text, to_frames), (to_text_changed, to_frames_changed))
    changed[0, 5] = 9.0
    assert frame_sentence_nce(changed, scale, positive, truth)[0] > to_text


def test_paragraph_loss_equals_clip_when_nothing_is_ambiguous() -> None:
    scores = torch.randn(4, 4)
    plain = paragraph_nce(scores, torch.tensor(2.0), torch.eye(4, dtype=torch.bool))
    torch.testing.assert_close(plain, symmetric_nce(2.0 * scores))
