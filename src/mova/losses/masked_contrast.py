"""MoVA's objectives as pure functions on embeddings and masks; nothing here knows a model.

The published objective (MoVA, arXiv 2607.00858) is `lam_g L_g + lam_tv L_tv + lam_vt (L_sfdm + L_dfsm) + lam_s L_s`.
L_tv, L_sfdm and L_dfsm can be minimised without looking at whether video and text match
(docs/reference/losses.md): the mask of a frame may simply encode that frame. What listens to the match are L_g,
L_LI (`unit_nce`) and pair negatives (`losses.hard_pairs`); `losses.diagnostics` measures it in every run.

L_g: `global_nce`, `relevance_nce`. L_LI: `unit_nce`. L_tv: `temporal_nce`, `temporal_hinge`. L_sfdm and L_dfsm:
`concept_nce`. L_s: `expected_l0`, once a mask.

Every function takes embeddings of any length and normalises them, computes in float32 at least, and never lets
padding count. Values are means, so that weights carry over between batch sizes. `scale` multiplies cosines
(`1 / tau`); `normalise=True` divides by the log of the number of candidates, so that chance is about 1 for all terms.

Shape legend: V videos, T frames (padded), N texts (N = V, text i belongs to video i), K units a text (padded),
d width, P real frames of all videos together. `frame_mask` (V, T) and `unit_mask` (N, K) are bool, true where real;
masks `m_t`, `m_v` (V, T, d) lie in [0, 1]; `weights` (V, T) are frame weights, see `frame_weights`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mova.losses.contrastive import symmetric_nce
from mova.losses.grounding import mean_of_units
from mova.losses.pairwise import (
    aligned_cosine,
    full_precision,
    inverse_root,
    mean_violation,
    negative_logsumexp,
)
from mova.scoring.masked import frame_relevance_weights
from mova.scoring.pooling import masked_mean
from mova.scoring.similarity import FRAME_TEMPERATURE, POOLING_TEMPERATURE, cosine, relevance_pooled, soft_pool

MARGIN = 0.2
"""Delta of L_tv, in units of cosine."""


# Scores of all videos with all texts


@full_precision
def mean_pooled_scores(frames: Tensor, frame_mask: Tensor, text: Tensor) -> Tensor:
    """CLIP4Clip's mean pooling: `G[v, n] = cos(mean_t z_vt / |z_vt|, z_n)` (Luo et al. 2021, parameter-free type).

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        text: (N, d).

    Returns:
        (V, N).

    Raises:
        ValueError: shapes disagree, or a video has no real frame.
    """
    _check_frames(frames, frame_mask)
    return cosine(masked_mean(F.normalize(frames, dim=-1), frame_mask), text)


@full_precision
def relevance_pooled_scores(
    frames: Tensor, frame_mask: Tensor, text: Tensor, tau: float = POOLING_TEMPERATURE
) -> Tensor:
    """Frames pooled for each text by their relevance to it.

    `S[v, n] = cos(sum_t w_t z_vt, z_n)`, `w = softmax_t(c_t / tau)`, `c_t = cos(z_vt, z_n)`, on unit vectors. No
    V x N x d array is made: the numerator is `w . c`, the squared norm `w^T (Z Z^T) w`.

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        text: (N, d).
        tau: towards infinity this is mean pooling.

    Returns:
        (V, N).

    Raises:
        ValueError: shapes disagree, tau is not above 0, or a video has no real frame.
    """
    _check_frames(frames, frame_mask)
    unit = F.normalize(frames, dim=-1)
    return relevance_pooled(F.normalize(text, dim=-1) @ unit.transpose(1, 2), unit, tau, frame_mask)


@full_precision
def unit_scores(
    frames: Tensor, frame_mask: Tensor, units: Tensor, unit_mask: Tensor, tau: float = FRAME_TEMPERATURE
) -> Tensor:
    """Late interaction over units: `S[v, n] = mean_k sum_t softmax_t(c_tk / tau) c_tk`.

    `c_tk = cos(z_vt, u_nk)`. Only real units are multiplied, however unequal the texts are in length.

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        units: (N, K, d).
        unit_mask: (N, K).
        tau: see `models.similarity.soft_pool`.

    Returns:
        (V, N), float32.

    Raises:
        ValueError: shapes disagree, or a video has no real frame, or a text no real unit.
    """
    _check_frames(frames, frame_mask)
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
def frame_weights(frames: Tensor, frame_mask: Tensor, text: Tensor, tau: float = POOLING_TEMPERATURE) -> Tensor:
    """How much each frame counts in the per-frame terms: `stopgrad softmax_t(cos(z_vt, z_v) / tau)`.

    A frame that shows nothing of its text is wrong supervision for that text.

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        text: (V, d).
        tau: towards infinity all frames of a video count alike.

    Returns:
        (V, T), no gradient; rows sum to 1, padding is 0.
    """
    _check_frames(frames, frame_mask, text)
    return frame_relevance_weights(frames.detach(), text.detach(), frame_mask, tau)


# Losses on those scores


@full_precision
def score_nce(scores: Tensor, scale: Tensor | float, *, valid: Tensor | None = None, normalise: bool = False) -> Tensor:
    """Symmetric InfoNCE on scores: `mean_i -log softmax(scale S)[i, i]`, over rows and columns, halved (CLIP).

    With `mean_pooled_scores` and `relevance_pooled_scores` this is L_g (its mean and its relevance-pooled term), with
    `unit_scores` L_LI.

    Args:
        scores: (V, N), N = V.
        scale: multiplies the scores.
        valid: bool, (V, N); false where a text holds for another video by accident, which is then left out.
        normalise: divide by log N.
    """
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    loss = symmetric_nce(scale * scores, own, valid)
    return loss / math.log(max(2, len(scores))) if normalise else loss


def global_nce(
    frames: Tensor,
    frame_mask: Tensor,
    text: Tensor,
    scale: Tensor | float,
    *,
    valid: Tensor | None = None,
    normalise: bool = False,
) -> Tensor:
    """L_g, mean term (CLIP4Clip): `score_nce` of `mean_pooled_scores`. Arguments as there."""
    return score_nce(mean_pooled_scores(frames, frame_mask, text), scale, valid=valid, normalise=normalise)


def relevance_nce(
    frames: Tensor,
    frame_mask: Tensor,
    text: Tensor,
    scale: Tensor | float,
    *,
    tau: float = POOLING_TEMPERATURE,
    valid: Tensor | None = None,
    normalise: bool = False,
) -> Tensor:
    """L_g, relevance-pooled term: `score_nce` of `relevance_pooled_scores`. Arguments as there."""
    scores = relevance_pooled_scores(frames, frame_mask, text, tau)
    return score_nce(scores, scale, valid=valid, normalise=normalise)


def unit_nce(
    frames: Tensor,
    frame_mask: Tensor,
    units: Tensor,
    unit_mask: Tensor,
    scale: Tensor | float,
    *,
    tau: float = FRAME_TEMPERATURE,
    valid: Tensor | None = None,
    normalise: bool = False,
) -> Tensor:
    """L_LI, of the default objective: `score_nce` of `unit_scores`. Arguments as there."""
    scores = unit_scores(frames, frame_mask, units, unit_mask, tau)
    return score_nce(scores, scale, valid=valid, normalise=normalise)


# Losses on masks


@full_precision
def temporal_nce(
    frames: Tensor,
    frame_mask: Tensor,
    text: Tensor,
    m_t: Tensor,
    scale: Tensor | float,
    *,
    margin: float = MARGIN,
    same_video: bool = True,
    weights: Tensor | None = None,
    normalise: bool = False,
) -> Tensor:
    """L_tv as InfoNCE with a margin (MoVA, arXiv 2607.00858): a frame against all masked texts.

    `s_b = z_text * m_t[b]`, `C_ab = cos(z_a, s_b)` over all real frames a, b of the batch, and
    `L_tv = mean_a -log softmax_b(scale (C_ab - margin [a = b]))[a]`.

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        text: (V, d).
        m_t: (V, T, d).
        scale: multiplies the cosines.
        margin: taken from the cosine of the positive.
        same_video: whether other frames of the same video are negatives, as published; they are false ones where two
            frames show the same event.
        weights: (V, T).
        normalise: divide each row by the log of the number of its candidates.
    """
    video, (unit, masked) = _real(frame_mask, *_unit(frames, frame_mask, text, m_t))
    masked = masked * inverse_root(masked.square().sum(dim=-1, keepdim=True))
    own = scale * ((unit * masked).sum(dim=-1) - margin)
    group = None if same_video else video
    others, _ = negative_logsumexp(scale * unit, masked, group=group)
    return _average(_nce(own, others, group, normalise), frame_mask, weights)


@full_precision
def temporal_hinge(
    frames: Tensor,
    frame_mask: Tensor,
    text: Tensor,
    m_t: Tensor,
    *,
    margin: float = MARGIN,
    weights: Tensor | None = None,
) -> Tensor:
    """L_tv as a hinge, with separate means for negatives of the same video and of others.

    `mean_a (1 - C_aa) + mean_{b same} [C_ab - C_aa + margin]_+ + mean_{b other} [C_ab - C_aa + margin]_+`, the inner
    means over violating b only; C as in `temporal_nce`, as are the arguments.
    """
    video, (unit, masked) = _real(frame_mask, *_unit(frames, frame_mask, text, m_t))
    masked = masked * inverse_root(masked.square().sum(dim=-1, keepdim=True))
    missing = 1 - (unit * masked).sum(dim=-1)
    return _average(missing + mean_violation(unit, masked, margin, video), frame_mask, weights)


@full_precision
def concept_nce(
    frames: Tensor,
    frame_mask: Tensor,
    text: Tensor,
    m_t: Tensor,
    m_v: Tensor,
    scale: Tensor | float,
    *,
    weights: Tensor | None = None,
    normalise: bool = False,
) -> tuple[Tensor, Tensor]:
    """L_sfdm and L_dfsm (MoVA, arXiv 2607.00858), whose sum is L_vt, from one pass over the same products.

    `S_ab = cos(z_a * m_v[b], s_b)`, `s_b = z_text * m_t[b]`, over all real frames a and b of the batch; other frames
    of the same video are left out. Same frame, different mask: `L_sfdm = mean_a -log softmax_b(scale S_ab)[a]`.
    Different frame, same mask: `L_dfsm = mean_b -log softmax_a(scale S_ab)[b]`.

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        text: (V, d).
        m_t: (V, T, d).
        m_v: (V, T, d).
        scale: multiplies the cosines.
        weights: (V, T), of the anchors.
        normalise: divide each row by the log of the number of its candidates.

    Returns:
        L_sfdm and L_dfsm; either may be left out of the objective.
    """
    _check_like(frames, m_v=m_v)
    video, (unit, masked, seen) = _real(frame_mask, *_unit(frames, frame_mask, text, m_t), m_v)
    own = scale * aligned_cosine(unit, seen, masked)
    towards = seen * masked * inverse_root(masked.square().sum(dim=-1, keepdim=True))
    other_masks, other_frames = negative_logsumexp(scale * unit, towards, (unit.square(), seen.square()), video)
    return (
        _average(_nce(own, other_masks, video, normalise), frame_mask, weights),
        _average(_nce(own, other_frames, video, normalise), frame_mask, weights),
    )


@full_precision
def expected_l0(probabilities: Tensor, frame_mask: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """L_s of one mask: the expected share of dimensions that are on, `mean p` (MoVA, arXiv 2607.00858).

    A Bernoulli mask has as many dimensions on as the sum of its probabilities, whence the name (Louizos et al. 2018).
    It needs a discriminative loss on the same mask beside it: alone it closes all of it.

    Args:
        probabilities: (V, T, d), before the threshold.
        frame_mask: (V, T).
        weights: (V, T).
    """
    _check_frames(probabilities, frame_mask)
    return _average(probabilities[frame_mask].mean(dim=-1), frame_mask, weights)


# Helpers


def _unit(frames: Tensor, frame_mask: Tensor, text: Tensor, m_t: Tensor) -> tuple[Tensor, Tensor]:
    """Frames of unit length and masked texts of unit texts, both (V, T, d)."""
    _check_frames(frames, frame_mask, text)
    _check_like(frames, m_t=m_t)
    return F.normalize(frames, dim=-1), F.normalize(text, dim=-1)[:, None] * m_t


def _real(frame_mask: Tensor, *tensors: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Which video each real frame belongs to (P,), and the real rows (P, d) of (V, T, d) tensors."""
    video = frame_mask.nonzero()[:, 0]
    return video, [tensor[frame_mask] for tensor in tensors]


def _nce(own: Tensor, others: Tensor, group: Tensor | None, normalise: bool) -> Tensor:
    """`-log(e^own / (e^own + e^others))` for every row; 0 where a row has no negative."""
    loss = F.softplus(others - own, threshold=40.0)
    if not normalise:
        return loss
    if group is None:
        return loss / math.log(max(2, len(own)))
    candidates = len(own) + 1 - group.bincount()[group]
    return loss / candidates.clamp_min(2).to(loss.dtype).log()


def _average(values: Tensor, frame_mask: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of values (P,) over real frames, weighted where there are weights (V, T)."""
    if weights is None:
        return values.mean()
    if weights.shape != frame_mask.shape:
        raise ValueError(f"weights {tuple(weights.shape)} and frame_mask {tuple(frame_mask.shape)} must agree in shape")
    kept = weights[frame_mask]
    return (values * kept).sum() / kept.sum().clamp_min(torch.finfo(kept.dtype).tiny)


def _check_frames(frames: Tensor, frame_mask: Tensor, text: Tensor | None = None) -> None:
    if frames.ndim != 3 or frame_mask.shape != frames.shape[:2] or frame_mask.dtype != torch.bool:
        raise ValueError(
            f"frames (V, T, d) and a bool frame_mask (V, T) are needed, not {tuple(frames.shape)} and "
            f"{frame_mask.dtype} {tuple(frame_mask.shape)}"
        )
    if not bool(frame_mask.any(dim=1).all()):
        raise ValueError("a video has no real frame; leave it out of the batch")
    if text is not None and text.shape != (len(frames), frames.shape[2]):
        raise ValueError(f"text {tuple(text.shape)} must hold one vector for each of the frames {tuple(frames.shape)}")


def _check_like(frames: Tensor, **masks: Tensor) -> None:
    for name, mask in masks.items():
        if mask.shape != frames.shape:
            raise ValueError(f"{name} {tuple(mask.shape)} and frames {tuple(frames.shape)} must agree in shape")
