"""Finer bounds of moments that were found on overlapping windows of several frames.

Shape legend: d width of the model's space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mova.scoring.windows.deconvolution import deconvolve, sharpened, window_seconds
from mova.types import Moment, ScoredSpan, Span

if TYPE_CHECKING:
    from mova.search.narrow.selection import Reader


def with_finer_bounds(store: Reader, vector: npt.NDArray[np.float32], moments: Sequence[Moment]) -> list[Moment]:
    """Return moments of one sentence in the same order, with bounds from the deconvolution of their videos' curves.

    Without overlapping windows they stay as they are, and so do those of a video that another process has removed.

    Args:
        store: the index that the moments come from.
        vector: (d,), unit vector of the sentence.
        moments: those of a video do not overlap.
    """
    if store.meta.stride == store.meta.window:
        return list(moments)
    records = store.records()
    contents = {moment.video: records[moment.video].content for moment in moments if moment.video in records}
    finer = {moment: ScoredSpan(Span(moment.start, moment.end), moment.score) for moment in moments}
    for content, frames in store.fetch(sorted(set(contents.values()))).items():
        if frames.windows is not None:
            found = [moment for moment in moments if contents.get(moment.video) == content]
            fine = deconvolve(frames.vectors @ vector, frames.windows)
            bounds = sharpened([finer[moment] for moment in found], fine, window_seconds(frames.windows))
            finer |= dict(zip(found, bounds, strict=True))
    return [replace(moment, start=scored.span.start, end=scored.span.end) for moment, scored in finer.items()]
