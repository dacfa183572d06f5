"""Search of large indexes: latency beside recall, disk and memory, with NumPy and LanceDB in the same run.

Vectors are synthetic but clustered, with the geometry of CLIP: all frames share a direction, a video is a sequence of
scenes, frames of a scene are near each other, and texts are far from all frames. A query is a vector; encoding a text
is not part of this.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import harness
from mova.search import query
from mova.search.cold.snapshot import Snapshot
from mova.search.cold.snapshot_writer import write_snapshot
from mova.search.query import Query
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store

DIM, LENGTH, SCENE, SCENES = 512, 600, 6, 4000
"""Width, frames per video, frames per scene, and different scenes."""
VIDEOS, TIDY_EVERY = 20, 16
"""Videos per write, and writes between two checks for small fragments."""
PARTS = {"frames.lance": "table", "videos.lance": "records", "snapshot": "snapshot"}
NEAREST = 256
K = 10
GOALS = {180_000: ("p50_ms", 30.0), 1_000_000: ("p99_ms", 100.0)}
MOST_DISK = 1.8

_F32 = np.ndarray


class Footage:
    """Random vectors of frames and of texts."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.common = rng.normal(size=DIM).astype(np.float32)
        self.scenes = rng.normal(size=(SCENES, DIM)).astype(np.float32)

    def frames(self, count: int) -> _F32:
        """Return frames of one video, (T, d)."""
        which = np.repeat(self.rng.integers(0, SCENES, count // SCENE + 1), SCENE)[:count]
        noise = self.rng.standard_normal((count, DIM), dtype=np.float32)
        return _unit(self.common + 0.8 * self.scenes[which] + 0.5 * noise)

    def texts(self, count: int) -> _F32:
        """Return texts, (n, d): half are about a scene, half about nothing."""
        about = self.scenes[self.rng.integers(0, SCENES, count)] * (np.arange(count) % 2)[:, None]
        return _unit(0.5 * self.common + about + 2 * self.rng.standard_normal((count, DIM), dtype=np.float32))


def _unit(rows: _F32) -> _F32:
    unit: _F32 = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def build(folder: Path, footage: Footage, rows: int) -> dict[str, float]:
    """Write an index of a size as `mova index` does; return seconds of the tables' upkeep and of the snapshot."""
    store = Store(folder)
    store.create(Meta("m", "f", DIM, 1.0))
    tidying = 0.0
    for write, _ in enumerate(write_frames(store, footage, rows)):
        if write % TIDY_EVERY == TIDY_EVERY - 1:
            tidying += _timed(store.tidy)[0]
    tidying += _timed(lambda: store.tidy(last=True))[0]
    snapshot, _ = _timed(lambda: write_snapshot(store, folder))
    return {"tidy_seconds": tidying, "snapshot_seconds": snapshot}


def write_frames(store: Store, footage: Footage, rows: int, videos: int = VIDEOS) -> Iterator[int]:
    """Append videos to an index until it has a number of frames; yield their number after each write."""
    for first in range(0, rows, LENGTH * videos):
        parts, records = [], []
        last = min(first + LENGTH * videos, rows)
        for start in range(first, last, LENGTH):
            vectors = footage.frames(min(LENGTH, rows - start)).astype(np.float16)
            name, count = f"{start:032x}", len(vectors)
            mean = vectors.mean(axis=0, dtype=np.float32)
            parts.append(StoredFrames(np.arange(float(count)), vectors))
            records.append(VideoRecord(f"/v/{name}.mp4", name, 1, 1, float(count), count, mean))
        store.append([record.content for record in records], parts)
        store.commit(records)
        yield last


def disk(folder: Path, rows: int) -> dict[str, float]:
    """Return the sizes of the parts of an index, as multiples of the raw vectors in half precision."""
    raw = rows * DIM * 2
    parts = {name: sum(p.stat().st_size for p in (folder / name).rglob("*") if p.is_file()) for name in PARTS}
    whole = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    return {"disk": whole / raw, **{f"disk_{PARTS[name]}": size / raw for name, size in parts.items()}}


def measure(ask: Callable[[_F32], Any], queries: _F32) -> tuple[dict[str, float], list[Any]]:
    """Return the latency of queries in milliseconds, and their answers."""
    answers, seconds = [], []
    ask(queries[0])
    for vector in queries:
        spent, answer = _timed(lambda vector=vector: ask(vector))  # type: ignore[misc]
        seconds.append(spent)
        answers.append(answer)
    return {f"p{share}_ms": 1000 * float(np.percentile(seconds, share)) for share in (50, 95, 99)}, answers


def whole_query(reader: Store | Snapshot, vector: _F32) -> list[tuple[str, float, float]]:
    """Return the moments for a query."""
    request = Query("x", ("x",), vector[None], "none")
    return [(moment.video, moment.start, moment.end) for moment in query.search(reader, request, K)]


def recall(answers: list[Any], truth: list[Any]) -> float:
    """Return the share of the true entries that were found."""
    pairs = list(zip(answers, truth, strict=False))
    return sum(len(set(a) & set(t)) for a, t in pairs) / sum(len(t) for _, t in pairs)


def size(report: harness.Report, folder: Path, footage: Footage, rows: int, rounds: int) -> None:
    """Measure one size."""
    built = build(folder, footage, rows)
    queries = footage.texts(rounds)
    before = {key: harness.resident(key) for key in ("RssAnon", "RssFile")}
    snapshot = Snapshot.open(folder)
    assert snapshot is not None

    def search(vector: _F32) -> list[Any]:
        reader = Snapshot.open(folder, snapshot)  # as every search of `Index` does
        assert reader is snapshot
        return whole_query(reader, vector)

    latency, answers = measure(search, queries)
    memory = {f"{key}_mb": harness.resident(key) - before[key] for key in before}
    few = queries[: max(10, rounds // 10)]
    tables = Store(folder)
    lance, exact = measure(lambda vector: whole_query(tables, vector), few)
    assert snapshot.nearest(queries[0], NEAREST)[1].min() > 0
    wide = snapshot.vectors[:].astype(np.float32)
    scan, nearest = measure(lambda vector: _nearest(wide, vector), queries)
    frames = [snapshot.nearest(vector, NEAREST)[1] for vector in queries]
    agree = float(np.mean([np.all(a >= t.min() - 1e-6) for a, t in zip(frames, nearest, strict=True)]))
    own, _ = measure(lambda vector: snapshot.nearest(vector, NEAREST), queries)
    moments = recall(answers, exact)
    sizes = disk(folder, rows)
    report.row(name=f"mova search, {rows} frames", **latency, recall=moments, **built, **sizes, **memory)
    report.row(name=f"mova, nearest {NEAREST} of {rows} frames", **own, recall=agree)
    report.row(name=f"LanceDB, exact: the same search, {rows} frames", **lance, recall=1.0)
    report.row(name=f"NumPy float32 in memory, nearest {NEAREST} of {rows} frames", **scan, recall=1.0)
    report.claim(f"{rows} frames: the moments are those of an exact search", moments, 1.0, moments == 1)
    report.claim(f"{rows} frames: the nearest frames are those of an exact scan", agree, 1.0, agree == 1)
    if rows in GOALS:
        key, bound = GOALS[rows]
        report.claim(
            f"{rows} frames: {key[:3]} of a search at most {bound:g} ms", latency[key], bound, latency[key] <= bound
        )
    report.claim(
        f"{rows} frames: the index takes at most {MOST_DISK} times the raw vectors", sizes["disk"], MOST_DISK,
        sizes["disk"] <= MOST_DISK,
    )  # fmt: skip


def _nearest(wide: _F32, vector: _F32) -> _F32:
    cosines = wide @ vector
    return cosines[np.argpartition(cosines, len(cosines) - NEAREST)[-NEAREST:]]


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def main() -> None:
    """Measure all sizes."""
    args = harness.arguments(__doc__)
    report = harness.Report("search_scale", seeds=[args.seed])
    for rows in (20_000, 60_000) if args.quick else (180_000, 1_000_000):
        with tempfile.TemporaryDirectory() as name:
            size(
                report, Path(name) / "index", Footage(np.random.default_rng(args.seed)), rows, 50 if args.quick else 200
            )
    report.finish(columns=("name", "p50_ms", "p95_ms", "p99_ms", "recall"))


if __name__ == "__main__":
    main()
