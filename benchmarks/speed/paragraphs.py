"""Paragraphs in large indexes: mova, which compares all sentences with all frames, beside LanceDB's multivectors.

A video is its frames, and a paragraph its sentences. LanceDB finds the videos whose best frames are nearest to the
sentences (the mean over sentences of the best cosine, as in ColBERT; Khattab and Zaharia, arXiv 2004.12832): exactly,
or with the approximate index that remote indexes have. mova finds moments; to compare like with like, it is also asked
for the videos alone. Vectors are those of `search_scale`, and may be kept in the same `--folder`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfRq

from benchmarks.common import harness
from benchmarks.common.footage import Footage
from benchmarks.speed.search_scale import (
    VIDEOS,
    K,
    Place,
    disk_bytes,
    finish,
    measure,
    parser_of_sizes,
    recall,
    whole_query,
)
from mova.search.cold.snapshot import Snapshot
from mova.search.storage.store import Store
from mova.search.storage.upkeep import BITS
from mova.utils.batching import batches

SENTENCES = (3, 8)
"""Sentences per paragraph, and of another."""
PROBES = (20, 100)
"""Lists of the approximate index that are visited; 20 is the default of LanceDB."""
_F32 = np.ndarray


def write_multivectors(snapshot: Snapshot, folder: Path) -> Any:
    """Write a table with one row per video, its frames; return the table."""
    rows = pa.list_(pa.list_(pa.float16(), snapshot.meta.dim))
    database = lancedb.connect(folder)
    table = database.create_table("videos", schema=pa.schema({"video": pa.string(), "vector": rows}))
    contents = sorted(record.content for record in snapshot.records().values())
    for part in batches(contents, lambda _: 1, VIDEOS):
        stored = snapshot.fetch(part)
        stops = np.cumsum([0, *(len(stored[content].vectors) for content in part)], dtype=np.int32)
        values = np.concatenate([stored[content].vectors for content in part]).astype(np.float16)
        frames = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), snapshot.meta.dim)
        table.add(pa.table({"video": part, "vector": pa.ListArray.from_arrays(pa.array(stops), frames)}))
    table.optimize()
    return table


def videos_of(table: Any, sentences: _F32, probes: int = 0) -> list[str]:
    """Return the best ten videos of a table: exactly, or by so many lists of its index."""
    search = table.search(sentences).distance_type("cosine").limit(K).select(["video", "_distance"])
    search = search.nprobes(probes) if probes else search.bypass_vector_index()
    found: list[str] = search.to_arrow()["video"].to_pylist()
    return found


def own_videos(snapshot: Snapshot, sentences: _F32) -> list[str]:
    """Return the best ten videos by the mean over sentences of their best cosine."""
    contents, best = snapshot.best_cosines(sentences)
    means = best.mean(axis=1)
    return [contents[row] for row in np.argsort(-means, kind="stable")[:K]]


def paragraphs(report: harness.Report, place: Place, count: int) -> None:
    """Measure paragraphs of a number of sentences in an index of one size."""
    kind, snapshot = f"{count} sentences, {place.kind}", place.snapshot()
    asked = place.queries[: len(place.queries) // count * count].reshape(-1, count, place.dim)
    few = asked[: max(5, len(asked) // 5)]
    tables = Store(place.index)
    latency, moments = measure(lambda sentences: whole_query(snapshot, sentences), asked)
    lance, exact = measure(lambda sentences: whole_query(tables, sentences), few)
    found = recall(moments, exact)
    report.row(name=f"mova search, {kind}", **latency, recall=found)
    report.row(name=f"LanceDB, exact, a sentence at a time: the same search, {kind}", **lance, recall=1.0)
    report.claim(f"{kind}: the moments are those of an exact search", found, 1.0, found == 1)

    costs, table = multivectors(place, snapshot)
    own, videos = measure(lambda sentences: own_videos(snapshot, sentences), asked)
    scan, nearest = measure(lambda sentences: videos_of(table, sentences), few)
    same = recall(videos, nearest)
    report.row(name=f"mova, videos only, {kind}", **own, recall=same)
    report.row(name=f"LanceDB, multivectors, exact, videos only, {kind}", **scan, recall=1.0)
    report.claim(f"{kind}: the videos are those of LanceDB's exact multivectors", same, 1.0, same == 1)
    for probes in PROBES:
        latency, approximate = measure(lambda sentences, n=probes: videos_of(table, sentences, n), asked)  # type: ignore[misc]
        name = f"LanceDB, multivectors, IVF-RQ, {probes} lists, videos only, {kind}"
        report.row(name=name, **latency, recall=recall(approximate, videos), **costs)
    ratio = own["p50_ms"] / scan["p50_ms"]
    report.claim(f"{kind}: videos in less time than LanceDB's exact multivectors", ratio, 1.0, ratio < 1)


def multivectors(place: Place, snapshot: Snapshot) -> tuple[dict[str, float], Any]:
    """Return the cost of a table of multivectors with its index, and the table; it is built once."""
    folder = place.folder / "multivectors"

    def work() -> dict[str, float]:
        table = write_multivectors(snapshot, folder)
        before = disk_bytes(folder)
        table.create_index("vector", config=IvfRq(distance_type="cosine", num_bits=BITS))
        return {"disk": (disk_bytes(folder) - before) / (place.rows * place.dim * 2)}

    costs = place.once(folder, work)
    return costs, lancedb.connect(folder).open_table("videos")


def main() -> None:
    """Measure all sizes."""
    args = parser_of_sizes(__doc__).parse_args()
    report = harness.Report("paragraphs", seeds=[args.seed])
    with tempfile.TemporaryDirectory() as name:
        for rows in args.rows or ((20_000,) if args.quick else (180_000, 1_000_000)):
            folder = Path(args.folder or name) / f"vectors-{rows}-{args.seed}"
            folder.mkdir(parents=True, exist_ok=True)
            place = Place(folder, Footage(np.random.default_rng(args.seed)), rows, 80 if args.quick else 200)
            if args.only_build:
                multivectors(place, place.snapshot())
            else:
                for count in SENTENCES:
                    paragraphs(report, place, count)
    if args.only_build:
        return
    finish(report)


if __name__ == "__main__":
    main()
