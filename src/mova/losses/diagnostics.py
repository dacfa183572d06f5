"""What a run must say about its masks, as flat dictionaries of floats ready for a log.

A mask loss that falls is no evidence: it may fall as far on wrong captions. Three questions are asked.
Is the loss worse once every video has the caption of another (`rolled_caption_gap`)? Do masks made for a mismatched
pair score it lower than masks made for a matched one, and does that separate pairs as well as the global score does
(`matching`)? Are the masks neither closed nor open everywhere (`mask_use`)?

Shape legend: V videos, T frames (padded), N texts, R matched pairs, M mismatched pairs, d width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

OPEN = 0.5
"""A dimension of a mask counts as on above this, as in the straight-through estimator."""


@torch.no_grad()
def rolled_caption_gap(
    loss: Callable[[Tensor], Tensor], count: int, device: torch.device | None = None
) -> dict[str, float]:
    """A loss on true captions against the same loss with every video given the next one's caption.

    Read the gap beside how far the loss has fallen: where it is a small part of the fall, the loss is being solved
    without looking at the match. It need not be 0: frames that do match their text are a little easier for any mask.

    Args:
        loss: takes the text of each video as int64 indices (V,), exchanges the texts accordingly (vectors, tokens,
            units and their masks), computes all masks again, and returns the loss.
        count: V, at least 2.
        device: of the indices.

    Returns:
        `true`, `rolled` and `gap` (rolled - true; above 0 where the loss listens).

    Raises:
        ValueError: fewer than two videos: there is no other caption.
    """
    if count < 2:
        raise ValueError(f"a caption can only be exchanged among at least two videos, not {count}")
    order = torch.arange(count, device=device)
    true, rolled = float(loss(order)), float(loss(order.roll(-1)))
    return {"true": true, "rolled": rolled, "gap": rolled - true}


def auc(matched: Tensor, mismatched: Tensor) -> float:
    """Chance that a matched pair scores above a mismatched one, ties counting half (area under the ROC curve).

    Args:
        matched: (R,) or any shape.
        mismatched: (M,) or any shape.

    Returns:
        In [0, 1]; NaN where a score is not finite or one side is empty, since then nothing is ranked.
    """
    above, below = matched.detach().flatten().double(), mismatched.detach().flatten().double().sort().values
    if not len(above) or not len(below) or not bool(above.isfinite().all() & below.isfinite().all()):
        return float("nan")
    beaten = torch.searchsorted(below, above, right=False) + torch.searchsorted(below, above, right=True)
    return float(beaten.double().mean()) / (2 * len(below))


def matching(
    matched: Tensor, mismatched: Tensor, global_matched: Tensor | None = None, global_mismatched: Tensor | None = None
) -> dict[str, float]:
    """Modular scores of matched pairs against those of mismatched ones, masks computed again for each pair.

    Args:
        matched: (R,), scores of true pairs.
        mismatched: (M,) or any shape, scores of others.
        global_matched, global_mismatched: global scores of the same pairs: what the masks have to beat.

    Returns:
        `matched` and `mismatched` (means), `gap`, `auc`; with global scores also `global_auc` and `auc_gain`
        (auc - global_auc; below 0 where masks lose what the global score knows).

    Raises:
        ValueError: only one side of the global scores is given.
    """
    if (global_matched is None) != (global_mismatched is None):
        raise ValueError("matching: global scores are needed of both matched and mismatched pairs, or of neither")
    there, elsewhere = float(matched.detach().double().mean()), float(mismatched.detach().double().mean())
    area = auc(matched, mismatched)
    found = {"matched": there, "mismatched": elsewhere, "gap": there - elsewhere, "auc": area}
    if global_matched is not None and global_mismatched is not None:
        found["global_auc"] = auc(global_matched, global_mismatched)
        found["auc_gain"] = area - found["global_auc"]
    return found


@torch.no_grad()
def mask_use(mask: Tensor, frame_mask: Tensor) -> dict[str, float]:
    """How open a mask is over the real frames of a batch, and how many dimensions never change.

    Args:
        mask: (V, T, d), in [0, 1], hard or soft.
        frame_mask: bool, (V, T), true where a frame is real; padding does not count.

    Returns:
        `density` (mean), `dead` (share of dimensions on in no frame), `always_on` (share on in every frame). With one
        frame alone every dimension is one of the two.

    Raises:
        ValueError: shapes disagree or there is no real frame.
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
    """The same figures under `name/`, for one flat log: `prefixed("m_t", {"dead": 0.1})` -> `{"m_t/dead": 0.1}`."""
    return {f"{name}/{key}": value for key, value in figures.items()}
