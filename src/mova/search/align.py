"""Align a caption with one video, reusing the frame vectors of an index if it has them.

`DualEncoder.align` encodes the sentences; `mova.scoring.alignment` decides which spans they get.
"""

from __future__ import annotations

import logging
from pathlib import Path

from mova.models.encoder import DualEncoder
from mova.scoring.timeline_decoder import Order
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
    order: Order = "auto",
    all_shown: bool = False,
) -> Timeline:
    """Map each sentence of a caption to the seconds of a video it describes, and list the seconds none describes.

    Args:
        model: the encoder.
        video: a file, or the URI of an object.
        caption: one or more sentences.
        index: reuse its frame vectors if it holds the file's present content at this rate. Otherwise this is logged and
            the file is decoded.
        fps: frames per second to sample (default: the rate of the index if it is reused, else the model's).
        order, all_shown: see `DualEncoder.align`.

    Raises:
        IndexMismatchError: the index was made with another model.
        UsageError: the index does not exist, the caption contains no words, or the rate is not possible.
        VideoError: the file cannot be read.

    >>> import mova
    >>> model, index = mova.load("mova-worlds-tiny"), Index("films.mova", "mova-worlds-tiny")
    >>> _ = index.add("film.mp4")
    >>> timeline = align(model, "film.mp4", "Two black discs shrink. A crescent bounces indoors.", index=index)
    >>> [(sentence.text, sentence.spans[0].span.start) for sentence in timeline.sentences]
    [('Two black discs shrink.', 3.0), ('A crescent bounces indoors.', 6.5)]
    """
    if index is not None:
        rate = index.meta.frame_rate
        index.check(model)
        stored = index.stored(video) if fps in (None, rate) else None
        if stored is not None:
            return model.align(stored, caption, name=str(video), order=order, all_shown=all_shown)
        difference = "" if fps in (None, rate) else f" at {fps:g} per second (they are at {rate:g})"
        logger.info("the frames of %s are not in the index%s; decoding the video", video, difference)
    return model.align(video, caption, fps=fps, order=order, all_shown=all_shown)
