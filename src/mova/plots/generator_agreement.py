"""Draw how well generators follow negative captions, by kind of misalignment: SynViTA (Zanella et al. 2025), Fig. 2.

The difference `f(V^s, t^s) - f(V^s, t^r)` compares the scores of a synthetic video with the caption it was rendered
from and with the caption of the real video. Above 0 the video matches its own caption better.

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
from mova.plots.style import INK, MUTED, PALE, Page, with_minus_signs
from mova.utils.replacing import replacing

ALL, UNKNOWN = "all", "unknown"
COLUMNS, WIDE, TALL, GAP, MARGIN, TOP = 4, 3.0, 1.55, 0.42, 0.5, 1.05
"""Panels per row; width, height and spacing of panels, margin, and space above them, in inches."""
BLUE, RED = "#4c72b0", "#c2353c"
BIN = 0.05
"""Width of a bar, in units of score."""


@dataclass(frozen=True)
class Spread:
    """Distribution of the differences of one kind.

    Attributes:
        kind: kind of misalignment, `all` or `unknown`.
        count: n.
        mean, std: of the differences; the standard deviation divides by n.
        quartiles: first quartile, median, third quartile.
        below: share of videos that match the real video's caption better (difference < 0).
        ties: share with a difference of exactly 0.
        edges: (bins + 1,), bin edges.
        bars: (bins,), videos per bin; the last bin includes its upper edge.
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
    """Compute the spread of all videos, then of each kind that occurs, in alphabetical order with `unknown` last.

    Args:
        kinds: n kinds of misalignment; None if unknown.
        own, other: (n,), scores in [0, 1] of each video with its own caption and with that of the real video.

    Raises:
        DataError: no videos, lengths that differ, or scores that are not probabilities.

    Example:
        >>> [(spread.kind, round(spread.mean, 2)) for spread in spreads(["count", "flip"], [0.9, 0.4], [0.5, 0.6])]
        [('all', 0.1), ('count', 0.4), ('flip', -0.2)]
    """
    pair = [np.asarray(scores, dtype=np.float64) for scores in (own, other)]
    if not len(kinds) or any(scores.shape != (len(kinds),) for scores in pair):
        shapes = " and ".join(str(scores.shape) for scores in pair)
        raise DataError(f"expected one kind and two scores per video, not {len(kinds)} kinds and scores {shapes}")
    if not all(((scores >= 0) & (scores <= 1)).all() for scores in pair):
        raise DataError("scores must be in [0, 1]; some are not, or are not numbers")
    differences = pair[0] - pair[1]
    edges = _edges(differences)
    names = np.array([kind or UNKNOWN for kind in kinds])
    order = sorted(set(names.tolist()), key=lambda name: (name == UNKNOWN, name))
    return [_spread(ALL, differences, edges), *(_spread(name, differences[names == name], edges) for name in order)]


def draw_misalignments(groups: Sequence[Spread], path: str | Path, title: str = "") -> Path:
    """Draw one panel per kind as PNG, and write the same numbers as `.json` next to it.

    All panels share the scale of differences; each has its own scale of counts. Kinds whose mean is below 0 are red, as
    in the paper.

    Args:
        groups: result of `spreads`.
        path: path of the picture; its folder is created if missing.
        title: what was measured, such as generator and models.
    """
    lines = -(-len(groups) // COLUMNS)
    columns = min(COLUMNS, len(groups))
    height = TOP + lines * (TALL + GAP + 0.2)
    page = Page(2 * MARGIN + COLUMNS * WIDE + (COLUMNS - 1) * GAP, height)
    page.text(MARGIN, 0.4, "Do synthetic videos match their caption?", size=13, weight="bold", va="baseline")
    note = "Score with the rendered caption minus score with the real video's caption. Dashed: mean."
    page.text(MARGIN, 0.64, f"{note}  {title}".rstrip(), size=9.5, color=MUTED, va="baseline")
    for i, spread in enumerate(groups):
        left = MARGIN + i % columns * (WIDE + GAP)
        _panel(page, spread, left, TOP + i // columns * (TALL + GAP + 0.2))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(table(groups), indent=1) + "\n", encoding="utf-8")
    return path


def table(groups: Sequence[Spread]) -> list[dict[str, Any]]:
    """Convert spreads to JSON objects."""
    return [asdict(spread) for spread in groups]


def _edges(differences: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return bin edges from the smallest to the largest difference; 0 is an inner edge."""
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
    color = RED if spread.mean < 0 else INK
    page.text(left, top + 0.02, spread.kind.capitalize(), size=10.5, weight="bold", color=color, va="baseline")
    numbers = with_minus_signs(f"mean {spread.mean:+.2f}  std {spread.std:.2f}  n {spread.count}")
    page.text(left + WIDE, top + 0.02, numbers, size=8.5, color=color, ha="right", va="baseline")
    axes: Any = page.plot(left, top + 0.1, WIDE, TALL)
    axes.stairs(spread.bars, spread.edges, fill=True, facecolor=BLUE, edgecolor="none")
    axes.axvline(0.0, color=PALE, linewidth=1.0, zorder=0)
    axes.axvline(spread.mean, color=color, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.set(xlim=(spread.edges[0], spread.edges[-1]), ylim=(0, 1.08 * max(spread.bars)))
    axes.spines["bottom"].set(visible=True, color=PALE)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.tick_params(length=0, pad=2, labelsize=8, labelcolor=MUTED)
