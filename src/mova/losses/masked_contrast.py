"""MoVA's losses on masks, as pure functions on embeddings and masks.

The published objective (MoVA, arXiv 2607.00858) is `lam_g L_g + lam_tv L_tv + lam_vt (L_sfdm + L_dfsm) + lam_s L_s`.
Here are L_tv (`temporal_nce`, `temporal_hinge`), L_sfdm and L_dfsm (`concept_nce`), and L_s (`expected_l0`, once per
mask); L_g is in `losses/global_contrast.py`. Simulations of the theory (docs/research/theory.md) call these functions
with squared distances in the place of cosines (`energy`).

L_tv, L_sfdm and L_dfsm can be minimized without checking whether video and text match (docs/reference/losses.md): the
mask of a frame may simply encode that frame. L_g, L_LI (`losses/global_contrast.py`) and pair negatives
(`losses/hard_pairs.py`) do depend on the match. `losses/diagnostics.py` measures the effect in every run.

Every function normalizes its embeddings (unless it compares by distance), computes in float32 or wider, and ignores
padding. Values are means, so weights carry over between batch sizes. `scale` (`1 / tau`) multiplies the cosines.
`normalize=True` divides by the log of the number of candidates, so that chance is about 1 for all terms.

Shape legend: V videos (text i belongs to video i), T frames (padded), d width, P real frames of all videos together.
`frame_mask` (V, T) is bool, true where real; masks `m_t`, `m_v` (V, T, d) are in [0, 1]; `weights` (V, T) are frame
weights, see `frame_weights`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mova.losses.pairwise import (
    Energy,
    aligned_cosine,
    average,
    check_frames,
    check_like,
    distance_factors,
    full_precision,
    inverse_root,
    mean_violation,
    negative_logsumexp,
)
from mova.scoring.masked import frame_relevance_weights
from mova.scoring.similarity import POOLING_TEMPERATURE

MARGIN = 0.2
"""Delta of L_tv, in units of cosine."""


@full_precision
def frame_weights(frames: Tensor, frame_mask: Tensor, text: Tensor, tau: float = POOLING_TEMPERATURE) -> Tensor:
    """Weight each frame in the per-frame terms by its relevance: `stopgrad softmax_t(cos(z_vt, z_v) / tau)`.

    A frame that shows nothing of its text would be wrong supervision for that text.

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        text: (V, d).
        tau: temperature; towards infinity all frames of a video count equally.

    Returns:
        (V, T), no gradient; rows sum to 1, padding is 0.

    Example:
        >>> import torch
        >>> frames, real = torch.eye(4).view(2, 2, 4), torch.ones(2, 2, dtype=torch.bool)
        >>> frame_weights(frames, real, torch.eye(4)[[0, 3]])
        tensor([[0.9933, 0.0067],
                [0.0067, 0.9933]])
    """
    check_frames(frames, frame_mask, text)
    return frame_relevance_weights(frames.detach(), text.detach(), frame_mask, tau)


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
    normalize: bool = False,
    groups: Tensor | None = None,
    energy: Energy = "cosine",
) -> Tensor:
    """Compute L_tv as InfoNCE with a margin (MoVA, arXiv 2607.00858): each frame against all masked texts.

    `s_b = z_text * m_t[b]`, `C_ab = cos(z_a, s_b)` over all real frames a, b of the batch, and
    `L_tv = mean_a -log softmax_b(scale (C_ab - margin [a = b]))[a]`.

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        text: (V, d).
        m_t: (V, T, d).
        scale: multiplies the cosines.
        margin: subtracted from the cosine of the positive.
        same_video: whether other frames of the same video are negatives, as published. They are false negatives
            where two frames show the same event.
        weights: (V, T), optional.
        normalize: divide each row by the log of the number of its candidates.
        groups: int64, (V,), optional: rows of one group show the same video (several captions of it), so that they are
            not negatives of each other. Default: every row shows another video.
        energy: "distance": `C_ab = -|z_a - s_b|^2` on vectors that are not normalized.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> frames, real = torch.eye(4).view(2, 2, 4), torch.ones(2, 2, dtype=torch.bool)
        >>> text, opened = torch.ones(2, 4), torch.ones(2, 2, 4)
        >>> temporal_nce(frames, real, text, opened, 2.0, margin=0.0, normalize=True)  # open masks: chance
        tensor(1.)
    """
    video, (unit, masked) = _real(frame_mask, *_unit(frames, frame_mask, text, m_t, energy))
    if energy == "distance":
        x, y = distance_factors(unit, torch.ones_like(masked), masked)
    else:
        x, y = unit, masked * inverse_root(masked.square().sum(dim=-1, keepdim=True))
    positive = scale * ((x * y).sum(dim=-1) - margin)
    group, part = _negatives(video, groups, same_video)
    others, _ = negative_logsumexp(scale * x, y, group=group, part=part)
    return average(_nce(positive, others, _candidates(group, part, len(unit)), normalize), frame_mask, weights)


@full_precision
def temporal_hinge(
    frames: Tensor,
    frame_mask: Tensor,
    text: Tensor,
    m_t: Tensor,
    *,
    margin: float = MARGIN,
    same_video: bool = True,
    weights: Tensor | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    """Compute L_tv as a hinge, with separate means over negatives of the same video and of other videos.

    `mean_a (1 - C_aa) + mean_{b same} [C_ab - C_aa + margin]_+ + mean_{b other} [C_ab - C_aa + margin]_+`, the inner
    means over violating b only. C and the arguments are as in `temporal_nce`.

    Example:
        >>> import torch
        >>> frames, real = torch.eye(4).view(2, 2, 4), torch.ones(2, 2, dtype=torch.bool)
        >>> text, opened = torch.ones(2, 4), torch.ones(2, 2, 4)
        >>> temporal_hinge(frames, real, text, opened)
        tensor(0.9000)
    """
    video, (unit, masked) = _real(frame_mask, *_unit(frames, frame_mask, text, m_t))
    masked = masked * inverse_root(masked.square().sum(dim=-1, keepdim=True))
    distance = 1 - (unit * masked).sum(dim=-1)
    twins = None if groups is None else groups[video]
    violation = mean_violation(unit, masked, margin, video, twins=twins, within=same_video)
    return average(distance + violation, frame_mask, weights)


@full_precision
def concept_nce(
    frames: Tensor,
    frame_mask: Tensor,
    text: Tensor,
    m_t: Tensor,
    m_v: Tensor,
    scale: Tensor | float,
    *,
    same_video: bool = False,
    weights: Tensor | None = None,
    normalize: bool = False,
    groups: Tensor | None = None,
    energy: Energy = "cosine",
) -> tuple[Tensor, Tensor]:
    """Compute L_sfdm and L_dfsm (MoVA, arXiv 2607.00858), whose sum is L_vt, in one pass over the same products.

    `S_ab = cos(z_a * m_v[b], s_b)`, `s_b = z_text * m_t[b]`, over all real frames a and b of the batch; other frames
    of the same video are excluded, unless `same_video` makes them negatives of L_dfsm. Same frame, different mask:
    `L_sfdm = mean_a -log softmax_b(scale S_ab)[a]`. Different frame, same mask:
    `L_dfsm = mean_b -log softmax_a(scale S_ab)[b]`.

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        text: (V, d).
        m_t: (V, T, d).
        m_v: (V, T, d).
        scale: multiplies the cosines.
        same_video: whether other frames of the same video are negatives of L_dfsm. They are false negatives where two
            frames show the same event, and the only ones that demand masks which differ over time.
        weights: (V, T) of the anchors, optional.
        normalize: divide each row by the log of the number of its candidates.
        groups: int64, (V,), optional, see `temporal_nce`.
        energy: "distance": `S_ab = -sum_j m_v[b]_j (z_a - s_b)_j^2` on vectors that are not normalized.

    Returns:
        L_sfdm and L_dfsm, scalars. An objective may use either alone.

    Example:
        >>> import torch
        >>> frames, real = torch.eye(4).view(2, 2, 4), torch.ones(2, 2, dtype=torch.bool)
        >>> text, opened = torch.ones(2, 4), torch.ones(2, 2, 4)
        >>> concept_nce(frames, real, text, opened, opened, 2.0, normalize=True)  # open masks: chance
        (tensor(1.), tensor(1.))
    """
    check_like(frames, m_v=m_v)
    video, (unit, masked, seen) = _real(frame_mask, *_unit(frames, frame_mask, text, m_t, energy), m_v)
    x, target, norms, positive = _concept_factors(unit, seen, masked, energy)
    positive = scale * positive
    group, _ = _negatives(video, groups, False)
    other_masks, other_frames = negative_logsumexp(scale * x, target, norms, group)
    of_masks = of_frames = _candidates(group, None, len(unit))
    if same_video:
        group, part = _negatives(video, groups, True)
        _, other_frames = negative_logsumexp(scale * x, target, norms, group, part=part)
        of_frames = _candidates(group, part, len(unit))
    return (
        average(_nce(positive, other_masks, of_masks, normalize), frame_mask, weights),
        average(_nce(positive, other_frames, of_frames, normalize), frame_mask, weights),
    )


@full_precision
def expected_l0(probabilities: Tensor, frame_mask: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Compute L_s of one mask: the expected share of dimensions that are on, `mean p` (MoVA, arXiv 2607.00858).

    The expected L0 norm of a Bernoulli mask is the sum of its probabilities (Louizos et al. 2018). Combine this loss
    with a discriminative loss on the same mask: alone it closes the mask entirely.

    Args:
        probabilities: (V, T, d), before the threshold.
        frame_mask: (V, T).
        weights: (V, T), optional.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> expected_l0(torch.full((2, 3, 8), 0.25), torch.ones(2, 3, dtype=torch.bool))
        tensor(0.2500)
    """
    check_frames(probabilities, frame_mask)
    return average(probabilities[frame_mask].mean(dim=-1), frame_mask, weights)


def _unit(
    frames: Tensor, frame_mask: Tensor, text: Tensor, m_t: Tensor, energy: Energy = "cosine"
) -> tuple[Tensor, Tensor]:
    """Return frames and texts of unit length (as they are for distances), the texts masked; both (V, T, d)."""
    check_frames(frames, frame_mask, text)
    check_like(frames, m_t=m_t)
    if energy == "distance":
        return frames, text[:, None] * m_t
    return F.normalize(frames, dim=-1), F.normalize(text, dim=-1)[:, None] * m_t


def _concept_factors(
    frames: Tensor, m_v: Tensor, masked: Tensor, energy: Energy
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None, Tensor]:
    """Return the factors and norms of all pairs for `negative_logsumexp`, and the energies (P,) of the diagonal."""
    if energy == "distance":
        x, y = distance_factors(frames, m_v, masked)
        return x, y, None, (x * y).sum(dim=-1)
    target = m_v * masked * inverse_root(masked.square().sum(dim=-1, keepdim=True))
    return frames, target, (frames.square(), m_v.square()), aligned_cosine(frames, m_v, masked)


def _real(frame_mask: Tensor, *tensors: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the video index of each real frame (P,), and the real rows (P, d) of (V, T, d) tensors."""
    video = frame_mask.nonzero()[:, 0]
    return video, [tensor[frame_mask] for tensor in tensors]


def _negatives(video: Tensor, groups: Tensor | None, same_video: bool) -> tuple[Tensor | None, Tensor | None]:
    """Return `group` and `part` of `negative_logsumexp` for the frames (P,) of videos."""
    if groups is None:
        return (None, None) if same_video else (video, None)
    return groups[video], video if same_video else None


def _candidates(group: Tensor | None, part: Tensor | None, count: int) -> Tensor | int:
    """Return the number of candidates of each row: its positive and its negatives."""
    if group is None:
        return count
    _, group = group.unique(return_inverse=True)
    candidates = count + 1 - group.bincount()[group]
    return candidates if part is None else candidates + part.bincount()[part] - 1


def _nce(positive: Tensor, others: Tensor, candidates: Tensor | int, normalize: bool) -> Tensor:
    """Return `-log(e^positive / (e^positive + e^others))` per row; 0 where a row has no negative."""
    loss = F.softplus(others - positive, threshold=40.0)
    if not normalize:
        return loss
    if isinstance(candidates, int):
        return loss / math.log(max(2, candidates))
    return loss / candidates.clamp_min(2).to(loss.dtype).log()
