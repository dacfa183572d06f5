"""Retrieval in both directions among 100,000 texts and videos in bounded memory, versus the whole matrix if it fits.

Scores are products of unit vectors, computed in blocks: nothing of the size of the matrix (40 GB in float32) is ever
held. Processor seconds, and peak resident memory of a separate process, vectors and libraries included. Chance is k/N.
Both ways of ranking give the planted pairs the same ranks.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time

import numpy as np

from benchmarks.common import harness
from mova.eval.metrics.ranking import KS, find_ranks, stream_ranks, summarize

WIDTH, BLOCK = 64, 2048
SIZES, QUICK = (1000, 5000, 20_000, 100_000), (1000, 5000)
LARGEST_MATRIX = 5000
"""Up to this size the whole matrix is ranked too."""
LIMIT = 400e6
"""Memory limit of the process of the largest run, in bytes."""


def vectors(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw unit vectors of texts and of videos near them, (N, d) each."""
    rng = np.random.default_rng([seed, size])
    texts = rng.standard_normal((size, WIDTH), dtype=np.float32)
    videos = texts + 1.2 * rng.standard_normal((size, WIDTH), dtype=np.float32)
    return tuple(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (texts, videos))


def peak() -> int:
    """Return the peak resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run(size: int, seed: int, full_matrix: bool) -> dict[str, float]:
    """Measure once; called in a separate process."""
    texts, videos = vectors(size, seed)
    began = time.process_time()
    if full_matrix:
        scores = texts @ videos.T
        t2v, v2t = find_ranks(scores), find_ranks(scores.T)
    else:
        t2v, v2t = stream_ranks(lambda rows, columns: texts[rows] @ videos[columns].T, size, block=BLOCK)
    seconds = time.process_time() - began
    figures = {
        f"{direction} {k}": v for direction, r in (("t2v", t2v), ("v2t", v2t)) for k, v in summarize(r, KS).items()
    }
    return {"seconds": seconds, "peak": peak(), **figures}


def main() -> None:
    """Run all sizes, print and record the results."""
    args = harness.arguments(__doc__)
    report = harness.Report("ranking", [args.seed])
    results = {}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for size in QUICK if args.quick else SIZES:
            for full_matrix in (False, True) if size <= LARGEST_MATRIX else (False,):
                row = results[size, full_matrix] = pool.apply(run, (size, args.seed, full_matrix))
                report.row(
                    name=f"{size:,}, {'whole matrix' if full_matrix else 'blocks'}",
                    seconds=row["seconds"],
                    ns_a_score=1e9 * row["seconds"] / size**2,
                    peak_MB=row["peak"] / 1e6,
                    matrix_MB=4 * size**2 / 1e6,
                    t2v_R1=row["t2v R@1"],
                    v2t_R1=row["v2t R@1"],
                )
    largest = max(size for size, _ in results)
    most = results[largest, False]["peak"]
    report.claim(f"peak memory, {largest:,} by {largest:,} (bytes)", most, LIMIT, most < LIMIT)
    blocks, matrix = results[LARGEST_MATRIX, False], results[LARGEST_MATRIX, True]
    difference = max(abs(blocks[key] - matrix[key]) for key in matrix if "v" in key[:3])
    report.claim(
        "largest difference of a figure, blocks and whole matrix (float32 products)",
        difference,
        0.05,
        difference <= 0.05,
    )
    report.finish(columns=("name", "seconds", "ns_a_score", "peak_MB", "matrix_MB", "t2v_R1"))


if __name__ == "__main__":
    main()
