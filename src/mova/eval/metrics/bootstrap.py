"""Bootstrap intervals over queries, plain and paired: how much a figure would vary on other queries.

Percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). Only queries are
resampled; the candidates stay the same. In the paired form both systems are measured on the same draws, so that
queries that are easy for both cancel out.

Shape legend: Q queries, S systems, D draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

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
        value: on all queries.
        low, high: bounds of the central `level` of draws.
        level: nominal coverage.
        p: two-sided share of draws that contradict the sign of the difference, at least 1 / draws; None for one system.

    >>> Interval(value=2.0, low=0.5, high=3.5, level=0.95, p=0.01).to_json()
    {'value': 2.0, 'low': 0.5, 'high': 3.5, 'level': 0.95, 'p': 0.01}
    """

    value: float
    low: float
    high: float
    level: float
    p: float | None = None

    def to_json(self) -> dict[str, float]:
        """Return the fields; `p` only for differences."""
        fields = {"value": self.value, "low": self.low, "high": self.high, "level": self.level}
        return fields if self.p is None else {**fields, "p": self.p}


def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean over queries: (D,).

    >>> mean(np.array([[0.0, 1.0, 5.0], [1.0, 1.0, 1.0]]))
    array([2., 1.])
    """
    return values.mean(axis=-1)


def median(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the median over queries: (D,).

    >>> median(np.array([[0.0, 1.0, 5.0], [1.0, 1.0, 1.0]]))
    array([1., 1.])
    """
    return np.median(values, axis=-1)


def bootstrap(
    values: npt.ArrayLike, statistic: Statistic = mean, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Return the percentile interval of a statistic of values (Q,), one per query.

    >>> interval = bootstrap([0.0, 100.0, 100.0, 100.0])
    >>> interval.value, interval.low, interval.high
    (75.0, 25.0, 100.0)

    Raises:
        ValueError: no values, a NaN, or a level outside (0, 1).
    """
    array = _values(values)
    drawn = _draw(array[None], statistic, draws, seed)[0]
    return _interval(float(statistic(array[None])[0]), drawn, level)


def paired_bootstrap(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    statistic: Statistic = mean,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of statistic(b) - statistic(a), over the same queries in the same order.

    >>> paired_bootstrap([0.0, 0.0, 100.0, 0.0], [100.0, 100.0, 100.0, 0.0]).value
    50.0

    Raises:
        ValueError: different lengths, no values, a NaN, or a level outside (0, 1).
    """
    first, second = _values(a), _values(b)
    if len(first) != len(second):
        raise ValueError(f"a paired bootstrap needs the same queries, not {len(first)} and {len(second)}")
    drawn = _draw(np.stack([first, second]), statistic, draws, seed)
    difference = float(statistic(second[None])[0] - statistic(first[None])[0])
    differences = drawn[1] - drawn[0]
    tail = min((differences <= 0).mean(), (differences >= 0).mean())
    p = float(np.clip(2 * tail, 1 / draws, 1.0))
    return replace(_interval(difference, differences, level), p=p)


def _values(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or np.isnan(array).any():
        raise ValueError(f"values must be a non-empty array (Q,) without NaN, not of shape {array.shape}")
    return array


def _draw(values: npt.NDArray[np.float64], statistic: Statistic, draws: int, seed: int) -> npt.NDArray[np.float64]:
    """Return figures (S, D) from values (S, Q), all systems on the same draws; memory does not grow with D."""
    rng = np.random.default_rng(seed)
    size = values.shape[1]
    rows = max(1, _VALUES_AT_ONCE // size)
    parts = []
    for start in range(0, draws, rows):
        chosen = rng.integers(0, size, (min(rows, draws - start), size))
        parts.append(np.stack([statistic(system[chosen]) for system in values]))
    return np.concatenate(parts, axis=1)


def _interval(value: float, drawn: npt.NDArray[np.float64], level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level)
