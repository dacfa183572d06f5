"""Hard pair negatives: mismatched videos and texts, scored with masks computed for exactly that pair.

The mask network sees mismatched pairs too, so a mask that merely encodes its frame does not lower this loss. It is the
only mask loss that depends on the match. The caller recomputes masks and scores for the sampled pairs.

Shape legend: V videos, N texts (N = V, text i belongs to video i), K negatives per row, R rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mova.losses.pairwise import full_precision

SHARPNESS = 20.0
"""Default factor on the global cosines before the softmax from which negatives are drawn."""


def sample_hard_pairs(
    scores: Tensor,
    count: int,
    generator: torch.Generator,
    *,
    valid: Tensor | None = None,
    sharpness: float = SHARPNESS,
) -> tuple[Tensor, Tensor]:
    """Draw hard negatives within the batch: `count` texts per video and `count` videos per text, without replacement.

    The probability of a pair is `softmax(sharpness * G)` over the candidates of its row (or column).

    Args:
        scores: (V, N) global cosines G; no gradient flows.
        count: K, negatives per row, at most V - 1.
        generator: source of randomness.
        valid: bool, (V, N); false where a text happens to be true of another video. Such pairs are never drawn.
        sharpness: 0 draws uniformly.

    Returns:
        Texts of every video (V, K) and videos of every text (N, K), int64 on the device of `scores`.

    Raises:
        ValueError: scores are not square or not finite, or a row or column has fewer than `count` candidates.

    Example:
        >>> import torch
        >>> texts, videos = sample_hard_pairs(torch.rand(4, 4), 2, torch.Generator().manual_seed(0))
        >>> texts.shape, bool((texts == torch.arange(4)[:, None]).any())
        (torch.Size([4, 2]), False)
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
        raise ValueError(f"hard pairs: {count} negatives requested, but a row or column has only {fewest} candidates")

    def draw(logits: Tensor, candidates: Tensor) -> Tensor:
        """Draw distinct columns for each row, (R, count)."""
        odds = logits.masked_fill(~candidates, float("-inf")).softmax(dim=1)
        # A tiny floor keeps candidates whose probability underflows, so that `count` can always be drawn.
        odds = odds.clamp_min(1e-300).masked_fill(~candidates, 0.0)
        return torch.multinomial(odds.to(generator.device), count, generator=generator).to(scores.device)

    logits = sharpness * scores.detach().double()
    return draw(logits, allowed), draw(logits.T, allowed.T)


@full_precision
def pair_nce(
    matched: Tensor,
    mismatched: Tensor,
    scale: Tensor | float,
    *,
    normalize: bool = False,
) -> Tensor:
    """Compute InfoNCE of one matched score against K mismatched ones per row.

    `mean_r -log(e^(s m_r) / (e^(s m_r) + sum_k e^(s n_rk)))`. Call it once with mismatched texts and once with
    mismatched videos.

    Args:
        matched: (R,), scores of true pairs.
        mismatched: (R, K), scores of pairs with one side replaced, masks recomputed for each.
        scale: s, multiplies the scores.
        normalize: divide by log(K + 1).

    Raises:
        ValueError: shapes disagree.

    Example:
        >>> import torch
        >>> pair_nce(torch.tensor([0.9, 0.8]), torch.tensor([[0.1, 0.2], [0.3, 0.0]]), 2.0)
        tensor(0.4107)
    """
    if mismatched.ndim != 2 or matched.shape != mismatched.shape[:1]:
        raise ValueError(
            f"matched {tuple(matched.shape)} and mismatched {tuple(mismatched.shape)} must be (R,), (R, K)"
        )
    excess = scale * (mismatched - matched[:, None])
    loss = F.softplus(excess.logsumexp(dim=1), threshold=40.0).mean()
    return loss / math.log(mismatched.shape[1] + 1) if normalize else loss
