"""Draw the figures of a report as bars with their intervals: PNG.

Lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mova.errors import UsageError
from mova.plots.style import INK, MUTED, Page
from mova.plots.timeline_rows import COLORS

BARS, VALUES, LINE, MARGIN, GAP, LETTER = 2.5, 1.6, 0.26, 0.25, 0.14, 0.085
MOST = 80
"""Figures in one picture."""


def draw_figures(rows: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Draw one bar per figure. Bars of one metric share a scale: to 100 for a percentage, else to their maximum.

    Args:
        rows: of `Report.rows`.
        path: `.png`; the folder is created if missing.

    Raises:
        UsageError: another extension, no figure, or more than `MOST`.

    >>> row = {"part": "t2v", "metric": "R@1", "value": 40.0, "low": 31.0, "high": 49.0}
    >>> draw_figures([row], "report.png").name
    'report.png'
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: the extension must be .png")
    if not 0 < len(rows) <= MOST:
        raise UsageError(f"a picture has 1 to {MOST} figures, not {len(rows)}; use to_pandas()")
    target.parent.mkdir(parents=True, exist_ok=True)
    parts = list(dict.fromkeys(row["part"] for row in rows))
    names = LETTER * max(len(f"{row['part']}  {row['metric']}") for row in rows)
    page = Page(2 * MARGIN + names + BARS + VALUES, 2 * MARGIN + LINE * len(rows) + GAP * (len(parts) - 1))
    top = MARGIN
    for number, part in enumerate(parts):
        for row in (row for row in rows if row["part"] == part):
            _bar(page, MARGIN + names, top, row, _limit(rows, row["metric"]), COLORS[number % len(COLORS)])
            top += LINE
        top += GAP
    page.save(target)
    return target


def _limit(rows: Sequence[Mapping[str, Any]], metric: str) -> float:
    values = [value for row in rows if row["metric"] == metric for value in (row["value"], row["high"] or 0.0)]
    highest = max(values)
    return 100.0 if 1 < highest <= 100 and metric not in ("MdR", "MnR") else max(highest, 1e-9)


def _bar(page: Page, left: float, top: float, row: Mapping[str, Any], limit: float, color: str) -> None:
    width = BARS
    middle = top + LINE / 2
    page.text(left - 0.1, middle, f"{row['part']}  {row['metric']}", size=9, color=INK, ha="right", va="center")
    page.box(left, top + 0.05, width, LINE - 0.1, facecolor="#f2f4f8", edgecolor="none")
    filled = width * min(max(row["value"] / limit, 0.0), 1.0)
    page.box(left, top + 0.05, filled, LINE - 0.1, facecolor=color, edgecolor="none")
    label = f"{row['value']:.2f}"
    if row["low"] is not None:
        low, high = (width * min(max(row[name] / limit, 0.0), 1.0) for name in ("low", "high"))
        page.box(left + low, middle - 0.012, max(high - low, 0.01), 0.024, facecolor=INK, edgecolor="none")
        label += f"  [{row['low']:.2f}, {row['high']:.2f}]"
    page.text(left + width + 0.08, middle, label, size=8, color=MUTED, va="center")
