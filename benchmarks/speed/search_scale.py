"""Search of large indexes: latency beside recall, disk and memory, with NumPy, LanceDB, FAISS and USearch in one run.

Vectors are synthetic but clustered, with the geometry of CLIP: all frames share a direction, a video is a sequence of
scenes, frames of a scene are near each other, and texts are far from all frames. With `--real INDEX` there are others
beside them: stretches of the vectors of an index, with noise. A query is a vector; encoding a text is not part of this.

The videos are also divided among several indexes that are searched as one. Every engine finds the nearest frames for
the same search, whose moments are compared with those of an exact one. FAISS and USearch hold all vectors in memory
(`benchmarks/common/nearest_peers.py`); without them their rows are missing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from benchmarks.common import harness
from benchmarks.common.nearest_peers import Replaced, installed
from mova.search import query
from mova.search.cold.snapshot import Snapshot
from mova.search.cold.snapshot_writer import write_snapshot
from mova.search.evidence import VECTORS
from mova.search.narrow.selection import Reader
from mova.search.query import Query
from mova.search.shards.union import Shard, Union
from mova.search.storage import upkeep
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store

DIM, LENGTH, SCENE, SCENES = 512, 600, 6, 4000
"""Width, frames per video, frames per scene, and different scenes."""
VIDEOS, TIDY_EVERY = 20, 16
"""Videos per write, and writes between two checks for small fragments."""
PARTS = {"frames.lance": "table", "videos.lance": "records", "snapshot": "snapshot"}
NEAREST = 256
SHARDS = 4
"""Indexes among which the videos are divided."""
K = 10
GOALS = {180_000: ("p50_ms", 30.0), 1_000_000: ("p99_ms", 100.0)}
MOST_DISK = 1.8
FRAME_NOISE, TEXT_NOISE = 0.5, 0.3
"""Length of the random vector that is added to a real frame, or to a real text, of length 1."""

_F32 = np.ndarray


class Footage:
    """Random vectors of frames and of texts."""

    dim = DIM

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


class RealFootage:
    """Vectors of an index and of the background sentences of its model, with noise.

    Args:
        rng: draws stretches and noise.
        folder: of an index; its texts are those of `false_alarms.safetensors`, which `mova index` and searches write.
    """

    def __init__(self, rng: np.random.Generator, folder: Path) -> None:
        self.rng = rng
        store = Store(folder)
        contents = sorted({record.content for record in store.records().values()})
        self.videos = [frames.vectors for frames in store.fetch(contents).values()]
        self.dim = store.meta.dim
        self.sentences = load_file(folder / VECTORS)["vectors"]

    def frames(self, count: int) -> _F32:
        """Return frames of one video, (T, d): stretches of real ones."""
        parts: list[_F32] = []
        while sum(map(len, parts)) < count:
            video = self.videos[self.rng.integers(len(self.videos))]
            first = self.rng.integers(len(video))
            parts.append(video[first : first + SCENE])
        return self._noisy(np.concatenate(parts)[:count], FRAME_NOISE)

    def texts(self, count: int) -> _F32:
        """Return texts, (n, d)."""
        return self._noisy(self.sentences[self.rng.integers(0, len(self.sentences), count)], TEXT_NOISE)

    def _noisy(self, rows: _F32, length: float) -> _F32:
        return _unit(rows + length * _unit(self.rng.standard_normal(rows.shape, dtype=np.float32)))


def _unit(rows: _F32) -> _F32:
    unit: _F32 = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def build(folder: Path, footage: Footage | RealFootage, rows: int) -> dict[str, float]:
    """Write an index of a size as `mova index` does; return seconds of the tables' upkeep and of the snapshot."""
    store = Store(folder)
    store.create(Meta("m", "f", footage.dim, 1.0))
    tidying = 0.0
    for write, _ in enumerate(write_frames(store, footage, rows)):
        if write % TIDY_EVERY == TIDY_EVERY - 1:
            tidying += _timed(store.tidy)[0]
    tidying += _timed(lambda: store.tidy(last=True))[0]
    snapshot, _ = _timed(lambda: write_snapshot(store))
    return {"tidy_seconds": tidying, "snapshot_seconds": snapshot}


def write_frames(
    store: Store, footage: Footage | RealFootage, rows: int, videos: int = VIDEOS, present: int = 0
) -> Iterator[int]:
    """Append videos to an index, which has some frames, until it has a number of them; yield it after each write."""
    for first in range(present, rows, LENGTH * videos):
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


def disk(folder: Path, rows: int, dim: int = DIM) -> dict[str, float]:
    """Return the sizes of the parts of an index, as multiples of the raw vectors in half precision."""
    raw = rows * dim * 2
    parts = {name: disk_bytes(folder / name) for name in PARTS}
    return {"disk": disk_bytes(folder) / raw, **{f"disk_{PARTS[name]}": size / raw for name, size in parts.items()}}


def disk_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(ask: Callable[[_F32], Any], queries: _F32) -> tuple[dict[str, float], list[Any]]:
    """Return the latency of queries in milliseconds, and their answers."""
    answers, seconds = [], []
    ask(queries[0])
    for vector in queries:
        spent, answer = _timed(lambda vector=vector: ask(vector))  # type: ignore[misc]
        seconds.append(spent)
        answers.append(answer)
    return {f"p{share}_ms": 1000 * float(np.percentile(seconds, share)) for share in (50, 95, 99)}, answers


def whole_query(reader: Reader, vector: _F32) -> list[tuple[str, float, float]]:
    """Return the moments for a query."""
    request = Query("x", ("x",), vector[None], "none")
    return [(moment.video, moment.start, moment.end) for moment in query.search(reader, request, K)]


def recall(answers: list[Any], truth: list[Any]) -> float:
    """Return the share of the true entries that were found."""
    pairs = list(zip(answers, truth, strict=False))
    return sum(len(set(a) & set(t)) for a, t in pairs) / sum(len(t) for _, t in pairs)


def size(report: harness.Report, folder: Path, footage: Footage | RealFootage, rows: int, rounds: int) -> None:
    """Measure one size."""
    kind = f"{rows} frames" if isinstance(footage, Footage) else f"{rows} real frames with noise"
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
    sizes = disk(folder, rows, footage.dim)
    built["build_seconds"] = built["snapshot_seconds"]
    report.row(name=f"mova search, {kind}", **latency, recall=moments, **built, **sizes, **memory)
    report.row(name=f"mova, nearest {NEAREST} of {kind}", **own, recall=agree)
    report.row(name=f"LanceDB, exact: the same search, {kind}", **lance, recall=1.0)
    report.row(name=f"NumPy float32 in memory, nearest {NEAREST} of {kind}", **scan, recall=1.0)
    report.claim(f"{kind}: the moments are those of an exact search", moments, 1.0, moments == 1)
    report.claim(f"{kind}: the nearest frames are those of an exact scan", agree, 1.0, agree == 1)
    if rows in GOALS and isinstance(footage, Footage):
        key, bound = GOALS[rows]
        report.claim(f"{kind}: {key[:3]} of a search at most {bound:g} ms", latency[key], bound, latency[key] <= bound)
    whole = sizes["disk"]
    report.claim(f"{kind}: the index takes at most {MOST_DISK} times the raw vectors", whole, MOST_DISK,
                 whole <= MOST_DISK)  # fmt: skip
    side_by_side(report, snapshot, folder.parent / "shards", queries, answers, kind)
    compare(report, snapshot, wide, queries, answers, kind)
    approximate(report, folder, queries, answers, kind)


def compare(report: harness.Report, snapshot: Snapshot, wide: _F32, queries: _F32, truth: list[Any], kind: str) -> None:
    """Measure the same search with the engines that are installed, one after the other."""
    raw = wide.size * 2
    for peer in installed():
        seconds, engine = _timed(lambda peer=peer: peer.build(wide))  # type: ignore[misc]
        with tempfile.TemporaryDirectory() as name:
            engine.save(Path(name) / "index")
            built = {"build_seconds": seconds, "disk": (Path(name) / "index").stat().st_size / raw}
        for setting, search in engine.searches.items():
            reader: Any = Replaced(snapshot, search)
            latency, answers = measure(lambda vector, reader=reader: whole_query(reader, vector), queries)  # type: ignore[misc]
            nearest, _ = measure(lambda vector, search=search: search(vector, NEAREST), queries)  # type: ignore[misc]
            alone = {f"nearest_{key}": nearest[key] for key in ("p50_ms", "p99_ms")}
            name = f"{peer.name}{setting}: the same search, {kind}"
            report.row(name=name, **latency, recall=recall(answers, truth), **built, **alone)


def side_by_side(
    report: harness.Report, snapshot: Snapshot, folder: Path, queries: _F32, truth: list[Any], kind: str
) -> None:
    """Divide the videos among indexes, and measure the same search over all of them (`mova.ShardedIndex`)."""
    records = list(snapshot.records().values())
    spent, shards = 0.0, []
    for number in range(SHARDS):
        store = Store(folder / str(number))
        store.create(snapshot.meta)
        own = records[number::SHARDS]
        for first in range(0, len(own), VIDEOS):
            part = own[first : first + VIDEOS]
            stored = snapshot.fetch([record.content for record in part])
            store.append([record.content for record in part], [stored[record.content] for record in part])
            store.commit(part)
        spent += _timed(lambda store=store: write_snapshot(store))[0]  # type: ignore[misc]
        opened = Snapshot.open(folder / str(number))
        assert opened is not None
        shards.append(Shard(str(number), opened))
    with ThreadPoolExecutor(SHARDS) as pool:
        union = Union(shards, pool)
        latency, answers = measure(lambda vector: whole_query(union, vector), queries)
    found = recall(answers, truth)
    report.row(name=f"mova search, {SHARDS} indexes as one, {kind}", **latency, recall=found, build_seconds=spent)
    report.claim(f"{kind}: {SHARDS} indexes have the moments of one", found, 1.0, found == 1)


def approximate(report: harness.Report, folder: Path, queries: _F32, truth: list[Any], kind: str) -> None:
    """Measure the approximate index of LanceDB that remote indexes have from `upkeep.ANN_ROWS` frames on."""
    before = disk_bytes(folder / "frames.lance")
    tables = Store(folder)
    table = tables.connection.open_table("frames")
    seconds, _ = _timed(lambda: upkeep.build_index(table))
    size = (disk_bytes(folder / "frames.lance") - before) / (table.count_rows() * queries.shape[1] * 2)
    tables = Store(folder)
    latency, answers = measure(lambda vector: whole_query(tables, vector), queries)
    report.row(name=f"LanceDB, approximate: the same search, {kind}", **latency, recall=recall(answers, truth),
               build_seconds=seconds, disk=size)  # fmt: skip


def _nearest(wide: _F32, vector: _F32) -> _F32:
    cosines = wide @ vector
    return cosines[np.argpartition(cosines, len(cosines) - NEAREST)[-NEAREST:]]


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def main() -> None:
    """Measure all sizes."""
    parser = harness.plain_parser(__doc__)
    parser.add_argument("--rows", type=int, action="append", help="number of frames; may be repeated")
    parser.add_argument("--real", type=Path, help="an index whose vectors, with noise, are searched too")
    args = parser.parse_args()
    report = harness.Report("search_scale", seeds=[args.seed])
    for rows in args.rows or ((20_000, 60_000) if args.quick else (180_000, 1_000_000)):
        for real in (None, args.real) if args.real else (None,):
            rng = np.random.default_rng(args.seed)
            footage = Footage(rng) if real is None else RealFootage(rng, real)
            with tempfile.TemporaryDirectory() as name:
                size(report, Path(name) / "index", footage, rows, 50 if args.quick else 200)
    columns = ("name", "p50_ms", "p99_ms", "recall", "build_seconds", "disk")
    for row in report.rows:
        row |= {key: row.get(key) for key in columns}
    report.finish(columns=columns)


if __name__ == "__main__":
    main()
