"""Draw a timeline: film strip, one heat row per sentence, spans outlined, ground truth as bars, uncovered time hatched.

PNG here, self-contained HTML in `timeline_html.py`.

Shape legend: T frames, S sentences. Lengths are in inches.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle

from mova.errors import UsageError
from mova.plots.filmstrip import NO_PICTURE, film_strip, tick_labels, tick_times
from mova.plots.style import DPI, INK, MUTED, PALE, Page
from mova.plots.timeline_html import describe, draw_html
from mova.scoring.spans import drawn_cells
from mova.types import SentenceTimeline, Span, Timeline
from mova.video.isolated import Isolated

__all__ = ["draw", "draw_html", "draw_png"]

Truth = Sequence[Sequence[Span]]

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 13.0, 0.35, 1.05, 0.62, 0.72
STRIP, HEAT, GAP, LINE, TRUTH = 1.0, 0.30, 0.17, 0.185, 0.09
CHARACTERS = 150
"""Maximum characters per line of a sentence above its row."""
ACCENT = "#e07a1f"
NARROWEST = 0.03
"""Share of the video that a span must cover for its posterior to be written into it."""
RAMP = LinearSegmentedColormap.from_list("relevance", ["#f4f6fa", "#c6dcef", "#6fa8d6", "#2b6cb0", "#153e75"])


def draw(timeline: Timeline, path: str | Path, truth: Truth | None = None, *, decoder: Isolated | None = None) -> Path:
    """Draw a timeline as PNG or self-contained HTML, depending on the extension of the path.

    Args:
        timeline: its `video` must be a readable file.
        path: `.png` or `.html`; the folder is created if missing.
        truth: ground-truth spans of each sentence, optional; drawn under the predicted ones.
        decoder: decodes the thumbnails in a child process; None: directly.

    Returns:
        The path.

    Raises:
        UsageError: another extension, or the number of truths differs from the number of sentences.
        VideoError: the video cannot be read.

    >>> import mova
    >>> timeline = mova.load("mova-worlds-tiny").align("film.mp4", "Two black discs shrink.")
    >>> draw(timeline, "film.html").name
    'film.html'
    """
    target = Path(path)
    painters = {".png": draw_png, ".html": draw_html}
    painter = painters.get(target.suffix.lower())
    if painter is None:
        raise UsageError(f"{target}: the extension must be .png or .html")
    if truth is not None and len(truth) != len(timeline.sentences):
        raise UsageError(f"{len(truth)} lists of true spans for {len(timeline.sentences)} sentences")
    target.parent.mkdir(parents=True, exist_ok=True)
    painter(timeline, target, truth, decoder)
    return target


def draw_png(timeline: Timeline, path: str | Path, truth: Truth | None = None, decoder: Isolated | None = None) -> None:
    """Draw a timeline as PNG; see `draw`."""
    texts = [textwrap.wrap(row.text, CHARACTERS) for row in timeline.sentences]
    under = TRUTH + 0.03 if truth is not None else 0.0
    rows = [GAP + LINE * len(lines) + HEAT + under for lines in texts]
    height = TOP + STRIP + sum(rows) + BOTTOM
    page = _Page(WIDTH, height, timeline.duration)
    _title(page, timeline)
    _strip(page, timeline, decoder)
    values = np.concatenate([row.relevance for row in timeline.sentences])
    scale = Normalize(float(values.min()), max(float(values.max()), float(values.min()) + 1e-6))
    edges, frames = drawn_cells(timeline.times, timeline.duration, timeline.step)
    top = TOP + STRIP
    for i, (row, lines) in enumerate(zip(timeline.sentences, texts, strict=True)):
        at = top + GAP + LINE * len(lines)
        page.text(LEFT, at - 0.045, "\n".join(lines), size=9.5, va="bottom", linespacing=1.3)
        axes = page.axes(at, HEAT)
        _heat(axes, np.ma.array(row.relevance[frames], mask=frames < 0), edges, scale)
        _uncovered(axes, timeline)
        _outlines(axes, row)
        _posteriors(axes, row, timeline.duration)
        if truth is not None:
            _truth(page.axes(at + HEAT + 0.03, TRUTH), truth[i])
        top += rows[i]
    _ticks(page.axes(top + 0.05, 0.05), timeline.duration)
    _color_bar(page, scale)
    _legend(page, truth is not None)
    page.save(path)


class _Page(Page):
    """A page whose full-width plots share a time axis."""

    def __init__(self, width: float, height: float, duration: float) -> None:
        super().__init__(width, height)
        self.duration = duration

    def axes(self, top: float, height: float) -> Any:
        """Add a full-width plot with seconds on the x axis and [0, 1] on the y axis."""
        axes = self.plot(LEFT, top, WIDTH - LEFT - RIGHT, height)
        axes.set(xlim=(0, self.duration), ylim=(0, 1))
        return axes


def _title(page: _Page, timeline: Timeline) -> None:
    name = textwrap.shorten(Path(timeline.video).name, 90, placeholder="…")
    page.text(LEFT, 0.36, name, size=13, weight="bold", va="baseline")
    summary = describe(timeline)
    page.text(WIDTH - RIGHT, 0.36, summary, size=9.5, color=MUTED, ha="right", va="baseline")


def _strip(page: _Page, timeline: Timeline, decoder: Isolated | None) -> None:
    axes = page.axes(TOP - 0.12, STRIP)
    ratio = (WIDTH - LEFT - RIGHT) / STRIP
    pictures = film_strip(timeline.video, timeline.duration, ratio, round(STRIP * DPI), decoder)
    step = timeline.duration / len(pictures)
    for i, picture in enumerate(pictures):
        if picture is None:
            axes.text((i + 0.5) * step, 0.5, NO_PICTURE, size=8, color=MUTED, ha="center", va="center", wrap=True)
        else:
            box = (i * step, (i + 1) * step, 0, 1)
            axes.imshow(picture, extent=box, aspect="auto", interpolation="antialiased")
        if i:
            axes.axvline(i * step, color="white", linewidth=1.2)
    axes.set(xlim=(0, timeline.duration), ylim=(0, 1))
    for span in timeline.irrelevant:
        _box(axes, span, 0, 1, facecolor="#868e9c", alpha=0.45, edgecolor="none")


def _heat(axes: Any, relevance: np.ma.MaskedArray, edges: np.ndarray, scale: Normalize) -> None:
    axes.pcolormesh(edges, [0, 1], relevance[None], cmap=RAMP, norm=scale, rasterized=True)
    axes.set(xlim=(0, edges[-1]))
    axes.add_patch(Rectangle((0, 0), edges[-1], 1, fill=False, edgecolor=PALE, linewidth=0.8, clip_on=False))


def _uncovered(axes: Any, timeline: Timeline) -> None:
    for span in timeline.irrelevant:
        _box(axes, span, 0, 1, facecolor="none", edgecolor="#b4bac6", linewidth=0.0, hatch="/////")


def _outlines(axes: Any, row: SentenceTimeline) -> None:
    for scored in row.spans:
        _box(axes, scored.span, -0.04, 1.08, fill=False, edgecolor=INK, linewidth=1.7, clip_on=False, zorder=5)


def _posteriors(axes: Any, row: SentenceTimeline, duration: float) -> None:
    """Write the posterior into each span that is wide enough."""
    for scored in row.spans:
        if scored.posterior is not None and scored.span.duration > NARROWEST * duration:
            middle = (scored.span.start + scored.span.end) / 2
            paper = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.0}
            label = f"{scored.posterior:.0%}"
            axes.text(middle, 0.5, label, ha="center", va="center", fontsize=7.5, color=INK, bbox=paper, zorder=6)


def _truth(axes: Any, spans: Sequence[Span]) -> None:
    axes.axhline(0.5, color="#eceef2", linewidth=1, zorder=0)
    for span in spans:
        _box(axes, span, 0.1, 0.8, facecolor=ACCENT, edgecolor="none")


def _box(axes: Any, span: Span, bottom: float, height: float, **style: Any) -> None:
    axes.add_patch(Rectangle((span.start, bottom), span.duration, height, **style))


def _ticks(axes: Any, duration: float) -> None:
    """Draw the time axis below the last row."""
    axes.spines["top"].set(visible=True, color=PALE)
    times = tick_times(duration)
    axes.set_xticks(times, tick_labels(times), fontsize=9, color=MUTED)
    axes.tick_params(axis="x", length=0, pad=2)


def _color_bar(page: _Page, scale: Normalize) -> None:
    """Draw the color bar of the relevance next to the film strip."""
    left, top, height = WIDTH - RIGHT + 0.22, TOP + 0.12, STRIP - 0.24
    bar = page.plot(left, top, 0.13, height)
    low, high = float(scale.vmin or 0), float(scale.vmax or 0)
    bar.imshow(np.linspace(1, 0, 64)[:, None], cmap=RAMP, aspect="auto", extent=(0, 1, low, high))
    bar.yaxis.tick_right()
    bar.set_yticks([low, high], [f"{low:.2f}", f"{high:.2f}"])
    bar.tick_params(axis="y", labelsize=8, length=2, color=MUTED, labelcolor=MUTED)
    page.text(left - 0.02, TOP - 0.02, "relevance", size=8, color=MUTED)


def _legend(page: _Page, has_truth: bool) -> None:
    """Explain the marks below the time axis."""
    top, size = page.height - 0.24, 0.11
    entries: list[tuple[str, dict[str, Any]]] = [
        ("covered by this sentence", {"fill": False, "edgecolor": INK, "linewidth": 1.5}),
        (
            "not covered by any sentence",
            {"facecolor": "none", "edgecolor": "#9aa1b0", "linewidth": 0.5, "hatch": "//////"},
        ),
    ]
    if has_truth:
        entries.insert(1, ("ground truth", {"facecolor": ACCENT, "edgecolor": "none"}))
    left = LEFT
    for label, style in entries:
        page.box(left, top, 0.3, size, **style)
        page.text(left + 0.38, top + size, label, size=8.5, color=MUTED, va="bottom")
        left += 0.75 + 0.07 * len(label)
