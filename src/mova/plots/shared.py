"""Draw what two moments share: the two frames, the concepts in which they agree, and where else it is active.

Shape legend: T sampled frames, F displayed frames. Lengths are in inches.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from mova.explain.shared import AGREEMENT, SharedSubspace
from mova.plots.filmstrip import tick_labels, tick_times
from mova.plots.style import INK, MUTED, PALE, Page, with_minus_signs
from mova.scoring.spans import drawn_cells
from mova.utils.time_format import clock

WIDTH, MARGIN, TOP, GAP = 13.0, 0.35, 0.95, 0.16
MOMENT, FURTHER = 2.9, 2.0
"""Maximum widths of the two moments, and of the frames of further peaks."""
ROW, CHART = 0.27, 1.3
"""Heights of a concept and of the curve."""
ACTIVE, SHARED, APART = "#c4001a", "#1c6e8c", "#b9c0cc"
"""Colors of active stretches, of shared concepts and of the others."""
CHARACTERS = 44


def draw_shared(shared: SharedSubspace, path: str | Path) -> None:
    """Draw what two moments share as PNG; the folder is created if missing."""
    tall, wide = shared.pictures.shape[1:3]
    picture = MOMENT * tall / wide
    texts = [textwrap.wrap(text, CHARACTERS) for text in shared.sentences]
    below = 0.2 * max(map(len, texts), default=0)
    side = 0.3 + ROW * max(1, len(shared.concepts))
    chart = TOP + 0.26 + max(picture + 0.1 + below, side) + 0.5
    others = shared.frame_indices[2:]
    column = min(FURTHER, (WIDTH - 2 * MARGIN - GAP * (len(others) - 1)) / max(1, len(others)))
    small = column * tall / wide if others else 0.0
    page = Page(WIDTH, chart + CHART + 0.5 + (small + 0.4 if others else 0.0) + 0.4)
    _title(page, shared)
    for i in range(2):
        left = MARGIN + i * (MOMENT + GAP)
        _frame(page, shared, i, (left, TOP + 0.26, MOMENT, picture), f"moment {i + 1} · ")
        if texts:
            at = TOP + 0.26 + picture + 0.08
            page.text(left, at, "\n".join(texts[i]), size=9, va="top", linespacing=1.3)
    _concepts(page, shared, 2 * (MOMENT + GAP) + MARGIN + 0.25)
    _chart(page, shared, chart)
    for i, _ in enumerate(others):
        left = MARGIN + i * (column + GAP)
        _frame(page, shared, i + 2, (left, chart + CHART + 0.66, column, small), "also active · ")
    page.text(MARGIN, page.height - 0.16, _source(shared), size=8.5, color=MUTED)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def _title(page: Page, shared: SharedSubspace) -> None:
    name = textwrap.shorten(Path(shared.video).name, 60, placeholder="…")
    page.text(MARGIN, 0.36, f"What two moments share · {name}", size=13, weight="bold", va="baseline")
    page.text(WIDTH - MARGIN, 0.36, Path(shared.model).name, size=9.5, color=MUTED, ha="right", va="baseline")
    found = ", ".join(shared.shared) or f"{shared.dimensions} dimensions of both concept masks"
    page.text(MARGIN, 0.64, f"Shared: {found}", size=10.5, color=SHARED, weight="bold", va="baseline")


def _frame(page: Page, shared: SharedSubspace, index: int, at: tuple[float, float, float, float], label: str) -> None:
    """Draw a frame at (left, top, width, height), with its time above."""
    left, top, width, height = at
    time = float(shared.times[shared.frame_indices[index]])
    page.text(left, top - 0.06, label + clock(time, 1), size=9, va="bottom")
    page.plot(left, top, width, height).imshow(shared.pictures[index], interpolation="antialiased", aspect="auto")
    if index > 1:
        page.box(left, top, width, height, fill=False, edgecolor=ACTIVE, linewidth=1.8)


def _concepts(page: Page, shared: SharedSubspace, left: float) -> None:
    """List the agreement of the moments in every concept."""
    width, top = WIDTH - MARGIN - left, TOP + 0.26
    if not shared.concepts:
        note = f"The concept masks of both moments are open in {shared.dimensions} dimensions."
        page.text(left, top + 0.1, note, size=9.5, va="top")
        return
    page.text(left, top - 0.06, "cosine of the moments, concept by concept", size=9, va="bottom")
    page.text(left + width, top - 0.06, "of the sentences", size=9, va="bottom", ha="right")
    bar = width - 2.7
    for i, concept in enumerate(shared.concepts):
        base = top + 0.04 + i * ROW
        color = SHARED if concept.shared else APART
        style: dict[str, Any] = {"size": 9, "va": "top", "color": INK if concept.shared else MUTED}
        page.text(left, base, textwrap.shorten(concept.name, 18, placeholder="…"), **style)
        page.box(left + 1.3, base + 0.04, bar, 0.1, facecolor="#f0f2f6", edgecolor="none")
        page.box(left + 1.3, base + 0.04, bar * min(max(concept.frames, 0.0), 1.0), 0.1, facecolor=color)
        page.text(left + 1.4 + bar, base, with_minus_signs(f"{concept.frames:.2f}"), **style)
        said = "–" if concept.sentences is None else with_minus_signs(f"{concept.sentences:.2f}")
        page.text(left + width, base, said, ha="right", **style)


def _chart(page: Page, shared: SharedSubspace, top: float) -> None:
    """Draw the activity over the video, with boxes around its peaks."""
    axes: Any = page.plot(MARGIN + 0.35, top, WIDTH - 2 * MARGIN - 0.35, CHART)
    edges, frames = drawn_cells(shared.times, shared.duration, shared.step)
    heights = np.where(frames >= 0, shared.activity[frames], np.nan)
    axes.stairs(heights, edges, color=SHARED, linewidth=1.8, baseline=None)
    low, high = float(shared.activity.min()), float(shared.activity.max())
    pad = 0.1 * max(high - low, 1e-6)
    axes.set(xlim=(0, shared.duration), ylim=(low - pad, high + pad))
    for peak in shared.peaks:
        box = axes.axvspan(peak.span.start, peak.span.end, facecolor="none", edgecolor=ACTIVE, linewidth=1.6)
        box.set_clip_on(False)
    seconds = shared.times[list(shared.moments)]
    axes.plot(seconds, np.full(2, high + 1.6 * pad), "v", color=INK, markersize=6, clip_on=False)
    ticks = tick_times(shared.duration)
    axes.set_xticks(ticks, tick_labels(ticks), fontsize=9, color=MUTED)
    axes.set_yticks([low, high], [with_minus_signs(f"{value:.2f}") for value in (low, high)], fontsize=8, color=MUTED)
    axes.tick_params(length=0, pad=2)
    axes.spines["bottom"].set(visible=True, color=PALE)
    note = "Activity: the lower cosine with the two moments in what they share (▾ = the moments; red = active)"
    page.text(MARGIN, top - 0.2, note, size=9, va="bottom")


def _source(shared: SharedSubspace) -> str:
    """Describe the subspace in one sentence."""
    if shared.source == "masks":
        return "Subspace: the intersection of the concept masks of both moments."
    how = {"learned basis": "concept masks in the model's learned basis"}.get(shared.source, shared.source)
    return f"Subspace: {how}; a concept is shared from a mean cosine of {AGREEMENT} on, of moments and sentences."
