"""A node of a Ray cluster is lost while `mova index --ray` runs on it, at a random moment.

Two nodes with one processor each run on this machine. In every trial the second one is killed, with the actors that
decode and encode on it, and another joins for the next trial. The run on the node that is left must end with the index
of one process: the same videos, times and frames, and vectors that differ by rounding at most. It is compared as it is;
only a run that is refused with one of mova's own errors is counted, and continued before.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import harness
from mova.errors import MovaError
from mova.search.index import Index
from mova.search.storage.records import StoredFrames
from mova.worlds.writer import write_worlds

TRIALS, QUICK = 10, 1
MODEL = "mova-worlds-tiny"
FILMS, SECONDS = 8, 12.0
ROUNDING = 2e-3
"""Vectors are stored in half precision, and their last bits depend on which frames are encoded together."""
BAD = ("lost", "twice", "wrong", "other_errors", "failed files")
COUNTED = ("trials", "hit", "refused", *BAD)
NODE = {"num_cpus": 1, "object_store_memory": 200 << 20}


def stored(index: Index) -> dict[str, list[StoredFrames]]:
    """Return the stored frames of every video of an index, by file name."""
    found: dict[str, list[StoredFrames]] = {}
    for record in index.videos():
        found.setdefault(Path(record.path).name, []).append(index._store.fetch([record.content])[record.content])
    return found


def compare(index: Index, complete: dict[str, list[StoredFrames]], counts: Counter[str]) -> None:
    """Count videos that are missing, frames that are too many, and videos with other times or vectors."""
    videos = stored(index)
    expected = sum(len(frames.times) for each in complete.values() for frames in each)
    counts["twice"] += max(0, index._store.count_frames() - expected)
    for name, (frames,) in complete.items():
        if name not in videos:
            counts["lost"] += 1
            continue
        other = videos[name][0]
        same = np.array_equal(frames.times, other.times)
        counts["wrong"] += not (same and np.allclose(frames.vectors, other.vectors, atol=ROUNDING))


def one_trial(films: Path, folder: Path, nodes: Any, moment: float, counts: Counter[str]) -> None:
    """Index the films while a node is lost after some seconds; continue what was refused."""
    second = nodes.add_node(**NODE)
    nodes.wait_for_nodes()
    index, ended = Index(folder, MODEL), threading.Event()

    def lose() -> None:
        counts["hit"] += not ended.wait(moment)
        nodes.remove_node(second, allow_graceful=False)

    losing = threading.Thread(target=lose)
    losing.start()
    refused = True
    try:
        counts["failed files"] += len(index.add(films, ray=nodes.address).failed)
        refused = False
    except MovaError as error:
        counts["refused"] += 1
        print(f"refused: {error}")
    except Exception as error:  # noqa: BLE001  what must not happen is counted
        counts["other_errors"] += 1
        print(f"not one of mova's errors: {type(error).__name__}: {error}")
    ended.set()
    losing.join()
    if refused:
        index.add(films)


def main() -> None:
    """Lose nodes, go on, and compare; print and record the counts."""
    args = harness.arguments(__doc__)
    os.environ.setdefault("RAY_health_check_period_ms", "1000")  # a lost node is noticed after 5 s, not 15 s
    import ray
    from ray.cluster_utils import Cluster as Nodes

    report, rng = harness.Report("lost_nodes", [args.seed]), np.random.default_rng(args.seed)
    counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
    nodes = Nodes(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    ray.init(nodes.address, log_to_driver=False)
    with tempfile.TemporaryDirectory() as name:
        films = write_worlds(Path(name) / "films", FILMS, SECONDS, "flat", args.seed).parent
        complete = Index(Path(name) / "complete", MODEL)
        complete.add(films)
        expected = stored(complete)
        began = time.perf_counter()
        Index(Path(name) / "usual", MODEL).add(films, ray=nodes.address)
        usual = time.perf_counter() - began
        for _ in range(QUICK if args.quick else TRIALS):
            folder = Path(name) / "index"
            one_trial(films, folder, nodes, float(rng.uniform(0, usual)), counts)
            compare(Index(folder, MODEL), expected, counts)
            counts["trials"] += 1
            shutil.rmtree(folder)
    ray.shutdown()
    nodes.shutdown()
    report.row(name="a node lost under Ray", seconds=usual, **counts)
    bad = sum(counts[kind] for kind in BAD)
    report.claim("a node lost under Ray: nothing is lost, twice or wrong, and no error escapes", bad, 0, bad == 0)
    report.finish()


if __name__ == "__main__":
    main()
