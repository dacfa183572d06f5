"""Draw a timeline as one HTML file: no network access, light and dark, time and relevance under the pointer.

Everything is visible without scripts: pictures and heat rows are data URIs, marks are boxes. The script only adds the
readout under the pointer.

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
from mova.scoring.spans import drawn_cells, unseen
from mova.types import ScoredSpan, SentenceTimeline, Span, Timeline
from mova.utils.replacing import replacing
from mova.utils.time_format import clock
from mova.video.isolated import Isolated

COLUMNS = 1600
"""Pixels of a heat row; for longer curves each column shows its highest value."""
STRIP_RATIO = 12.0
STRIP_PIXELS = 120
HUE = (43, 108, 176)


def draw_html(
    timeline: Timeline,
    path: str | Path,
    truth: Sequence[Sequence[Span]] | None = None,
    decoder: Isolated | None = None,
) -> None:
    """Draw a timeline as self-contained HTML; see `mova.plots.timeline.draw`."""
    low = min(float(row.relevance.min()) for row in timeline.sentences)
    high = max(float(row.relevance.max()) for row in timeline.sentences)
    cells = drawn_cells(timeline.times, timeline.duration, timeline.step)
    rows = [
        _row(row, cells, (low, high), timeline, truth[i] if truth is not None else None)
        for i, row in enumerate(timeline.sentences)
    ]
    data = {
        "duration": timeline.duration,
        "times": [round(float(t), 3) for t in timeline.times],
        "gaps": [[s.start, s.end] for s in unseen(timeline.times, timeline.duration, timeline.step)],
        "relevance": [[round(float(r), 4) for r in row.relevance] for row in timeline.sentences],
    }
    name = escape(Path(timeline.video).name)
    page = _PAGE.replace("/*STYLE*/", _STYLE).replace("/*SCRIPT*/", _SCRIPT)
    for key, value in {
        "TITLE": name,
        "ABOUT": describe(timeline),
        "STRIP": _strip(timeline, decoder),
        "ROWS": "\n".join(rows),
        "AXIS": _axis(timeline.duration),
        "LEGEND": _legend(low, high, truth is not None),
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
        f"<span>{NO_PICTURE}</span>" if p is None else f'<img alt="" src="{_data_uri(Image.fromarray(p), "JPEG")}">'
        for p in pictures
    )
    return f'<div class="strip">{images}{_boxes("uncovered", timeline.irrelevant, timeline.duration)}</div>'


def _row(
    row: SentenceTimeline,
    cells: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]],
    scale: tuple[float, float],
    timeline: Timeline,
    truth: Sequence[Span] | None,
) -> str:
    """Return a sentence with its heat row and marks."""
    duration = float(cells[0][-1])
    heat = _data_uri(Image.fromarray(_heat(row.relevance, *cells, scale)), "PNG")
    covered = _boxes("covered", (s.span for s in row.spans), duration, [_note(s) for s in row.spans])
    reference = "" if truth is None else f'<div class="truth">{_boxes("reference", truth, duration)}</div>'
    uncovered = _boxes("uncovered", timeline.irrelevant, duration)
    return (
        f'<section><p>{escape(row.text)}<output></output></p><div class="heat"><img alt="" src="{heat}">'
        f"{uncovered}{covered}</div>{reference}</section>"
    )


def _note(span: ScoredSpan) -> str:
    sure = "" if span.posterior is None else f", posterior {span.posterior:.2f}"
    return f"{span.score:.3f}{sure}"


def _heat(
    relevance: npt.NDArray[np.float32],
    edges: npt.NDArray[np.float64],
    frames: npt.NDArray[np.int64],
    scale: tuple[float, float],
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
    picture[..., :3] = HUE
    shares = (np.maximum(values, scale[0]) - scale[0]) / max(scale[1] - scale[0], 1e-6)
    picture[0, :, 3] = np.round(255 * shares)
    return picture


def _boxes(kind: str, spans: Iterable[Span], duration: float, notes: Sequence[str] = ()) -> str:
    """Return spans as boxes, positioned in percent of the width."""
    boxes = []
    for i, span in enumerate(spans):
        title = f"{clock(span.start, 1)} to {clock(span.end, 1)}" + (f", score {notes[i]}" if notes else "")
        style = f"left:{100 * span.start / duration:.4f}%;width:{100 * span.duration / duration:.4f}%"
        boxes.append(f'<i class="{kind}" style="{style}" title="{title}"></i>')
    return "".join(boxes)


def _axis(duration: float) -> str:
    times = tick_times(duration)
    marks = zip(times / duration, tick_labels(times), strict=True)
    return "".join(
        f'<span{" class=last" if share > 0.98 else ""} style="left:{100 * share:.4f}%">{label}</span>'
        for share, label in marks
    )


def _legend(low: float, high: float, has_truth: bool) -> str:
    reference = '<span><b class="reference"></b>ground truth</span>' if has_truth else ""
    return (
        f'<span>relevance {low:.2f}<b class="ramp"></b>{high:.2f}</span>'
        f'<span><b class="covered"></b>covered by this sentence</span>{reference}'
        '<span><b class="uncovered"></b>not covered by any sentence</span>'
    )


def _data_uri(image: Image.Image, kind: str) -> str:
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
<div id="plot">
<!--STRIP-->
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

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --page: #f3f5f9; --ink: #1d2433; --muted: #6b7385;
  --rule: #dfe3ea; --hatch: #8a93a555; --truth: #e07a1f; --hue: 43 108 176; --frame: #1d2433; }
@media (prefers-color-scheme: dark) { :root { --ground: #171b24; --page: #0f1219; --ink: #e8ebf2;
  --muted: #98a1b3;
  --rule: #2c3342; --hatch: #a5aec055; --truth: #f09a4a; --frame: #f2f4f8;
  } .heat img { filter: brightness(1.55); } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1.25rem; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 76rem; margin: auto; padding: 1.5rem 1.75rem 1.25rem; background: var(--ground);
  border: 1px solid var(--rule); border-radius: 14px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between;
  gap: 0 1rem; margin-bottom: .8rem; }
h1 { margin: 0; font-size: 1.2rem; overflow-wrap: anywhere; }
header span, footer, .axis, output { color: var(--muted); font-size: .85rem; }
header span { white-space: nowrap; }
#plot { position: relative; }
.strip, .heat, .truth, .axis { position: relative; }
.strip { display: flex; gap: 2px; border-radius: 8px; overflow: hidden; aspect-ratio: 12;
  min-height: 3rem; width: 100%; margin-bottom: .4rem; }
.strip img, .strip span { flex: 1; min-width: 0; height: 100%; object-fit: cover; }
.strip span { display: grid; place-content: center; text-align: center; font-size: .75rem; opacity: .6; }
section p { display: flex; justify-content: space-between; gap: 1rem; margin: .7rem 0 .25rem; }
output { font-variant-numeric: tabular-nums; align-self: end; }
.heat { height: 30px; border-radius: 4px; background: rgb(var(--hue) / 7%);
  box-shadow: inset 0 0 0 1px var(--rule); }
.heat img { display: block; width: 100%; height: 100%; border-radius: 4px; image-rendering: pixelated; }
i { position: absolute; top: 0; bottom: 0; }
i.covered, b.covered { border: 2px solid var(--frame); border-radius: 4px; }
i.covered { top: -2px; bottom: -2px; min-width: 4px; }
i.uncovered, b.uncovered {
  background: repeating-linear-gradient(135deg, var(--hatch) 0 1.5px, transparent 1.5px 7px);
  }
.strip i.uncovered { background-color: rgb(128 134 148 / 55%); }
.truth { height: 6px; margin-top: 4px; background: var(--rule); border-radius: 3px; }
i.reference, b.reference { background: var(--truth); border-radius: 3px; }
.axis { height: 1.6rem; margin-top: .5rem; border-top: 1px solid var(--rule); }
.axis span { position: absolute; top: .25rem; transform: translateX(-50%);
  font-variant-numeric: tabular-nums; }
.axis span:first-child { transform: none; }
.axis span.last { transform: translateX(-100%); }
#line { position: absolute; top: 0; bottom: 1.6rem; width: 1px; background: var(--ink); opacity: 0;
  pointer-events: none; }
#line span { position: absolute; top: -1.35rem; transform: translateX(-50%); padding: 0 .4rem;
  border-radius: 5px;
  background: var(--ink); color: var(--ground); font-size: .8rem; font-variant-numeric: tabular-nums; }
footer { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin-top: .6rem; }
footer b { display: inline-block; width: 1.9rem; height: .8rem; margin: 0 .45rem -1px 0; }
footer b.reference { height: 6px; margin-bottom: 2px; }
footer b.ramp { width: 5rem; margin: 0 .45rem -1px; border-radius: 3px;
  background: linear-gradient(90deg, rgb(var(--hue) / 7%), rgb(var(--hue))); }
@media (max-width: 50rem) { .axis span:not(:nth-child(2n+1)) { display: none; } }
@media (max-width: 36rem) {
  body { padding: .6rem; }
  main { padding: 1rem; }
  .axis span:not(:nth-child(4n+1)) { display: none; }
}
"""

_SCRIPT = """
const data = JSON.parse(document.getElementById("data").textContent);
const plot = document.getElementById("plot"), line = document.getElementById("line");
const outputs = [...plot.querySelectorAll("output")];
function clock(time) {
  const tenths = Math.round(10 * time), minutes = Math.floor(tenths / 600), hours = Math.floor(minutes / 60);
  const head = hours ? hours + ":" + String(minutes % 60).padStart(2, "0") : minutes;
  return head + ":" + ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
}
function frameAt(time) {
  let low = 0, high = data.times.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (data.times[middle] <= time) low = middle; else high = middle - 1;
  }
  return low;
}
plot.addEventListener("pointermove", (event) => {
  const box = plot.getBoundingClientRect();
  const part = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  const time = part * data.duration, frame = frameAt(time);
  const gap = data.gaps.some(([start, end]) => start <= time && time < end);
  line.style.left = 100 * part + "%";
  line.style.opacity = 1;
  line.firstElementChild.textContent = clock(time);
  outputs.forEach((output, row) => { output.textContent = gap ? "" : data.relevance[row][frame].toFixed(3); });
});
plot.addEventListener("pointerleave", () => {
  line.style.opacity = 0;
  outputs.forEach((output) => { output.textContent = ""; });
});
"""
