"""Draw caption subsets: frames on top, the strongest units under each, and all weights over time at the bottom.

Shape legend: T sampled frames, F displayed frames, K units. Lengths are in inches.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from mova.explain.subsets import STRONGEST, Subsets
from mova.plots.filmstrip import tick_labels, tick_times
from mova.plots.style import INK, MUTED, PALE, Page
from mova.scoring.spans import drawn_cells
from mova.utils.time_format import clock

WIDTH, MARGIN, TOP, GAP = 13.0, 0.35, 0.78, 0.14
WIDEST = 2.6
"""Maximum width of a frame."""
BAR, CHART, LINE = 0.45, 1.15, 0.2
SMALL_CHARACTER = 0.06
"""Width of a character in the labels."""
NONE_COLOR = "#c9cdd6"
CHARACTERS = 150
"""Maximum characters per line of the legend."""


def draw_subsets(subsets: Subsets, path: str | Path) -> None:
    """Draw the caption subsets of frames as PNG; the folder is created if missing."""
    count, (tall, wide) = len(subsets.frame_indices), subsets.pictures.shape[1:3]
    column = min(WIDEST, (WIDTH - 2 * MARGIN - GAP * (count - 1)) / count)
    picture = column * tall / wide
    entries = [textwrap.wrap(f"{k + 1}  {text}", CHARACTERS) for k, text in enumerate(subsets.sentences)]
    listed = min(len(subsets.sentences), STRONGEST) + 1
    chart = TOP + 0.26 + picture + BAR * listed + 0.5
    legend = chart + CHART + 0.5
    page = Page(WIDTH, legend + LINE * (sum(map(len, entries)) + 1) + 0.62)
    _title(page, subsets)
    colors = unit_colors(len(subsets.sentences))
    for i, frame in enumerate(subsets.frame_indices):
        left = MARGIN + i * (column + GAP)
        page.text(left, TOP + 0.2, clock(float(subsets.times[frame]), 1), size=9, va="bottom")
        page.plot(left, TOP + 0.26, column, picture).imshow(subsets.pictures[i], interpolation="antialiased")
        _bars(page, subsets, frame, (left, TOP + 0.26 + picture + 0.06, column), colors)
    _chart(page, subsets, chart, colors)
    _legend(page, subsets, legend, entries, colors)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def unit_colors(count: int) -> list[str]:
    """Return one color per unit; colors repeat after 18 units, which are also numbered.

    Example:
        >>> unit_colors(2)
        ['#1f77b4', '#ff7f0e']
    """
    table = [to_hex(colormaps["tab20"](k)) for k in range(20)]
    table = [color for color in table[::2] + table[1::2] if color not in ("#7f7f7f", "#c7c7c7")]
    return [table[k % len(table)] for k in range(count)]


def _title(page: Page, subsets: Subsets) -> None:
    name = textwrap.shorten(Path(subsets.video).name, 60, placeholder="…")
    page.text(MARGIN, 0.36, f"Which sentences each frame selects · {name}", size=13, weight="bold", va="baseline")
    page.text(WIDTH - MARGIN, 0.36, Path(subsets.model).name, size=9.5, color=MUTED, ha="right", va="baseline")
    note = 'Below each frame: its strongest sentences. The weights of a frame, including "none", add up to 100 %.'
    page.text(MARGIN, 0.6, note, size=9.5, color=MUTED, va="baseline")


def _bars(page: Page, subsets: Subsets, frame: int, at: tuple[float, float, float], colors: list[str]) -> None:
    """Draw the strongest units of a frame, then "none", at (left, top, width)."""
    left, top, width = at
    rows = [(subsets.weights[frame, k], f"{k + 1} {subsets.sentences[k]}", colors[k]) for k in subsets.strongest(frame)]
    rows.append((subsets.weights[frame, -1], "none", NONE_COLOR))
    for i, (weight, label, color) in enumerate(rows):
        base = top + i * BAR
        strong = {"color": INK if weight >= 0.05 else MUTED, "size": 7.5, "va": "top", "linespacing": 1.15}
        page.text(left + width, base + 0.1, f"{100 * weight:.0f} %", ha="right", **strong)
        page.text(left, base + 0.1, short_label(label, width - 0.36), **strong)
        page.box(left, base, width, 0.07, facecolor="#f0f2f6", edgecolor="none")
        page.box(left, base, width * float(weight), 0.07, facecolor=color, edgecolor="none")


def short_label(label: str, width: float) -> str:
    """Shorten a label to two lines of small print, with an ellipsis if it is cut.

    Example:
        >>> short_label("1 A red star rises.", 1.0)
        '1 A red star\\nrises.'
    """
    characters = max(6, int(width / SMALL_CHARACTER))
    return "\n".join(textwrap.wrap(label, characters, max_lines=2, placeholder="…"))


def _chart(page: Page, subsets: Subsets, top: float, colors: list[str]) -> None:
    """Draw all weights over time, stacked; markers show the frames at the top of the page."""
    axes: Any = page.plot(MARGIN, top, WIDTH - 2 * MARGIN, CHART)
    edges, frames = drawn_cells(subsets.times, subsets.duration, subsets.step)
    heights = np.cumsum(subsets.weights[frames], axis=1)
    heights[frames < 0] = 0
    heights = np.concatenate([np.zeros_like(heights[:, :1]), heights], axis=1)
    for k, color in enumerate([*colors, NONE_COLOR]):
        axes.stairs(heights[:, k + 1], edges, baseline=heights[:, k], fill=True, facecolor=color, edgecolor="none")
    axes.set(xlim=(0, subsets.duration), ylim=(0, 1))
    seconds = subsets.times[list(subsets.frame_indices)]
    axes.plot(seconds, np.full(len(seconds), 1.07), "v", color=INK, markersize=5, clip_on=False)
    axes.vlines(seconds, 0, 1, color=INK, linewidth=0.7, linestyle=(0, (2, 2)))
    ticks = tick_times(subsets.duration)
    axes.set_xticks(ticks, tick_labels(ticks), fontsize=9, color=MUTED)
    axes.tick_params(axis="x", length=0, pad=2)
    axes.spines["bottom"].set(visible=True, color=PALE)
    page.text(MARGIN, top - 0.16, "Weights of all sampled frames over time (▾ = frames above)", size=9, va="bottom")


def _legend(page: Page, subsets: Subsets, top: float, entries: list[list[str]], colors: list[str]) -> None:
    """List the color and full text of each unit, and the source of the weights."""
    for lines, color in zip([*entries, ["none: not described by the caption"]], [*colors, NONE_COLOR], strict=True):
        page.box(MARGIN, top + 0.035, 0.22, 0.12, facecolor=color, edgecolor="none")
        for line in lines:
            page.text(MARGIN + 0.32, top + 0.16, line, size=9)
            top += LINE
    page.text(MARGIN, top + 0.26, _source(subsets), size=8.5, color=MUTED)


def _source(subsets: Subsets) -> str:
    """Describe the source of the weights in one sentence."""
    if subsets.threshold is None:
        return "Weights: the model's masks over units."
    return (
        "Weights: this model has no masks over units, so they are a softmax (temperature 0.1) of the cosines between "
        f'frame and sentences, with the relevance threshold {subsets.threshold:.2f} as the score of "none".'
    )
