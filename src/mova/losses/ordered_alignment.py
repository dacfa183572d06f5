"""Align paragraphs with videos without times: the sum over all alignments in which the sentences keep their order.

Every frame emits one unit of a caption or nothing. The probability of a paragraph is that of emitting its units in
order, each over one or several consecutive frames, with or without frames of nothing before, between and after:
connectionist temporal classification (CTC; Graves et al. 2006) with the units of the batch as labels.

Shape legend: V videos and as many texts, T frames, K units per text.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mova.scoring.similarity import UNREACHABLE, full


def ordered_alignment_loss(
    cosines: Tensor,
    scale: Tensor | float,
    frame_mask: Tensor,
    unit_mask: Tensor,
    positive: Tensor,
    blank: float = 0.3,
) -> Tensor:
    """Return the negative log-probability per frame that each video emits the units of its own text in order.

    Args:
        cosines: (V, T, V, K), of every frame with every unit; text i belongs to video i.
        scale: scalar, multiplies the cosines.
        frame_mask: bool, (V, T); padding at the end.
        unit_mask: bool, (V, K); padding at the end, at least one unit per text.
        positive: bool, (V, V), the text also describes the video. Units of such other texts are no alternatives.
        blank: cosine from which a frame shows a unit rather than nothing.

    Returns:
        Scalar, the mean over videos. A video with fewer frames than units has no alignment and counts as 0.

    Raises:
        ValueError: shapes disagree.

    Example:
        >>> cosines = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)
        >>> real, own = torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool)
        >>> turned = cosines.flip(1)
        >>> [round(ordered_alignment_loss(c, 5.0, real, real, own).item(), 2) for c in (cosines, turned)]
        [0.04, 5.04]
    """
    videos, frames, texts, units = cosines.shape
    sizes = (frame_mask.shape, unit_mask.shape, positive.shape)
    if videos != texts or sizes != ((videos, frames), (videos, units), (videos, videos)):
        raise ValueError(f"cosines {tuple(cosines.shape)} do not fit masks {[tuple(size) for size in sizes]}")
    other = positive & ~torch.eye(videos, dtype=torch.bool, device=positive.device)
    allowed = (unit_mask[None] & ~other[:, :, None]).view(videos, 1, videos * units)
    logits = (scale * full(cosines)).view(videos, frames, videos * units).masked_fill(~allowed, UNREACHABLE)
    nothing = (scale * torch.full_like(logits[..., :1], blank)).to(logits.dtype)
    emitted = torch.cat([nothing, logits], dim=-1).log_softmax(dim=-1).transpose(0, 1)
    labels = 1 + torch.arange(videos * units, device=cosines.device).view(videos, units)
    lengths = frame_mask.sum(dim=1)
    losses = F.ctc_loss(emitted, labels, lengths, unit_mask.sum(dim=1), reduction="none", zero_infinity=True)
    return (losses / lengths).mean()
