"""Scores of every video with every text, and the contrastive loss on them; no masks are involved.

L_g of MoVA (arXiv 2607.00858) is `score_nce` of `mean_pooled_scores`, or of `relevance_pooled_scores` in its
relevance-pooled form. L_LI, late interaction over the units of a text, is `score_nce` of `unit_scores`. All three
depend on whether video and text match.

Every function normalizes its embeddings, computes in float32 or wider, and ignores padding. `scale` (`1 / tau`)
multiplies the cosines. `normalize=True` divides by the log of the number of candidates, so that chance is about 1.

Shape legend: V videos, T frames (padded), N texts (N = V, text i belongs to video i), K units per text (padded), d
width. `frame_mask` (V, T) and `unit_mask` (N, K) are bool, true where real.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from mova.losses.contrastive import symmetric_nce
from mova.losses.grounding import mean_of_units
from mova.losses.pairwise import check_frames, full_precision
from mova.scoring.pooling import masked_mean
from mova.scoring.similarity import FRAME_TEMPERATURE, POOLING_TEMPERATURE, cosine, relevance_pooled, soft_pool


@full_precision
def mean_pooled_scores(frames: Tensor, frame_mask: Tensor, text: Tensor) -> Tensor:
    """Score by CLIP4Clip's mean pooling: `G[v, n] = cos(mean_t z_vt / |z_vt|, z_n)`.

    This is the parameter-free type of Luo et al. 2021.

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        text: (N, d).

    Returns:
        (V, N).

    Raises:
        ValueError: shapes disagree, or a video has no real frame.

    Example:
        >>> import torch
        >>> frames, real = torch.eye(4).view(2, 2, 4), torch.ones(2, 2, dtype=torch.bool)
        >>> mean_pooled_scores(frames, real, torch.eye(4)[[0, 3]])
        tensor([[0.7071, 0.0000],
                [0.0000, 0.7071]])
    """
    check_frames(frames, frame_mask)
    return cosine(masked_mean(F.normalize(frames, dim=-1), frame_mask), text)


@full_precision
def relevance_pooled_scores(
    frames: Tensor, frame_mask: Tensor, text: Tensor, tau: float = POOLING_TEMPERATURE
) -> Tensor:
    """Score by pooling the frames separately for each text, by their relevance to it.

    `S[v, n] = cos(sum_t w_t z_vt, z_n)`, `w = softmax_t(c_t / tau)`, `c_t = cos(z_vt, z_n)`, on unit vectors. No
    V x N x d array is built: the numerator is `w . c` and the squared norm is `w^T (Z Z^T) w`.

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        text: (N, d).
        tau: temperature; towards infinity this is mean pooling.

    Returns:
        (V, N).

    Raises:
        ValueError: shapes disagree, tau is not above 0, or a video has no real frame.

    Example:
        >>> import torch
        >>> frames, real = torch.eye(4).view(2, 2, 4), torch.ones(2, 2, dtype=torch.bool)
        >>> relevance_pooled_scores(frames, real, torch.eye(4)[[0, 3]])
        tensor([[1.0000, 0.0000],
                [0.0000, 1.0000]])
    """
    check_frames(frames, frame_mask)
    unit = F.normalize(frames, dim=-1)
    return relevance_pooled(F.normalize(text, dim=-1) @ unit.transpose(1, 2), unit, tau, frame_mask)


@full_precision
def unit_scores(
    frames: Tensor, frame_mask: Tensor, units: Tensor, unit_mask: Tensor, tau: float = FRAME_TEMPERATURE
) -> Tensor:
    """Score by late interaction over units: `S[v, n] = mean_k sum_t softmax_t(c_tk / tau) c_tk`.

    `c_tk = cos(z_vt, u_nk)`. Only real units are multiplied, so texts of very different lengths cost nothing extra.

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        units: (N, K, d).
        unit_mask: (N, K).
        tau: see `mova.scoring.similarity.soft_pool`.

    Returns:
        (V, N).

    Raises:
        ValueError: shapes disagree, a video has no real frame, or a text has no real unit.

    Example:
        >>> import torch
        >>> vectors, real = torch.eye(4).view(2, 2, 4), torch.ones(2, 2, dtype=torch.bool)
        >>> unit_scores(vectors, real, vectors, real)
        tensor([[1.0000, 0.0000],
                [0.0000, 1.0000]])
    """
    check_frames(frames, frame_mask)
    if unit_mask.shape != units.shape[:2] or not bool(unit_mask.any(dim=1).all()):
        raise ValueError(
            f"units {tuple(units.shape)} need a mask of their first two sizes with a real unit in every row, "
            f"not {tuple(unit_mask.shape)}"
        )
    cosines = cosine(frames, units[unit_mask])
    pooled = soft_pool(cosines.transpose(1, 2), tau, frame_mask[:, None])
    numbers = unit_mask.flatten().cumsum(dim=0).view_as(unit_mask) - 1
    return mean_of_units(pooled, numbers.masked_fill(~unit_mask, -1))


@full_precision
def score_nce(scores: Tensor, scale: Tensor | float, *, valid: Tensor | None = None, normalize: bool = False) -> Tensor:
    """Compute symmetric InfoNCE (CLIP) on scores: `mean_i -log softmax(scale S)[i, i]`, mean over rows and columns.

    On `mean_pooled_scores` and `relevance_pooled_scores` this is L_g (its mean term and its relevance-pooled term), on
    `unit_scores` it is L_LI.

    Args:
        scores: (V, N), N = V.
        scale: multiplies the scores.
        valid: bool, (V, N); false where a text happens to be true of another video. Such pairs are excluded.
        normalize: divide by log N.

    Returns:
        Scalar.

    Raises:
        ValueError: the scores are not square, or `valid` has another shape.

    Example:
        >>> import torch
        >>> score_nce(torch.eye(3), 2.0)
        tensor(0.2395)
        >>> score_nce(torch.zeros(3, 3), 2.0, normalize=True)  # chance
        tensor(1.)
    """
    loss = symmetric_nce(scale * scores, valid=valid)
    return loss / math.log(max(2, len(scores))) if normalize else loss
