"""Diagnostics of mask training, as flat dictionaries of floats ready for a log.

A falling mask loss proves nothing: it may fall as far on wrong captions. The diagnostics answer three questions:

- Is the loss worse when every video gets the caption of another (`rolled_caption_gap`)?
- Do mismatched pairs score lower than matched ones, each with masks computed for that pair, and does this separate the
  pairs as well as the global score does (`matching`)?
- Are the masks neither closed nor open everywhere (`mask_use`)?

Shape legend: V videos, T frames (padded), R matched pairs, M mismatched pairs, d width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

OPEN = 0.5
"""Above this value a mask dimension counts as on, as in the straight-through estimator."""


@torch.no_grad()
def rolled_caption_gap(
    loss: Callable[[Tensor], Tensor], count: int, device: torch.device | None = None
) -> dict[str, float]:
    """Compare a loss on true captions with the same loss after rolling the captions by one video.

    Compare the gap with the decrease of the loss so far. If the gap is a small part of it, the loss is being minimized
    without using the match. Even then the gap need not be 0: frames that match their text are slightly easier for any
    mask.

    Args:
        loss: takes the index of the text for each video, int64 (V,), reorders the texts accordingly (vectors, tokens,
            units and their masks), recomputes all masks, and returns the loss.
        count: V, at least 2.
        device: device of the indices.

    Returns:
        `true`, `rolled` and `gap` (rolled - true; above 0 if the loss depends on the match).

    Raises:
        ValueError: fewer than two videos, so there is no other caption.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.1], [0.3, 0.8]])
        >>> gap = rolled_caption_gap(lambda texts: 1 - scores[torch.arange(2), texts].mean(), 2)
        >>> {name: round(value, 2) for name, value in gap.items()}
        {'true': 0.15, 'rolled': 0.8, 'gap': 0.65}
    """
    if count < 2:
        raise ValueError(f"captions can only be exchanged among at least two videos, not {count}")
    order = torch.arange(count, device=device)
    true, rolled = float(loss(order)), float(loss(order.roll(-1)))
    return {"true": true, "rolled": rolled, "gap": rolled - true}


def auc(matched: Tensor, mismatched: Tensor) -> float:
    """Compute the area under the ROC curve: how often a matched pair scores above a mismatched one, ties counting half.

    Args:
        matched: (R,) or any shape.
        mismatched: (M,) or any shape.

    Returns:
        In [0, 1]; NaN if a score is not finite or one side is empty.

    Example:
        >>> import torch
        >>> auc(torch.tensor([0.9, 0.4]), torch.tensor([0.1, 0.4, 0.6]))
        0.75
    """
    above, below = matched.detach().flatten().double(), mismatched.detach().flatten().double().sort().values
    if not len(above) or not len(below) or not bool(above.isfinite().all() & below.isfinite().all()):
        return float("nan")
    beaten = torch.searchsorted(below, above, right=False) + torch.searchsorted(below, above, right=True)
    return float(beaten.double().mean()) / (2 * len(below))


def matching(
    matched: Tensor, mismatched: Tensor, global_matched: Tensor | None = None, global_mismatched: Tensor | None = None
) -> dict[str, float]:
    """Compare modular scores of matched and mismatched pairs, with masks computed for each pair.

    Args:
        matched: (R,), scores of true pairs.
        mismatched: (M,) or any shape, scores of mismatched pairs.
        global_matched, global_mismatched: global scores of the same pairs, the baseline that masks should beat.

    Returns:
        `matched` and `mismatched` (means), `gap`, `auc`; with global scores also `global_auc` and `auc_gain`
        (auc - global_auc; below 0 if the masks separate pairs worse than the global score).

    Raises:
        ValueError: only one of the two global scores is given.

    Example:
        >>> import torch
        >>> values = matching(torch.tensor([0.9, 0.4]), torch.tensor([0.1, 0.4, 0.6]))
        >>> round(values["gap"], 3), values["auc"]
        (0.283, 0.75)
    """
    if (global_matched is None) != (global_mismatched is None):
        raise ValueError("matching: pass global scores of both matched and mismatched pairs, or of neither")
    right, wrong = float(matched.detach().double().mean()), float(mismatched.detach().double().mean())
    area = auc(matched, mismatched)
    figures = {"matched": right, "mismatched": wrong, "gap": right - wrong, "auc": area}
    if global_matched is not None and global_mismatched is not None:
        figures["global_auc"] = auc(global_matched, global_mismatched)
        figures["auc_gain"] = area - figures["global_auc"]
    return figures


@torch.no_grad()
def mask_use(mask: Tensor, frame_mask: Tensor) -> dict[str, float]:
    """Measure how open a mask is over the real frames of a batch, and how many dimensions never change.

    Args:
        mask: (V, T, d), in [0, 1], hard or soft.
        frame_mask: bool, (V, T), true where a frame is real; padding is ignored.

    Returns:
        `density` (mean), `dead` (share of dimensions on in no frame), `always_on` (share on in every frame). With a
        single frame every dimension is either dead or always on.

    Raises:
        ValueError: shapes disagree, or all frames are padding.

    Example:
        >>> import torch
        >>> mask_use(torch.tensor([[[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]), torch.ones(1, 2, dtype=torch.bool))
        {'density': 0.5, 'dead': 0.3333333333333333, 'always_on': 0.3333333333333333}
    """
    if frame_mask.shape != mask.shape[:2] or not bool(frame_mask.any()):
        raise ValueError(
            f"mask {tuple(mask.shape)} and frame_mask {tuple(frame_mask.shape)} disagree, or all is padding"
        )
    real = mask[frame_mask]
    on = real > OPEN
    return {
        "density": float(real.double().mean()),
        "dead": float((~on).all(dim=0).double().mean()),
        "always_on": float(on.all(dim=0).double().mean()),
    }


def prefixed(name: str, figures: dict[str, float]) -> dict[str, float]:
    """Prefix every key with `name/`, for one flat log.

    Example:
        >>> prefixed("m_t", {"dead": 0.1})
        {'m_t/dead': 0.1}
    """
    return {f"{name}/{key}": value for key, value in figures.items()}
