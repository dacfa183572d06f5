"""Draw the moments that queries found, as thumbnails with their seconds: PNG, or one self-contained HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from mova.errors import UsageError
from mova.plots.style import MUTED, Page
from mova.types import Moment
from mova.utils.replacing import replacing
from mova.utils.time_format import clock
from mova.video.writer import thumbnail

Results = Sequence[tuple[str, Sequence[Moment]]]

SHORT_SIDE = 180
"""Pixels of the shorter side of a thumbnail."""
WIDTH, HEIGHT, MARGIN, TITLE, LABEL = 2.4, 1.35, 0.2, 0.3, 0.24
"""Inches: size of a thumbnail, space around it, a query above its row, and the line below a thumbnail."""


def draw_moments(results: Results, path: str | Path) -> Path:
    """Draw one row of thumbnails per query, best first, each from the middle of its moment.

    Args:
        results: queries with their moments; the videos must be readable files.
        path: `.png` or `.html`; the folder is created if missing.

    Raises:
        UsageError: another extension, or no query.
        VideoError: a video cannot be read.
    """
    target = Path(path)
    painter = {".png": _draw_png, ".html": _draw_html}.get(target.suffix.lower())
    if painter is None:
        raise UsageError(f"{target}: the extension must be .png or .html")
    if not results:
        raise UsageError("no queries to draw")
    target.parent.mkdir(parents=True, exist_ok=True)
    painter(results, target)
    return target


def _label(moment: Moment) -> str:
    return f"{Path(moment.video).name}  {clock(moment.start)}-{clock(moment.end)}  ({moment.score:.2f})"


def _picture(moment: Moment) -> Image.Image:
    return thumbnail(moment.video, (moment.start + moment.end) / 2, short_side=SHORT_SIDE)


def _draw_png(results: Results, path: Path) -> None:
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


def _draw_html(results: Results, path: Path) -> None:
    rows = []
    for query, moments in results:
        figures = "".join(
            f'<figure><img alt="" src="{_data_uri(_picture(moment))}"><figcaption>{escape(_label(moment))}'
            "</figcaption></figure>"
            for moment in moments
        )
        rows.append(f"<section><h2>{escape(query)}</h2><div>{figures or 'no moment'}</div></section>")
    with replacing(path) as temporary:
        temporary.write_text(_PAGE.replace("<!--ROWS-->", "\n".join(rows)), encoding="utf-8", errors="replace")


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mova: moments</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem; }
h2 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
section div { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; max-width: 22rem; }
img { max-width: 100%; border-radius: 6px; }
figcaption { font-size: .8rem; opacity: .7; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
</style>
</head>
<body>
<!--ROWS-->
</body>
</html>
"""
