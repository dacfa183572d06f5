"""Pair negatives: videos and texts that do not belong together, with masks made for just that pair.

A mask network is asked about mismatched pairs too, so a mask that encodes its frame no longer wins: of the mask
losses only this one has to look at the match. The caller recomputes masks and scores for the sampled pairs.

Shape legend: V videos, N texts (N = V, text i belongs to video i), K negatives a row, R rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mova.losses.pairwise import full_precision

SHARPNESS = 20.0
"""Multiplies global cosines before the softmax that negatives are drawn from."""


def sample_hard_pairs(
    scores: Tensor,
    count: int,
    generator: torch.Generator,
    *,
    valid: Tensor | None = None,
    sharpness: float = SHARPNESS,
) -> tuple[Tensor, Tensor]:
    """Draw hard negatives within the batch: `count` texts a video and `count` videos a text, without replacement.

    The chance of a pair is `softmax(sharpness * G)` over the candidates of its row (or column).

    Args:
        scores: (V, N) global cosines G; no gradient flows.
        count: K, negatives a row, at most V - 1.
        generator: where the randomness comes from.
        valid: bool, (V, N); false where a text holds for another video by accident, which is then never drawn.
        sharpness: 0 draws uniformly.

    Returns:
        Texts of every video (V, K) and videos of every text (N, K), int64 on the device of `scores`.

    Raises:
        ValueError: scores are not square or not finite, or a row or column has fewer than `count` candidates.
    """
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or count < 1:
        raise ValueError(f"hard pairs need square scores and a count above 0, not {tuple(scores.shape)} and {count}")
    if not bool(scores.isfinite().all()):
        raise ValueError("hard pairs: scores are not finite")
    allowed = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    if valid is not None:
        allowed &= valid
    fewest = int(torch.minimum(allowed.sum(dim=0), allowed.sum(dim=1)).min())
    if fewest < count:
        raise ValueError(f"hard pairs: {count} negatives asked for, but a row or column has only {fewest} candidates")

    def draw(logits: Tensor, among: Tensor) -> Tensor:
        """Columns (R, count), each at most once a row."""
        # The smallest double keeps a candidate that is far behind: as many as asked for can always be drawn.
        chance = logits.masked_fill(~among, float("-inf")).softmax(dim=1).clamp_min(1e-300).masked_fill(~among, 0.0)
        return torch.multinomial(chance.to(generator.device), count, generator=generator).to(scores.device)

    logits = sharpness * scores.detach().double()
    return draw(logits, allowed), draw(logits.T, allowed.T)


@full_precision
def pair_nce(
    matched: Tensor,
    mismatched: Tensor,
    scale: Tensor | float,
    *,
    normalise: bool = False,
) -> Tensor:
    """InfoNCE of one matched score against K mismatched ones.

    `mean_r -log(e^(s m_r) / (e^(s m_r) + sum_k e^(s n_rk)))`. Call it for texts of a video and for videos of a text.

    Args:
        matched: (R,), scores of true pairs.
        mismatched: (R, K), scores of pairs with one side exchanged, masks recomputed for each.
        scale: s, multiplies the scores.
        normalise: divide by log(K + 1).

    Raises:
        ValueError: shapes disagree.
    """
    if mismatched.ndim != 2 or matched.shape != mismatched.shape[:1]:
        raise ValueError(
            f"matched {tuple(matched.shape)} and mismatched {tuple(mismatched.shape)} must be (R,), (R, K)"
        )
    excess = scale * (mismatched - matched[:, None])
    loss = F.softplus(excess.logsumexp(dim=1), threshold=40.0).mean()
    return loss / math.log(mismatched.shape[1] + 1) if normalise else loss
