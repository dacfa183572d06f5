"""Draw the moments that queries found, as thumbnails with their seconds: PNG, or one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mova.errors import UsageError
from mova.plots.style import MUTED, Page
from mova.types import Moment
from mova.utils.time_format import clock
from mova.video.writer import thumbnail

Results = Sequence[tuple[str, Sequence[Moment]]]

SHORT_SIDE = 180
"""Pixels of the shorter side of a thumbnail."""
WIDTH, HEIGHT, MARGIN, TITLE, LABEL = 2.4, 1.35, 0.2, 0.3, 0.24
"""Inches: size of a thumbnail, space around it, a query above its row, and the line below a thumbnail."""


def draw_moments(results: Results, path: str | Path, model: str = "") -> Path:
    """Draw thumbnails for each query, best first, each from the middle of its moment.

    A page (.html) also has a player, see `mova.plots.page.document.write_page`; it leaves out pictures of videos that
    cannot be read.

    Args:
        results: queries with their moments.
        path: `.png` or `.html`; the folder is created if missing.
        model: name of the model, for what a page says where there is no evidence.

    Raises:
        UsageError: another extension, or no query.
        VideoError: for .png: a video cannot be read.
    """
    target = Path(path)
    painter = {".png": _draw_png, ".html": _draw_html}.get(target.suffix.lower())
    if painter is None:
        raise UsageError(f"{target}: the extension must be .png or .html")
    if not results:
        raise UsageError("no queries to draw")
    target.parent.mkdir(parents=True, exist_ok=True)
    painter(results, target, model)
    return target


def _label(moment: Moment) -> str:
    return f"{Path(moment.video).name}  {clock(moment.start)}-{clock(moment.end)}  ({moment.score:.2f})"


def _picture(moment: Moment) -> Image.Image:
    return thumbnail(moment.video, (moment.start + moment.end) / 2, short_side=SHORT_SIDE)


def _draw_png(results: Results, path: Path, model: str) -> None:
    columns = max(1, *(len(moments) for _, moments in results))
    row_height = TITLE + HEIGHT + LABEL + MARGIN
    page = Page(MARGIN + columns * (WIDTH + MARGIN), MARGIN + row_height * len(results))
    for row, (query, moments) in enumerate(results):
        top = MARGIN + row * row_height
        page.text(MARGIN, top, query, fontsize=11, fontweight="bold", va="top")
        for column, moment in enumerate(moments):
            left = MARGIN + column * (WIDTH + MARGIN)
            axes = page.plot(left, top + TITLE, WIDTH, HEIGHT)
            axes.imshow(np.asarray(_picture(moment)), aspect="equal")
            label = _label(moment)
            page.text(left, top + TITLE + HEIGHT + 0.05, label[-46:], fontsize=6.5, color=MUTED, va="top")
    page.save(path)


def _draw_html(results: Results, path: Path, model: str) -> None:
    from mova.plots.page.content import answer_section
    from mova.plots.page.document import write_page

    sections = [answer_section(query, moments, model) for query, moments in results]
    write_page(path, sections, title=None if len(sections) == 1 else "Moments")
