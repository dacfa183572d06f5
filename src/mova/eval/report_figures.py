"""Figures of a report that are means over queries: value, interval, and the values themselves for comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.eval.metrics.bootstrap import Statistic, bootstrap, mean

Report = dict[str, Any]


def add_figures(
    report: Report,
    group: str,
    values: Mapping[str, npt.ArrayLike],
    counts: Mapping[str, int] | None = None,
    statistic: Statistic = mean,
) -> None:
    """Add a group's figures to a report, in place.

    `figures[group][metric]` is the statistic, `intervals[group][metric]` its bootstrap interval over queries,
    `places[group][metric]` the values, and `counts[group]` what was counted.

    Args:
        report: as it stands so far.
        group: queries that belong together, such as "all".
        values: metric -> (Q,), one a query, in percent where the metric is.
        counts: what -> how many.
        statistic: over queries.

    Raises:
        ValueError: the group has such a figure already (two groups of one name).
    """
    if report.get("figures", {}).get(group, {}).keys() & values.keys():
        raise ValueError(f"two groups are called {group!r}: their figures could not be told apart; rename one")
    for part in ("figures", "intervals", "places"):
        report.setdefault(part, {}).setdefault(group, {})
    report.setdefault("counts", {}).setdefault(group, {}).update(counts or {})
    for metric, given in values.items():
        found = np.asarray(given, dtype=np.float64)
        interval = bootstrap(found, statistic)
        report["figures"][group][metric] = interval.value
        report["intervals"][group][metric] = interval.to_json()
        report["places"][group][metric] = found.tolist()
