"""The picture of an expansion: lengths of videos and texts by granularity, and what compression kept of the texts.

Lengths on the page are inches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mova.eval.summary_agreement import Agreement
from mova.plots.style import INK, MUTED, PALE, Page

COLOURS = (
    *("#2f6db5", "#d9822b", "#3a9d5d", "#8a56b0", "#b53f4c", "#5d6b7a"),
    *("#8fbbe8", "#f2c48d", "#9ad3ae", "#cdb2e0", "#e8a3aa", "#1f9ea3"),
)
WIDTH, MARGIN, TOP, GAP = 12.0, 0.75, 0.95, 1.0
CHART = 2.6
"""Height of a chart."""
ROW = 3.75
"""From one row of charts to the next."""
LINE, LETTER = 0.24, 0.085
"""Height of a line of the key and width of a letter there."""
SMALL, ENTRY = 8.0, 0.165
"""Points of labels, and height of an entry of a chart's legend."""


def draw_expansion(
    granularities: Mapping[str, Mapping[str, Any]], agreed: Sequence[Agreement], path: str | Path
) -> None:
    """Draw a report (`Expansion.to_json()["granularities"]`) and its agreements as PNG; the folder is made."""
    key, down = _key(granularities)
    page = Page(WIDTH, down + TOP + ROW * (1 + len(agreed)) - 0.15)
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(granularities)}
    page.text(MARGIN, 0.4, "Granularity expansion", size=15, va="baseline", weight="bold")
    for name, (left, line, label) in key.items():
        page.box(left, line + 0.55, 0.14, 0.14, color=colours[name])
        page.text(left + 0.2, line + 0.67, label, size=9, va="baseline")
    wide = (WIDTH - 2 * MARGIN - GAP) / 2
    for k, (what, unit) in enumerate((("seconds", "seconds a video"), ("words", "words a text"))):
        shown = {name: figures[what] for name, figures in granularities.items() if figures[what]["count"]}
        _histograms(page, (MARGIN + k * (wide + GAP), down + TOP + 0.35, wide), shown, colours, unit)
    for row, each in enumerate(agreed, start=1):
        top = down + TOP + 0.35 + ROW * row
        _similarities(page, (MARGIN, top, wide), each, colours.get(each.level, INK))
        _map(page, (MARGIN + wide + GAP, top, wide), each, colours.get(each.level, INK))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def _key(granularities: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, tuple[float, float, str]], float]:
    """Name -> left, line and label in the key on top; and how much higher than one line it is."""
    found, left, line = {}, MARGIN, 0.0
    for name, figures in granularities.items():
        label = f"{name}: {figures['rows']:,} rows"
        wide = 0.45 + LETTER * len(label)
        if left > MARGIN and left + wide > WIDTH:
            left, line = MARGIN, line + LINE
        found[name] = (left, line, label)
        left += wide
    return found, line


def _legend(page: Page, axes: Any, entries: int = 0) -> None:
    """A legend that is never read as formulas; with a number of entries, above bars that leave it room."""
    columns = 1 + (entries - 1) // 6
    if entries:
        room = -(-entries // columns) * ENTRY / CHART
        axes.set_ylim(0, axes.get_ylim()[1] / (1 - room))
    place = "upper right" if entries else "best"
    shown = axes.legend(fontsize=SMALL, frameon=False, labelcolor=INK, loc=place, ncols=max(1, columns))
    for text in shown.get_texts():
        text.set(parse_math=False, family=page.family)


def _axes(page: Page, place: tuple[float, float, float], title: str) -> Any:
    left, top, wide = place
    page.text(left, top - 0.12, title, size=10, va="baseline", weight="bold")
    axes = page.plot(left, top, wide, CHART)
    axes.spines["bottom"].set(visible=True, color=PALE)
    axes.tick_params(labelsize=SMALL, labelcolor=MUTED, color=PALE)
    return axes


def _histograms(
    page: Page,
    place: tuple[float, float, float],
    shown: Mapping[str, Mapping[str, Any]],
    colours: Mapping[str, str],
    unit: str,
) -> None:
    """Shares of rows by bin, the granularities side by side; bins are drawn equally wide."""
    axes = _axes(page, place, f"Share of rows by {unit}")
    if not shown:
        axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center", color=MUTED, size=10)
        return
    counts = np.array([each["histogram"] for each in shown.values()], dtype=float)
    used = np.flatnonzero(counts.any(axis=0))
    first, last = int(used[0]), int(used[-1]) + 1
    bounds = next(iter(shown.values()))["bounds"]
    shares = counts / counts.sum(axis=1, keepdims=True)
    wide = 0.8 / len(shown)
    for k, name in enumerate(shown):
        at = np.arange(first, last) - 0.4 + wide * (k + 0.5)
        mean = f"mean {shown[name]['mean']:.1f}"
        axes.bar(at, shares[k, first:last], wide, color=colours[name], label=f"{name}, {mean}")
    labels = [f"{low}-{high}" for low, high in zip(bounds, [*bounds[1:], None], strict=True)]
    labels = [label.replace("-None", "+") for label in labels]
    axes.set_xticks(range(first, last), labels[first:last])
    axes.tick_params(axis="x", rotation=30 if last - first > 8 else 0)
    top = float(shares.max())
    ticks = [tick for tick in (0.1, 0.25, 0.5, 0.75, 1.0) if tick <= top * 1.05]
    axes.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
    _legend(page, axes, len(shown))


def _similarities(page: Page, place: tuple[float, float, float], each: Agreement, colour: str) -> None:
    axes = _axes(page, place, f"{each.level}: similarity of long and short text ({each.measure})")
    lowest = min(0.0, float(min(each.own.min(), each.others.min(initial=0.0))))
    bins = np.linspace(lowest, 1.0, 41)
    for values, tint, label in ((each.own, colour, "its own summary"), (each.others, MUTED, "another text's summary")):
        if len(values):
            told = f"{label}: {values.mean():.3f} ± {values.std():.3f}"
            axes.hist(np.clip(values, lowest, 1.0), bins, color=tint, alpha=0.75, label=told)
    axes.set_xticks(np.arange(np.ceil(lowest * 5) / 5, 1.01, 0.2))
    _legend(page, axes, 2)


def _map(page: Page, place: tuple[float, float, float], each: Agreement, colour: str) -> None:
    axes = _axes(page, place, f"{each.level}: long texts and their summaries (t-SNE, a line each)")
    axes.spines["bottom"].set_visible(False)
    if each.long is None or each.short is None:
        axes.text(0.5, 0.5, "too few pairs for a map", transform=axes.transAxes, ha="center", color=MUTED, size=10)
        return
    for long, short in zip(each.long, each.short, strict=True):
        axes.plot(*zip(long, short, strict=True), color=PALE, linewidth=0.8, zorder=1)
    axes.scatter(*each.long.T, s=12, color=INK, label="long", zorder=2)
    axes.scatter(*each.short.T, s=12, color=colour, label="short", zorder=3)
    if len(each.videos):
        axes.scatter(*each.videos.T, s=14, color=MUTED, marker="^", label="video", zorder=2)
    _legend(page, axes)
