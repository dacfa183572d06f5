"""Objectives that know which frames a sentence tells: frames against sentences, videos against paragraphs.

Shape legend: T frames (or stacks of frames), N sentences, V videos, P paragraphs, K sentences a paragraph, d width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mova.losses.contrastive import multi_positive_nce, symmetric_nce
from mova.scoring.similarity import soft_pool


def frame_sentence_nce(cosines: Tensor, scale: Tensor, own: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Contrast both ways between frames and sentences, leaving out pairs that are true by accident.

    Args:
        cosines: (T, N).
        scale: scalar, multiplies the cosines.
        own: bool, (T, N), the sentence was written for this frame. Columns without any true entry are negatives.
        truth: bool, (T, N), the sentence holds for what the frame shows (own included).

    Returns:
        Frame-to-sentence and sentence-to-frame loss.
    """
    logits = scale * cosines
    valid = ~truth | own
    return multi_positive_nce(logits, own, valid), multi_positive_nce(logits.T, own.T, valid.T)


def late_interaction_scores(cosines: Tensor, video: Tensor, paragraphs: Tensor, videos: int) -> Tensor:
    """Late interaction of every video with every paragraph: `S[v, p] = mean_k soft_pool_{t in v}(c_tk)`.

    Args:
        cosines: (T, N) frame-sentence cosines of the whole batch.
        video: int64, (T,), which video a frame belongs to; every one of `videos` has as many frames.
        paragraphs: int64, (P, K), sentence indices, -1 where a paragraph has fewer; at least one each.
        videos: V.

    Returns:
        (V, P).
    """
    order = torch.argsort(video, stable=True)
    grouped = cosines[order].view(videos, -1, cosines.shape[1])
    return mean_of_units(soft_pool(grouped.transpose(1, 2)), paragraphs)


def mean_of_units(pooled: Tensor, paragraphs: Tensor) -> Tensor:
    """Scores of paragraphs from those of their sentences (or other units): `S[v, p] = mean_{n in p} pooled[v, n]`.

    Args:
        pooled: (V, N), every video with every sentence.
        paragraphs: int64, (P, K), sentence indices, -1 where a paragraph has fewer; at least one each. Paragraphs
            may share sentences.

    Returns:
        (V, P).
    """
    told = (paragraphs >= 0).to(pooled.dtype)
    picked = pooled[:, paragraphs.clamp(min=0)]
    return (picked * told).sum(dim=-1) / told.sum(dim=-1)


def paragraph_nce(scores: Tensor, scale: Tensor, truth: Tensor) -> Tensor:
    """Symmetric InfoNCE on late-interaction scores; paragraphs that hold for another video by accident are left out.

    Args:
        scores: (V, V), paragraph p belongs to video p.
        truth: bool, (V, V), all sentences of the paragraph hold somewhere in the video.
    """
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return symmetric_nce(scale * scores, own, ~truth | own)
