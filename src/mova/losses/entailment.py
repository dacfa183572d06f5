"""SynViTA's objective on entailment scores (Zanella et al., papers/synvita.txt, Eq. 1, 2, 5, 6, 7).

A model answers Yes or No to "does this video entail this text?". All losses here take its *log odds*
`z = log P(Yes) - log P(No)`, because then `f = sigmoid(z)` (Eq. 1), `log f = logsigmoid(z)` and
`log(1 - f) = logsigmoid(-z)` are exact at any size of z, where `log(1 - f)` of a rounded f is minus infinity.

Of a triplet (real video V^r, its caption t^r, negative caption t^s, and the video V^s rendered from t^s), every video
meets every text. `log_odds[i, v, t]` holds `z(V^v, t^t)` with 0 for real and 1 for synthetic, so the diagonal holds
what is true and the rest what is not. `common[i, v, t]` holds `z(V^v, t')` where t' is the part that both captions
share, reached by masking tokens of caption t (`text/common_subsequence.py`): each hinge of Eq. 6 compares a caption
with its own masked form. Where only one form of t' was scored, expand it over the last axis.

Sums of the paper are means over the n triplets here, weights included (divided by n, not by the sum of weights), so
that learning rates do not depend on the batch and a batch of poor videos moves little.

Log odds of next-token logits, over all surface forms of yes and no: `models/video_llm/yes_no.py`.

Shape legend: n triplets.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

MARGIN = 0.2
"""The paper's gamma, in units of probability."""


def entailment_nll(true: Tensor, false: Tensor) -> Tensor:
    """`-(log f(true) + log(1 - f(false)))` of log odds: a summand of Eq. 2 and 5, same shape."""
    return -(F.logsigmoid(true) + F.logsigmoid(-false))


def real_loss(log_odds: Tensor) -> Tensor:
    """Eq. 2, the real video with its caption and the negative one.

    Args:
        log_odds: (n, 2, 2), see the module.
    """
    return entailment_nll(log_odds[:, 0, 0], log_odds[:, 0, 1]).mean()


def synthetic_loss(log_odds: Tensor, weights: Tensor) -> Tensor:
    """Eq. 5, the synthetic video with the negative caption, which is its own, and the real one; weighted.

    Args:
        log_odds: (n, 2, 2), see the module.
        weights: (n,), in [0, 1], how far to trust the videos (`data/synthetic_weights.py`); constants, no gradient.
    """
    return (weights.detach() * entailment_nll(log_odds[:, 1, 1], log_odds[:, 1, 0])).mean()


def consistency_loss(log_odds: Tensor, common: Tensor, weights: Tensor, margin: float = MARGIN) -> Tensor:
    """Eq. 6, semantic consistency: what both captions share fits a video less than its caption, more than the other.

    `sum_z w [gamma + f(V^z, t') - f(V^z, t^z)]_+ + w [gamma + f(V^z, t^not-z) - f(V^z, t')]_+`, z real and synthetic.

    Args:
        log_odds: (n, 2, 2), see the module.
        common: (n, 2, 2), likewise of the shared part.
        weights: (n,), as in `synthetic_loss`; here they count for both videos.
        margin: gamma.

    Raises:
        ValueError: shapes differ.
    """
    if log_odds.shape != common.shape or log_odds.shape[1:] != (2, 2):
        raise ValueError(f"log odds {tuple(log_odds.shape)} and common {tuple(common.shape)} must both be (n, 2, 2)")
    full, shared = log_odds.sigmoid(), common.sigmoid()
    own, own_shared = (_diagonal(part) for part in (full, shared))
    other, other_shared = (_diagonal(part.flip(-1)) for part in (full, shared))
    hinges = (margin + own_shared - own).clamp_min(0.0) + (margin + other - other_shared).clamp_min(0.0)
    return (weights.detach() * hinges.sum(dim=1)).mean()


def synvita_loss(
    log_odds: Tensor, weights: Tensor, common: Tensor | None = None, consistency: float = 0.0, margin: float = MARGIN
) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 7, `L_real + L_syn + lambda L_scr`, and its parts by name (`real`, `synthetic`, `consistency`).

    Args:
        log_odds: (n, 2, 2), see the module.
        weights: (n,); zeros leave the synthetic videos out.
        common: (n, 2, 2); may be absent where `consistency` is 0.
        consistency: lambda; the paper has 1e-2 for mPLUG-Owl and 1.0 for Video-LLaVA.
        margin: gamma.

    Raises:
        ValueError: `consistency` without `common`, or shapes that differ.
    """
    parts = {"real": real_loss(log_odds), "synthetic": synthetic_loss(log_odds, weights)}
    total = parts["real"] + parts["synthetic"]
    if consistency:
        if common is None:
            raise ValueError("the consistency loss needs the log odds of the shared part")
        parts["consistency"] = consistency_loss(log_odds, common, weights, margin)
        total = total + consistency * parts["consistency"]
    return total, parts


def _diagonal(pairs: Tensor) -> Tensor:
    """(n, 2, 2) -> (n, 2): a value a video."""
    return pairs.diagonal(dim1=1, dim2=2)
