"""Draw a timeline: film strip, one heat row per sentence, spans outlined, ground truth as bars, uncovered time hatched.

Each sentence has a number and a color. Under the film, all spans are drawn together, so that the story can be read at a
glance. Spans that are probably wrong are left out unless they are asked for.

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
from mova.plots.style import DPI, INK, MUTED, PALE, Page, with_minus_signs
from mova.plots.timeline_html import describe, draw_html
from mova.plots.timeline_rows import CERTAIN, PictureOptions, PictureRow, common_range, lanes, picture_rows, span_text
from mova.scoring.spans import drawn_cells
from mova.types import ScoredSpan, Span, Timeline
from mova.video.isolated import Isolated

__all__ = ["PictureOptions", "draw", "draw_html", "draw_png"]

Truth = Sequence[Sequence[Span]]

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 13.0, 0.35, 1.05, 0.62, 0.72
STRIP, HEAT, GAP, LINE, TRUTH = 1.0, 0.30, 0.17, 0.185, 0.09
LANE, LANE_GAP, BADGE = 0.19, 0.05, 0.3
CHARACTERS = 112
"""Maximum characters per line of a sentence above its row."""
MOST_TEXTS = 3
"""Maximum number of spans of a sentence that are written out."""
ACCENT = "#e07a1f"
GREYS = LinearSegmentedColormap.from_list("relevance", ["#f6f7fa", MUTED])


def draw(
    timeline: Timeline,
    path: str | Path,
    truth: Truth | None = None,
    options: PictureOptions | None = None,
    *,
    decoder: Isolated | None = None,
) -> Path:
    """Draw a timeline as PNG or self-contained HTML, depending on the extension of the path.

    Args:
        timeline: its `video` must be a readable file.
        path: `.png` or `.html`; the folder is created if missing.
        truth: ground-truth spans of each sentence, optional; drawn under the predicted ones.
        options: scale of colors and uncertain spans; in HTML, both can be switched in the page.
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
    painter(timeline, target, truth, options, decoder)
    return target


def draw_png(
    timeline: Timeline,
    path: str | Path,
    truth: Truth | None = None,
    options: PictureOptions | None = None,
    decoder: Isolated | None = None,
) -> None:
    """Draw a timeline as PNG; see `draw`."""
    chosen = options or PictureOptions()
    views = picture_rows(timeline)
    texts = [textwrap.wrap(view.timeline.text, CHARACTERS) for view in views]
    notes = [_notes(view, chosen.all_spans) for view in views]
    under = TRUTH + 0.03 if truth is not None else 0.0
    heads = [LINE * max(len(text), len(note)) for text, note in zip(texts, notes, strict=True)]
    made = lanes(views)
    top = TOP + STRIP + len(made) * (LANE + LANE_GAP)
    page = _Page(WIDTH, top + sum(GAP + head + HEAT + under for head in heads) + BOTTOM, timeline.duration)
    _title(page, timeline)
    _strip(page, timeline, decoder)
    _lanes(page, made)
    common = common_range(views)
    edges, frames = drawn_cells(timeline.times, timeline.duration, timeline.step)
    for i, view in enumerate(views):
        at = top + GAP + heads[i]
        _sentence(page, at, view, texts[i], notes[i])
        axes = page.axes(at, HEAT)
        low, high = common if chosen.common_scale else view.range
        relevance = np.ma.array(view.timeline.relevance[frames], mask=frames < 0)
        _heat(axes, relevance, edges, Normalize(low, high), view)
        _uncovered(axes, timeline)
        _outlines(axes, view.spans)
        if chosen.all_spans:
            _outlines(axes, view.uncertain, linewidth=1.0, linestyle="--")
        if not chosen.common_scale:
            label = with_minus_signs(f"{low:.2f} to {high:.2f}")
            page.text(WIDTH - RIGHT + 0.1, at + HEAT / 2, label, size=8, color=MUTED, va="center")
        if truth is not None:
            _truth(page.axes(at + HEAT + 0.03, TRUTH), truth[i])
        top = at + HEAT + under
    _ticks(page.axes(top + 0.05, 0.05), timeline.duration)
    if chosen.common_scale:
        _color_bar(page, Normalize(*common))
    _legend(page, truth is not None, chosen)
    page.save(path)


def _notes(view: PictureRow, uncertain: bool) -> list[str]:
    """Return the spans of a sentence as lines of text, at most `MOST_TEXTS`."""
    spans = sorted([*view.spans, *(view.uncertain if uncertain else ())], key=lambda scored: scored.span)
    lines = [span_text(scored) for scored in spans]
    if len(lines) > MOST_TEXTS:
        lines = [*lines[: MOST_TEXTS - 1], f"and {len(lines) - MOST_TEXTS + 1} more"]
    return lines if view.spans else [view.status, *lines]


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


def _lanes(page: _Page, made: Sequence[Sequence[tuple[PictureRow, ScoredSpan]]]) -> None:
    """Draw all probable spans under the film, by number and color."""
    for i, lane in enumerate(made):
        axes = page.axes(TOP + STRIP - 0.12 + LANE_GAP + i * (LANE + LANE_GAP), LANE)
        for view, scored in lane:
            _box(axes, scored.span, 0, 1, facecolor=view.color, edgecolor="white", linewidth=0.8)
            inches = scored.span.duration / page.duration * (WIDTH - LEFT - RIGHT)
            if inches > 0.1 * len(str(view.number)) + 0.04:
                middle = (scored.span.start + scored.span.end) / 2
                style = {"size": 7.5, "color": "white", "weight": "bold", "ha": "center", "va": "center_baseline"}
                axes.text(middle, 0.46, str(view.number), **style)


def _sentence(page: _Page, at: float, view: PictureRow, text: Sequence[str], notes: Sequence[str]) -> None:
    """Write number, sentence, and spans above a row that begins at `at`."""
    color = MUTED if view.absent else view.color
    top = at - 0.045 - LINE * len(text)
    page.box(LEFT, top + 0.02, BADGE - 0.05, LINE - 0.04, facecolor=color, edgecolor="none")
    badge = {"size": 7.5, "color": "white", "weight": "bold", "ha": "center", "va": "center_baseline"}
    page.text(LEFT + (BADGE - 0.05) / 2, top + LINE / 2 + 0.005, str(view.number), **badge)
    ink = MUTED if view.absent else INK
    page.text(LEFT + BADGE + 0.02, at - 0.045, "\n".join(text), size=9.5, color=ink, va="bottom", linespacing=1.3)
    right = {"size": 8.5, "color": MUTED, "ha": "right", "va": "bottom", "linespacing": 1.45}
    page.text(WIDTH - RIGHT, at - 0.05, "\n".join(notes), **right)


def _heat(axes: Any, relevance: np.ma.MaskedArray, edges: np.ndarray, scale: Normalize, view: PictureRow) -> None:
    ramp = LinearSegmentedColormap.from_list("relevance", ["#f6f7fa", view.color])
    alpha = 0.55 if view.absent else 1.0
    axes.pcolormesh(edges, [0, 1], relevance[None], cmap=ramp, norm=scale, alpha=alpha, rasterized=True)
    axes.set(xlim=(0, edges[-1]))
    axes.add_patch(Rectangle((0, 0), edges[-1], 1, fill=False, edgecolor=PALE, linewidth=0.8, clip_on=False))


def _uncovered(axes: Any, timeline: Timeline) -> None:
    for span in timeline.irrelevant:
        _box(axes, span, 0, 1, facecolor="none", edgecolor="#b4bac6", linewidth=0.0, hatch="/////")


def _outlines(axes: Any, spans: Sequence[ScoredSpan], **style: Any) -> None:
    outline = {"fill": False, "edgecolor": INK, "linewidth": 1.7, "clip_on": False, "zorder": 5} | style
    for scored in spans:
        _box(axes, scored.span, -0.04, 1.08, **outline)


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
    bar.imshow(np.linspace(1, 0, 64)[:, None], cmap=GREYS, aspect="auto", extent=(0, 1, low, high))
    bar.yaxis.tick_right()
    bar.set_yticks([low, high], [f"{low:.2f}", f"{high:.2f}"])
    bar.tick_params(axis="y", labelsize=8, length=2, color=MUTED, labelcolor=MUTED)
    page.text(left - 0.02, TOP - 0.02, "relevance", size=8, color=MUTED)


def _legend(page: _Page, has_truth: bool, options: PictureOptions) -> None:
    """Explain the marks below the time axis."""
    top, size = page.height - 0.24, 0.11
    entries: list[tuple[str, dict[str, Any]]] = [
        ("shows this sentence", {"fill": False, "edgecolor": INK, "linewidth": 1.5}),
        (
            "no sentence",
            {"facecolor": "none", "edgecolor": "#9aa1b0", "linewidth": 0.5, "hatch": "//////"},
        ),
    ]
    if options.all_spans:
        dashed = {"fill": False, "edgecolor": INK, "linewidth": 0.9, "linestyle": "--"}
        entries.insert(1, (f"below {CERTAIN:.0%}", dashed))
    if has_truth:
        entries.insert(1, ("ground truth", {"facecolor": ACCENT, "edgecolor": "none"}))
    left = LEFT
    for label, style in entries:
        page.box(left, top, 0.3, size, **style)
        page.text(left + 0.38, top + size, label, size=8.5, color=MUTED, va="bottom")
        left += 0.75 + 0.07 * len(label)
    scale = "color: relevance, " + ("one scale" if options.common_scale else "lowest to highest of each sentence")
    page.text(WIDTH - RIGHT, top + size, scale, size=8.5, color=MUTED, ha="right", va="bottom")
