"""The axes on which generated videos are measured: names, definitions, sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mova.errors import UsageError


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        name: VBench's name of the dimension, or ours.
        definition: what the number is; higher is better, but for `dynamic_degree`, which is neither.
        source: where the definition comes from.
        of_prompt: whether it depends on the prompt.

    >>> AXES["sentence_consistency"].of_prompt
    True
    """

    name: str
    definition: str
    source: str
    of_prompt: bool = False


_VBENCH = "VBench (Huang et al., CVPR 2024)"
AXES = {
    axis.name: axis
    for axis in (
        Axis(
            "subject_consistency",
            "mean cosine of what moves with its first and its previous appearance",
            f"{_VBENCH}, with the model's frame vectors for DINO's, of the moving region",
        ),
        Axis(
            "background_consistency",
            "mean cosine of the rest of a frame with the first and the previous one",
            f"{_VBENCH}, with the model's frame vectors for CLIP's, without the moving region",
        ),
        Axis("temporal_flickering", "1 minus the mean difference of consecutive frames", _VBENCH),
        Axis(
            "motion_smoothness",
            "1 minus the mean difference of every second frame from the one halfway between its neighbors",
            f"{_VBENCH}, with Lucas-Kanade flow for the interpolation network",
        ),
        Axis(
            "dynamic_degree",
            "share of videos in which a quarter of the frames move",
            f"{_VBENCH}, with Lucas-Kanade flow for the flow network",
        ),
        Axis(
            "overall_consistency",
            "cosine of the video's vector with that of the prompt",
            f"{_VBENCH}, with the model's vectors for ViCLIP's",
            of_prompt=True,
        ),
        Axis(
            "sentence_consistency",
            "expected share of the prompt's sentences that are true of the video",
            "mova judge",
            of_prompt=True,
        ),
    )
}
"""All axes, in the order of reports."""


def parse_axes(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the axes of these names, in the order of reports; None: all.

    Raises:
        UsageError: an unknown name.

    Example:
        >>> parse_axes(["dynamic_degree", "temporal_flickering"])
        ('temporal_flickering', 'dynamic_degree')
    """
    if names is None:
        return tuple(AXES)
    if unknown := [name for name in names if name not in AXES]:
        raise UsageError(f"unknown axis {', '.join(unknown)}; choose from {', '.join(AXES)}")
    return tuple(name for name in AXES if name in names)
