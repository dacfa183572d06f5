"""Losses on entailment scores: SynViTA (Zanella et al. 2025), Eq. 1, 2, 5, 6 and 7.

A model answers Yes or No to "Does this video entail this text?". All losses take the *log odds*
`z = log P(Yes) - log P(No)`. Then `f = sigmoid(z)` (Eq. 1), `log f = logsigmoid(z)` and
`log(1 - f) = logsigmoid(-z)` are exact for any z, whereas `log(1 - f)` of a rounded f can be minus infinity.

A triplet has a real video V^r, its caption t^r, a negative caption t^s, and the video V^s rendered from t^s. Every
video is scored with every text: `log_odds[i, v, t]` holds `z(V^v, t^t)`, with 0 for real and 1 for synthetic, so the
diagonal holds the true pairs and the rest the false ones. `common[i, v, t]` holds `z(V^v, t')`, where t' is the part
that both captions share, obtained by masking tokens of caption t (`text/common_subsequence.py`): each hinge of Eq. 6
compares a caption with its own masked form. If only one form of t' was scored, expand it over the last axis.

The paper's sums are means over the n triplets here. Weighted sums are divided by n too, not by the sum of the weights:
learning rates do not depend on the batch size, and a batch of poor videos has little effect.

Log odds from next-token logits, over all surface forms of yes and no: `models/video_llm/yes_no.py`.

Shape legend: n triplets.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

MARGIN = 0.2
"""The paper's gamma, in units of probability."""


def entailment_nll(true: Tensor, false: Tensor) -> Tensor:
    """Return `-(log f(true) + log(1 - f(false)))`, the summand of Eq. 2 and 5, elementwise on log odds.

    Example:
        >>> import torch
        >>> entailment_nll(torch.tensor([4.0]), torch.tensor([-4.0]))
        tensor([0.0363])
    """
    return -(F.logsigmoid(true) + F.logsigmoid(-false))


def real_loss(log_odds: Tensor, shares: Tensor | None = None) -> Tensor:
    """Compute Eq. 2: the real video with its caption against the negative caption.

    Args:
        log_odds: (n, 2, 2), see the module's description.
        shares: (n,), factor of each summand, for a triplet that is listed once per synthetic video. Default: 1.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> real_loss(torch.tensor([[[3.0, -3.0], [-3.0, 3.0]]]))
        tensor(0.0972)
    """
    summands = entailment_nll(log_odds[:, 0, 0], log_odds[:, 0, 1])
    return (summands if shares is None else shares * summands).mean()


def synthetic_loss(log_odds: Tensor, weights: Tensor) -> Tensor:
    """Compute Eq. 5: the synthetic video with the negative caption it was rendered from against the real one, weighted.

    Args:
        log_odds: (n, 2, 2), see the module's description.
        weights: (n,), in [0, 1], confidence in the synthetic videos (`data/synthetic_weights.py`); no gradient.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> synthetic_loss(torch.tensor([[[3.0, -3.0], [-3.0, 3.0]]]), torch.tensor([0.5]))
        tensor(0.0486)
    """
    return (weights.detach() * entailment_nll(log_odds[:, 1, 1], log_odds[:, 1, 0])).mean()


def consistency_loss(log_odds: Tensor, common: Tensor, weights: Tensor, margin: float = MARGIN) -> Tensor:
    """Compute Eq. 6, semantic consistency: the shared part fits a video less than its caption, more than the other one.

    `sum_z w [gamma + f(V^z, t') - f(V^z, t^z)]_+ + w [gamma + f(V^z, t^not-z) - f(V^z, t')]_+`, z real and synthetic.

    Args:
        log_odds: (n, 2, 2), see the module's description.
        common: (n, 2, 2), the same for the shared part.
        weights: (n,), as in `synthetic_loss`, but applied to both videos.
        margin: gamma.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import torch
        >>> log_odds = torch.tensor([[[3.0, -3.0], [-3.0, 3.0]]])
        >>> consistency_loss(log_odds, torch.zeros(1, 2, 2), torch.ones(1))  # all margins hold
        tensor(0.)
    """
    if log_odds.shape != common.shape or log_odds.shape[1:] != (2, 2):
        raise ValueError(f"log odds {tuple(log_odds.shape)} and common {tuple(common.shape)} must both be (n, 2, 2)")
    full, shared = log_odds.sigmoid(), common.sigmoid()
    true, true_shared = (_diagonal(part) for part in (full, shared))
    false, false_shared = (_diagonal(part.flip(-1)) for part in (full, shared))
    hinges = (margin + true_shared - true).clamp_min(0.0) + (margin + false - false_shared).clamp_min(0.0)
    return (weights.detach() * hinges.sum(dim=1)).mean()


def explanation_loss(losses: Tensor, shares: Tensor | None = None) -> Tensor:
    """Compute the loss of VideoCon's second task (Bansal et al. 2024): the words that tell what a caption gets wrong.

    Args:
        losses: (n,), mean negative log-likelihood per token of the explanation about the real video and the negative
            caption; 0 for a triplet without one.
        shares: (n,), see `real_loss`.

    Returns:
        Scalar: the mean over all n triplets.

    Example:
        >>> import torch
        >>> explanation_loss(torch.tensor([1.5, 0.0]))
        tensor(0.7500)
    """
    return (losses if shares is None else shares * losses).mean()


def synvita_loss(
    log_odds: Tensor,
    weights: Tensor,
    common: Tensor | None = None,
    consistency: float = 0.0,
    margin: float = MARGIN,
    shares: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute Eq. 7, `L_real + L_syn + lambda L_scr`.

    Args:
        log_odds: (n, 2, 2), see the module's description.
        weights: (n,); zeros exclude the synthetic videos.
        common: (n, 2, 2); optional if `consistency` is 0.
        consistency: lambda; the paper uses 1e-2 for mPLUG-Owl and 1.0 for Video-LLaVA.
        margin: gamma.
        shares: (n,), see `real_loss`.

    Returns:
        The loss, and its parts by name (`real`, `synthetic`, `consistency`).

    Raises:
        ValueError: `consistency` without `common`, or shapes that differ.

    Example:
        >>> import torch
        >>> total, parts = synvita_loss(torch.tensor([[[3.0, -3.0], [-3.0, 3.0]]]), torch.tensor([0.5]))
        >>> total, sorted(parts)
        (tensor(0.1458), ['real', 'synthetic'])
    """
    parts = {"real": real_loss(log_odds, shares), "synthetic": synthetic_loss(log_odds, weights)}
    total = parts["real"] + parts["synthetic"]
    if consistency:
        if common is None:
            raise ValueError("the consistency loss needs the log odds of the shared part")
        parts["consistency"] = consistency_loss(log_odds, common, weights, margin)
        total = total + consistency * parts["consistency"]
    return total, parts


def _diagonal(pairs: Tensor) -> Tensor:
    """(n, 2, 2) -> (n, 2): one value per video."""
    return pairs.diagonal(dim1=1, dim2=2)
