"""Compare every frame with every mask by matrix products, in memory that is not quadratic in their number.

`cos(a_i * m_j, s_j)` for all i and j needs no array of shape (A, B, d): the numerator is `a @ (m * s).T` and the
squared norm of the masked vector is `a^2 @ (m^2).T` (`m^2`, not `m`: masks may be soft). The contrastive sums over
that matrix are computed in blocks of rows, and the blocks are recomputed in the backward pass.

Squared norms are clamped to `SQUARED_FLOOR` before the root is taken. An all-zero mask then gives cosine 0 and a
finite gradient (clamped after the root, the gradient would be infinite). The floor is meant for vectors of about unit
length, which is what `losses/masked_contrast.py` passes.

Shape legend: A rows (vectors), B columns (masks with their texts), P rows and columns where both are the same P
frames, d width; leading dots are any batch dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from mova.scoring import similarity
from mova.scoring.similarity import SQUARED_FLOOR

BLOCK_ELEMENTS = 1 << 20
"""Entries of one block of rows: 4 MB per array in float32, about six arrays in all."""

Inputs = ParamSpec("Inputs")
Output = TypeVar("Output")


def full_precision(function: Callable[Inputs, Output]) -> Callable[Inputs, Output]:
    """Decorate a loss so that it runs in float32 or wider, also under autocast and on half-precision input.

    Logits are cosines times a scale of up to 100; bfloat16 would round them to steps of 0.4.

    Example:
        >>> import torch
        >>> double = full_precision(lambda scores: 2 * scores)
        >>> double(torch.ones(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """

    @wraps(function)
    def _wrapped(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Output:
        values = (*args, *kwargs.values())
        device = next((value.device.type for value in values if isinstance(value, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return function(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()})

    return _wrapped


def _widened(value: Any) -> Any:
    """Promote tensors, also those in a tuple, to float32 or wider; return anything else unchanged."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(torch.promote_types(value.dtype, torch.float32))
    return tuple(map(_widened, value)) if isinstance(value, tuple) else value


def check_frames(frames: Tensor, frame_mask: Tensor, text: Tensor | None = None) -> None:
    """Raise a ValueError unless the shapes agree and every video has a real frame.

    Example:
        >>> frames = torch.zeros(1, 3, 4)
        >>> check_frames(frames, torch.ones(1, 3, dtype=torch.bool))
        >>> check_frames(frames, torch.zeros(1, 3, dtype=torch.bool))
        Traceback (most recent call last):
            ...
        ValueError: a video has only padding frames; remove it from the batch
    """
    if frames.ndim != 3 or frame_mask.shape != frames.shape[:2] or frame_mask.dtype != torch.bool:
        raise ValueError(
            f"frames (V, T, d) and a bool frame_mask (V, T) are needed, not {tuple(frames.shape)} and "
            f"{frame_mask.dtype} {tuple(frame_mask.shape)}"
        )
    if not bool(frame_mask.any(dim=1).all()):
        raise ValueError("a video has only padding frames; remove it from the batch")
    if text is not None and text.shape != (len(frames), frames.shape[2]):
        raise ValueError(f"text {tuple(text.shape)} must hold one vector per video of frames {tuple(frames.shape)}")


def check_like(frames: Tensor, **masks: Tensor) -> None:
    """Raise a ValueError unless masks have the shape of the frames.

    Example:
        >>> check_like(torch.zeros(1, 3, 4), m_t=torch.zeros(1, 3, 4))
    """
    for name, mask in masks.items():
        if mask.shape != frames.shape:
            raise ValueError(f"{name} {tuple(mask.shape)} and frames {tuple(frames.shape)} must agree in shape")


def average(values: Tensor, frame_mask: Tensor, weights: Tensor | None) -> Tensor:
    """Average values (P,) over real frames, weighted by `weights` (V, T) if given.

    Example:
        >>> average(torch.tensor([1.0, 3.0]), torch.tensor([[True, True, False]]), torch.tensor([[1.0, 0.0, 0.0]]))
        tensor(1.)
    """
    if weights is None:
        return values.mean()
    if weights.shape != frame_mask.shape:
        raise ValueError(f"weights {tuple(weights.shape)} and frame_mask {tuple(frame_mask.shape)} must agree in shape")
    kept = weights[frame_mask]
    return (values * kept).sum() / kept.sum().clamp_min(torch.finfo(kept.dtype).tiny)


def inverse_root(squared: Tensor) -> Tensor:
    """Return `1 / sqrt(max(squared, SQUARED_FLOOR))`, elementwise; no gradient below the floor.

    Example:
        >>> import torch
        >>> inverse_root(torch.tensor([4.0, 0.25]))
        tensor([0.5000, 2.0000])
    """
    return squared.clamp_min(SQUARED_FLOOR).rsqrt()


masked_cosine = full_precision(similarity.masked_cosine)
"""`mova.scoring.similarity.masked_cosine` in full precision. It holds A x B entries: use `negative_logsumexp`
if you only need the contrastive sums over them."""


@full_precision
def aligned_cosine(a: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """Compute only the diagonal of `masked_cosine`: `cos(a_i * m_i, s_i)`.

    Args:
        a: (..., d).
        m: (..., d).
        s: (..., d).

    Returns:
        (...).

    Example:
        >>> import torch
        >>> aligned_cosine(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([1.])
    """
    seen = a * m
    product = (seen * s).sum(dim=-1)
    return product * inverse_root(seen.square().sum(dim=-1)) * inverse_root(s.square().sum(dim=-1))


Energy = Literal["cosine", "distance"]
"""How a vector and a text are compared under a mask: by their cosine, or by the negative squared distance of the open
coordinates, as the simulations of MoVA's theory do."""


@full_precision
def distance_factors(points: Tensor, masks: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Return a and b with `a @ b.T = -sum_j m_bj (p_aj - c_bj)^2`, the negative squared distances under masks.

    They are linear in the mask, so the straight-through gradient of a closed coordinate is the effect of opening it;
    with `m^2` it would stay closed.

    Args:
        points: (A, d).
        masks: (B, d).
        centers: (B, d).

    Returns:
        (A, 2 d + 1) and (B, 2 d + 1).

    Example:
        >>> import torch
        >>> points, mask, center = torch.tensor([[1.0, 5.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]])
        >>> a, b = distance_factors(points, mask, center)
        >>> a @ b.T
        tensor([[-4.]])
    """
    seen = masks * centers
    a = torch.cat([2 * points, -points.square(), points.new_full((len(points), 1), -1.0)], dim=1)
    return a, torch.cat([seen, masks, (seen * centers).sum(dim=1, keepdim=True)], dim=1)


def block_rows(columns: int) -> int:
    """Return the rows per block so that a block holds at most `BLOCK_ELEMENTS` entries; at least one row.

    Example:
        >>> block_rows(4096)
        256
    """
    return max(1, BLOCK_ELEMENTS // max(1, columns))


@full_precision
def negative_logsumexp(
    x: Tensor,
    y: Tensor,
    norms: tuple[Tensor, Tensor] | None = None,
    group: Tensor | None = None,
    rows: int | None = None,
    part: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sum over the negatives of every row and every column of a P x P matrix of logits, block by block.

    `L = (x @ y.T) / sqrt(p @ q.T)` with `norms = (p, q)`, or `L = x @ y.T` without. Entry (i, j) is a negative if
    i and j belong to different groups. Memory is O(P d) plus blocks of a fixed size, also in the backward pass, which
    recomputes the blocks: eight P x P x d products in all with norms, four without.

    Args:
        x: (P, d), already scaled.
        y: (P, d).
        norms: non-negative p and q, (P, d) each.
        group: int64, (P,) (default: every index is its own group, so everything off the diagonal is a negative).
        rows: rows per block (default: `block_rows(P)`); affects only speed and memory.
        part: int64, (P,), optional, only with `group`: entries of one group are negatives too if they belong to the
            same part of it, except on the diagonal.

    Returns:
        `log sum_j e^L[i, j]` over the negatives of row i, and `log sum_i e^L[i, j]` over those of column j, both
        (P,); -inf where there is none.

    Example:
        >>> import torch
        >>> negative_logsumexp(torch.zeros(3, 2), torch.zeros(3, 2))
        (tensor([0.6931, 0.6931, 0.6931]), tensor([0.6931, 0.6931, 0.6931]))
    """
    p, q = norms if norms is not None else (None, None)
    return _NegativeLogsumexp.apply(x, y, p, q, group, part, rows or block_rows(len(y)))


class _NegativeLogsumexp(torch.autograd.Function):
    """`negative_logsumexp`: a running logsumexp forward, blocks of softmax weights backward."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        p: Tensor | None,
        q: Tensor | None,
        group: Tensor | None,
        part: Tensor | None,
        rows: int,
    ) -> tuple[Tensor, Tensor]:
        """Accumulate the logsumexp of rows and of columns block by block."""
        over_rows = x.new_full((len(x),), float("-inf"))
        over_columns = y.new_full((len(y),), float("-inf"))
        for start in range(0, len(x), rows):
            block = slice(start, start + rows)
            logits, _ = _block(x, y, p, q, block)
            _drop_positives(logits, group, part, block)
            over_rows[block] = logits.logsumexp(dim=1)
            over_columns = torch.logaddexp(over_columns, logits.logsumexp(dim=0))
        ctx.save_for_backward(x, y, p, q, group, part, over_rows, over_columns)
        ctx.rows = rows
        ctx.set_materialize_grads(False)
        return over_rows, over_columns

    @staticmethod
    @once_differentiable
    @full_precision
    def backward(ctx: Any, row_gradient: Tensor | None, column_gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        """Recompute each block of logits and weight the inputs by its softmax."""
        x, y, p, q, group, part, over_rows, over_columns = ctx.saved_tensors
        inputs = zip((x, y, p, q), ctx.needs_input_grad[:4], strict=True)
        x_gradient, y_gradient, p_gradient, q_gradient = (torch.zeros_like(t) if need else None for t, need in inputs)
        # An empty sum has no gradient: e^(L - inf) = 0.
        over_rows = over_rows.masked_fill(over_rows.isneginf(), float("inf"))
        over_columns = over_columns.masked_fill(over_columns.isneginf(), float("inf"))
        for start in range(0, len(x), ctx.rows):
            block = slice(start, start + ctx.rows)
            logits, inverse = _block(x, y, p, q, block)
            kept = _drop_positives(logits.clone(), group, part, block)
            flow = torch.zeros_like(logits)
            if row_gradient is not None:
                flow += (kept - over_rows[block, None]).exp_().mul_(row_gradient[block, None])
            if column_gradient is not None:
                flow += kept.sub_(over_columns).exp_().mul_(column_gradient)
            if p is not None and q is not None and inverse is not None:
                # L = n * r^(-1/2): dL/dr = -L / (2 r), and 0 below the floor, where r was replaced by a constant.
                to_norm = logits.mul_(flow).mul_(inverse.square()).mul_(-0.5)
                to_norm.masked_fill_(inverse > SQUARED_FLOOR**-0.5 * (1 - 1e-6), 0.0)
                if p_gradient is not None:
                    p_gradient[block] = to_norm @ q
                if q_gradient is not None:
                    q_gradient.addmm_(to_norm.T, p[block])
                flow.mul_(inverse)
            if x_gradient is not None:
                x_gradient[block] = flow @ y
            if y_gradient is not None:
                y_gradient.addmm_(flow.T, x[block])
        return x_gradient, y_gradient, p_gradient, q_gradient, None, None, None


def _block(x: Tensor, y: Tensor, p: Tensor | None, q: Tensor | None, block: slice) -> tuple[Tensor, Tensor | None]:
    """Return logits of a block of rows (R, P), and the inverse norms they were multiplied by, if any."""
    logits = x[block] @ y.T
    if p is None or q is None:
        return logits, None
    inverse = (p[block] @ q.T).clamp_min_(SQUARED_FLOOR).rsqrt_()
    return logits.mul_(inverse), inverse


def _drop_positives(logits: Tensor, group: Tensor | None, part: Tensor | None, block: slice) -> Tensor:
    """Set the diagonal and entries of the same group, but of another part, to -inf, in place."""
    if group is not None:
        same = group[block, None] == group
        if part is not None:
            same &= part[block, None] != part
        logits.masked_fill_(same, float("-inf"))
    logits.diagonal(block.start).fill_(float("-inf"))
    return logits


@full_precision
def mean_violation(
    x: Tensor,
    y: Tensor,
    margin: float,
    group: Tensor,
    rows: int | None = None,
    twins: Tensor | None = None,
    within: bool = True,
) -> Tensor:
    """Compute a hinge over the violating negatives of every row, separately inside and outside its group.

    `V[i] = mean_j [C_ij - C_ii + margin]_+` over the j of the same group (j != i) for which it is above 0, plus the
    same over the other groups, with `C = x @ y.T`. An empty mean is 0.

    Args:
        x: (P, d).
        y: (P, d).
        margin: in units of C.
        group: int64, (P,).
        rows: rows per block; blocks are recomputed in the backward pass, so memory is not quadratic in P.
        twins: int64, (P,), optional: entries of different groups with equal values here are no negatives.
        within: whether entries of the same group are negatives.

    Returns:
        (P,).

    Example:
        >>> import torch
        >>> x = torch.eye(3)
        >>> mean_violation(x, x, margin=1.2, group=torch.arange(3))
        tensor([0.2000, 0.2000, 0.2000])
    """
    index = torch.arange(len(x), device=x.device)
    positive = (x * y).sum(dim=-1)

    def violation(block: Tensor, positive: Tensor, row: Tensor) -> Tensor:
        """Compute the violation (R,) of a block of rows of x, given their positive scores and row indices."""
        excess = (block @ y.T - positive[:, None] + margin).clamp_min(0.0).masked_fill(row[:, None] == index, 0.0)
        same = group[row, None] == group
        if twins is not None:
            excess = excess.masked_fill(~same & (twins[row, None] == twins), 0.0)
        outside = _mean_of_positive(excess.masked_fill(same, 0.0))
        return _mean_of_positive(excess.masked_fill(~same, 0.0)) + outside if within else outside

    rows = rows or block_rows(len(y))
    blocks = zip(x.split(rows), positive.split(rows), index.split(rows), strict=True)
    return torch.cat([checkpoint(violation, *block, use_reentrant=False, preserve_rng_state=False) for block in blocks])


def _mean_of_positive(values: Tensor) -> Tensor:
    return values.sum(dim=1) / (values > 0).sum(dim=1).clamp_min(1)
