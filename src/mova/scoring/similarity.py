"""Scores as pure functions on embeddings, in float32 at least.

Shape legend: S sentences or other units of a text, N texts, T frames, d width; leading dots are any batch dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FRAME_TEMPERATURE = 0.1
"""tau of the softmax over frames: it listens to the frames that show a sentence, not to one alone."""
POOLING_TEMPERATURE = 0.2
"""tau of the softmax over frames where their vectors are pooled for one text."""
UNREACHABLE = -1e30
"""Log weight of what no path reaches: finite, so that gradients are."""
DEEPEST = (80.0, 600.0)
"""Span of log weights, of one sentence and of all together, up to which the weights themselves can be summed."""


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
SQUARED_FLOOR = 1e-6
"""Least squared length that a cosine under a mask divides by: below a thousandth of its length a vector fades to 0."""


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


def order_score(
    scores: Tensor,
    tau: float = FRAME_TEMPERATURE,
    sentence_mask: Tensor | None = None,
    frame_mask: Tensor | None = None,
) -> Tensor:
    """A paragraph told in temporal order against a video: all ways to give each sentence a later frame than the last.

    `D_1(t) = c_1t / tau`, `D_k(t) = c_kt / tau + logsumexp_{t' < t} D_{k-1}(t')`, `S = tau / K logsumexp_t D_K(t)`:
    the soft maximum, over all strictly increasing choices of K frames, of the mean cosine, by one cumulative sum a
    sentence. It sums over paths, so it also rewards how many frames show a sentence, not order alone.

    Args:
        scores: (..., S, T), cosines of sentences with frames, both in temporal order.
        tau: temperature, above 0.
        sentence_mask: bool, broadcastable to (..., S), true where a sentence is real.
        frame_mask: bool, broadcastable to (..., T), true where a frame is real.

    Returns:
        float32, (...). `-inf`, without gradient, where there are more real sentences than real frames: no path exists.

    Raises:
        ValueError: tau is not above 0, a paragraph without a real sentence, or a video without a real frame.
    """
    if tau <= 0:
        raise ValueError(f"order_score needs tau above 0, not {tau}")
    *batch, sentences, frames = scores.shape
    if sentences == 0 or frames == 0:
        raise ValueError("order_score: there is no sentence or no frame")
    told, shown = torch.ones(batch, device=scores.device) * sentences, torch.ones(batch, device=scores.device) * frames
    energies = scores.float() / tau
    if frame_mask is not None:
        frame_mask = frame_mask.expand(*batch, frames)
        _refuse_empty(frame_mask, "order_score")
        shown = frame_mask.sum(dim=-1)
        energies = energies.masked_fill(~frame_mask.unsqueeze(-2), UNREACHABLE)
    if sentence_mask is not None:
        sentence_mask = sentence_mask.expand(*batch, sentences)
        _refuse_empty(sentence_mask, "order_score")
        told = sentence_mask.sum(dim=-1)
        energies = energies.masked_fill(~sentence_mask.unsqueeze(-1), 0.0)
    total = _monotone_paths(energies, sentence_mask)
    return (tau * total / told).masked_fill(told > shown, float("-inf"))


def _monotone_paths(energies: Tensor, sentence_mask: Tensor | None) -> Tensor:
    """(..., S, T) energies -> (...): log of the sum of `exp(energy)` over all strictly increasing paths.

    Sums run over weights relative to each sentence's highest, in float64 and scaled to 1 after every sentence: five to
    ten times faster than `torch.logcumsumexp` on a CPU, which energies too far apart for that are left to.
    """
    peaks = energies.amax(dim=-1, keepdim=True)
    depth = (peaks - energies.masked_fill(energies <= UNREACHABLE, float("inf")).amin(dim=-1, keepdim=True)).amax()
    if not bool((depth < DEEPEST[0]) & (depth * energies.shape[-2] < DEEPEST[1])):
        return _monotone_paths_by_logs(energies, sentence_mask)
    weights = (energies - peaks).exp().double()
    before = torch.ones_like(weights[..., 0, :])
    total = peaks.double().squeeze(-1).sum(dim=-1)
    for k in range(energies.shape[-2]):
        through = torch.cumsum(weights[..., k, :] * before, dim=-1)
        scale = through[..., -1:].clamp_min(1e-300)
        after = F.pad(through[..., :-1] / scale, (1, 0))
        gain = scale.squeeze(-1).log()
        if sentence_mask is None:
            before, total = after, total + gain
        else:
            real = sentence_mask[..., k]
            before = torch.where(real.unsqueeze(-1), after, before)
            total = total + torch.where(real, gain, 0.0)
    return total.to(energies.dtype)


def _monotone_paths_by_logs(energies: Tensor, sentence_mask: Tensor | None) -> Tensor:
    """The same in logarithms throughout, for any energies."""
    never = torch.full_like(energies[..., 0, :1], UNREACHABLE)
    before = torch.zeros_like(energies[..., 0, :])
    total = before[..., 0]
    for k in range(energies.shape[-2]):
        through = torch.logcumsumexp(energies[..., k, :] + before, dim=-1)
        after = torch.cat([never, through[..., :-1]], dim=-1)
        if sentence_mask is None:
            before, total = after, through[..., -1]
        else:
            real = sentence_mask[..., k]
            before = torch.where(real.unsqueeze(-1), after, before)
            total = torch.where(real, through[..., -1], total)
    return total


def relevance_pooled(
    scores: Tensor, frames: Tensor, tau: float = POOLING_TEMPERATURE, mask: Tensor | None = None
) -> Tensor:
    """Cosine of texts with videos whose frames are pooled by their relevance to the text.

    `cos(sum_t w_t z_t, u)` with unit vectors z and u and `w = softmax_t(c_t / tau)`. The numerator is `sum_t w_t c_t`,
    the length of the pooled vector `sqrt(w^T (z z^T) w)`, or that of `w^T z` itself where a video has more frames than
    a vector has components: nothing greater than the cosines is ever made.

    Args:
        scores: (..., N, T), cosines of texts with frames.
        frames: (..., T, d), the frames' vectors.
        tau: temperature, above 0.
        mask: bool, broadcastable to (..., T), true where a frame is real.

    Returns:
        (..., N), at least float32. A pooled vector of length 0 has cosine 0.

    Raises:
        ValueError: tau is not above 0, or a video has no real frame.
    """
    if tau <= 0:
        raise ValueError(f"relevance_pooled needs tau above 0, not {tau}")
    scores, shown = full(scores), F.normalize(full(frames), dim=-1)
    if shown.shape[-2] == 0:
        raise ValueError("relevance_pooled: there is no frame")
    if mask is not None:
        mask = mask.expand(shown.shape[:-1])
        _refuse_empty(mask, "relevance_pooled")
        shown = shown.masked_fill(~mask.unsqueeze(-1), 0.0)
        padding = ~mask.unsqueeze(-2)
        weights = (scores / tau).masked_fill(padding, float("-inf")).softmax(dim=-1)
        scores = scores.masked_fill(padding, 0.0)
    else:
        weights = (scores / tau).softmax(dim=-1)
    squared = squared_length(weights, shown)
    return (weights * scores).sum(dim=-1) / squared.clamp_min(1e-12).sqrt()


def squared_length(weights: Tensor, vectors: Tensor) -> Tensor:
    """Squared length of weighted sums, `|sum_t w_t x_t|^2`, most often without the sums themselves.

    `w^T (X X^T) w`, or that of `w^T X` itself where there are more vectors than a vector has components.

    Args:
        weights: (..., N, T).
        vectors: (..., T, d).

    Returns:
        (..., N); rounding may leave a sum of length 0 slightly below 0.
    """
    if vectors.shape[-2] <= vectors.shape[-1]:
        return ((weights @ (vectors @ vectors.transpose(-1, -2))) * weights).sum(dim=-1)
    return (weights @ vectors).square().sum(dim=-1)


def masked_cosine(a: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """Cosine of every vector under every mask with that mask's text: `C[i, j] = cos(a_i * m_j, s_j)`.

    `C = (a @ (m * s).T) / (sqrt(a^2 @ (m^2).T) * |s|)`: two matrix products, 2 A B d multiply-adds, and no array
    greater than the cosines. Masks are squared, so that soft ones are exact too.

    Args:
        a: (..., A, d), of about unit length.
        m: (..., B, d) masks in [0, 1], hard or soft.
        s: (..., B, d), text vectors, whole or masked.

    Returns:
        At least float32, (..., A, B). A vector of which the mask leaves less than a thousandth of the length, or a
        text shorter than that, fades to 0, with finite gradients.
    """
    a, m, s = full(a), full(m), full(s)
    towards = m * s * s.square().sum(dim=-1, keepdim=True).clamp_min(SQUARED_FLOOR).rsqrt()
    seen = (a.square() @ m.square().transpose(-1, -2)).clamp_min(SQUARED_FLOOR)
    return (a @ towards.transpose(-1, -2)) * seen.rsqrt()


def irrelevance(scores: Tensor, sentence_mask: Tensor | None = None) -> Tensor:
    """How little a frame has to do with a whole text: one minus its highest cosine with any unit of it.

    Args:
        scores: (..., S, T), cosines of units with frames.
        sentence_mask: bool, broadcastable to (..., S), true where a unit is real.

    Returns:
        float32, (..., T), in [0, 2] up to rounding.

    Raises:
        ValueError: a text without a real unit.
    """
    scores = scores.float()
    if scores.shape[-2] == 0:
        raise ValueError("irrelevance: there is no unit")
    if sentence_mask is not None:
        sentence_mask = sentence_mask.expand(scores.shape[:-1])
        _refuse_empty(sentence_mask, "irrelevance")
        scores = scores.masked_fill(~sentence_mask.unsqueeze(-1), float("-inf"))
    return 1.0 - scores.amax(dim=-2)


def _refuse_empty(mask: Tensor, what: str) -> None:
    if not bool(torch.all(mask.any(dim=-1))):
        raise ValueError(f"{what}: a row has no real item, so it has no score")
