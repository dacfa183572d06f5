"""Scores of video-text pairs through MoVA's masks, as pure functions.

The masks depend on both the video and the text of a pair, so these scores cannot be indexed: they re-score the best
results of a search. Masked vectors are `c_t = z_t * m_v,t` for frame t and `s_t = z_T * m_t,t` for the text.

Shape legend: P pairs of video and text, T frames, d width.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from mova.errors import UsageError
from mova.scoring.similarity import POOLING_TEMPERATURE, full, paired_cosine, unit

ModularScore = Literal["mod", "mod-top", "mod-relevance", "tv", "tv-top", "tv-relevance", "agg"]
"""Names of scores, see `modular_score`; after the hyphen, how the frames of a video are pooled (default: the mean)."""
TOP_FRAMES = 3
"""Frames that count in a score with the pool "top"."""


def frame_relevance_weights(
    frames: Tensor, text: Tensor, frame_mask: Tensor, tau: float = POOLING_TEMPERATURE
) -> Tensor:
    """Weigh frames by their relevance to a text: `w_t = softmax_t(cos(z_t, z_T) / tau)`.

    Args:
        frames: (P, T, d).
        text: (P, d).
        frame_mask: bool, (P, T), true where a frame is real; at least one per row.
        tau: temperature, above 0.

    Returns:
        (P, T); rows sum to 1, padding is 0.

    Example:
        >>> import torch
        >>> frames, text = torch.eye(2)[None], torch.tensor([[1.0, 0.0]])
        >>> weights = frame_relevance_weights(frames, text, torch.ones(1, 2, dtype=torch.bool))
        >>> [f"{weight:.3f}" for weight in weights[0].tolist()]
        ['0.993', '0.007']
    """
    scores = paired_cosine(frames, text.unsqueeze(1)) / tau
    return scores.masked_fill(~frame_mask, float("-inf")).softmax(dim=-1)


def modular_score(
    frames: Tensor,
    text: Tensor,
    m_t: Tensor,
    m_v: Tensor,
    frame_mask: Tensor,
    score: ModularScore = "agg",
) -> Tensor:
    """Score each pair of a video and a text through the masks of that pair.

    - "mod": `mean_t C_t`, `C_t = cos(z_t * m_v,t, z_T * m_t,t)`, in which both masks meet.
    - "tv": `mean_t C_t`, `C_t = cos(z_t, z_T * m_t,t)`, the temporal mask alone, as L_tv trains it.
    - "mod-top", "tv-top": the mean of the `TOP_FRAMES` highest C_t (of all of them, if a video has fewer).
    - "mod-relevance", "tv-relevance": `sum_t w_t C_t`, `w_t` from `frame_relevance_weights`.
    - "agg": `cos(sum_t w_t (z_t / |z_t|) * m_v,t, z_T)`, the same `w_t`. The text stays whole, so a mask cannot choose
      its own denominator, and the temporal mask counts only as an input of the concept mask.

    Args:
        frames: (P, T, d).
        text: (P, d).
        m_t, m_v: (P, T, d), text and frame masks, in [0, 1].
        frame_mask: bool, (P, T), true where a frame is real.
        score: one of `ModularScore`, see above.

    Returns:
        (P,), at least float32, in [-1, 1]. A pair whose masks are all zero scores 0, with finite gradients.

    Raises:
        UsageError: the score is unknown.
        ValueError: a video has no real frame.

    Example:
        >>> import torch
        >>> frames, text = torch.eye(2)[None], torch.tensor([[1.0, 0.0]])
        >>> real, whole = torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 2, 2)
        >>> modular_score(frames, text, whole, whole, real, "mod").tolist()
        [0.5]
        >>> f"{modular_score(frames, text, whole, whole, real, 'agg').item():.3f}"
        '1.000'
    """
    if not bool(frame_mask.any(dim=1).all()):
        raise ValueError("modular_score: a video has only padding frames, so it has no score")
    if score not in get_args(ModularScore):
        raise UsageError(f"score {score!r} is unknown; choose from {', '.join(get_args(ModularScore))}")
    frames = full(frames).masked_fill(~frame_mask.unsqueeze(-1), 0.0)
    if score == "agg":
        weights = frame_relevance_weights(frames, full(text), frame_mask)
        pooled = (weights.unsqueeze(-1) * unit(frames) * m_v).sum(dim=1)
        return paired_cosine(pooled, full(text))
    masks, _, pool = score.partition("-")
    cosines = paired_cosine(frames * m_v if masks == "mod" else frames, full(text).unsqueeze(1) * m_t)
    if pool == "relevance":
        return (cosines * frame_relevance_weights(frames, full(text), frame_mask)).sum(dim=1)
    counted = frame_mask
    if pool == "top":
        best = cosines.masked_fill(~frame_mask, float("-inf")).topk(min(TOP_FRAMES, cosines.shape[1]), dim=1).indices
        counted = frame_mask & torch.zeros_like(frame_mask).scatter(1, best, True)
    return cosines.masked_fill(~counted, 0.0).sum(dim=1) / counted.sum(dim=1)
