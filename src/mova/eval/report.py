"""The report of one evaluation: what was measured, its metrics, and the values of single queries.

A task makes a `Report` once. `Report.to_json` writes the document of `mova eval ... --json`, `Report.from_json` reads
it back (`mova eval compare`), and `mova.eval.render` prints it. In the document, `places` holds the values of single
queries, so that two reports can be compared query by query.

Shape legend: Q queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.displayed import Displayed
from mova.errors import DataError
from mova.eval.metrics.bootstrap import Interval, Statistic, bootstrap, mean, median
from mova.eval.metrics.ranking import KS, Ranks, summarize, tie_bounds
from mova.eval.protocols import Protocol

DIRECTIONS = ("t2v", "v2t")
"""Text to video, and video to text."""
DIGITS = 2
"""Decimals of a printed figure. Tie bounds that agree to this many decimals are omitted."""

_HEAD = ("protocol", "fingerprint", "order", "queries", "candidates", "settings")
_EVALUATED = ("task", "model", "excluded")
_OF_SCORES = ("protocol", "fingerprint", "order", "queries", "candidates", "ties", "settings")
_OF_RANKS = (
    *(*_OF_SCORES, "bounds", "intervals", "places", "conventions", *DIRECTIONS),
    *("other arithmetic", "compat", "transductive", *_EVALUATED, "figures", "counts"),
)
_OF_GROUPS = ("figures", "intervals", "places", "counts")
_OF_TASK = (
    *("protocol", "fingerprint", "order", "queries", "candidates", "task", "model", "settings", "excluded"),
    *("ties", *_OF_GROUPS, "bounds"),
)


@dataclass(frozen=True)
class MetricGroup:
    """The metrics of one group of queries, such as a retrieval direction, a question type, or "all".

    Attributes:
        figures: metric -> value.
        intervals: metric -> bootstrap interval over queries.
        per_query: name -> one value per query. Ranks are three counts: "better", "tied" and "right" (`Ranks`).
        counts: what was counted -> how many.
        bounds: metric -> [best case, worst case] over the order of tied scores.
        ties: queries whose rank depends on the order of tied scores; None outside retrieval.
    """

    figures: Mapping[str, float]
    intervals: Mapping[str, Interval]
    per_query: Mapping[str, list[Any]]
    counts: Mapping[str, int] = field(default_factory=dict)
    bounds: Mapping[str, list[float]] = field(default_factory=dict)
    ties: int | None = None

    @classmethod
    def of_values(
        cls,
        values: Mapping[str, npt.ArrayLike],
        counts: Mapping[str, int] | None = None,
        statistic: Statistic = mean,
    ) -> MetricGroup:
        """Summarize values of single queries: the statistic, its interval, and the values.

        Args:
            values: metric -> (Q,), in percent where the metric is.
            counts: what was counted -> how many.
            statistic: over queries.

        >>> MetricGroup.of_values({"accuracy": [100.0, 0.0, 100.0, 100.0]}).figures
        {'accuracy': 75.0}
        """
        arrays = {metric: np.asarray(column, dtype=np.float64) for metric, column in values.items()}
        intervals = {metric: bootstrap(array, statistic) for metric, array in arrays.items()}
        return cls(
            figures={metric: interval.value for metric, interval in intervals.items()},
            intervals=intervals,
            per_query={metric: array.tolist() for metric, array in arrays.items()},
            counts=dict(counts or {}),
        )

    @classmethod
    def of_ranks(cls, ranks: Ranks) -> MetricGroup:
        """Summarize ranks: R@K, MdR and MnR with intervals, and bounds where ties change a printed digit."""
        figures = summarize(ranks)
        ties = int(figures.pop("ties"))
        bounds = {
            metric: [best, worst]
            for metric, (best, worst) in tie_bounds(ranks).items()
            if f"{best:.{DIGITS}f}" != f"{worst:.{DIGITS}f}"
        }
        intervals = {
            **{f"R@{k}": bootstrap(100 * ranks.within(k)) for k in KS},
            "MdR": bootstrap(ranks.expected, median),
            "MnR": bootstrap(ranks.expected, mean),
        }
        per_query = {name: counts.tolist() for name, counts in asdict(ranks).items()}
        return cls(figures, intervals, per_query, bounds=bounds, ties=ties)

    def with_metric(
        self,
        metric: str,
        value: float,
        *,
        interval: Interval | None = None,
        bounds: tuple[float, float] | None = None,
        **per_query: list[Any],
    ) -> MetricGroup:
        """Return the group with one more metric, and with more values of single queries."""
        return replace(
            self,
            figures={**self.figures, metric: value},
            intervals=self.intervals if interval is None else {**self.intervals, metric: interval},
            bounds=self.bounds if bounds is None else {**self.bounds, metric: list(bounds)},
            per_query={**self.per_query, **per_query},
        )


def named_groups(groups: Iterable[tuple[str, MetricGroup]]) -> dict[str, MetricGroup]:
    """Return groups by name.

    Raises:
        ValueError: two groups have the same name.
    """
    named: dict[str, MetricGroup] = {}
    for name, group in groups:
        if name in named:
            raise ValueError(f"two groups have the name {name!r}; rename one of them")
        named[name] = group
    return named


@dataclass(frozen=True)
class Evaluated:
    """The model of a report.

    Attributes:
        task: of `mova eval`.
        name, fingerprint: of the model.
        excluded: rows that were not measured: "id", "video" and "cause".
    """

    task: str
    name: str
    fingerprint: str
    excluded: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class ReportHead:
    """The evaluated test. Only reports of the same queries and candidates can be compared.

    Attributes:
        protocol: name of the protocol that was followed.
        fingerprint: hash of queries, candidates and correct pairs.
        order: hash of the order of queries and candidates: values of single queries are paired by it.
        queries, candidates: how many; None where there are no candidates.
        settings: the protocol's fields, then everything else that decides the figures.
        evaluated: the model; None for score files.
    """

    protocol: str
    fingerprint: str
    order: str
    queries: int
    candidates: int | None
    settings: Mapping[str, Any]
    evaluated: Evaluated | None = None

    @classmethod
    def of_scores(
        cls, protocol: Protocol, fingerprint: str, order: str, queries: int, candidates: int | None
    ) -> ReportHead:
        """Return the head of a report on a score file."""
        return cls(protocol.name, fingerprint, order, queries, candidates, protocol.to_json())


@dataclass(frozen=True, kw_only=True)
class Report(Displayed):
    """Everything that one evaluation measured.

    Attributes:
        head: what was measured.
        directions: "t2v" and "v2t" -> metrics of ranks; empty outside retrieval.
        groups: name -> metrics that are means over queries.
        ties: queries with tied scores, where neither `directions` nor counts hold them.
        moments, highlights: tables of QVHighlights: by length of the annotated window, and by grade.
        conventions: video-to-text metrics by convention, where a video has several captions.
        legacy: figures by the arithmetic of older code (JSON key "compat").
        transductive: metrics after post-processing that uses more than one query.
        other_arithmetic: the same metric by another definition.

    >>> from mova.eval.protocols import find_protocol
    >>> from mova.eval.score_files import ScoreMatrix
    >>> from mova.eval.score_reports import report_matrix
    >>> report = report_matrix(ScoreMatrix(np.eye(3)), find_protocol("pairs"))
    >>> report.head.queries, report.to_json()["t2v"]["MdR"], list(report.all_groups)
    (3, 1.0, ['t2v', 'v2t'])
    """

    head: ReportHead
    directions: Mapping[str, MetricGroup] = field(default_factory=dict)
    groups: Mapping[str, MetricGroup] = field(default_factory=dict)
    ties: int | None = None
    moments: Mapping[str, Any] = field(default_factory=dict)
    highlights: Mapping[str, Any] = field(default_factory=dict)
    conventions: Mapping[str, Any] = field(default_factory=dict)
    legacy: Mapping[str, Any] = field(default_factory=dict)
    transductive: Mapping[str, Any] = field(default_factory=dict)
    other_arithmetic: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if shared := self.directions.keys() & self.groups.keys():
            raise ValueError(f"group {min(shared)!r} has the name of a retrieval direction; rename it")

    @property
    def all_groups(self) -> dict[str, MetricGroup]:
        """Directions, then groups, by name."""
        return {**self.directions, **self.groups}

    @property
    def excluded(self) -> tuple[Mapping[str, str], ...]:
        """Rows that were not measured: "id", "video" and "cause"."""
        return () if self.head.evaluated is None else self.head.evaluated.excluded

    def with_settings(self, **settings: Any) -> Report:
        """Return the report with more settings."""
        return replace(self, head=replace(self.head, settings={**self.head.settings, **settings}))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document of `mova eval`, with its keys in a fixed order."""
        head, groups, named = self.head, self.groups, self.all_groups
        document: dict[str, Any] = {key: getattr(head, key) for key in _HEAD}
        if head.evaluated is not None:
            document["task"] = head.evaluated.task
            document["model"] = {"name": head.evaluated.name, "fingerprint": head.evaluated.fingerprint}
            document["excluded"] = list(head.evaluated.excluded)
        ties = {name: group.ties for name, group in self.directions.items()} or self.ties
        optional = {
            "intervals": {name: {m: i.to_json() for m, i in g.intervals.items()} for name, g in named.items()},
            "places": {name: group.per_query for name, group in named.items()},
            "bounds": {name: group.bounds for name, group in named.items() if name in self.directions or group.bounds},
            **{name: group.figures for name, group in self.directions.items()},
            "figures": {name: group.figures for name, group in groups.items()},
            "counts": {name: group.counts for name, group in groups.items()},
            "moments": self.moments,
            "highlights": self.highlights,
            "conventions": self.conventions,
            "other arithmetic": self.other_arithmetic,
            "compat": self.legacy,
            "transductive": self.transductive,
        }
        document |= {key: value for key, value in optional.items() if value}
        document |= {} if ties is None else {"ties": ties}
        return {key: document[key] for key in self._key_order() if key in document}

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per figure: part, metric, value, the bounds of its interval, and the number of queries."""
        named: dict[str, Mapping[str, Any]] = {name: group.figures for name, group in self.all_groups.items()}
        for title, tables in (("moments", self.moments), ("highlights", self.highlights)):
            named |= {f"{title}, {part}": _leaves(table) for part, table in tables.items()}
        rows = []
        for part, figures in named.items():
            group = self.all_groups.get(part)
            for metric, value in figures.items():
                interval = None if group is None else group.intervals.get(metric)
                bounds = (None, None) if interval is None else (interval.low, interval.high)
                row = {"part": part, "metric": metric, "value": value, "low": bounds[0], "high": bounds[1]}
                rows.append(row | {"queries": self.head.queries})
        return rows

    def _key_order(self) -> tuple[str, ...]:
        if self.directions:
            return _OF_RANKS
        if self.moments or self.highlights:
            first = "moments" if self.moments else "highlights"
            return tuple(dict.fromkeys((*_OF_SCORES, first, *_OF_GROUPS, "highlights", *_EVALUATED)))
        return _OF_TASK

    @classmethod
    def from_json(cls, document: Any, source: object) -> Report:
        """Read the document that `to_json` returns.

        Args:
            document: parsed JSON.
            source: its file, for messages.

        Raises:
            DataError: the document is not a report of a single evaluation, or part of it is damaged.
        """
        if not isinstance(document, dict):
            raise DataError(f"{source}: not a report of `mova eval`: a JSON object expected")
        if missing := [key for key in _HEAD if key not in document]:
            several = "; `mova eval synvita` writes one report per test, at tests.NAME.report" * ("tests" in document)
            raise DataError(
                f"{source}: not a report of a single evaluation: {', '.join(missing)} missing{several}. "
                "`mova eval ... --out FILE` writes reports"
            )
        try:
            return _read(document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{source}: damaged report: {type(error).__name__}: {error}") from error


def _leaves(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the numbers of nested mappings by their keys, joined: `{"R1": {"0.5": 1.0}}` has the key "R1 0.5"."""
    leaves: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix} {key}".strip()
        leaves |= _leaves(value, name) if isinstance(value, Mapping) else {name: value}
    return leaves


def _read(document: Mapping[str, Any]) -> Report:
    ties = document.get("ties")
    directions = [name for name in DIRECTIONS if name in document]
    names = dict.fromkeys((*directions, *document.get("places", {}), *document.get("figures", {})))
    groups = {
        name: MetricGroup(
            figures=document[name] if name in directions else document.get("figures", {}).get(name, {}),
            intervals={m: Interval(**row) for m, row in document.get("intervals", {}).get(name, {}).items()},
            per_query=dict(document.get("places", {}).get(name, {})),
            counts=document.get("counts", {}).get(name, {}),
            bounds=document.get("bounds", {}).get(name, {}),
            ties=ties[name] if name in directions and ties is not None else None,
        )
        for name in names
    }
    evaluated = None
    if "model" in document:
        evaluated = Evaluated(document["task"], **document["model"], excluded=tuple(document["excluded"]))
    return Report(
        head=ReportHead(**{key: document[key] for key in _HEAD}, evaluated=evaluated),
        directions={name: groups[name] for name in directions},
        groups={name: group for name, group in groups.items() if name not in directions},
        ties=None if directions else ties,
        moments=document.get("moments", {}),
        highlights=document.get("highlights", {}),
        conventions=document.get("conventions", {}),
        legacy=document.get("compat", {}),
        transductive=document.get("transductive", {}),
        other_arithmetic=document.get("other arithmetic", {}),
    )
