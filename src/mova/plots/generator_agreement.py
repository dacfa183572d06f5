"""How well generators follow negative captions, by the kind of their misalignment: SynViTA's Fig. 2.

For every synthetic video the difference `f(V^s, t^s) - f(V^s, t^r)` of its scores with the caption that it was rendered
from and with that of the real video (Zanella et al., papers/synvita.txt). Above 0 it shows rather what it should.

Shape legend: n videos.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from mova.errors import DataError
from mova.plots.style import INK, MUTED, PALE, Page

ALL, UNKNOWN = "all", "unknown"
COLUMNS, WIDE, TALL, GAP, MARGIN, TOP = 4, 3.0, 1.55, 0.42, 0.5, 1.05
"""Of the page: panels in a row, a panel, between panels, around them, above them (inches)."""
BLUE, RED = "#4c72b0", "#c2353c"
BIN = 0.05
"""Width of a bar, in units of score."""


@dataclass(frozen=True)
class Spread:
    """The differences of one kind.

    Attributes:
        kind: of misalignment, `all` or `unknown`.
        count: n.
        mean, std: of the differences; the deviation divides by n.
        quartiles: first, median, third.
        below: share of videos that show rather the real caption (difference < 0).
        ties: share with a difference of exactly 0.
        edges: (bins + 1,) of the bars.
        bars: (bins,) videos in each; the last holds its upper edge too.
    """

    kind: str
    count: int
    mean: float
    std: float
    quartiles: tuple[float, float, float]
    below: float
    ties: float
    edges: tuple[float, ...]
    bars: tuple[int, ...]


def spreads(kinds: Sequence[str | None], own: npt.ArrayLike, other: npt.ArrayLike) -> list[Spread]:
    """All videos together, then each kind that occurs, in alphabetical order, `unknown` last.

    Args:
        kinds: n misalignments; None where not known.
        own, other: (n,), scores in [0, 1] of each video with its own caption and with that of the real video.

    Raises:
        DataError: no videos, lengths that differ, or scores that are no probabilities.
    """
    pair = [np.asarray(each, dtype=np.float64) for each in (own, other)]
    if not len(kinds) or any(each.shape != (len(kinds),) for each in pair):
        shapes = " and ".join(str(each.shape) for each in pair)
        raise DataError(f"one kind and two scores a video are needed, not {len(kinds)} kinds and scores {shapes}")
    if not all(((each >= 0) & (each <= 1)).all() for each in pair):
        raise DataError("scores must lie in [0, 1]; some do not, or are not numbers")
    differences = pair[0] - pair[1]
    edges = _edges(differences)
    names = np.array([kind or UNKNOWN for kind in kinds])
    order = sorted(set(names.tolist()), key=lambda name: (name == UNKNOWN, name))
    return [_spread(ALL, differences, edges), *(_spread(name, differences[names == name], edges) for name in order)]


def draw_misalignments(found: Sequence[Spread], path: str | Path, title: str = "") -> Path:
    """Draw one panel a kind as PNG, and write the same as a table beside it (`.json`).

    The scale of differences is the same in all panels, that of counts is each panel's own. Kinds whose mean is below 0
    are red, as in the paper.

    Args:
        found: of `spreads`.
        path: of the picture; its folder is made.
        title: what was measured, such as generator and models.
    """
    lines = -(-len(found) // COLUMNS)
    columns = min(COLUMNS, len(found))
    height = TOP + lines * (TALL + GAP + 0.2)
    page = Page(2 * MARGIN + COLUMNS * WIDE + (COLUMNS - 1) * GAP, height)
    page.text(MARGIN, 0.4, "Do synthetic videos show their caption?", size=13, weight="bold", va="baseline")
    told = "Score with the caption rendered minus score with the real video's caption; dashed: the mean."
    page.text(MARGIN, 0.64, f"{told}  {title}".rstrip(), size=9.5, color=MUTED, va="baseline")
    for place, spread in enumerate(found):
        left = MARGIN + place % columns * (WIDE + GAP)
        _panel(page, spread, left, TOP + place // columns * (TALL + GAP + 0.2))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)
    path.with_suffix(".json").write_text(json.dumps(table(found), indent=1) + "\n", encoding="utf-8")
    return path


def table(found: Sequence[Spread]) -> list[dict[str, Any]]:
    """Spreads as JSON."""
    return [asdict(each) for each in found]


def _edges(differences: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Bars from the smallest to the greatest difference; 0 is an edge and inside."""
    low = min(-1, int(np.floor(differences.min() / BIN)))
    high = max(1, int(np.ceil(differences.max() / BIN)))
    return np.arange(low, high + 1, dtype=np.float64) * BIN


def _spread(kind: str, differences: npt.NDArray[Any], edges: npt.NDArray[Any]) -> Spread:
    first, median, third = np.quantile(differences, [0.25, 0.5, 0.75]).tolist()
    bars, _ = np.histogram(differences, bins=edges)
    return Spread(
        kind=kind,
        count=len(differences),
        mean=float(differences.mean()),
        std=float(differences.std()),
        quartiles=(first, median, third),
        below=float((differences < 0).mean()),
        ties=float((differences == 0).mean()),
        edges=tuple(edges.round(10).tolist()),
        bars=tuple(bars.tolist()),
    )


def _panel(page: Page, spread: Spread, left: float, top: float) -> None:
    colour = RED if spread.mean < 0 else INK
    page.text(left, top + 0.02, spread.kind.capitalize(), size=10.5, weight="bold", color=colour, va="baseline")
    told = f"mean {spread.mean:+.2f}  std {spread.std:.2f}  n {spread.count}"
    page.text(left + WIDE, top + 0.02, told, size=8.5, color=colour, ha="right", va="baseline")
    axes: Any = page.plot(left, top + 0.1, WIDE, TALL)
    axes.stairs(spread.bars, spread.edges, fill=True, facecolor=BLUE, edgecolor="none")
    axes.axvline(0.0, color=PALE, linewidth=1.0, zorder=0)
    axes.axvline(spread.mean, color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.set(xlim=(spread.edges[0], spread.edges[-1]), ylim=(0, 1.08 * max(spread.bars)))
    axes.spines["bottom"].set(visible=True, color=PALE)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.tick_params(length=0, pad=2, labelsize=8, labelcolor=MUTED)
