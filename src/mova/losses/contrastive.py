"""Contrastive objectives on similarity matrices; nothing here knows a model.

Shape legend: R rows (anchors), C columns (candidates), V videos, K sentences a caption, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor


def multi_positive_nce(logits: Tensor, positive: Tensor, valid: Tensor | None = None) -> Tensor:
    """InfoNCE whose anchors may have several positives: mean over rows of `-log(sum_pos e^l / sum_valid e^l)`.

    With one positive a row and everything valid this is cross-entropy (van den Oord et al. 2018, Eq. 4).

    Args:
        logits: (R, C), already scaled.
        positive: bool, (R, C).
        valid: bool, (R, C); candidates that are neither positive nor known to be negative are left out (false).

    Returns:
        Scalar; rows without a positive do not count. Zero (with gradient) if no row has one.

    Raises:
        ValueError: shapes differ.
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
    """Mean of both directions of `multi_positive_nce`; the diagonal is positive where nothing else is said."""
    if positive is None:
        positive = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    rows = multi_positive_nce(logits, positive, valid)
    columns = multi_positive_nce(logits.T, positive.T, None if valid is None else valid.T)
    return 0.5 * (rows + columns)
