"""Thumbnails of moments, as data URIs: each video is opened once."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from mova.errors import UsageError, VideoError
from mova.plots.page.content import Card
from mova.types import Pixels
from mova.video.isolated import Isolated
from mova.video.reader import read_times

SHORT_SIDE = 288
"""Pixels of the shorter side: sharp on screens with two pixels per point."""
QUALITY = 80
"""Of the JPEG files."""


def thumbnails(cards: Sequence[Card], decoder: Isolated | None = None) -> dict[Card, str]:
    """Return the frame in the middle of each moment.

    Moments without a picture (a gap, a damaged place, a file that is gone) are left out.

    Args:
        cards: the moments.
        decoder: decodes in a child process; None: directly.

    >>> list(thumbnails([Card("film.mp4", 3.0, 6.5)]).values())[0][:22]
    'data:image/jpeg;base64'
    """
    by_video: dict[str, list[Card]] = {}
    for card in cards:
        by_video.setdefault(card.video, []).append(card)
    found: dict[Card, str] = {}
    for shown in by_video.values():
        try:
            found |= _read(shown, decoder)
        except (VideoError, UsageError):
            for card in shown if len(shown) > 1 else ():  # a damaged place costs one picture
                try:
                    found |= _read([card], decoder)
                except (VideoError, UsageError):
                    continue
    return found


def _read(cards: Sequence[Card], decoder: Isolated | None) -> dict[Card, str]:
    """Read the pictures of moments of one video; those in gaps are left out."""
    read = read_times if decoder is None else decoder.read_times
    times = np.unique([(card.start + card.end) / 2 for card in cards])
    frames = read(cards[0].video, times, short_side=SHORT_SIDE, skip_gaps=True)
    at = {float(time): _data_uri(picture) for time, picture in zip(frames.pts, frames.pixels, strict=True)}
    middles = {card: (card.start + card.end) / 2 for card in cards}
    return {card: at[time] for card, time in middles.items() if time in at}


def _data_uri(picture: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
