"""Indexing speed versus its limits, memory by video length, the cost of a kill, and search latency with recall.

All rates of one block come from one run: the bare decoder, the bare encoder (a transformer of the size of ViT-B/32 with
random weights, as costly as a real one), and the index, which does both and writes. Other tools are compared in
`sampling.py`.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import harness
from mova.models.encoder import DualEncoder, TextEmbedding
from mova.models.inputs.reading import DECODE_CHUNK
from mova.search import query
from mova.search.index import Index
from mova.search.ingest import writer
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store
from mova.types import Frames
from mova.video.reader import stream
from mova.video.writer import write_mp4

DIM = 512
ROUNDS = 2
"""The best of this many rounds counts: other load can only slow a round down."""


class StandIn(DualEncoder):
    """An encoder of the size of ViT-B/32 with random weights: its vectors are meaningless, its cost is real.

    Args:
        layers: 12 as in ViT-B/32; 0 costs almost nothing.
        wait: seconds per frame spent without using the processor, like an encoder on a GPU.
        rate: frames per second.
    """

    name = "stand-in"

    def __init__(self, layers: int, wait: float = 0.0, rate: float = 1.0) -> None:
        torch.manual_seed(0)
        self.layers = layers
        self.wait = wait
        self.frame_rate = rate
        self.patch = torch.nn.Conv2d(3, 768, 32, 32).eval()
        layer = torch.nn.TransformerEncoderLayer(768, 12, 3072, batch_first=True, norm_first=True)
        self.body = torch.nn.TransformerEncoder(layer, max(layers, 1), enable_nested_tensor=False).eval()
        self.head = torch.nn.Linear(768, DIM, bias=False)

    @property
    def embedding_dim(self) -> int:
        return DIM

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.layers}".encode()).hexdigest()

    @torch.inference_mode()
    def encode_frames(self, frames: Frames) -> torch.Tensor:
        time.sleep(self.wait * len(frames))
        pixels = torch.from_numpy(frames.pixels).permute(0, 3, 1, 2).float() / 255
        small = torch.nn.functional.interpolate(pixels, (224, 224), mode="bilinear", antialias=True)
        if not self.layers:
            return small[:, :, ::17, ::7].flatten(1)[:, :DIM].contiguous() + 1e-3
        return self.head(self.body(self.patch(small).flatten(2).transpose(1, 2)).mean(dim=1))

    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        raise NotImplementedError


def film(path: Path, seconds: int, size: tuple[int, int], rng: np.random.Generator, fps: int = 24) -> Path:
    """Write moving texture under changing light, about as costly to decode as real footage."""
    height, width = size
    ground = rng.integers(0, 255, (height // 8, 2 * width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)

    def pictures() -> Any:
        for second in range(seconds):
            shifts = (np.arange(fps) + second * fps) * 3 % width
            light = rng.integers(60, 100)
            yield np.stack(
                [(ground[:, s : s + width].astype(np.uint16) * light // 100).astype(np.uint8) for s in shifts]
            )

    return write_mp4(path, pictures(), fps=fps, preset="ultrafast")


def rates(report: harness.Report, folder: Path, rng: np.random.Generator, quick: bool) -> None:
    """Measure frames per second of decoder, encoder and index on the same files."""
    seconds, size = (30, (360, 640)) if quick else (240, (720, 1280))
    films = [film(folder / f"{i}.mp4", seconds // 3, size, rng) for i in range(3)]
    decode, encode, index = _measure(films, StandIn(12), folder / "busy")
    lower, serial = min(decode, encode), 1 / (1 / decode + 1 / encode)
    report.row(name=f"bare decoder, {size[0]}p", per_second=decode)
    report.row(name="bare encoder on the processor", per_second=encode)
    report.row(
        name="mova index, encoder on the processor", per_second=index, of_slower=index / lower, of_serial=index / serial
    )
    share = index / lower
    report.claim("indexing reaches 0.7 of the slower of decoder and encoder", share, 0.7, share >= 0.7)
    decode, encode, index = _measure(films, StandIn(0, wait=1 / (8 * decode), rate=8), folder / "waiting")
    lower, serial = min(decode, encode), 1 / (1 / decode + 1 / encode)
    report.row(name="bare encoder elsewhere (waits)", per_second=encode)
    report.row(
        name="mova index, encoder elsewhere", per_second=index, of_slower=index / lower, of_serial=index / serial
    )
    gain = index / serial
    report.claim("beside an encoder elsewhere, decoding hides: 1.3 times one after the other", gain, 1.3, gain >= 1.3)


def _measure(films: Sequence[Path], model: StandIn, folder: Path) -> tuple[float, float, float]:
    """Return frames per second of decoding, encoding and indexing; the best of `ROUNDS` alternating rounds each."""
    model.encode_frames(next(iter(stream(films[0], fps=model.frame_rate, chunk=4))))
    rounds = []
    for attempt in range(ROUNDS):
        began = time.perf_counter()
        chunks = [list(stream(path, fps=model.frame_rate, chunk=DECODE_CHUNK)) for path in films]
        decoded = time.perf_counter()
        count = sum(len(times) for part in chunks for times, _ in model.encode_stream(part))
        encoded = time.perf_counter()
        del chunks
        result = Index(folder / str(attempt), model).add(films)
        assert result.frames == count
        rounds.append((count / (decoded - began), count / (encoded - decoded), result.frames / result.seconds))
    decode, encode, index = np.max(rounds, axis=0).tolist()
    return decode, encode, index


MEASURED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from benchmarks.speed.index import StandIn
from mova.search.index import Index
report = Index(sys.argv[2], StandIn(0)).add([sys.argv[3]])
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(report.frames, int(peak.split()[1]), report.seconds)
"""


def memory(report: harness.Report, folder: Path, rng: np.random.Generator, quick: bool) -> None:
    """Measure the peak memory of indexing a short and a long file, each in its own process."""
    peaks = {}
    short, long = (10, 40) if quick else (10, 120)
    for minutes in (short, long):
        path = film(folder / f"{minutes}min.mp4", minutes * 60, (64, 96), rng, fps=2)
        command = [sys.executable, "-c", MEASURED, str(harness.ROOT), str(folder / f"m{minutes}"), str(path)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        peaks[minutes] = int(output[1]) / 1024
        report.row(
            name=f"index a {minutes}-minute file",
            frames=int(output[0]),
            seconds=float(output[2]),
            peak_mb=peaks[minutes],
        )
    ratio = peaks[long] / peaks[short]
    length = "forty minutes" if quick else "two hours"
    report.claim(f"{length} take at most 1.15 times the memory of ten minutes", ratio, 1.15, ratio <= 1.15)


def kill(report: harness.Report, folder: Path, rng: np.random.Generator) -> None:
    """Kill a run halfway and run it again: count frames encoded twice, and check that the result is the same."""
    folder.mkdir()
    films = [film(folder / f"{i:02d}.mp4", 20, (64, 96), rng, fps=4) for i in range(12)]
    writer.FLUSH_SECONDS = 0.0
    child = os.fork()
    if child == 0:
        Index(folder / "killed", StandIn(0, wait=0.01)).add(films)
        os._exit(0)
    time.sleep(1.5)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    complete = Index(folder / "whole", StandIn(0)).add(films)
    stored_frames = sum(video.frames for video in Index(folder / "killed").videos())
    again = Index(folder / "killed", StandIn(0)).add(films)
    same = stored_frames + again.frames == complete.frames and len(Index(folder / "killed")) == len(films)
    report.row(
        name="kill -9 and again",
        frames=complete.frames,
        kept=stored_frames,
        encoded_again=again.frames,
        seconds=again.seconds,
    )
    report.claim("after kill -9, nothing is lost and nothing twice", float(same), 1.0, same)


def latency(report: harness.Report, folder: Path, rng: np.random.Generator, sizes: Sequence[int]) -> None:
    """Measure seconds per query, and recall of the moments that an exact scan returns, at growing sizes.

    Half of the queries resemble some frames; the other half are random directions, which is harder than real text.
    """
    scenes = rng.normal(size=(4000, DIM)).astype(np.float32)
    for rows in sizes:
        store = Store(folder / f"rows-{rows}")
        store.create(Meta("m", "f", DIM, 1.0))
        length = 600
        for first in range(0, rows, 20 * length):
            records, parts = [], []
            for video in range(first // length, min(rows, first + 20 * length) // length):
                which = np.repeat(rng.integers(0, len(scenes), length // 6 + 1), 6)[:length]
                vectors = scenes[which] + 0.7 * rng.normal(size=(length, DIM)).astype(np.float32)
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
                parts.append(StoredFrames(np.arange(length, dtype=np.float64), vectors))
                name = f"{video:032x}"
                records.append(VideoRecord(f"/v/{name}.mp4", name, 1, 1, float(length), length, vectors.mean(axis=0)))
            store.append([record.content for record in records], parts)
            store.commit(records)
        began = time.perf_counter()
        store.tidy()
        tidied = time.perf_counter() - began
        near = scenes[rng.integers(0, len(scenes), 10)] + rng.normal(size=(10, DIM)).astype(np.float32)
        queries = np.concatenate([near, rng.normal(size=(10, DIM))]).astype(np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        report.row(name=f"search, {rows} frames", build_seconds=tidied, **_ask(store, queries))
    recall = report.rows[-1]["recall_at_10"]
    report.claim("at the largest size, 0.95 of the exact ten best moments are found", recall, 0.95, recall >= 0.95)


def _ask(store: Store, queries: np.ndarray) -> dict[str, float]:
    seconds, hits, relevant = [], 0, 0
    nearest = store.nearest
    for vector in queries:
        request = query.Query("x", ("x",), vector[None], "none")
        began = time.perf_counter()
        moments = query.search(store, request, 10)
        seconds.append(time.perf_counter() - began)
        store.nearest = lambda q, limit: nearest(q, limit, exact=True)  # type: ignore[method-assign]
        truth = {(m.video, m.start) for m in query.search(store, request, 10)}
        store.nearest = nearest  # type: ignore[method-assign]
        hits += len(truth & {(m.video, m.start) for m in moments})
        relevant += len(truth)
    return {
        "p50_ms": 1000 * float(np.median(seconds)),
        "p95_ms": 1000 * float(np.quantile(seconds, 0.95)),
        "recall_at_10": hits / relevant,
    }


def plot(report: harness.Report, figure: Any) -> None:
    """Draw rates with their limits, and latency by size."""
    left, right = figure.subplots(1, 2)
    bars = [row for row in report.rows if "per_second" in row]
    left.barh([row["name"] for row in bars][::-1], [row["per_second"] for row in bars][::-1], color="#2b6cb0")
    left.set(xlabel="frames per second", xlim=(0, None))
    queries = [row for row in report.rows if "p50_ms" in row]
    sizes = [int(row["name"].split()[1]) for row in queries]
    right.plot(sizes, [row["p50_ms"] for row in queries], "o-", label="median", color="#2b6cb0")
    right.plot(sizes, [row["p95_ms"] for row in queries], "o--", label="95 %", color="#e07a1f")
    right.set(xlabel="frames in the index", ylabel="ms per query", xscale="log", ylim=(0, None))
    right.legend()


def main() -> None:
    """Run all blocks."""
    args = harness.arguments(__doc__)
    report = harness.Report("index", seeds=[args.seed])
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kill(report, folder / "kill", rng)
        rates(report, folder, rng, args.quick)
        memory(report, folder, rng, args.quick)
        latency(report, folder, rng, (12_000, 30_000) if args.quick else (12_000, 60_000, 180_000, 300_000, 600_000))
    report.finish(plot=lambda figure: plot(report, figure))


if __name__ == "__main__":
    main()
