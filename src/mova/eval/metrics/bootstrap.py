"""Bootstrap intervals over queries, plain and paired: how far a figure would move on another draw of queries.

Percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). The candidates stay as
they are: only queries are drawn again. Paired: both systems are measured on the same draws, so that what makes a query
easy for both cancels.

Shape legend: Q queries, D draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Statistic = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""(D, Q) values of drawn queries -> (D,) figures."""

DRAWS = 2000
LEVEL = 0.95
_VALUES_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Interval:
    """A figure with its bounds, and for a difference the share of draws on the other side of zero.

    Attributes:
        value: on all queries as they are.
        low, high: bounds of the central `level` of draws.
        level: coverage aimed at.
        p: two-sided share of draws that contradict the sign of the difference, at least 1 / draws; None for one system.
    """

    value: float
    low: float
    high: float
    level: float
    p: float | None = None

    def to_json(self) -> dict[str, float]:
        """Its fields; `p` only where there is one."""
        fields = {"value": self.value, "low": self.low, "high": self.high, "level": self.level}
        return fields if self.p is None else {**fields, "p": self.p}


def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean over queries."""
    return values.mean(axis=-1)


def median(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The median over queries."""
    return np.median(values, axis=-1)


def bootstrap(
    values: npt.ArrayLike, statistic: Statistic = mean, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Percentile interval of a statistic of (Q,) values, one a query.

    Raises:
        ValueError: no values, a NaN, or a level outside (0, 1).
    """
    given = _values(values)
    drawn = _draw(given[None], statistic, draws, seed)[0]
    return _interval(float(statistic(given[None])[0]), drawn, level)


def paired_bootstrap(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    statistic: Statistic = mean,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Percentile interval of statistic(b) - statistic(a), both over the same queries in the same order.

    Raises:
        ValueError: different lengths, no values, a NaN, or a level outside (0, 1).
    """
    first, second = _values(a), _values(b)
    if len(first) != len(second):
        raise ValueError(f"a paired bootstrap needs the same queries, not {len(first)} and {len(second)}")
    drawn = _draw(np.stack([first, second]), statistic, draws, seed)
    difference = float(statistic(second[None])[0] - statistic(first[None])[0])
    moved = drawn[1] - drawn[0]
    tail = min((moved <= 0).mean(), (moved >= 0).mean())
    found = _interval(difference, moved, level)
    return Interval(found.value, found.low, found.high, level, p=float(np.clip(2 * tail, 1 / draws, 1.0)))


def _values(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found) or np.isnan(found).any():
        raise ValueError(f"values (Q,) without NaN expected, at least one, not shape {found.shape}")
    return found


def _draw(values: npt.NDArray[np.float64], statistic: Statistic, draws: int, seed: int) -> npt.NDArray[np.float64]:
    """(S, Q) values of S systems -> (S, D) figures, all systems on the same draws; memory does not grow with D."""
    rng = np.random.default_rng(seed)
    size = values.shape[1]
    rows = max(1, _VALUES_AT_ONCE // size)
    parts = []
    for start in range(0, draws, rows):
        chosen = rng.integers(0, size, (min(rows, draws - start), size))
        parts.append(np.stack([statistic(one[chosen]) for one in values]))
    return np.concatenate(parts, axis=1)


def _interval(value: float, drawn: npt.NDArray[np.float64], level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"a level between 0 and 1 expected, not {level}")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level)
