"""Draw an expansion: lengths of videos and texts by granularity, and similarity of long and short texts.

Lengths on the page are in inches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mova.eval.summary_agreement import Agreement
from mova.plots.style import INK, MUTED, PALE, Page, with_minus_signs

COLORS = (
    *("#2f6db5", "#d9822b", "#3a9d5d", "#8a56b0", "#b53f4c", "#5d6b7a"),
    *("#8fbbe8", "#f2c48d", "#9ad3ae", "#cdb2e0", "#e8a3aa", "#1f9ea3"),
)
WIDTH, MARGIN, TOP, GAP = 12.0, 0.75, 0.95, 1.0
CHART = 2.6
"""Height of a chart."""
ROW = 3.75
"""Distance between rows of charts."""
LINE, LETTER = 0.24, 0.085
"""Height of a line and width of a letter in the key."""
SMALL, ENTRY = 8.0, 0.165
"""Font size of labels in points, and height of an entry in a chart's legend."""


def draw_expansion(
    granularities: Mapping[str, Mapping[str, Any]], agreements: Sequence[Agreement], path: str | Path
) -> None:
    """Draw a report as PNG; the folder is created if missing.

    Args:
        granularities: `Expansion.to_json()["granularities"]`.
        agreements: similarity of long and short texts per granularity; may be empty.
        path: file to write.
    """
    key, down = _key(granularities)
    page = Page(WIDTH, down + TOP + ROW * (1 + len(agreements)) - 0.15)
    colors = {name: COLORS[k % len(COLORS)] for k, name in enumerate(granularities)}
    page.text(MARGIN, 0.4, "Granularity expansion", size=15, va="baseline", weight="bold")
    for name, (left, line, label) in key.items():
        page.box(left, line + 0.55, 0.14, 0.14, color=colors[name])
        page.text(left + 0.2, line + 0.67, label, size=9, va="baseline")
    wide = (WIDTH - 2 * MARGIN - GAP) / 2
    for k, (measure, unit) in enumerate((("seconds", "seconds per video"), ("words", "words per text"))):
        lengths = {name: figures[measure] for name, figures in granularities.items() if figures[measure]["count"]}
        _histograms(page, (MARGIN + k * (wide + GAP), down + TOP + 0.35, wide), lengths, colors, unit)
    for row, agreement in enumerate(agreements, start=1):
        top = down + TOP + 0.35 + ROW * row
        color = colors.get(agreement.level, INK)
        _similarities(page, (MARGIN, top, wide), agreement, color)
        _map(page, (MARGIN + wide + GAP, top, wide), agreement, color)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def _key(granularities: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, tuple[float, float, str]], float]:
    """Lay out the key: left, line and label by name, and the extra height if it needs several lines."""
    entries, left, line = {}, MARGIN, 0.0
    for name, figures in granularities.items():
        label = f"{name}: {figures['rows']:,} rows"
        wide = 0.45 + LETTER * len(label)
        if left > MARGIN and left + wide > WIDTH:
            left, line = MARGIN, line + LINE
        entries[name] = (left, line, label)
        left += wide
    return entries, line


def _legend(page: Page, axes: Any, entries: int = 0) -> None:
    """Add a legend, never parsed as formulas; with `entries`, reserve space for it above the bars."""
    columns = 1 + (entries - 1) // 6
    if entries:
        share = -(-entries // columns) * ENTRY / CHART
        axes.set_ylim(0, axes.get_ylim()[1] / (1 - share))
    location = "upper right" if entries else "best"
    legend = axes.legend(fontsize=SMALL, frameon=False, labelcolor=INK, loc=location, ncols=max(1, columns))
    for text in legend.get_texts():
        text.set(parse_math=False, family=page.family)


def _axes(page: Page, position: tuple[float, float, float], title: str) -> Any:
    left, top, wide = position
    page.text(left, top - 0.12, title, size=10, va="baseline", weight="bold")
    axes = page.plot(left, top, wide, CHART)
    axes.spines["bottom"].set(visible=True, color=PALE)
    axes.tick_params(labelsize=SMALL, labelcolor=MUTED, color=PALE)
    return axes


def _histograms(
    page: Page,
    position: tuple[float, float, float],
    lengths: Mapping[str, Mapping[str, Any]],
    colors: Mapping[str, str],
    unit: str,
) -> None:
    """Draw the share of rows per bin, granularities side by side; all bins have equal width."""
    axes = _axes(page, position, f"Share of rows by {unit}")
    if not lengths:
        axes.text(0.5, 0.5, "unknown", transform=axes.transAxes, ha="center", color=MUTED, size=10)
        return
    counts = np.array([row["histogram"] for row in lengths.values()], dtype=float)
    used = np.flatnonzero(counts.any(axis=0))
    first, last = int(used[0]), int(used[-1]) + 1
    bounds = next(iter(lengths.values()))["bounds"]
    shares = counts / counts.sum(axis=1, keepdims=True)
    wide = 0.8 / len(lengths)
    for k, name in enumerate(lengths):
        at = np.arange(first, last) - 0.4 + wide * (k + 0.5)
        mean = f"mean {lengths[name]['mean']:.1f}"
        axes.bar(at, shares[k, first:last], wide, color=colors[name], label=f"{name}, {mean}")
    labels = [f"{low}-{high}" for low, high in zip(bounds, [*bounds[1:], None], strict=True)]
    labels = [label.replace("-None", "+") for label in labels]
    axes.set_xticks(range(first, last), labels[first:last])
    axes.tick_params(axis="x", rotation=30 if last - first > 8 else 0)
    top = float(shares.max())
    ticks = [tick for tick in (0.1, 0.25, 0.5, 0.75, 1.0) if tick <= top * 1.05]
    axes.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
    _legend(page, axes, len(lengths))


def _similarities(page: Page, position: tuple[float, float, float], agreement: Agreement, color: str) -> None:
    axes = _axes(page, position, f"{agreement.level}: similarity of long and short text ({agreement.measure})")
    lowest = min(0.0, float(min(agreement.paired.min(), agreement.others.min(initial=0.0))))
    bins = np.linspace(lowest, 1.0, 41)
    series = ((agreement.paired, color, "own summary"), (agreement.others, MUTED, "summary of another text"))
    for values, tint, label in series:
        if len(values):
            spread = with_minus_signs(f"{label}: {values.mean():.3f} ± {values.std():.3f}")
            axes.hist(np.clip(values, lowest, 1.0), bins, color=tint, alpha=0.75, label=spread)
    axes.set_xticks(np.arange(np.ceil(lowest * 5) / 5, 1.01, 0.2))
    _legend(page, axes, 2)


def _map(page: Page, position: tuple[float, float, float], agreement: Agreement, color: str) -> None:
    axes = _axes(page, position, f"{agreement.level}: long texts and their summaries (t-SNE)")
    axes.spines["bottom"].set_visible(False)
    if agreement.long is None or agreement.short is None:
        axes.text(0.5, 0.5, "too few pairs for a map", transform=axes.transAxes, ha="center", color=MUTED, size=10)
        return
    for long, short in zip(agreement.long, agreement.short, strict=True):
        axes.plot(*zip(long, short, strict=True), color=PALE, linewidth=0.8, zorder=1)
    axes.scatter(*agreement.long.T, s=12, color=INK, label="long", zorder=2)
    axes.scatter(*agreement.short.T, s=12, color=color, label="short", zorder=3)
    if len(agreement.videos):
        axes.scatter(*agreement.videos.T, s=14, color=MUTED, marker="^", label="video", zorder=2)
    _legend(page, axes)
