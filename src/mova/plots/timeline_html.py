"""Draw a timeline as one HTML file: no network access, light and dark, time and relevance under the pointer.

Everything is visible without scripts: pictures and heat rows are data URIs, marks are boxes, and the two switches
(common color scale, uncertain spans) are checkboxes that the style sheet reads. The script only adds the readout under
the pointer.

Shape legend: C columns (pixels of a heat row).
"""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mova.plots.filmstrip import NO_PICTURE, film_strip, tick_labels, tick_times
from mova.plots.page.assets import style_and_script
from mova.plots.timeline_rows import CERTAIN, PictureOptions, PictureRow, common_range, lanes, picture_rows, span_text
from mova.scoring.spans import drawn_cells, unseen
from mova.types import ScoredSpan, Span, Timeline
from mova.utils.replacing import replacing
from mova.utils.time_format import clock
from mova.video.isolated import Isolated

COLUMNS = 1600
"""Pixels of a heat row; for longer curves each column shows its highest value."""
STRIP_RATIO = 12.0
STRIP_PIXELS = 120


def draw_html(
    timeline: Timeline,
    path: str | Path,
    truth: Sequence[Sequence[Span]] | None = None,
    options: PictureOptions | None = None,
    decoder: Isolated | None = None,
) -> None:
    """Draw a timeline as self-contained HTML; see `mova.plots.timeline.draw`."""
    views = picture_rows(timeline)
    low, high = common_range(views)
    cells = drawn_cells(timeline.times, timeline.duration, timeline.step)
    rows = [
        _row(view, cells, (low, high), timeline, truth[i] if truth is not None else None)
        for i, view in enumerate(views)
    ]
    data = {
        "duration": timeline.duration,
        "times": [round(float(t), 3) for t in timeline.times],
        "gaps": [[s.start, s.end] for s in unseen(timeline.times, timeline.duration, timeline.step)],
        "relevance": [[round(float(r), 4) for r in row.relevance] for row in timeline.sentences],
        "posterior": [
            None if row.posterior is None else [round(float(p), 3) for p in row.posterior] for row in timeline.sentences
        ],
    }
    name = escape(Path(timeline.video).name)
    style, script = style_and_script(Path(__file__).with_name("timeline.css"))
    page = _PAGE.replace("/*STYLE*/", style).replace("/*SCRIPT*/", script)
    for key, value in {
        "TITLE": name,
        "ABOUT": describe(timeline),
        "SWITCHES": _switches(views, options or PictureOptions()),
        "STRIP": _strip(timeline, decoder) + _lanes(views, timeline.duration),
        "ROWS": "\n".join(rows),
        "AXIS": _axis(timeline.duration),
        "LEGEND": _legend(truth is not None),
        "DATA": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
    }.items():
        page = page.replace(f"<!--{key}-->", value)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def describe(timeline: Timeline) -> str:
    """Summarize a timeline: its duration and number of sentences."""
    count = len(timeline.sentences)
    return f"{clock(timeline.duration)} · {count} sentence{'' if count == 1 else 's'}"


def _strip(timeline: Timeline, decoder: Isolated | None) -> str:
    """Return thumbnails side by side, uncovered time dimmed."""
    pictures = film_strip(timeline.video, timeline.duration, STRIP_RATIO, STRIP_PIXELS, decoder)
    images = "".join(
        f"<span>{NO_PICTURE}</span>" if p is None else f'<img alt="" src="{data_uri(Image.fromarray(p), "JPEG")}">'
        for p in pictures
    )
    return f'<div class="strip">{images}{_boxes("uncovered", timeline.irrelevant, timeline.duration)}</div>'


def _switches(views: Sequence[PictureRow], options: PictureOptions) -> str:
    """Return the checkboxes above the pictures; the second only if there are uncertain spans."""
    uncertain = sum(len(view.uncertain) for view in views)
    labels = [("common", "common color scale", options.common_scale)]
    if uncertain:
        labels.append(("all", f"spans below {CERTAIN:.0%} ({uncertain})", options.all_spans))
    return "".join(
        f'<label><input type="checkbox" id="{name}"{" checked" if on else ""}>{label}</label>'
        for name, label, on in labels
    )


def _lanes(views: Sequence[PictureRow], duration: float) -> str:
    """Return all probable spans of all sentences under the film, by number and color."""
    made = lanes(views)
    rows = []
    for lane in made:
        marks = "".join(
            f'<a href="#s{view.number}" style="--c:{view.color};{position(scored.span, duration)}" '
            f'title="{view.number}: {span_text(scored)}"><span>{view.number}</span></a>'
            for view, scored in lane
        )
        rows.append(f'<div class="lane">{marks}</div>')
    return "".join(rows)


def _row(
    view: PictureRow,
    cells: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]],
    scale: tuple[float, float],
    timeline: Timeline,
    truth: Sequence[Span] | None,
) -> str:
    """Return a sentence with its spans as text, its heat row in both scales, and marks."""
    duration = float(cells[0][-1])
    images = "".join(
        f'<img alt="" class="{name}" src="'
        f'{data_uri(Image.fromarray(_heat(view.timeline.relevance, *cells, limits, view.color)), "PNG")}">'
        for name, limits in (("own", view.range), ("common", scale))
    )
    covered = _boxes("covered", (s.span for s in view.spans), duration, [_note(s) for s in view.spans])
    covered += _boxes("covered low", (s.span for s in view.uncertain), duration, [_note(s) for s in view.uncertain])
    reference = "" if truth is None else f'<div class="truth">{_boxes("reference", truth, duration)}</div>'
    uncovered = _boxes("uncovered", timeline.irrelevant, duration)
    texts = [f"<span>{span_text(s)}</span>" for s in view.spans]
    texts += [f"<em>{view.status}</em>"] if view.status else []
    texts += [f'<span class="low">{span_text(s)}</span>' for s in view.uncertain]
    low, high = view.range
    return (
        f'<section id="s{view.number}" style="--c:{view.color}"{" class=absent" if view.absent else ""}>'
        f"<p><b>{view.number}</b><span>{escape(view.timeline.text)}</span></p>"
        f'<div class="spans">{"".join(texts)}<output></output></div>'
        f'<div class="heat" title="relevance {low:.2f} to {high:.2f}">{images}{uncovered}{covered}</div>'
        f"{reference}</section>"
    )


def _note(span: ScoredSpan) -> str:
    sure = "" if span.posterior is None else f", posterior {span.posterior:.2f}"
    return f"{span.score:.3f}{sure}"


def _heat(
    relevance: npt.NDArray[np.float32],
    edges: npt.NDArray[np.float64],
    frames: npt.NDArray[np.int64],
    scale: tuple[float, float],
    color: str,
) -> npt.NDArray[np.uint8]:
    """Return a heat row as RGBA, (1, C, 4): one hue with the relevance as opacity, for light and dark pages.

    Cells without a frame are transparent.
    """
    bounds = np.linspace(edges[0], edges[-1], COLUMNS + 1)
    middles = (bounds[:-1] + bounds[1:]) / 2
    by_cell = np.where(frames < 0, -np.inf, relevance[frames])
    if len(by_cell) <= COLUMNS:
        values = by_cell[np.searchsorted(edges, middles, side="right") - 1]
    else:
        cells = np.searchsorted(edges, bounds, side="right") - 1
        values = np.array([by_cell[a : max(a + 1, b)].max() for a, b in itertools.pairwise(cells)])
    picture = np.empty((1, COLUMNS, 4), dtype=np.uint8)
    picture[..., :3] = tuple(bytes.fromhex(color.removeprefix("#")))
    shares = (np.maximum(values, scale[0]) - scale[0]) / max(scale[1] - scale[0], 1e-6)
    picture[0, :, 3] = np.round(255 * shares)
    return picture


def _boxes(kind: str, spans: Iterable[Span], duration: float, notes: Sequence[str] = ()) -> str:
    """Return spans as boxes, positioned in percent of the width."""
    boxes = []
    for i, span in enumerate(spans):
        title = f"{clock(span.start, 1)} to {clock(span.end, 1)}" + (f", score {notes[i]}" if notes else "")
        boxes.append(f'<i class="{kind}" style="{position(span, duration)}" title="{title}"></i>')
    return "".join(boxes)


def position(span: Span, duration: float) -> str:
    """Return the style that places a span on an axis of `duration` seconds, in percent of its width."""
    return f"left:{100 * span.start / duration:.4f}%;width:{100 * span.duration / duration:.4f}%"


def _axis(duration: float) -> str:
    times = tick_times(duration)
    marks = zip(times / duration, tick_labels(times), strict=True)
    return "".join(
        f'<span{" class=last" if share > 0.98 else ""} style="left:{100 * share:.4f}%">{label}</span>'
        for share, label in marks
    )


def _legend(has_truth: bool) -> str:
    reference = '<span><b class="reference"></b>ground truth</span>' if has_truth else ""
    return (
        '<span>relevance, low<b class="ramp"></b>high, <span class="own">of each sentence</span>'
        '<span class="common">of all sentences</span></span>'
        f'<span><b class="covered"></b>shows this sentence</span>{reference}'
        '<span><b class="uncovered"></b>no sentence</span>'
    )


def data_uri(image: Image.Image, kind: str) -> str:
    """Return an image, encoded as "PNG" or "JPEG", as an address that holds all of it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 82} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title><!--TITLE--></title>
<style>/*STYLE*/</style>
</head>
<body>
<main>
<header><h1><!--TITLE--></h1><span><!--ABOUT--></span></header>
<div class="switches"><!--SWITCHES--></div>
<div id="plot">
<div class="film"><!--STRIP--></div>
<!--ROWS-->
<div class="axis"><!--AXIS--></div>
<div id="line"><span></span></div>
</div>
<footer><!--LEGEND--></footer>
</main>
<script id="data" type="application/json"><!--DATA--></script>
<script>/*SCRIPT*/</script>
</body>
</html>
"""
