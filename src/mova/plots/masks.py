"""Draw mask weights: frames with the texts that they match best on top, and the masks of every text over time.

Shape legend: T sampled frames, F displayed frames, S texts, d width. Lengths are in inches.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from mova.explain.masks import STRONGEST, Floats, MaskWeights
from mova.plots.filmstrip import tick_labels, tick_times
from mova.plots.style import INK, MUTED, PALE, Page, with_minus_signs
from mova.plots.subsets import short_label, unit_colors
from mova.scoring.spans import drawn_cells
from mova.utils.time_format import clock

WIDTH, MARGIN, TOP, GAP = 13.0, 0.35, 0.78, 0.14
WIDEST = 2.6
"""Maximum width of a frame."""
BAR, LINE, LABEL = 0.56, 0.2, 1.75
"""Heights of a listed text and of a line, and width of the labels left of the masks."""
STRIP, CURVE, BETWEEN = 0.62, 0.5, 0.06
"""Heights of a mask over dimensions and of the curve of the score, and the space between them."""
CHARACTERS = 150
SHADES = ("#1c6e8c", "#b5541c")
"""Colors of the temporal and of the concept mask."""


def draw_masks(weights: MaskWeights, path: str | Path) -> None:
    """Draw the masks of a video as PNG; the folder is created if missing."""
    count, (tall, wide) = len(weights.frame_indices), weights.pictures.shape[1:3]
    column = min(WIDEST, (WIDTH - 2 * MARGIN - GAP * (count - 1)) / count)
    picture = column * tall / wide
    headings = [textwrap.wrap(f"{s + 1}  {text}", CHARACTERS) for s, text in enumerate(weights.sentences)]
    block = sum(height for _, _, _, height in _strips(weights, 0)) + CURVE + 0.3
    strips = TOP + 0.26 + picture + BAR * min(len(weights.sentences), STRONGEST) + 0.3
    page = Page(WIDTH, strips + sum(LINE * len(lines) + block for lines in headings) + 0.75)
    _title(page, weights)
    colors = unit_colors(len(weights.sentences))
    for i, frame in enumerate(weights.frame_indices):
        left = MARGIN + i * (column + GAP)
        page.text(left, TOP + 0.2, clock(float(weights.times[frame]), 1), size=9, va="bottom")
        page.plot(left, TOP + 0.26, column, picture).imshow(weights.pictures[i], interpolation="antialiased")
        _bars(page, weights, frame, (left, TOP + 0.26 + picture + 0.06, column), colors)
    top = strips
    for s, lines in enumerate(headings):
        page.text(MARGIN, top + LINE * len(lines) - 0.04, "\n".join(lines), size=9.5, va="bottom", linespacing=1.3)
        _text_block(page, weights, s, top + LINE * len(lines), colors[s])
        top += LINE * len(lines) + block
    _time_axis(page, weights, top - 0.26)
    page.text(MARGIN, top + 0.42, _source(weights), size=8.5, color=MUTED)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def _title(page: Page, weights: MaskWeights) -> None:
    name = textwrap.shorten(Path(weights.video).name, 60, placeholder="…")
    page.text(MARGIN, 0.36, f"What the masks let through · {name}", size=13, weight="bold", va="baseline")
    page.text(WIDTH - MARGIN, 0.36, Path(weights.model).name, size=9.5, color=MUTED, ha="right", va="baseline")
    rank = "masked cosine" if weights.target == "dimensions" else "weight"
    note = (
        f"Below each frame: the texts with the highest {rank}, the share of the text that the frame selects (bar), and "
        "the masked cosine."
    )
    page.text(MARGIN, 0.6, note, size=9.5, color=MUTED, va="baseline")


def _bars(page: Page, weights: MaskWeights, frame: int, at: tuple[float, float, float], colors: list[str]) -> None:
    """Draw the texts that a frame matches best at (left, top, width)."""
    left, top, width = at
    for i, s in enumerate(weights.strongest(frame)):
        base, share = top + i * BAR, float(weights.selected[s, frame])
        page.box(left, base, width, 0.07, facecolor="#f0f2f6", edgecolor="none")
        page.box(left, base, width * min(share, 1.0), 0.07, facecolor=colors[s], edgecolor="none")
        small: dict[str, Any] = {"size": 7.5, "va": "top", "linespacing": 1.15}
        together = weights.target == "dimensions" and 0 < s == len(weights.sentences) - 1
        label = f"{s + 1} {'all of them together' if together else weights.sentences[s]}"
        page.text(left, base + 0.1, short_label(label, width - 0.75), **small)
        score = with_minus_signs(f"{weights.scores[s, frame]:.2f}")
        page.text(left + width, base + 0.1, f"{100 * share:.0f} %\ncos {score}", ha="right", **small)


def _strips(weights: MaskWeights, text: int) -> list[tuple[str, Floats, str, float]]:
    """Return (label, values (rows, T), color, height) of the masks of a text; dimensions by their mean, open on top."""
    strips = []
    temporal = weights.m_t if weights.target == "dimensions" else None
    if temporal is None:
        strips.append(("weight of the sentence", weights.selected[text][None], SHADES[0], STRIP / 2))
    for label, mask, color in (("temporal mask", temporal, SHADES[0]), ("concept mask", weights.m_v, SHADES[1])):
        if mask is not None:
            order = np.argsort(-mask[text].mean(axis=0), kind="stable")
            strips.append((label, mask[text][:, order].T, color, STRIP))
    return strips


def _text_block(page: Page, weights: MaskWeights, text: int, top: float, color: str) -> None:
    """Draw the masks of a text over time, and its masked cosine."""
    edges, frames = drawn_cells(weights.times, weights.duration, weights.step)
    for label, values, shade, height in _strips(weights, text):
        shades = LinearSegmentedColormap.from_list(label, ["#f4f6f9", shade])
        axes = page.plot(MARGIN + LABEL, top, WIDTH - 2 * MARGIN - LABEL, height)
        cells = np.where(frames >= 0, values[:, frames], np.nan)
        rows = np.arange(len(values), -1, -1)
        axes.pcolormesh(edges, rows, cells, cmap=shades, vmin=0, vmax=1, rasterized=True)
        axes.set(xlim=(0, weights.duration), ylim=(0, len(values)))
        detail = f"{len(values)} dimensions,\n{100 * values.mean():.0f} % open" if len(values) > 1 else ""
        page.text(MARGIN, top + 0.16, label, size=8.5)
        page.text(MARGIN, top + 0.2, detail, size=7.5, color=MUTED, va="top", linespacing=1.2)
        top += height + BETWEEN
    axes = page.plot(MARGIN + LABEL, top, WIDTH - 2 * MARGIN - LABEL, CURVE)
    heights = np.where(frames >= 0, weights.scores[text][frames], np.nan)
    axes.stairs(heights, edges, color=color, linewidth=1.6, baseline=None)
    low, high = float(weights.scores.min()), float(weights.scores.max())
    pad = 0.08 * max(high - low, 1e-6)
    axes.set(xlim=(0, weights.duration), ylim=(low - pad, high + pad))
    axes.spines["bottom"].set(visible=True, color=PALE)
    page.text(MARGIN, top + 0.16, "masked cosine", size=8.5)
    bounds = with_minus_signs(f"{low:.2f} to {high:.2f}")
    page.text(MARGIN, top + 0.2, f"from {bounds}", size=7.5, color=MUTED, va="top")
    seconds = weights.times[list(weights.frame_indices)]
    axes.vlines(seconds, low - pad, high + pad, color=INK, linewidth=0.6, linestyle=(0, (2, 2)))


def _time_axis(page: Page, weights: MaskWeights, top: float) -> None:
    """Draw round times below the last curve."""
    axes = page.plot(MARGIN + LABEL, top, WIDTH - 2 * MARGIN - LABEL, 0.02)
    axes.set(xlim=(0, weights.duration), ylim=(0, 1))
    ticks = tick_times(weights.duration)
    axes.set_xticks(ticks, tick_labels(ticks), fontsize=9, color=MUTED)
    axes.tick_params(axis="x", length=0, pad=2)


def _source(weights: MaskWeights) -> str:
    """Describe the masks in one sentence."""
    if weights.target == "units":
        return "Masks over units: a frame spreads a weight of 100 % over the sentences and none of them."
    return (
        "Masks over dimensions, dark where open; sorted by how often they are open. Each text alone is the caption of "
        "its masks. Dashed: the frames above."
    )
