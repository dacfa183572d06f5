"""Search of ten million frames: exactness, latency, disk and memory, also within 4 GiB; and the merge of shards.

The vectors are those of `search_scale`. The tables are not joined, and get the index of their contents but not the
approximate one of their vectors, which the snapshot does not use. Every measurement is made in a process of its own.
FAISS scans the vectors in half precision, all in memory, if it is installed; its graphs and lists would take hours to
build. "Within 4 GiB" counts the pages of files that the system keeps: a control group is limited to it, the files are
dropped from the page cache before, and what does not fit is read from disk again for every query. It needs Linux with
version 1 of control groups, and the right to make one.

A hundred million frames were not indexed. They are ten such indexes, searched side by side: the latency is that of the
slowest shard (drawn from the measured queries), plus the merge of their answers, which is measured. The network is not
part of it.

With `--folder`, the index and the measurements that are done are kept there, and the same command continues a run that
was stopped. Frames are drawn anew from the seed and their number, so that a continued index is the same one.
"""

from __future__ import annotations

import heapq
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lancedb.index import BTree

from benchmarks.common import harness
from benchmarks.common.footage import DIM, Footage
from benchmarks.common.nearest_peers import Replaced, half_precision
from benchmarks.speed.search_scale import (
    NEAREST,
    K,
    _timed,
    disk,
    disk_bytes,
    measure,
    recall,
    whole_query,
    write_frames,
)
from mova.search.cold.snapshot import Snapshot
from mova.search.cold.snapshot_writer import write_snapshot
from mova.search.storage.records import Meta
from mova.search.storage.store import Store
from mova.types import Moment

ROWS, QUICK_ROWS = 10_000_000, 200_000
MEMORY = 4 << 30
VIDEOS = 100
"""Videos per write."""
QUERIES, FEW = 50, 5
PART = 100_000
"""Rows of the exact scan that are in memory at once."""
SHARDS, DRAWS = (10, 100), 2000
GROUP = Path("/sys/fs/cgroup/memory")
DISK = 1.7
"""Bytes of the disk that are needed, as a multiple of the vectors in half precision."""


class DrawnAnew(Footage):
    """Vectors of which those of a video depend on the seed and on the number of frames before it alone."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.default_rng(seed))
        self.seed, self.made = seed, 0

    def frames(self, count: int) -> np.ndarray:
        """Return frames of the next video, (T, d)."""
        self.rng = np.random.default_rng([self.seed, self.made])
        self.made += count
        return super().frames(count)


def build(folder: Path, footage: DrawnAnew, rows: int) -> dict[str, float]:
    """Write an index without upkeep of its tables, or the rest of it; return the seconds of tables and snapshot."""
    store, spent = Store(folder), folder.parent / "tables.seconds"
    if store.exists:
        store.sweep()
        footage.made = sum(record.frames for record in store.records().values())
    else:
        store.create(Meta("m", "f", DIM, 1.0))
        spent.write_text("0", encoding="utf-8")
    before, began = float(spent.read_text(encoding="utf-8")), time.perf_counter()
    for _ in write_frames(store, footage, rows, VIDEOS, footage.made):
        spent.write_text(str(before + time.perf_counter() - began), encoding="utf-8")
    frames = store.connection.open_table("frames")
    if not frames.list_indices():
        frames.create_index("video", config=BTree(), name="video_idx")
    tables = before + time.perf_counter() - began
    snapshot, _ = _timed(lambda: write_snapshot(store))
    return {"tables_seconds": tables, "snapshot_seconds": snapshot}


def require_disk(folder: Path, rows: int) -> None:
    """Stop if the disk is too small for an index.

    Raises:
        SystemExit: with what is missing.
    """
    present = disk_bytes(folder)
    needed, free = rows * DIM * 2 * DISK - present, shutil.disk_usage(folder).free
    if needed > free:
        raise SystemExit(f"{folder}: {needed / 1e9:.1f} GB more are needed, {free / 1e9:.1f} are free; use --rows")


def exact_scan(folder: Path, queries: np.ndarray) -> np.ndarray:
    """Return the cosine of the last of the nearest frames for each query, by a plain product over all vectors."""
    snapshot = Snapshot.open(folder)
    assert snapshot is not None
    best = np.full((len(queries), 0), 0, np.float32)
    for first in range(0, len(snapshot.vectors), PART):
        cosines = queries @ snapshot.vectors[first : first + PART].astype(np.float32).T
        both = np.concatenate([best, cosines], axis=1)
        best = np.partition(both, both.shape[1] - NEAREST, axis=1)[:, -NEAREST:]
    return best.min(axis=1)


@contextmanager
def limited(folder: Path) -> Iterator[bool]:
    """Limit this process to `MEMORY`, pages of files included, if the system permits; say whether it does."""
    group = GROUP / f"mova-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(MEMORY))
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        yield False
        return
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        yield True
    finally:
        (GROUP / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()


def child(folder: str, what: str) -> None:
    """Print the measurements of one process as JSON."""
    place = Path(folder)
    queries, index = np.load(place.parent / "queries.npy"), place
    if what == "limited":
        with limited(index) as possible:
            print(json.dumps(_search(index, queries[: 2 * FEW]) if possible else None))
    elif what == "tables":
        tables = Store(index)
        latency, answers = measure(lambda vector: whole_query(tables, vector), queries[:FEW])
        print(json.dumps({**latency, "answers": answers}))
    elif what == "faiss":
        print(json.dumps(_search_faiss(index, queries[: 2 * FEW])))
    else:
        print(json.dumps(_search(index, queries)))


def _search(folder: Path, queries: np.ndarray) -> dict[str, Any]:
    """Search the snapshot; return latencies, answers, and the memory of this process."""
    before = {key: harness.resident(key) for key in ("RssAnon", "RssFile")}
    snapshot = Snapshot.open(folder)
    assert snapshot is not None
    latency, answers = measure(lambda vector: whole_query(snapshot, vector), queries)
    memory = {f"{key}_mb": harness.resident(key) - before[key] for key in before}
    own, frames = measure(lambda vector: snapshot.nearest(vector, NEAREST)[1], queries)
    peak = harness.resident("VmHWM") - harness.resident("RssFile")
    least = [float(cosines.min()) for cosines in frames]
    return {**latency, **memory, "peak_anonymous_mb": peak, "answers": answers, "nearest": own, "least": least}


def _search_faiss(folder: Path, queries: np.ndarray) -> dict[str, Any] | None:
    """Search all vectors with FAISS, in memory and in half precision; None if it is not installed."""
    snapshot = Snapshot.open(folder)
    assert snapshot is not None
    before = harness.resident("RssAnon")
    spent, search = _timed(lambda: half_precision(snapshot.vectors, PART))
    if search is None:
        return None
    reader: Any = Replaced(snapshot, search)
    latency, answers = measure(lambda vector: whole_query(reader, vector), queries)
    memory = harness.resident("RssAnon") - before
    return {**latency, "answers": answers, "RssAnon_mb": memory, "build_seconds": spent}


def merged(shards: list[list[Moment]], k: int) -> list[Moment]:
    """Return the k best moments of several answers, each best first."""
    rank: Callable[[Moment], tuple[float, str, float]] = lambda m: (-m.score, m.video, m.start)  # noqa: E731
    return [moment for _, moment in zip(range(k), heapq.merge(*shards, key=rank), strict=False)]


def merge_cost(report: harness.Report, rng: np.random.Generator, seconds: np.ndarray, rows: int) -> None:
    """Measure the merge of answers, and simulate shards that are searched side by side."""
    for count in SHARDS:
        answers = [
            [
                Moment(f"/shard/{shard}/{i}.mp4", float(i), float(i + 5), float(score))
                for i, score in enumerate(-np.sort(-rng.random(K)))
            ]
            for shard in range(count)
        ]
        cost = [_timed(lambda answers=answers: merged(answers, K))[0] for _ in range(200)]  # type: ignore[misc]
        everything = sorted((m for answer in answers for m in answer), key=lambda m: -m.score)[:K]
        same = float(merged(answers, K) == everything)
        slowest = rng.choice(seconds, (DRAWS, count)).max(axis=1) + rng.choice(cost, DRAWS)
        times = {f"p{share}_ms": 1000 * float(np.percentile(slowest, share)) for share in (50, 99)}
        merge = {f"merge_p{share}_ms": 1000 * float(np.percentile(cost, share)) for share in (50, 99)}
        name = f"simulated: {count} shards of {rows} frames on {count} machines"
        report.row(name=name, **times, **merge, recall=same)
        report.claim(f"{count} shards: the merge takes at most 5 ms (p99)", merge["merge_p99_ms"], 5.0,
                     merge["merge_p99_ms"] <= 5.0)  # fmt: skip
        report.claim(f"{count} shards: the merge is the sorted union", same, 1.0, same == 1)


def measured(
    place: Path, rows: int, seed: int
) -> tuple[dict[str, float], dict[str, Any], list[float], dict[str, float]]:
    """Build an index in a folder and measure it; what the folder has is not done again.

    Returns:
        Seconds of building, the measurements of each process, the cosine of the last nearest frame of each query, and
        sizes on disk.
    """
    require_disk(place, rows)
    folder, footage = place / "index", DrawnAnew(seed)
    queries = Footage(np.random.default_rng(seed)).texts(QUERIES)
    built = harness.finished(place / "built.json", lambda: build(folder, footage, rows))
    np.save(place / "queries.npy", queries)

    def process(what: str) -> Any:
        """Measure in a process of its own."""
        return harness.in_subprocess(__spec__.name, str(folder), what)

    found = {}
    for what in ("free", "limited", "tables", "faiss"):
        found[what] = harness.finished(place / f"{what}.json", partial(process, what))
    least = harness.finished(place / "least.json", lambda: exact_scan(folder, queries).tolist())
    return built, found, least, disk(folder, rows)


def main() -> None:
    """Build, measure and simulate."""
    parser = harness.plain_parser(__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="number of frames; the disk takes 1.6 KB for each")
    parser.add_argument("--folder", type=Path, help="keep the index and finished measurements here, and continue them")
    args = parser.parse_args()
    rows = QUICK_ROWS if args.quick else args.rows
    report = harness.Report("search_large", seeds=[args.seed])
    with tempfile.TemporaryDirectory() as name:
        place = args.folder / f"{rows}-{args.seed}" if args.folder else Path(name)
        place.mkdir(parents=True, exist_ok=True)
        built, found, least, sizes = measured(place, rows, args.seed)
    free, limit, tables, faiss = (found[what] for what in ("free", "limited", "tables", "faiss"))
    truth = [[tuple(moment) for moment in answer] for answer in tables.pop("answers")]
    for what, one in (("", free), (" within 4 GiB", limit)):
        if one is None:
            report.row(name="within 4 GiB: this system does not permit a control group")
            continue
        ours = [[tuple(moment) for moment in answer] for answer in one.pop("answers")]
        nearest, bounds = one.pop("nearest"), one.pop("least")
        moments = recall(ours, truth)
        agree = float(np.mean([own >= exact - 1e-5 for own, exact in zip(bounds, least, strict=False)]))
        sums = (built | sizes) if not what else {}
        report.row(name=f"mova search, {rows} frames{what}", **one, recall=moments, **sums)
        report.row(name=f"mova, nearest {NEAREST} of {rows} frames{what}", **nearest, recall=agree)
        report.claim(f"{rows} frames{what}: the moments are those of an exact search", moments, 1.0, moments == 1)
        report.claim(f"{rows} frames{what}: the nearest frames are those of an exact scan", agree, 1.0, agree == 1)
        anonymous = one["peak_anonymous_mb"]
        report.claim(f"{rows} frames{what}: at most 4096 MB of memory that is not a file's", anonymous, 4096.0,
                     anonymous <= 4096)  # fmt: skip
    report.row(name=f"LanceDB, exact: the same search, {rows} frames", **tables, recall=1.0)
    if faiss is not None:
        moments = recall([[tuple(moment) for moment in answer] for answer in faiss.pop("answers")], truth)
        name = f"FAISS flat, half precision in memory: the same search, {rows} frames"
        report.row(name=name, **faiss, recall=moments)
    rng = np.random.default_rng(args.seed)
    spread = np.interp(rng.random(1000), [0, 0.5, 0.95, 0.99], [free[f"p{s}_ms"] / 1000 for s in (50, 50, 95, 99)])
    merge_cost(report, rng, spread, rows)
    report.finish(columns=("name", "p50_ms", "p99_ms", "recall"))


if __name__ == "__main__":
    main()
