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
    page = _PAGE.replace("/*STYLE*/", _STYLE).replace("/*SCRIPT*/", _SCRIPT)
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

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --page: #f3f5f9; --ink: #1d2433; --muted: #5d6577;
  --rule: #dfe3ea; --hatch: #8a93a540; --truth: #e07a1f; --frame: #1d2433; }
@media (prefers-color-scheme: dark) { :root { --ground: #171b24; --page: #0f1219; --ink: #e8ebf2;
  --muted: #a3abbc; --rule: #2c3342; --hatch: #a5aec040; --truth: #f09a4a; --frame: #f2f4f8;
  } .heat img { filter: brightness(1.55); } }
* { box-sizing: border-box; }
html { scroll-padding-top: 11rem; }
body { margin: 0; padding: 2rem 1.25rem; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 76rem; margin: auto; padding: 1.5rem 1.75rem 1.25rem; background: var(--ground);
  border: 1px solid var(--rule); border-radius: 14px; }
header, .switches { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 1.2rem; }
header { justify-content: space-between; }
h1 { margin: 0; font-size: 1.2rem; overflow-wrap: anywhere; }
header span, .switches, .spans, footer, .axis { color: var(--muted); font-size: .85rem; }
header span { white-space: nowrap; }
.switches { margin: .4rem 0 .7rem; }
.switches label { display: inline-flex; align-items: center; gap: .4rem; padding: .15rem 0; cursor: pointer; }
.switches input { margin: 0; accent-color: #2b6cb0; }
#plot { position: relative; }
.film { position: sticky; top: 0; z-index: 2; padding: .3rem 0; background: var(--ground); }
.strip, .lane, .heat, .truth, .axis { position: relative; }
.strip { display: flex; gap: 2px; border-radius: 8px; overflow: hidden; aspect-ratio: 12;
  min-height: 3rem; width: 100%; }
.strip img, .strip span { flex: 1; min-width: 0; height: 100%; object-fit: cover; }
.strip span { display: grid; place-content: center; text-align: center; font-size: .75rem; opacity: .6; }
.lane { height: 1.15rem; margin-top: 4px; }
.lane a { position: absolute; top: 0; bottom: 0; min-width: 4px; overflow: hidden; border-radius: 4px;
  background: var(--c); color: #fff; font-size: .75rem; line-height: 1.15rem; text-align: center;
  text-decoration: none; box-shadow: 0 0 0 1px var(--ground); container-type: inline-size; }
@container (max-width: .62rem) { .lane span { display: none; } }
.lane a:focus-visible, .lane a:hover { outline: 2px solid var(--frame); }
section { padding-top: .8rem; }
section:target p b { outline: 3px solid color-mix(in srgb, var(--c) 40%, transparent); }
section p { display: flex; gap: .55rem; margin: 0; overflow-wrap: anywhere; }
section p span { min-width: 0; }
section p b { flex: none; min-width: 1.5rem; height: 1.35rem; padding: 0 .3rem; border-radius: 5px;
  background: var(--c); color: #fff; font-size: .8rem; line-height: 1.35rem; text-align: center; }
.absent p b { background: var(--muted); }
.absent p, .absent .heat img { opacity: .6; }
.spans { display: flex; flex-wrap: wrap; gap: 0 .9rem; margin: .1rem 0 .3rem 2.05rem;
  font-variant-numeric: tabular-nums; }
.spans output { margin-left: auto; }
.spans .low { border-bottom: 1px dashed; }
.heat { height: 28px; border-radius: 4px; background: color-mix(in srgb, var(--c) 7%, transparent);
  box-shadow: inset 0 0 0 1px var(--rule); }
.heat img { width: 100%; height: 100%; border-radius: 4px; image-rendering: pixelated; }
i { position: absolute; top: 0; bottom: 0; }
i.covered, b.covered { border: 2px solid var(--frame); border-radius: 4px; }
i.covered { top: -2px; bottom: -2px; min-width: 5px; }
i.low { border-style: dashed; border-width: 1px; }
i.uncovered, b.uncovered {
  background: repeating-linear-gradient(135deg, var(--hatch) 0 1.5px, transparent 1.5px 7px); }
.strip i.uncovered { background-color: rgb(128 134 148 / 55%); }
.truth { height: 6px; margin-top: 4px; background: var(--rule); border-radius: 3px; }
i.reference, b.reference { background: var(--truth); border-radius: 3px; }
.own, .heat img.own { display: block; }
footer .own { display: inline; }
.common, .low { display: none; }
:root:has(#common:checked) .own { display: none; }
:root:has(#common:checked) .heat img.common { display: block; }
:root:has(#common:checked) footer .common { display: inline; }
:root:has(#all:checked) .low { display: inline; }
.axis { height: 1.6rem; margin-top: .8rem; border-top: 1px solid var(--rule); }
.axis span { position: absolute; top: .25rem; transform: translateX(-50%);
  font-variant-numeric: tabular-nums; }
.axis span:first-child { transform: none; }
.axis span.last { transform: translateX(-100%); }
#line { position: absolute; top: 0; bottom: 1.6rem; width: 1px; background: var(--ink); opacity: 0;
  pointer-events: none; z-index: 3; }
#line span { position: absolute; top: -1.35rem; transform: translateX(-50%); padding: 0 .4rem;
  border-radius: 5px;
  background: var(--ink); color: var(--ground); font-size: .8rem; font-variant-numeric: tabular-nums; }
footer { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin-top: .6rem; }
footer b { display: inline-block; width: 1.9rem; height: .8rem; margin: 0 .45rem -1px 0; }
footer b.reference { height: 6px; margin-bottom: 2px; }
footer b.ramp { width: 5rem; margin: 0 .45rem -1px; border-radius: 3px;
  background: linear-gradient(90deg, color-mix(in srgb, var(--muted) 7%, transparent), var(--muted)); }
@media (max-width: 50rem) and (min-width: 36.01rem) { .axis span:not(:nth-child(2n+1)) { display: none; } }
@media (max-width: 36rem) {
  body { padding: .6rem; }
  main { padding: 1rem .85rem; }
  html { scroll-padding-top: 7rem; }
  .axis span { display: none; }
  .axis span:nth-child(3n+1) { display: inline; }
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
  outputs.forEach((output, row) => {
    const sure = data.posterior[row] ? ", " + Math.round(100 * data.posterior[row][frame]) + "%" : "";
    output.textContent = gap ? "" : "relevance " + data.relevance[row][frame].toFixed(2) + sure;
  });
});
plot.addEventListener("pointerleave", () => {
  line.style.opacity = 0;
  outputs.forEach((output) => { output.textContent = ""; });
});
"""
