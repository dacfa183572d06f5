"""Search of large indexes: latency beside recall, disk and memory, with NumPy, LanceDB, FAISS and USearch in one run.

Vectors are synthetic but clustered, with the geometry of CLIP: all frames share a direction, a video is a sequence of
scenes, frames of a scene are near each other, and texts are far from all frames. With `--real INDEX` there are others
beside them: stretches of the vectors of an index, with noise. A query is a vector. With `--words INDEX`, a sentence is
also encoded by the text tower of an index before each search, and both together are timed.

The videos are also divided among several indexes that are searched as one. Every engine finds the nearest frames for
the same search, whose moments are compared with those of an exact one. FAISS and USearch hold all vectors in memory
(`benchmarks/common/nearest_peers.py`); without them their rows are missing.

Graphs take long to build. With `--folder`, every index that is built is kept there and not built again; `--only-build`
builds what is missing and measures nothing, so that the machine may do other things at that time. Processor time is
given beside the seconds of every build.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import harness
from benchmarks.common.footage import DIM, Footage, RealFootage
from benchmarks.common.nearest_peers import Engine, Peer, Replaced, installed
from mova.search import query
from mova.search.cold.snapshot import Snapshot
from mova.search.cold.snapshot_writer import write_snapshot
from mova.search.cold.text_tower import TextTower
from mova.search.narrow.selection import Reader
from mova.search.query import Query
from mova.search.shards.union import Shard, Union
from mova.search.storage import upkeep
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store

LENGTH = 600
"""Frames per video."""
VIDEOS, TIDY_EVERY = 20, 16
"""Videos per write, and writes between two checks for small fragments."""
PARTS = {"frames.lance": "table", "videos.lance": "records", "snapshot": "snapshot"}
NEAREST = 256
SHARDS = 4
"""Indexes among which the videos are divided."""
K = 10
GOALS = {180_000: ("p50_ms", 30.0), 1_000_000: ("p99_ms", 100.0)}
GOAL_FROM_WORDS = 100.0
LONG, GOAL_LONG = 2000, 10.0
"""Sentences of a long query, and seconds that it may take in 180,000 frames."""
MOST_DISK = 1.8
_F32 = np.ndarray


def build(folder: Path, footage: Footage | RealFootage, rows: int) -> dict[str, float]:
    """Write an index of a size as `mova index` does; return seconds of the tables, their upkeep, and the snapshot."""
    store = Store(folder)
    store.create(Meta("m", "f", footage.dim, 1.0))
    tidying, began = 0.0, time.perf_counter()
    for write, _ in enumerate(write_frames(store, footage, rows)):
        if write % TIDY_EVERY == TIDY_EVERY - 1:
            tidying += _timed(store.tidy)[0]
    tidying += _timed(lambda: store.tidy(last=True))[0]
    tables = time.perf_counter() - began
    snapshot, _ = _timed(lambda: write_snapshot(store))
    return {"tidy_seconds": tidying, "tables_seconds": tables, "build_seconds": snapshot}


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


def whole_query(reader: Reader, vectors: _F32) -> list[tuple[str, float, float]]:
    """Return the moments for a query: one sentence (d,), or several (S, d)."""
    vectors = np.atleast_2d(vectors)
    request = Query("x", ("x",) * len(vectors), vectors, "none")
    return [(moment.video, moment.start, moment.end) for moment in query.search(reader, request, K)]


def recall(answers: list[Any], truth: list[Any]) -> float:
    """Return the share of the true entries that were found."""
    pairs = list(zip(answers, truth, strict=False))
    return sum(len(set(a) & set(t)) for a, t in pairs) / sum(len(t) for _, t in pairs)


class Place:
    """A folder for everything that is built of some vectors; what it has is not built again.

    Args:
        folder: for the indexes, and for a JSON file about the cost of each.
        footage: vectors; its queries do not depend on what is built.
        rows: number of frames.
        rounds: number of queries.
    """

    def __init__(self, folder: Path, footage: Footage | RealFootage, rows: int, rounds: int) -> None:
        self.folder, self.rows, self.dim = folder, rows, footage.dim
        self.index, self.divided, self.approximate = (folder / name for name in ("index", "divided", "approximate"))
        self.kind = f"{rows} frames" if isinstance(footage, Footage) else f"{rows} real frames with noise"
        self.queries = footage.texts(rounds)
        self.built = self.once(self.index, lambda: build(self.index, footage, rows))

    def once(self, path: Path, work: Callable[[], dict[str, float] | None]) -> dict[str, float]:
        """Return seconds and processor seconds of building an index, and what the work adds to them."""

        def costly() -> dict[str, float]:
            shutil.rmtree(path, ignore_errors=True)
            processor, began = time.process_time(), time.perf_counter()
            more = work() or {}
            processor, seconds = time.process_time() - processor, time.perf_counter() - began
            return {"build_seconds": seconds, "build_processor_seconds": processor} | more

        costs: dict[str, float] = harness.finished(path.parent / f"{path.name}.json", costly)
        return costs

    def snapshot(self) -> Snapshot:
        """Return the snapshot of the index."""
        opened = Snapshot.open(self.index)
        assert opened is not None
        return opened

    def shards(self) -> tuple[dict[str, float], list[Shard]]:
        """Divide the videos among indexes; return the seconds of their snapshots, and the indexes."""
        costs = self.once(self.divided, lambda: divide(self.snapshot(), self.divided))
        opened = [Snapshot.open(self.divided / str(number)) for number in range(SHARDS)]
        return costs, [Shard(str(number), part) for number, part in enumerate(opened) if part is not None]

    def engines(self, wide: _F32) -> Iterator[tuple[str, dict[str, float], Engine]]:
        """Yield the name of each engine that is installed, the cost of its index, and the index."""
        for peer in installed():
            path = self.folder / "".join(letter for letter in peer.name if letter.isalnum())
            if self.rows > peer.most and not path.exists():
                print(f"not built: {peer.name}, of more than {peer.most} frames")
            else:
                yield peer.name, *self._engine(peer, path, wide)

    def _engine(self, peer: Peer, path: Path, wide: _F32) -> tuple[dict[str, float], Engine]:
        """Return the cost of an index of an engine, and the index as it is read from its file."""

        def work() -> dict[str, float]:
            seconds, engine = _timed(lambda: peer.build(wide))
            engine.save(path)
            return {"build_seconds": seconds}

        costs = self.once(path, work)
        return costs | {"disk": path.stat().st_size / (self.rows * self.dim * 2)}, peer.load(path)

    def lance(self) -> tuple[dict[str, float], Store]:
        """Build the approximate index that remote indexes have from `upkeep.ANN_ROWS` frames on, in a copy."""

        def work() -> dict[str, float]:
            shutil.copytree(self.index, self.approximate)
            seconds, _ = _timed(lambda: upkeep.build_index(Store(self.approximate).connection.open_table("frames")))
            return {"build_seconds": seconds}

        costs = self.once(self.approximate, work)
        more = disk_bytes(self.approximate / "frames.lance") - disk_bytes(self.index / "frames.lance")
        return costs | {"disk": more / (self.rows * self.dim * 2)}, Store(self.approximate)

    def build_all(self) -> None:
        """Build whatever is missing."""
        self.shards()
        self.lance()
        wide = self.snapshot().vectors[:].astype(np.float32)
        for name, costs, _ in self.engines(wide):
            print(f"{self.kind}, {name}: {costs}", flush=True)


def size(report: harness.Report, place: Place) -> None:
    """Measure one size."""
    kind, queries = place.kind, place.queries
    before = {key: harness.resident(key) for key in ("RssAnon", "RssFile")}
    snapshot = place.snapshot()

    def search(vector: _F32) -> list[Any]:
        reader = Snapshot.open(place.index, snapshot)  # as every search of `Index` does
        assert reader is snapshot
        return whole_query(reader, vector)

    latency, answers = measure(search, queries)
    memory = {f"{key}_mb": harness.resident(key) - before[key] for key in before}
    few = queries[: max(10, len(queries) // 10)]
    tables = Store(place.index)
    lance, exact = measure(lambda vector: whole_query(tables, vector), few)
    assert snapshot.nearest(queries[0], NEAREST)[1].min() > 0
    wide = snapshot.vectors[:].astype(np.float32)
    scan, nearest = measure(lambda vector: _nearest(wide, vector), queries)
    frames = [snapshot.nearest(vector, NEAREST)[1] for vector in queries]
    agree = float(np.mean([np.all(a >= t.min() - 1e-6) for a, t in zip(frames, nearest, strict=True)]))
    own, _ = measure(lambda vector: snapshot.nearest(vector, NEAREST), queries)
    moments = recall(answers, exact)
    sizes = disk(place.index, place.rows, place.dim)
    report.row(name=f"mova search, {kind}", **latency, recall=moments, **place.built, **sizes, **memory)
    report.row(name=f"mova, nearest {NEAREST} of {kind}", **own, recall=agree)
    report.row(name=f"LanceDB, exact: the same search, {kind}", **lance, recall=1.0)
    report.row(name=f"NumPy float32 in memory, nearest {NEAREST} of {kind}", **scan, recall=1.0)
    report.claim(f"{kind}: the moments are those of an exact search", moments, 1.0, moments == 1)
    report.claim(f"{kind}: the nearest frames are those of an exact scan", agree, 1.0, agree == 1)
    if place.rows in GOALS and "real" not in kind:
        key, bound = GOALS[place.rows]
        report.claim(f"{kind}: {key[:3]} of a search at most {bound:g} ms", latency[key], bound, latency[key] <= bound)
    whole = sizes["disk"]
    report.claim(f"{kind}: the index takes at most {MOST_DISK} times the raw vectors", whole, MOST_DISK,
                 whole <= MOST_DISK)  # fmt: skip
    compare(report, place, wide, answers)


def long_query(report: harness.Report, place: Place) -> None:
    """Measure one query of many sentences: each is one of the queries with noise as long as its vector."""
    noise = np.random.default_rng(LONG).normal(size=(LONG, place.dim)) / np.sqrt(place.dim)
    vectors = place.queries[np.arange(LONG) % len(place.queries)] + noise
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    request = Query("x", ("x",) * LONG, vectors, "none")
    seconds, _ = _timed(lambda: query.search(place.snapshot(), request, K))
    name = f"mova search, one query of {LONG:,} sentences, {place.kind}"
    report.row(name=name, p50_ms=1000 * seconds)
    if place.rows == min(GOALS):
        report.claim(f"{name}: at most {GOAL_LONG:g} s", seconds, GOAL_LONG, seconds <= GOAL_LONG)


def from_words(report: harness.Report, place: Place, index: Path) -> None:
    """Measure searches that begin with words: a sentence is encoded by the text tower of an index, then searched."""
    tower, snapshot = TextTower.open(index, Store(index).meta), place.snapshot()
    if tower is None:
        raise SystemExit(f"{index} has no text tower; mova index writes it again")
    sentences = iter(tower.unlikely[number % len(tower.unlikely)] for number in range(len(place.queries) + 1))
    encoding: list[float] = []

    def ask(vector: _F32) -> list[Any]:
        spent, _ = _timed(lambda: tower.encode_sentences([next(sentences)]))
        encoding.append(1000 * spent)
        return whole_query(snapshot, vector)

    latency, _ = measure(ask, place.queries)
    encode = {f"encode_p{share}_ms": float(np.percentile(encoding[1:], share)) for share in (50, 99)}
    name, bound = f"mova search from words ({tower.name}), {place.kind}", GOAL_FROM_WORDS
    report.row(name=name, **latency, **encode)
    if place.rows == 1_000_000:
        report.claim(f"{name}: p99 at most {bound:g} ms", latency["p99_ms"], bound, latency["p99_ms"] <= bound)


def compare(report: harness.Report, place: Place, wide: _F32, truth: list[Any]) -> None:
    """Measure the same search in other forms and with the engines that are installed, one after the other."""
    queries, kind = place.queries, place.kind
    costs, shards = place.shards()
    with ThreadPoolExecutor(SHARDS) as pool:
        union = Union(shards, pool)
        latency, answers = measure(lambda vector: whole_query(union, vector), queries)
    found = recall(answers, truth)
    report.row(name=f"mova search, {SHARDS} indexes as one, {kind}", **latency, recall=found, **costs)
    report.claim(f"{kind}: {SHARDS} indexes have the moments of one", found, 1.0, found == 1)
    costs, tables = place.lance()
    latency, answers = measure(lambda vector: whole_query(tables, vector), queries)
    name = f"LanceDB, approximate: the same search, {kind}"
    report.row(name=name, **latency, recall=recall(answers, truth), **costs)
    snapshot = place.snapshot()
    for engine, costs, index in place.engines(wide):
        for setting, search in index.searches.items():
            reader: Any = Replaced(snapshot, search)
            latency, answers = measure(lambda vector, reader=reader: whole_query(reader, vector), queries)  # type: ignore[misc]
            nearest, _ = measure(lambda vector, search=search: search(vector, NEAREST), queries)  # type: ignore[misc]
            alone = {f"nearest_{key}": nearest[key] for key in ("p50_ms", "p99_ms")}
            name = f"{engine}{setting}: the same search, {kind}"
            report.row(name=name, **latency, recall=recall(answers, truth), **costs, **alone)


def divide(snapshot: Snapshot, folder: Path) -> dict[str, float]:
    """Divide the videos of a snapshot among indexes; return the seconds of their snapshots."""
    records, spent = list(snapshot.records().values()), 0.0
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
    return {"build_seconds": spent}


def _nearest(wide: _F32, vector: _F32) -> _F32:
    cosines = wide @ vector
    return cosines[np.argpartition(cosines, len(cosines) - NEAREST)[-NEAREST:]]


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def parser_of_sizes(doc: str | None) -> argparse.ArgumentParser:
    """Return the parser of a benchmark of indexes of several sizes, which are kept in a folder."""
    parser = harness.plain_parser(doc)
    parser.add_argument("--rows", type=int, action="append", help="number of frames; may be repeated")
    parser.add_argument("--folder", type=Path, help="keep all indexes here, and go on with those that are there")
    parser.add_argument("--only-build", action="store_true", help="build the indexes, and measure nothing")
    return parser


def finish(report: harness.Report) -> None:
    """Print and record rows of which not all have the same columns."""
    columns = ("name", "p50_ms", "p99_ms", "recall", "build_seconds", "disk")
    for row in report.rows:
        row |= {key: row.get(key) for key in columns}
    report.finish(columns=columns)


def main() -> None:
    """Measure all sizes."""
    parser = parser_of_sizes(__doc__)
    parser.add_argument("--real", type=Path, help="an index whose vectors, with noise, are searched too")
    parser.add_argument("--words", type=Path, help="an index whose text tower encodes sentences before searches")
    args = parser.parse_args()
    report = harness.Report("search_scale", seeds=[args.seed])
    for rows in args.rows or ((20_000, 60_000) if args.quick else (180_000, 1_000_000)):
        for real in (None, args.real) if args.real else (None,):
            rng = np.random.default_rng(args.seed)
            footage = Footage(rng) if real is None else RealFootage(rng, real)
            with tempfile.TemporaryDirectory() as name:
                kept = f"{'vectors' if real is None else 'real'}-{rows}-{args.seed}"
                folder = Path(args.folder or name) / kept
                folder.mkdir(parents=True, exist_ok=True)
                place = Place(folder, footage, rows, 50 if args.quick else 200)
                if args.only_build:
                    place.build_all()
                    continue
                size(report, place)
                if place.rows in GOALS:
                    long_query(report, place)
                if args.words:
                    from_words(report, place, args.words)
    if args.only_build:
        return
    finish(report)


if __name__ == "__main__":
    main()
