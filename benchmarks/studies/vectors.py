"""Smaller vectors: how many of the ten nearest frames are found, beside the bytes that are scanned.

The vectors of frames are kept in half precision; a search scans a smaller form of them, and scores the best hundred
frames of that scan exactly. Forms: 8-bit integers with bounds, as the index has them (every frame whose bound reaches
the ten best is scored, so that nothing is lost); the same integers, and one bit per number (the signs after a rotation,
compared with the query itself), without bounds; and the first numbers of each vector (Matryoshka), in half precision
and as integers. Recall is the share of the ten nearest frames by float32 that the ten answers have, over queries; the
values of chance are those of a hundred random frames.

Data: vectors of `mova-worlds-tiny` of Worlds with their sentences, and random vectors with the geometry of CLIP
(`benchmarks.common.footage`). Neither was trained to be cut: the first numbers of a Matryoshka model should lose less.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.common import harness
from benchmarks.common.footage import Footage
from benchmarks.studies.encoders import rendered
from mova.data.manifest import read_manifest
from mova.eval.tasks.worlds import HELD_OUT
from mova.models.registry import load
from mova.search.cold.codes import encode, scan
from mova.search.index import Index

NEAREST, RESCORED, MANY, QUERIES = 10, 100, 1000, 100
CUTS = (2, 4, 8)

_F32 = npt.NDArray[np.float32]
Found = Callable[[_F32], npt.NDArray[np.int64]]


def worlds(folder: Path, seed: int, videos: int) -> tuple[_F32, _F32]:
    """Return the vectors of frames and of sentences of rendered Worlds."""
    model = load("mova-worlds-tiny", device="cpu")
    manifest = rendered(folder / "worlds", videos, HELD_OUT + seed)
    index = Index(folder / "index", model)
    index.add([manifest.parent], threads=1)
    stored = [index.stored(record.path) for record in index.videos()]
    rows = np.concatenate([video.frames.numpy() for video in stored if video is not None])
    texts = {s.text: None for row in read_manifest(manifest) for c in row.captions for s in c.sentences}
    return rows.astype(np.float32), model.encode_sentences(list(texts)[:QUERIES]).unit_vectors()


def clip_like(seed: int, rows: int) -> tuple[_F32, _F32]:
    """Return random vectors with the geometry of CLIP, and random texts."""
    footage = Footage(np.random.default_rng(seed))
    return np.concatenate([footage.frames(600) for _ in range(rows // 600)]), footage.texts(QUERIES)


def forms(rows: _F32) -> dict[str, tuple[float, Found]]:
    """Return each form: bytes per vector, and query (d,) -> the frames that are scored exactly."""
    width = rows.shape[1]
    made: dict[str, tuple[float, Found]] = {}
    whole = encode(rows)

    def bounded(query: _F32) -> npt.NDArray[np.int64]:
        """Return the frames whose bound reaches the ten best."""
        bounds = scan(whole, query)
        first = np.argsort(-bounds.estimate)[:NEAREST]
        least = np.sort(rows[first] @ query)[0]
        return np.flatnonzero(bounds.upper >= least)

    made["half precision"] = (2 * width, lambda query: best(rows @ query))
    made["8-bit integers with bounds (the index)"] = (width + 8, bounded)
    made["8-bit integers"] = (width + 8, lambda query: best(scan(whole, query).estimate))
    signs = np.sign(whole.values).astype(np.float32)
    made["one bit per number"] = (width / 8, lambda query: best(signs @ rotated(query)))
    made["one bit per number, a thousand scored"] = (width / 8, lambda query: best(signs @ rotated(query), MANY))
    for cut in CUTS:
        part = unit(rows[:, : width // cut])
        coded = encode(part)
        name = f"first 1/{cut} of the numbers"
        made[name] = (2 * width / cut, lambda query, part=part, n=width // cut: best(part @ unit(query[None, :n])[0]))
        made[f"{name}, 8-bit integers"] = (
            width / cut + 8,
            lambda query, coded=coded, n=width // cut: best(scan(coded, unit(query[None, :n])[0]).estimate),
        )
    made["chance"] = (0.0, lambda query: np.random.default_rng(len(rows)).permutation(len(rows))[:RESCORED])
    return made


def rotated(query: _F32) -> _F32:
    """Return a query as 8-bit integers see it, after their rotation."""
    codes = encode(query[None])
    return codes.values[0].astype(np.float32)


def best(scores: _F32, count: int = RESCORED) -> npt.NDArray[np.int64]:
    """Return the frames with the highest scores."""
    return np.argsort(-scores, kind="stable")[:count]


def unit(rows: _F32) -> _F32:
    """Return rows divided by their lengths."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def recall(rows: _F32, queries: _F32, found: Found) -> tuple[float, float]:
    """Return the share of the nearest frames that are among the answers, and the frames scored exactly per query."""
    shares, scored = [], []
    for query in queries:
        exact = rows @ query
        near = np.argsort(-exact, kind="stable")[:NEAREST]
        chosen = found(query)
        answers = chosen[np.argsort(-exact[chosen], kind="stable")[:NEAREST]]
        shares.append(np.isin(near, answers).mean())
        scored.append(len(chosen))
    return 100 * float(np.mean(shares)), float(np.mean(scored))


def main() -> None:
    """Measure every form on every kind of vectors."""
    args = harness.arguments(__doc__)
    torch.set_num_threads(1)
    seeds = [args.seed] if args.quick else list(range(args.seed, args.seed + 3))
    report = harness.Report("vectors", seeds)
    measured: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            data = {"Worlds, mova-worlds-tiny": worlds(Path(folder), seed, 6 if args.quick else 30)}
        data["geometry of CLIP"] = clip_like(seed, 6_000 if args.quick else 30_000)
        for kind, (rows, queries) in data.items():
            for name, (size, found) in forms(rows).items():
                measured.setdefault((kind, name), []).append((size, *recall(rows, queries, found)))
    for (kind, name), values in measured.items():
        size, share, scored = np.mean(values, axis=0)
        deviation = float(np.std([value[1] for value in values]))
        report.row(
            data=kind,
            name=name,
            **{"bytes per vector": round(float(size), 1), "recall of 10": round(float(share), 2)},
            deviation=round(deviation, 2),
            scored=round(float(scored), 1),
        )
        if "bounds" in name:
            report.claim(f"{kind}: {name}: recall", round(float(share), 2), 100.0, share >= 99.999)
    report.finish()


if __name__ == "__main__":
    main()
