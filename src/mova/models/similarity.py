"""Scores as pure functions on embeddings, always in float32.

Shape legend: S sentences, T frames, d width; leading dots are any batch dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FRAME_TEMPERATURE = 0.1
"""tau of the softmax over frames: it listens to the frames that show a sentence, not to one alone."""


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every row of `a` with every row of `b`.

    Args:
        a: (..., N, d).
        b: (..., M, d), on the same device.

    Returns:
        float32, (..., N, M), in [-1, 1] up to rounding. A zero vector has cosine 0 with everything.
    """
    return F.normalize(a.float(), dim=-1) @ F.normalize(b.float(), dim=-1).transpose(-1, -2)


SMALLEST_NORM = 1e-6
"""A shorter vector counts as this long: a masked vector may be zero, and its gradients must stay finite."""


def full(x: Tensor) -> Tensor:
    """At least float32: half precision is widened, float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit(x: Tensor) -> Tensor:
    """Vectors (..., d) at length 1, at least float32. The squared length is clamped before its root is taken."""
    x = full(x)
    return x * x.square().sum(dim=-1, keepdim=True).clamp(min=SMALLEST_NORM**2).rsqrt()


def paired_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of vectors pair by pair: (..., d) and (..., d), broadcast, -> (...). A zero vector has cosine 0."""
    return (unit(a) * unit(b)).sum(dim=-1)


def relevance(sentences: Tensor, frames: Tensor) -> Tensor:
    """How much each frame shows each sentence: (S, d) and (T, d) -> float32 (S, T) cosines."""
    return cosine(sentences, frames)


def soft_pool(
    scores: Tensor, tau: float = FRAME_TEMPERATURE, mask: Tensor | None = None, log_prior: Tensor | None = None
) -> Tensor:
    """Mean over frames, weighted towards the frames that score high: `p = sum_t softmax_t(c_t / tau) c_t`.

    Towards tau = 0 this is the maximum, towards infinity the mean.

    Args:
        scores: (..., T).
        tau: temperature, above 0.
        mask: bool, broadcastable to `scores`, true where a frame is real; padding never counts.
        log_prior: as `scores`, added inside the softmax: frames that something else has weighted beforehand.

    Returns:
        float32, (...).

    Raises:
        ValueError: tau is not above 0, or a row has no real frame (nothing can be said of it).
    """
    if tau <= 0:
        raise ValueError(f"soft_pool needs tau above 0, not {tau}")
    scores = full(scores)
    logits = scores / tau if log_prior is None else scores / tau + log_prior
    if mask is None:
        if scores.shape[-1] == 0:
            raise ValueError("soft_pool: there is no frame")
        return (logits.softmax(dim=-1) * scores).sum(dim=-1)
    mask = mask.expand_as(scores)
    _refuse_empty(mask, "soft_pool")
    weights = logits.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return (weights * scores.masked_fill(~mask, 0.0)).sum(dim=-1)


def late_interaction(
    scores: Tensor,
    tau: float = FRAME_TEMPERATURE,
    sentence_mask: Tensor | None = None,
    frame_mask: Tensor | None = None,
    log_prior: Tensor | None = None,
) -> Tensor:
    """A paragraph against a video, sentence by sentence: `S = mean_k p_k`, `p_k` as in `soft_pool`.

    Args:
        scores: (..., S, T), cosines of sentences with frames.
        tau: see `soft_pool`.
        sentence_mask: bool, broadcastable to (..., S), true where a sentence is real.
        frame_mask: bool, broadcastable to (..., T), true where a frame is real.
        log_prior: (..., S, T), see `soft_pool`.

    Returns:
        float32, (...).

    Raises:
        ValueError: a paragraph without a real sentence, or a video without a real frame.
    """
    pooled = soft_pool(scores, tau, None if frame_mask is None else frame_mask.unsqueeze(-2), log_prior)
    if sentence_mask is None:
        if pooled.shape[-1] == 0:
            raise ValueError("late_interaction: there is no sentence")
        return pooled.mean(dim=-1)
    sentence_mask = sentence_mask.expand_as(pooled)
    _refuse_empty(sentence_mask, "late_interaction")
    kept = pooled.masked_fill(~sentence_mask, 0.0)
    return kept.sum(dim=-1) / sentence_mask.sum(dim=-1)


def _refuse_empty(mask: Tensor, what: str) -> None:
    if not bool(torch.all(mask.any(dim=-1))):
        raise ValueError(f"{what}: a row has no real item, so it has no score")
