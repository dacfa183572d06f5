"""Losses that use time annotations: frames against sentences, and videos against paragraphs.

Shape legend: T frames (or stacks of frames), N sentences, V videos, P paragraphs, K sentences per paragraph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mova.losses.contrastive import multi_positive_nce, symmetric_nce
from mova.scoring.similarity import soft_pool


def frame_sentence_nce(
    cosines: Tensor, scale: Tensor | float, positive: Tensor, truth: Tensor
) -> tuple[Tensor, Tensor]:
    """Contrast frames with sentences in both directions, excluding pairs that are true by coincidence.

    Args:
        cosines: (T, N).
        scale: scalar, multiplies the cosines.
        positive: bool, (T, N), the sentence was written for this frame. A column that is false throughout is a
            negative sentence.
        truth: bool, (T, N), the sentence is true of what the frame shows (includes `positive`).

    Returns:
        Frame-to-sentence and sentence-to-frame loss, scalars.

    Example:
        >>> import torch
        >>> written = torch.eye(3, dtype=torch.bool)
        >>> frame_sentence_nce(torch.eye(3), 2.0, written, written)
        (tensor(0.2395), tensor(0.2395))
    """
    logits = scale * cosines
    valid = ~truth | positive
    return multi_positive_nce(logits, positive, valid), multi_positive_nce(logits.T, positive.T, valid.T)


def late_interaction_scores(cosines: Tensor, video: Tensor, paragraphs: Tensor, videos: int) -> Tensor:
    """Score every video with every paragraph by late interaction: `S[v, p] = mean_k soft_pool_{t in v}(c_tk)`.

    Args:
        cosines: (T, N) frame-sentence cosines of the whole batch.
        video: int64, (T,), index of the video each frame belongs to; all videos have the same number of frames.
        paragraphs: int64, (P, K), sentence indices, padded with -1; at least one sentence each.
        videos: V.

    Returns:
        (V, P).

    Example:
        >>> import torch
        >>> cosines = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
        >>> video, paragraphs = torch.tensor([0, 0, 1, 1]), torch.tensor([[0, 1], [2, -1]])
        >>> late_interaction_scores(cosines, video, paragraphs, videos=2)
        tensor([[1.0000, 0.0000],
                [0.0000, 1.0000]])
    """
    order = torch.argsort(video, stable=True)
    grouped = cosines[order].view(videos, -1, cosines.shape[1])
    return mean_of_units(soft_pool(grouped.transpose(1, 2)), paragraphs)


def mean_of_units(pooled: Tensor, paragraphs: Tensor) -> Tensor:
    """Average the scores of each paragraph's sentences (or other units): `S[v, p] = mean_{n in p} pooled[v, n]`.

    Args:
        pooled: (V, N), every video with every sentence.
        paragraphs: int64, (P, K), sentence indices, padded with -1; at least one sentence each. Paragraphs may share
            sentences.

    Returns:
        (V, P).

    Example:
        >>> import torch
        >>> mean_of_units(torch.tensor([[0.2, 0.4, 0.9]]), torch.tensor([[0, 1], [2, -1]]))
        tensor([[0.3000, 0.9000]])
    """
    real = (paragraphs >= 0).to(pooled.dtype)
    picked = pooled[:, paragraphs.clamp(min=0)]
    return (picked * real).sum(dim=-1) / real.sum(dim=-1)


def paragraph_nce(scores: Tensor, scale: Tensor | float, truth: Tensor) -> Tensor:
    """Compute symmetric InfoNCE on late-interaction scores.

    Args:
        scores: (V, V), paragraph p belongs to video p.
        scale: multiplies the scores.
        truth: bool, (V, V), every sentence of the paragraph is true somewhere in the video. Off the diagonal such pairs
            are excluded: they are true by coincidence.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> paragraph_nce(torch.eye(3), 2.0, torch.eye(3, dtype=torch.bool))
        tensor(0.2395)
    """
    return symmetric_nce(scale * scores, valid=~truth)
