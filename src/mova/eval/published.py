"""Figures that others published, as data with their sources, and whether a report meets them.

The figures lie in `published_results/*.json`, a file a source. A published recall is one draw: another sample of as
many videos would have given another one. So a recall p over n videos is a band, p +- 1.96 sqrt(p (1 - p) / n): the
95 % interval of a binomial share. Captions of one video are not independent, so n counts videos, not queries. Within
is a hit. Ranks (MdR, MnR) have no such interval; they are shown, and nothing is said of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from mova.errors import DataError, UsageError

Verdict = Literal["hit", "below", "above"]
WAYS = ("t2v", "v2t", "classify", "choice")
"""What figures may be of: retrieval both ways, and the other tasks of `mova eval`."""
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Figure:
    """What one row of a published table says.

    Attributes:
        system: whose figures.
        protocol: what they were measured on, as `mova eval --protocol` names it.
        setting: "fine-tuned" or "zero-shot".
        source: paper or repository; `where` is the table in it.
        form: which of the system's forms, where it is not the whole one: an ablation, say.
        ways: way -> metric -> value; recalls, accuracies and mAP in per cent.
        note: what a reader must know.
        comparable: False where the test is known to be another one than the protocol's.
    """

    system: str
    protocol: str
    setting: str
    source: str
    where: str
    ways: Mapping[str, Mapping[str, float]]
    form: str = ""
    note: str = ""
    comparable: bool = True

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """A published metric beside ours: its band (per cent, None for ranks), and on which side of it ours lies."""

    way: str
    metric: str
    published: float
    low: float | None
    high: float | None
    found: float
    verdict: Verdict | None

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


@cache
def published_figures() -> tuple[Figure, ...]:
    """All figures that come with the package, file by file in the order of their names.

    Raises:
        DataError: a file is damaged.
    """
    folder = Path(str(files("mova.eval"))) / "published_results"
    return tuple(figure for path in sorted(folder.glob("*.json")) for figure in read_figures(path))


def read_figures(path: str | Path) -> list[Figure]:
    """The figures of one file.

    Raises:
        DataError: it cannot be read, or an entry lacks or has a key that it must not.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        found = []
        for entry in document["figures"]:
            ways = {way: dict(entry.pop(way)) for way in WAYS if way in entry}
            found.append(Figure(source=document["source"], ways=ways, **entry))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as published figures: {type(error).__name__}: {error}") from error
    return found


def find_target(system: str, protocol: str, setting: str = "fine-tuned") -> Figure:
    """The one figure that a recipe is to meet.

    Raises:
        UsageError: there is none, or more than one.
    """
    found = [
        f for f in published_figures() if (f.system, f.form, f.protocol, f.setting) == (system, "", protocol, setting)
    ]
    if len(found) != 1:
        known = ", ".join(sorted({f.system for f in published_figures() if f.protocol == protocol})) or "nothing"
        raise UsageError(
            f"{len(found)} published figures of {system!r} on {protocol}, {setting}; there are some of {known}"
        )
    return found[0]


def others(target: Figure) -> list[Figure]:
    """Figures of other systems and forms on the same protocol, in the order of the files."""
    return [f for f in published_figures() if f.protocol == target.protocol and f != target]


def band(percent: float, videos: int) -> tuple[float, float]:
    """95 % interval of a share of `videos` independent trials, per cent, by the normal approximation.

    Raises:
        ValueError: not a per cent, or no videos.
    """
    if not (0 <= percent <= 100 and videos > 0):
        raise ValueError(f"a share of 0 to 100 per cent of at least one video expected, not {percent} of {videos}")
    share = percent / 100
    half = 100 * NORMAL_95 * math.sqrt(share * (1 - share) / videos)
    return max(0.0, percent - half), min(100.0, percent + half)


def compare_with_published(
    measured: Mapping[str, Mapping[str, float]], figure: Figure, videos: int
) -> list[Comparison]:
    """Compare every metric of a published figure that was measured too.

    Args:
        measured: direction -> metric -> value.
        figure: the published figure.
        videos: in the test that was published, which decides the width of the band.
    """
    rows = []
    for way, metrics in figure.ways.items():
        for metric, value in metrics.items():
            if metric not in measured.get(way, {}):
                continue
            found = float(measured[way][metric])
            low, high, verdict = None, None, None
            if metric.startswith("R@"):
                low, high = band(value, videos)
                verdict = judge(found, low, high)
            rows.append(Comparison(way, metric, value, low, high, found, verdict))
    return rows


def judge(found: float, low: float, high: float) -> Verdict:
    """On which side of a band a figure lies; the ends belong to the band."""
    if found < low:
        return "below"
    return "above" if found > high else "hit"


def overall(rows: list[Comparison]) -> Verdict | None:
    """ "below" if any metric is, else "above" if any is, else "hit"; None where nothing has a band."""
    verdicts = {row.verdict for row in rows} - {None}
    for verdict in ("below", "above", "hit"):
        if verdict in verdicts:
            return verdict
    return None
