"""The contrast that finds the masks in simulations of MoVA's theory: all texts under the mask of one frame.

Shape legend: V videos (text i belongs to video i), T frames (padded), d width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mova.losses.pairwise import Energy, average, check_frames, check_like, full_precision, inverse_root


@full_precision
def matching_nce(
    frames: Tensor,
    frame_mask: Tensor,
    text: Tensor,
    mask: Tensor,
    scale: Tensor | float,
    *,
    weights: Tensor | None = None,
    normalize: bool = False,
    groups: Tensor | None = None,
    energy: Energy = "cosine",
) -> Tensor:
    """Compare each frame, under its own mask, with the texts of all videos: the contrast of the theory's simulations.

    `E_an = cos(z_a * m_a, z_n * m_a)`, `L = mean_a -log softmax_n(scale E_an)[video of a]`. Its negatives share the
    mask of their positive, so a mask that only encodes its frame cannot tell them apart. A mask that has read the text
    of its video can: use this loss with masks of frames alone (`model.masks: concept`, `model.concept_inputs: frame`).

    Args:
        frames: (V, T, d).
        frame_mask: (V, T).
        text: (V, d).
        mask: (V, T, d).
        scale: multiplies the energies.
        weights: (V, T) of the frames, optional.
        normalize: divide each row by the log of the number of its candidates.
        groups: int64, (V,), optional, see `masked_contrast.temporal_nce`.
        energy: "distance": `E_an = -sum_j m_aj (z_a - z_n)_j^2` on vectors that are not normalized.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> frames, real = torch.eye(4).view(2, 2, 4), torch.ones(2, 2, dtype=torch.bool)
        >>> matching_nce(frames, real, torch.ones(2, 4), torch.ones(2, 2, 4), 2.0, normalize=True)  # one text: chance
        tensor(1.)
    """
    check_frames(frames, frame_mask, text)
    check_like(frames, mask=mask)
    video, z, m = frame_mask.nonzero()[:, 0], frames[frame_mask], mask[frame_mask]
    if energy == "distance":
        cross = 2 * (m * z) @ text.T - m @ (text * text).T
        logits = scale * (cross - (m * z * z).sum(dim=-1, keepdim=True))
    else:
        z, text, squared = F.normalize(z, dim=-1), F.normalize(text, dim=-1), m.square()
        norms = inverse_root((squared * z * z).sum(dim=-1, keepdim=True)) * inverse_root(squared @ text.square().T)
        logits = scale * ((squared * z) @ text.T) * norms
    own = torch.arange(len(text), device=text.device) == video[:, None]
    if groups is not None:
        logits = logits.masked_fill((groups[video, None] == groups) & ~own, float("-inf"))
    values = F.cross_entropy(logits, video, reduction="none")
    if normalize:
        values = values / logits.isfinite().sum(dim=1).clamp_min(2).to(values.dtype).log()
    return average(values, frame_mask, weights)
