"""InfoNCE losses on similarity matrices.

Shape legend: R rows (anchors), C columns (candidates).
"""

from __future__ import annotations

import torch
from torch import Tensor


def multi_positive_nce(logits: Tensor, positive: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute InfoNCE with any number of positives per anchor: mean over rows of `-log(sum_pos e^l / sum_valid e^l)`.

    With one positive per row and everything valid, this is cross-entropy (van den Oord et al. 2018, Eq. 4).

    Args:
        logits: (R, C), already scaled.
        positive: bool, (R, C).
        valid: bool, (R, C); false excludes a candidate that is not positive but not known to be negative either.

    Returns:
        Scalar. Rows without a positive are ignored; the loss is zero (with gradient) if no row has one.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import torch
        >>> positive = torch.tensor([[True, True, False, False], [False, False, False, True]])
        >>> multi_positive_nce(torch.zeros(2, 4), positive)
        tensor(1.0397)
    """
    if positive.shape != logits.shape or (valid is not None and valid.shape != logits.shape):
        raise ValueError(f"logits {tuple(logits.shape)}, positive and valid must agree in shape")
    anchored = positive.any(dim=1)
    if not bool(anchored.any()):
        return logits.sum() * 0.0
    logits, positive = logits[anchored], positive[anchored]
    allowed = positive if valid is None else positive | valid[anchored]
    everything = logits if valid is None else logits.masked_fill(~allowed, float("-inf"))
    hits = logits.masked_fill(~positive, float("-inf"))
    return (everything.logsumexp(dim=1) - hits.logsumexp(dim=1)).mean()


def symmetric_nce(logits: Tensor, positive: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
    """Average `multi_positive_nce` over both directions, as CLIP does.

    Args:
        logits: (R, C), already scaled.
        positive: bool, (R, C) (default: the diagonal).
        valid: bool, (R, C) (default: all candidates).

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> symmetric_nce(2 * torch.eye(3))
        tensor(0.2395)
    """
    if positive is None:
        positive = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    rows = multi_positive_nce(logits, positive, valid)
    columns = multi_positive_nce(logits.T, positive.T, None if valid is None else valid.T)
    return 0.5 * (rows + columns)
