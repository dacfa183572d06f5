"""Evaluate a score matrix of any system: ranks with ties, intervals, and a comparison of two systems.

Offline, a few seconds, NumPy only: no model is loaded.

    python examples/evaluate_scores.py
"""

from __future__ import annotations

import numpy as np

from mova.eval.metrics.ranking import find_ranks, retrieval_metrics, tie_bounds


def main(queries: int = 200) -> tuple[dict[str, float], dict[str, float]]:
    """Return the metrics of a good system, and of the same system with coarsely rounded scores."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(queries, queries)) + 3 * np.eye(queries)  # row i's correct column is i
    exact, rounded = retrieval_metrics(scores), retrieval_metrics(scores.round())
    for name, metrics in (("exact", exact), ("rounded", rounded)):
        print(name, {key: round(value, 2) for key, value in metrics.items()})
    # Rounding makes ties. Expected ranks count them fairly; an unlucky or lucky order would give:
    print("bounds of the rounded scores", tie_bounds(find_ranks(scores.round()))["R@1"])
    return exact, rounded


if __name__ == "__main__":
    main()
