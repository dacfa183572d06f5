"""Published figures of other systems, as data with sources, and whether a report reproduces them.

The figures are in `published_results/*.json`, one file per source. A published recall is a sample: other videos, as
many, would give another value. A recall p over n videos is therefore compared as a band, p +- 1.96 sqrt(p (1 - p) / n),
the 95 % interval of a binomial share. Captions of one video are not independent, so n counts videos, not queries. A
value within the band is a hit. Ranks (MdR, MnR) have no such interval; they are printed without a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from mova.errors import DataError, UsageError
from mova.eval.metrics.bootstrap import Interval
from mova.utils.text_files import parse_json, read_text

Verdict = Literal["hit", "below", "above"]
WAYS = ("t2v", "v2t", "classify", "choice", "entailment", "moments", "points")
"""Groups of figures: both directions of retrieval, and other tasks of `mova eval`; "points" are those of paragraphs."""
SHARES = ("R@", "R1@", "accuracy")
"""Beginnings of the names of metrics that are shares of queries."""
RANKS = ("MdR", "MnR")
"""Metrics without a verdict."""
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Figure:
    """One row of a published table.

    Attributes:
        system: name of the system.
        protocol: evaluation protocol, as in `mova eval --protocol`.
        setting: "fine-tuned" or "zero-shot".
        source: paper or repository; `where` is the table in it.
        form: variant of the system, such as an ablation; empty for the full system.
        ways: group -> metric -> value; recalls, accuracies and mAP in percent.
        note: a caveat for readers.
        scoring: scoring form of `eval/tasks/scoring_forms.py` that the figure was measured by; empty if not known.
        scoring_assumed: whether the source does not name that form, so that it is an assumption.
        comparable: False if the published test is known to differ from the protocol's.
    """

    system: str
    protocol: str
    setting: str
    source: str
    where: str
    ways: Mapping[str, Mapping[str, float]]
    form: str = ""
    note: str = ""
    scoring: str = ""
    scoring_assumed: bool = False
    comparable: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """A published metric, its band (percent; None for ranks), the measured value, and the verdict."""

    way: str
    metric: str
    published: float
    low: float | None
    high: float | None
    measured: float
    verdict: Verdict | None

    def to_json(self) -> dict[str, Any]:
        """Return all fields; the measured value is "found" in the document."""
        fields = asdict(self)
        return {"found" if name == "measured" else name: value for name, value in fields.items()}


@cache
def published_figures() -> tuple[Figure, ...]:
    """Return all figures shipped with the package, in order of file name.

    Raises:
        DataError: a file is damaged.
    """
    folder = Path(str(files("mova.eval"))) / "published_results"
    return tuple(figure for path in sorted(folder.glob("*.json")) for figure in read_figures(path))


def read_figures(path: str | Path) -> list[Figure]:
    """Read the figures of one file.

    Raises:
        DataError: it cannot be read, or an entry lacks a key or has an unknown one.
    """
    try:
        document = parse_json(read_text(path), "a JSON document")
        figures = []
        for entry in document["figures"]:
            ways = {way: dict(entry.pop(way)) for way in WAYS if way in entry}
            of_all = {"scoring": document.get("scoring", ""), "scoring_assumed": document.get("scoring_assumed", False)}
            entry = of_all | entry
            figures.append(Figure(source=document["source"], ways=ways, **entry))
    except (DataError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read as published figures: {type(error).__name__}: {error}") from error
    return figures


def find_target(system: str, protocol: str, setting: str = "fine-tuned", form: str = "") -> Figure:
    """Return the published figure that a recipe should reproduce.

    >>> find_target("MoVA", "didemo").ways["t2v"]["R@1"]
    57.5

    Raises:
        UsageError: no published figure matches, or several do.
    """
    matches = [
        f for f in published_figures() if (f.system, f.form, f.protocol, f.setting) == (system, form, protocol, setting)
    ]
    if len(matches) != 1:
        known = ", ".join(sorted({f.system for f in published_figures() if f.protocol == protocol})) or "nothing"
        raise UsageError(
            f"{len(matches)} published figures of {system!r} on {protocol}, {setting}"
            f"{f', {form!r}' if form else ''}; systems with figures: {known}"
        )
    return matches[0]


def others(target: Figure) -> list[Figure]:
    """Return the figures of other systems and variants on the same protocol, in the order of the files."""
    return [f for f in published_figures() if f.protocol == target.protocol and f != target]


def band(percent: float, videos: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `videos` independent trials, in percent, by the normal approximation.

    >>> low, high = band(50.0, 1000)
    >>> round(low, 2), round(high, 2)
    (46.9, 53.1)

    Raises:
        ValueError: not a percentage, or no videos.
    """
    if not (0 <= percent <= 100 and videos > 0):
        raise ValueError(f"a share of 0 to 100 percent of at least one video expected, not {percent} of {videos}")
    share = percent / 100
    half = 100 * NORMAL_95 * math.sqrt(share * (1 - share) / videos)
    return max(0.0, percent - half), min(100.0, percent + half)


def compare_with_published(
    measured: Mapping[str, Mapping[str, float]],
    figure: Figure,
    videos: int,
    intervals: Mapping[str, Mapping[str, Interval]] | None = None,
) -> list[Comparison]:
    """Compare every metric of a published figure that was measured too.

    Args:
        measured: direction -> metric -> value.
        figure: the published figure.
        videos: in the test that was published, which decides the width of the band of a share.
        intervals: direction -> metric -> bootstrap interval of the value, which decides that of mAP and ROC-AUC.
    """
    rows = []
    for way, metrics in figure.ways.items():
        for metric, value in metrics.items():
            if metric not in measured.get(way, {}):
                continue
            ours = float(measured[way][metric])
            low, high, verdict = None, None, None
            interval = (intervals or {}).get(way, {}).get(metric)
            if metric.startswith(SHARES):
                low, high = band(value, videos)
            elif interval is not None and metric not in RANKS:
                low, high = value - (interval.high - ours), value + (ours - interval.low)
            if low is not None and high is not None:
                verdict = judge(ours, low, high)
            rows.append(Comparison(way, metric, value, low, high, ours, verdict))
    return rows


def judge(percent: float, low: float, high: float) -> Verdict:
    """Return the position of a figure relative to a band, whose ends are included.

    >>> judge(50.0, 46.9, 53.1)
    'hit'
    """
    if percent < low:
        return "below"
    return "above" if percent > high else "hit"


def overall(rows: list[Comparison]) -> Verdict | None:
    """Return "below" if any metric is, else "above" if any is, else "hit"; None if no metric has a verdict.

    >>> overall([])
    """
    verdicts = {row.verdict for row in rows} - {None}
    for verdict in ("below", "above", "hit"):
        if verdict in verdicts:
            return verdict
    return None
