"""Two reports of one test, query by query: second minus first, with a paired bootstrap.

`places` of a report hold groups of queries. A group may have ranks as three counts (`better`, `tied`, `right`), scores
of right and wrong captions row by row (`true`, `false`), and lists of values, one a query, whose mean is the metric of
that name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mova.errors import DataError
from mova.eval.metrics.bootstrap import Interval, median, paired_bootstrap
from mova.eval.metrics.classification import auc_over_rows
from mova.eval.metrics.ranking import KS, Ranks
from mova.eval.report_figures import Report

_SAME = ("protocol", "fingerprint", "queries", "candidates", "order")
_RANKS = ("better", "tied", "right")
_NAMES = {"AP": "mAP"}
"""Key of values of single queries -> name of their mean, where it is another."""


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> Report:
    """Second minus first.

    Returns:
        "protocol", "fingerprint", "queries", "candidates", and group -> metric -> difference, interval and p.

    Raises:
        DataError: the reports are of different tests, or hold no values of single queries.
    """
    for name in _SAME:
        if name not in first or first.get(name) != second.get(name):
            raise DataError(
                f"the reports differ in {name} ({first.get(name)!r} and {second.get(name)!r}): figures of different "
                "tests, or of queries in another order, are not compared"
            )
    if not first.get("places") or not second.get("places"):
        raise DataError(
            "both reports must hold 'places', the values of every query: write them with `mova eval ... --out`"
        )
    if first["places"].keys() != second["places"].keys():
        groups = (", ".join(report["places"]) for report in (first, second))
        raise DataError(f"the reports hold other groups of queries: {' and '.join(groups)}")
    report: Report = {key: first[key] for key in _SAME if key != "order"}
    for group, one in first["places"].items():
        rows = {metric: found.to_json() for metric, found in _differences(one, second["places"][group]).items()}
        report[group] = rows
    return report


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Interval]:
    """Metric -> difference, of one group."""
    if one.keys() != other.keys():
        raise DataError(f"the reports hold other values of queries: {', '.join(one)} and {', '.join(other)}")
    rows: dict[str, Interval] = {}
    if "better" in one:
        a, b = (_ranks(places) for places in (one, other))
        rows = {f"R@{k}": paired_bootstrap(100 * a.within(k), 100 * b.within(k)) for k in KS}
        rows["MdR"] = paired_bootstrap(a.expected, b.expected, median)
        rows["MnR"] = paired_bootstrap(a.expected, b.expected)
    if "true" in one:
        rows["AUC"] = _auc(one, other)
    for name in one:
        if name not in (*_RANKS, "true", "false"):
            rows[_NAMES.get(name, name)] = paired_bootstrap(one[name], other[name])
    return rows


def _auc(one: Mapping[str, Any], other: Mapping[str, Any]) -> Interval:
    """Rows of the first report are 0 to R - 1, those of the second R to 2 R - 1: the same draws take both."""
    rows = np.arange(len(one["true"]))
    statistic = auc_over_rows([*one["true"], *other["true"]], [*one["false"], *other["false"]])
    return paired_bootstrap(rows, rows + len(rows), statistic)


def _ranks(places: Mapping[str, Sequence[int]]) -> Ranks:
    better, tied, right = (np.asarray(places[key], dtype=np.int64) for key in _RANKS)
    return Ranks(better, tied, right)
