"""Similarity scores as pure functions on embeddings, in float32 or wider.

Shape legend: S sentences or other units of a text, N texts, T frames, d width; leading dots are any batch dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FRAME_TEMPERATURE = 0.1
"""tau of the softmax over a sentence's frames: several frames that show it count, not the best alone."""
POOLING_TEMPERATURE = 0.2
"""tau of the softmax that weighs frame vectors when they are pooled for one text."""
UNREACHABLE = -1e30
"""Log weight of states that no path reaches: finite, so that gradients are finite."""
DEEPEST = (80.0, 600.0)
"""Range of log weights, of one sentence and of all sentences together, within which weights can be summed directly."""


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of every row of `a` with every row of `b`.

    Args:
        a: (..., N, d).
        b: (..., M, d), on the same device.

    Returns:
        float32, (..., N, M), in [-1, 1] up to rounding. A zero vector has cosine 0 with everything.

    Example:
        >>> cosine(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])).tolist()
        [[1.0, 0.0, -1.0]]
    """
    return F.normalize(a.float(), dim=-1) @ F.normalize(b.float(), dim=-1).transpose(-1, -2)


SMALLEST_NORM = 1e-6
"""Least length that vectors are divided by: a masked vector may be zero, and its gradients must stay finite."""
SQUARED_FLOOR = 1e-6
"""Least squared length that masked cosines divide by: below a thousandth of its length, a masked vector fades to 0."""


def full(x: Tensor) -> Tensor:
    """Widen half precision to float32; leave float64 as it is.

    Example:
        >>> full(torch.ones(2, dtype=torch.float16)).dtype, full(torch.ones(2, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit(x: Tensor) -> Tensor:
    """Scale vectors (..., d) to length 1, in float32 or wider. The squared length is clamped before the root.

    Example:
        >>> unit(torch.tensor([3.0, 4.0]))
        tensor([0.6000, 0.8000])
    """
    x = full(x)
    return x * x.square().sum(dim=-1, keepdim=True).clamp(min=SMALLEST_NORM**2).rsqrt()


def paired_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of each pair: (..., d) and (..., d), broadcast -> (...). A zero vector has cosine 0.

    Example:
        >>> paired_cosine(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
        tensor([1., 0.])
    """
    return (unit(a) * unit(b)).sum(dim=-1)


def relevance(sentences: Tensor, frames: Tensor) -> Tensor:
    """Return how well each frame shows each sentence: (S, d) and (T, d) -> float32 (S, T) cosines.

    Example:
        >>> tea, door = torch.eye(2)
        >>> relevance(torch.stack([door]), torch.stack([tea, tea, door]))
        tensor([[0., 0., 1.]])
    """
    return cosine(sentences, frames)


def soft_pool(
    scores: Tensor, tau: float = FRAME_TEMPERATURE, mask: Tensor | None = None, log_prior: Tensor | None = None
) -> Tensor:
    """Average frame scores with more weight on high scores: `p = sum_t softmax_t(c_t / tau) c_t`.

    As tau approaches 0 this is the maximum; as it approaches infinity, the mean.

    Args:
        scores: (..., T).
        tau: temperature, above 0.
        mask: bool, broadcastable to `scores`, true where a frame is real; padding never counts.
        log_prior: same shape as `scores`, added inside the softmax: log weights of frames from elsewhere.

    Returns:
        float32, (...).

    Raises:
        ValueError: tau is not above 0, or a row has no real frame.

    Example:
        >>> scores = torch.tensor([0.0, 1.0])
        >>> [f"{soft_pool(scores, tau).item():.2f}" for tau in (0.01, 0.5, 100.0)]
        ['1.00', '0.88', '0.50']
    """
    if tau <= 0:
        raise ValueError(f"soft_pool needs tau above 0, not {tau}")
    scores = full(scores)
    logits = scores / tau if log_prior is None else scores / tau + log_prior
    if mask is None:
        if scores.shape[-1] == 0:
            raise ValueError("soft_pool: needs at least one frame")
        return (logits.softmax(dim=-1) * scores).sum(dim=-1)
    mask = mask.expand_as(scores)
    _require_items(mask, "soft_pool")
    weights = logits.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return (weights * scores.masked_fill(~mask, 0.0)).sum(dim=-1)


def late_interaction(
    scores: Tensor,
    tau: float = FRAME_TEMPERATURE,
    sentence_mask: Tensor | None = None,
    frame_mask: Tensor | None = None,
    log_prior: Tensor | None = None,
) -> Tensor:
    """Score a paragraph against a video sentence by sentence: `S = mean_k p_k`, with `p_k` from `soft_pool`.

    Args:
        scores: (..., S, T), cosines of sentences with frames.
        tau: see `soft_pool`.
        sentence_mask: bool, broadcastable to (..., S), true where a sentence is real.
        frame_mask: bool, broadcastable to (..., T), true where a frame is real.
        log_prior: (..., S, T), see `soft_pool`.

    Returns:
        float32, (...).

    Raises:
        ValueError: a paragraph has no real sentence, or a video has no real frame.

    Example:
        >>> shown, absent = [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]
        >>> f"{late_interaction(torch.tensor([shown, absent])).item():.2f}"
        '0.50'
    """
    pooled = soft_pool(scores, tau, None if frame_mask is None else frame_mask.unsqueeze(-2), log_prior)
    if sentence_mask is None:
        if pooled.shape[-1] == 0:
            raise ValueError("late_interaction: needs at least one sentence")
        return pooled.mean(dim=-1)
    sentence_mask = sentence_mask.expand_as(pooled)
    _require_items(sentence_mask, "late_interaction")
    kept = pooled.masked_fill(~sentence_mask, 0.0)
    return kept.sum(dim=-1) / sentence_mask.sum(dim=-1)


def order_score(
    scores: Tensor,
    tau: float = FRAME_TEMPERATURE,
    sentence_mask: Tensor | None = None,
    frame_mask: Tensor | None = None,
) -> Tensor:
    """Score a paragraph in temporal order against a video: each sentence gets a later frame than the one before.

    `D_1(t) = c_1t / tau`, `D_k(t) = c_kt / tau + logsumexp_{t' < t} D_{k-1}(t')`, `S = tau / K logsumexp_t D_K(t)`: the
    soft maximum of the mean cosine over all strictly increasing choices of K frames, with one cumulative sum per
    sentence. It sums over paths, so it also rewards sentences that many frames show, not order alone.

    Args:
        scores: (..., S, T), cosines of sentences with frames, both in temporal order.
        tau: temperature, above 0.
        sentence_mask: bool, broadcastable to (..., S), true where a sentence is real.
        frame_mask: bool, broadcastable to (..., T), true where a frame is real.

    Returns:
        float32, (...). `-inf`, without gradient, if there are more real sentences than real frames: no path exists.

    Raises:
        ValueError: tau is not above 0, a paragraph has no real sentence, or a video has no real frame.

    Example:
        >>> in_order = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> [f"{order_score(scores).item():.2f}" for scores in (in_order, in_order.flip(0))]
        ['1.00', '0.00']
    """
    if tau <= 0:
        raise ValueError(f"order_score needs tau above 0, not {tau}")
    *batch, sentences, frames = scores.shape
    if sentences == 0 or frames == 0:
        raise ValueError("order_score: needs at least one sentence and one frame")
    sentence_count = torch.ones(batch, device=scores.device) * sentences
    frame_count = torch.ones(batch, device=scores.device) * frames
    energies = scores.float() / tau
    if frame_mask is not None:
        frame_mask = frame_mask.expand(*batch, frames)
        _require_items(frame_mask, "order_score")
        frame_count = frame_mask.sum(dim=-1)
        energies = energies.masked_fill(~frame_mask.unsqueeze(-2), UNREACHABLE)
    if sentence_mask is not None:
        sentence_mask = sentence_mask.expand(*batch, sentences)
        _require_items(sentence_mask, "order_score")
        sentence_count = sentence_mask.sum(dim=-1)
        energies = energies.masked_fill(~sentence_mask.unsqueeze(-1), 0.0)
    total = _monotone_paths(energies, sentence_mask)
    return (tau * total / sentence_count).masked_fill(sentence_count > frame_count, float("-inf"))


def _monotone_paths(energies: Tensor, sentence_mask: Tensor | None) -> Tensor:
    """Return the log of the sum of `exp(energy)` over all strictly increasing paths: (..., S, T) -> (...).

    Weights are relative to each sentence's highest, in float64, and scaled to 1 after every sentence. On a CPU this is
    five to ten times faster than `torch.logcumsumexp`, which is used if energies are too far apart.
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
    """Do the same in logarithms throughout, for any energies."""
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
    """Return the cosine of texts with videos whose frames are pooled by their relevance to the text.

    `cos(sum_t w_t z_t, u)` with unit vectors z and u and `w = softmax_t(c_t / tau)`. The numerator is `sum_t w_t c_t`.
    The length of the pooled vector is `sqrt(w^T (z z^T) w)`, or that of `w^T z` itself if a video has more frames than
    a vector has components. So no tensor is larger than the cosines.

    Args:
        scores: (..., N, T), cosines of texts with frames.
        frames: (..., T, d), the frames' vectors.
        tau: temperature, above 0.
        mask: bool, broadcastable to (..., T), true where a frame is real.

    Returns:
        (..., N), at least float32. A pooled vector of length 0 has cosine 0.

    Raises:
        ValueError: tau is not above 0, or a video has no real frame.

    Example:
        >>> frames, texts = torch.eye(3), torch.eye(3)[:1]
        >>> f"{relevance_pooled(cosine(texts, frames), frames).item():.3f}"
        '1.000'
    """
    if tau <= 0:
        raise ValueError(f"relevance_pooled needs tau above 0, not {tau}")
    scores, units = full(scores), F.normalize(full(frames), dim=-1)
    if units.shape[-2] == 0:
        raise ValueError("relevance_pooled: needs at least one frame")
    if mask is not None:
        mask = mask.expand(units.shape[:-1])
        _require_items(mask, "relevance_pooled")
        units = units.masked_fill(~mask.unsqueeze(-1), 0.0)
        padding = ~mask.unsqueeze(-2)
        weights = (scores / tau).masked_fill(padding, float("-inf")).softmax(dim=-1)
        scores = scores.masked_fill(padding, 0.0)
    else:
        weights = (scores / tau).softmax(dim=-1)
    squared = squared_length(weights, units)
    return (weights * scores).sum(dim=-1) / squared.clamp_min(1e-12).sqrt()


def squared_length(weights: Tensor, vectors: Tensor) -> Tensor:
    """Return the squared length of weighted sums, `|sum_t w_t x_t|^2`, usually without computing the sums.

    This is `w^T (X X^T) w`, or the squared length of `w^T X` if there are more vectors than components.

    Args:
        weights: (..., N, T).
        vectors: (..., T, d).

    Returns:
        (..., N); for sums of length 0, rounding may give values slightly below 0.

    Example:
        >>> squared_length(torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 0.0], [0.0, 4.0]])).tolist()
        [25.0]
    """
    if vectors.shape[-2] <= vectors.shape[-1]:
        return ((weights @ (vectors @ vectors.transpose(-1, -2))) * weights).sum(dim=-1)
    return (weights @ vectors).square().sum(dim=-1)


def masked_cosine(a: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """Return the cosine of every vector, under every mask, with that mask's text: `C[i, j] = cos(a_i * m_j, s_j)`.

    `C = (a @ (m * s).T) / (sqrt(a^2 @ (m^2).T) * |s|)`: two matrix products, 2 A B d multiply-adds, and no tensor
    larger than the cosines. Masks are squared, so soft masks are exact too.

    Args:
        a: (..., A, d), approximately of unit length.
        m: (..., B, d) masks in [0, 1], hard or soft.
        s: (..., B, d), text vectors, masked or not.

    Returns:
        At least float32, (..., A, B). The cosine fades to 0, with finite gradients, if a mask leaves less than a
        thousandth of a vector's length, or if a text is shorter than that.

    Example:
        >>> frames, text = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0]])
        >>> masks = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
        >>> [f"{value:.1f}" for value in masked_cosine(frames, masks, text.expand(2, 2))[0].tolist()]
        ['0.6', '1.0']
    """
    a, m, s = full(a), full(m), full(s)
    directions = m * s * s.square().sum(dim=-1, keepdim=True).clamp_min(SQUARED_FLOOR).rsqrt()
    squared = (a.square() @ m.square().transpose(-1, -2)).clamp_min(SQUARED_FLOOR)
    return (a @ directions.transpose(-1, -2)) * squared.rsqrt()


def irrelevance(scores: Tensor, sentence_mask: Tensor | None = None) -> Tensor:
    """Return how unrelated each frame is to a whole text: one minus its highest cosine with any unit of it.

    Args:
        scores: (..., S, T), cosines of units with frames.
        sentence_mask: bool, broadcastable to (..., S), true where a unit is real.

    Returns:
        float32, (..., T), in [0, 2] up to rounding.

    Raises:
        ValueError: a text has only padding units.

    Example:
        >>> irrelevance(torch.tensor([[1.0, 0.0], [0.5, 0.0]])).tolist()
        [0.0, 1.0]
    """
    scores = scores.float()
    if scores.shape[-2] == 0:
        raise ValueError("irrelevance: needs at least one unit")
    if sentence_mask is not None:
        sentence_mask = sentence_mask.expand(scores.shape[:-1])
        _require_items(sentence_mask, "irrelevance")
        scores = scores.masked_fill(~sentence_mask.unsqueeze(-1), float("-inf"))
    return 1.0 - scores.amax(dim=-2)


def _require_items(mask: Tensor, function: str) -> None:
    if not bool(torch.all(mask.any(dim=-1))):
        raise ValueError(f"{function}: a row has only padding, so it has no score")
