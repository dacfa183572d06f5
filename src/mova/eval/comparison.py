"""Compare two reports of the same test, query by query: second minus first, with a paired bootstrap.

Values of single queries (`MetricGroup.per_query`) come in three forms: ranks as three counts ("better", "tied",
"right"), scores of right and wrong captions per row ("true", "false"), and lists whose mean is the metric of the same
name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mova.errors import DataError
from mova.eval.metrics.bootstrap import Interval, median, paired_bootstrap
from mova.eval.metrics.classification import auc_over_rows
from mova.eval.metrics.ranking import KS, Ranks
from mova.eval.report import Report

_RANKS = ("better", "tied", "right")
_METRICS = {"AP": "mAP"}
"""Name of the values of single queries -> name of their mean, if it differs."""


MOST_CANDIDATES, MOST_RIGHT = 10**9, 10**5
"""Largest numbers of candidates, and of right candidates with one score, in a report; more is damage."""


@dataclass(frozen=True)
class ReportDifference:
    """Second minus first.

    Attributes:
        protocol, fingerprint, queries, candidates: of both reports.
        groups: group -> metric -> difference, with interval and p.

    >>> gain = Interval(value=2.0, low=0.5, high=3.5, level=0.95, p=0.01)
    >>> ReportDifference("pairs", "0123", 1000, 1000, {"t2v": {"R@1": gain}}).to_json()["t2v"]["R@1"]["p"]
    0.01
    """

    protocol: str
    fingerprint: str
    queries: int
    candidates: int | None
    groups: Mapping[str, Mapping[str, Interval]]

    def to_json(self) -> dict[str, Any]:
        """Return `{"protocol", "fingerprint", "queries", "candidates", GROUP: {METRIC: {...}}}`."""
        groups = {name: {metric: row.to_json() for metric, row in rows.items()} for name, rows in self.groups.items()}
        return {
            "protocol": self.protocol,
            "fingerprint": self.fingerprint,
            "queries": self.queries,
            "candidates": self.candidates,
            **groups,
        }


def compare(first: Report, second: Report) -> ReportDifference:
    """Return second minus first.

    Raises:
        DataError: the reports are of different tests, or their values of single queries are missing or damaged.

    >>> from mova.eval.protocols import find_protocol
    >>> from mova.eval.score_files import ScoreMatrix
    >>> from mova.eval.score_reports import report_matrix
    >>> matrices = np.array([[0.1, 0.9], [0.2, 0.8]]), np.eye(2)
    >>> before, after = (report_matrix(ScoreMatrix(matrix), find_protocol("pairs")) for matrix in matrices)
    >>> compare(before, after).groups["t2v"]["R@1"].value
    50.0
    """
    for name in ("protocol", "fingerprint", "queries", "candidates", "order"):
        values = getattr(first.head, name), getattr(second.head, name)
        if values[0] != values[1]:
            raise DataError(
                f"the reports differ in {name} ({values[0]!r} and {values[1]!r}); only reports "
                "on the same test, with the queries in the same order, can be compared"
            )
    first_groups, second_groups = first.all_groups, second.all_groups
    if first_groups.keys() != second_groups.keys():
        raise DataError(
            f"the reports have different groups of queries: {', '.join(first_groups)} and {', '.join(second_groups)}"
        )
    if not all(any(group.per_query for group in groups.values()) for groups in (first_groups, second_groups)):
        raise DataError("both reports need 'places', the values per query: write them with `mova eval ... --out`")
    groups = {}
    for name, group in first_groups.items():
        try:
            groups[name] = _differences(group.per_query, second_groups[name].per_query)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
            raise DataError(f"'places' of group {name!r} is damaged: {type(error).__name__}: {error}") from error
    head = first.head
    return ReportDifference(head.protocol, head.fingerprint, head.queries, head.candidates, groups)


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Interval]:
    """Return metric -> difference for one group."""
    if first.keys() != second.keys():
        raise DataError(f"the reports have different values per query: {', '.join(first)} and {', '.join(second)}")
    rows: dict[str, Interval] = {}
    if "better" in first:
        a, b = (_ranks(per_query) for per_query in (first, second))
        rows = {f"R@{k}": paired_bootstrap(100 * a.within(k), 100 * b.within(k)) for k in KS}
        rows["MdR"] = paired_bootstrap(a.expected, b.expected, median)
        rows["MnR"] = paired_bootstrap(a.expected, b.expected)
    if "true" in first:
        rows["AUC"] = _auc(first, second)
    for name in first:
        if name not in (*_RANKS, "true", "false"):
            rows[_METRICS.get(name, name)] = paired_bootstrap(first[name], second[name])
    return rows


def _auc(first: Mapping[str, Any], second: Mapping[str, Any]) -> Interval:
    """Number the R rows of the first report from 0 and those of the second from R, so that the same draws use both."""
    rows = np.arange(len(first["true"]))
    statistic = auc_over_rows([*first["true"], *second["true"]], [*first["false"], *second["false"]])
    return paired_bootstrap(rows, rows + len(rows), statistic)


def _ranks(per_query: Mapping[str, Sequence[int]]) -> Ranks:
    better, tied, right = (np.asarray(per_query[name], dtype=np.int64) for name in _RANKS)
    if not ((better >= 0) & (right >= 1) & (right <= tied) & (better + tied <= MOST_CANDIDATES)).all():
        raise ValueError(f"ranks need 0 <= better, 1 <= right <= tied, and at most {MOST_CANDIDATES} candidates")
    if (right > MOST_RIGHT).any():
        raise ValueError(f"a query has more than {MOST_RIGHT} right candidates of the same score")
    return Ranks(better, tied, right)
