"""Align a caption with one video, reusing the frame vectors of an index if it has them."""

from __future__ import annotations

import logging
from pathlib import Path

from mova.models.encoder import DualEncoder
from mova.search.index import Index
from mova.types import Timeline

logger = logging.getLogger(__name__)


def align(
    model: DualEncoder,
    video: str | Path,
    caption: str,
    *,
    index: Index | None = None,
    fps: float | None = None,
) -> Timeline:
    """Say which sentence of a caption belongs to which seconds of a video, and which seconds to none.

    Args:
        model: the encoder.
        video: a file.
        caption: one or more sentences.
        index: reuse its frame vectors if it holds this very content (and `fps` is its rate or left out); if not,
            the log says so and the file is decoded.
        fps: frames per second to look at; the index's rate where it is reused, else the model's, if left out.

    Raises:
        IndexMismatchError: the index was made with another model.
        UsageError: there is no such index, the caption holds no words, or the rate makes no sense.
        VideoError: the file cannot be read.
    """
    if index is not None:
        rate = index.meta.frame_rate
        index.check(model)
        stored = index.stored(video) if fps in (None, rate) else None
        if stored is not None:
            return model.align(stored, caption, name=str(video))
        wanted = "" if fps in (None, rate) else f" at {fps:g} a second (they are at {rate:g})"
        logger.info("frames of %s are not in the index%s, decoding it", video, wanted)
    return model.align(video, caption, fps=fps)
