"""Are sentences shown in the order of the prompt? From posteriors that were computed without assuming any order.

Shape legend: S sentences, T frames.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from mova.judge.verdict import OrderFault

SURE = 0.75
"""Least probability of an order fault. Two sentences about the same seconds have about one half."""


def reversed_pairs(posterior: npt.NDArray[np.floating], shown: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the probability (S, S) that both sentences are shown and the second one (column) comes before the first.

    The time of a sentence is drawn from its posterior over frames. Frames at the same time count half for either order.

    Args:
        posterior: (S, T), of each sentence on its own.
        shown: (S,), probability that the video shows a sentence at all.

    >>> late, early = [0, 0, 1], [1, 0, 0]
    >>> reversed_pairs(np.array([late, early]), [1.0, 0.5])
    array([[0.5  , 0.5  ],
           [0.   , 0.125]])
    """
    mass = np.asarray(posterior, dtype=np.float64)
    mass = mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-12)
    before = np.cumsum(mass, axis=1) - mass / 2
    both = np.outer(shown, shown)
    return both * (mass @ before.T)


def order_faults(
    posterior: npt.NDArray[np.floating], shown: Sequence[float], overlapping: Collection[int] = ()
) -> tuple[OrderFault, ...]:
    """Return the pairs of sentences that are shown in the opposite order, most probable first.

    Args:
        posterior, shown: see `reversed_pairs`.
        overlapping: sentences that by their words are at no time of their own ("Meanwhile, it rains.").

    >>> faults = order_faults(np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]), [0.9, 0.1, 0.9])
    >>> [(fault.first, fault.second, round(fault.probability, 2)) for fault in faults]
    [(0, 2, 0.81)]
    """
    likely = reversed_pairs(posterior, shown)
    count = len(likely)
    found = [
        OrderFault(i, j, float(likely[i, j]))
        for i in range(count)
        for j in range(i + 1, count)
        if likely[i, j] >= SURE and i not in overlapping and j not in overlapping
    ]
    return tuple(sorted(found, key=lambda fault: -fault.probability))
