"""Training from stored frame vectors versus training from pixels, and reading single clips in several formats.

An epoch over rendered films (640 x 360, 24 frames per second, sampled once per second) with CLIP4Clip's objective and a
CLIP with the proportions of ViT-B/16, random weights, widths divided by 4 (`--quick`: 12). The video tower is frozen in
both runs, so both train the same weights: from pixels every epoch decodes and encodes again, from the store it reads.
One thread, processor time, text side included; the best of the rounds. The gain depends on the video tower: on a GPU
the tower is nearly free and decoding remains, so decoding alone has its own row.

Single clips (60 frames of width 512, float16) are read at random from a store, from a LanceDB table (as in the index of
`mova search`) and from an Arrow file, all with the same content and in the page cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import lancedb
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from benchmarks.common import harness
from benchmarks.speed.index import film
from benchmarks.speed.training_step import TOKENS, VOCABULARY, backbone
from mova.data.batch import Collator, StoredVectorInputs
from mova.data.dataset import PairDataset
from mova.data.feature_store import Clip, ClipRecord, FeatureKey, FeatureStore
from mova.data.feature_store_writer import FeatureWriter
from mova.data.manifest import Caption, Row, write_manifest
from mova.features.extract import write_features
from mova.features.stored import feature_key
from mova.models.two_tower.inputs import TwoTowerInputs
from mova.models.two_tower.model import TwoTower
from mova.train.objectives.base import ModelEncoder
from mova.train.objectives.pairs import Clip4Clip
from mova.video.reader import FrameRule

RATE = FrameRule(frames=64, fps=1.0)
FRAMES, WIDTH, READS = 60, 512, 300
BATCH = 4


class Words(TwoTowerInputs):
    """An adapter that derives random tokens from the text: measuring needs no real tokenizer."""

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        ids = torch.stack([torch.randint(1, self.tokenizer - 2, (TOKENS,), generator=_seeded(text)) for text in texts])
        ids[:, -1] = self.tokenizer - 1
        return ids, torch.ones_like(ids, dtype=torch.bool), torch.zeros(len(texts), dtype=torch.int64)


def _seeded(text: str) -> torch.Generator:
    return torch.Generator().manual_seed(sum(text.encode()))


def epoch(model: TwoTower, adapter: Any, data: PairDataset, learning_rate: float) -> float:
    """Train on every pair once; return the mean loss."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate)
    objective, collate, losses = Clip4Clip(), Collator(adapter, units=False), []
    for first in range(0, len(data), BATCH):
        batch = collate([data[i] for i in range(first, min(first + BATCH, len(data)))])
        loss, _ = objective.forward(batch, ModelEncoder(model, model, adapter.encode))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


def films(folder: Path, count: int, length: int, rng: np.random.Generator) -> Path:
    """Render films and return their manifest."""
    rows = []
    for i in range(count):
        film(folder / f"{i}.mp4", length, (360, 640), rng)
        rows.append(Row(str(i), f"{i}.mp4", None, "train", (Caption(f"Film number {i}. It moves."),)))
    return write_manifest(folder / "manifest.jsonl", rows)


def training(report: harness.Report, folder: Path, rng: np.random.Generator, quick: bool) -> dict[str, float]:
    """Time epochs from pixels and from the store; return milliseconds per clip."""
    divisor, count, length, rounds = (12, 4, 10, 1) if quick else (4, 6, 15, 1)
    torch.set_num_threads(1)
    model = backbone(divisor)
    manifest = films(folder, count, length, rng)
    adapter = Words(model.image_rule, model.text_rule, VOCABULARY // divisor)
    model.tokenizer = _Named()
    for weight in model.video_parameters():
        weight.requires_grad_(False)
    write = harness.seconds(lambda: write_features(folder / "store", model, manifest, RATE), 1)
    encode = harness.seconds(lambda: [model.encode_video(folder / f"{i}.mp4", 1.0) for i in range(count)], 1)
    store = FeatureStore(folder / "store")
    store.require(feature_key(model, RATE))
    pixels = PairDataset(manifest, split="train", sampling=RATE, prepare=adapter.resize)
    stored = PairDataset(manifest, split="train", sampling=RATE, features=store)
    frozen = (epoch(model, adapter, pixels, 0.0), epoch(model, StoredVectorInputs(adapter), stored, 0.0))
    seconds = {
        "epoch from pixels": harness.seconds(lambda: epoch(model, adapter, pixels, 1e-6), rounds),
        "of it: decoding": harness.seconds(lambda: [pixels[i] for i in range(count)], rounds),
        "epoch from the store": harness.seconds(
            lambda: epoch(model, StoredVectorInputs(adapter), stored, 1e-6), 3 * rounds
        ),
        "of it: reading": harness.seconds(lambda: [stored[i] for i in range(count)], 10 * rounds),
        "writing the store": write,
        "encoding without a store": encode,
    }
    times = {name: 1000 * value / count for name, value in seconds.items()}
    for name, value in times.items():
        report.row(name=name, ms_a_clip=value, of_pixels=value / times["epoch from pixels"])
    gain = times["epoch from pixels"] / times["epoch from the store"]
    report.claim("an epoch from the store is 10 times as fast as one from pixels", gain, 10, gain >= 10)
    gain = times["of it: decoding"] / times["epoch from the store"]
    report.claim("decoding alone takes longer than an epoch from the store", gain, 1, gain >= 1)
    gain = times["of it: decoding"] / times["of it: reading"]
    report.claim("reading a clip is 100 times as fast as decoding it", gain, 100, gain >= 100)
    difference = abs(frozen[0] - frozen[1])
    report.claim("the mean loss of an epoch differs by at most 0.001 (float16)", difference, 1e-3, difference <= 1e-3)
    more = write / encode
    report.claim("writing costs at most 1.1 times what encoding alone costs", more, 1.1, more <= 1.1)
    return times


class _Named:
    """A tokenizer stub that is sufficient for a fingerprint."""

    eos_token_id = 0

    def __call__(self, texts: Sequence[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[len(text)] for text in texts]}


def reading(report: harness.Report, folder: Path, rng: np.random.Generator, clips: int) -> dict[str, float]:
    """Time reading random clips from three formats, and opening; return microseconds per clip."""
    vectors = rng.standard_normal((clips * FRAMES, WIDTH), dtype=np.float32).astype(np.float16)
    times = np.arange(FRAMES, dtype=np.float64)
    key = FeatureKey("none", "none", "none", WIDTH, fps=1.0)
    with FeatureWriter(folder / "store", key) as writer:
        for i, part in enumerate(vectors.reshape(clips, FRAMES, WIDTH)):
            writer.add(ClipRecord(Clip(f"{i}.mp4", 0.0, None), 1, 1, end=FRAMES), times, torch.from_numpy(part))
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH)
    table = pa.table({"video": [f"{i}.mp4" for i in range(clips) for _ in range(FRAMES)], "vector": column})
    lance = lancedb.connect(folder / "lance").create_table("frames", table)
    with pa.OSFile(str(folder / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
        out.write_table(table, max_chunksize=FRAMES)
    arrow = pa.ipc.open_file(pa.memory_map(str(folder / "a.arrow")))
    store = FeatureStore(folder / "store")

    def by_name(i: int) -> Any:
        return lance.search().where(f"video = '{i}.mp4'").select(["vector"]).to_arrow()["vector"]

    def by_rows(i: int) -> Any:
        return lance.take_offsets(list(range(i * FRAMES, (i + 1) * FRAMES))).to_arrow()["vector"]

    readers: dict[str, tuple[Callable[[int], Any], int]] = {
        "store (safetensors)": (lambda i: store.read(Clip(f"{i}.mp4", 0.0, None)).vectors, READS),
        "Arrow file, memory-mapped": (
            lambda i: arrow.get_batch(i).column(1).flatten().to_numpy().reshape(-1, WIDTH).copy(),
            READS,
        ),
        "LanceDB, by row numbers": (by_rows, READS // 10),
        "LanceDB, by name": (by_name, READS // 10),
    }
    per_clip = {}
    for name, (read, count) in readers.items():
        order = rng.integers(0, clips, count).tolist()
        per_clip[name] = 1e6 * harness.seconds(lambda read=read, order=order: [read(i) for i in order], 3) / count  # type: ignore[misc]
        report.row(name=name, us_a_clip=per_clip[name])
    assert np.array_equal(readers["store (safetensors)"][0](7), readers["Arrow file, memory-mapped"][0](7))
    opening = harness.seconds(lambda: FeatureStore(folder / "store"), 3)
    report.row(name=f"opening a store of {clips} clips", us_a_clip=1e6 * opening / clips)
    ratio = per_clip["LanceDB, by row numbers"] / per_clip["store (safetensors)"]
    report.claim("a clip out of the store is 10 times as fast as out of LanceDB by row numbers", ratio, 10, ratio >= 10)
    ratio = per_clip["Arrow file, memory-mapped"] / per_clip["store (safetensors)"]
    report.claim("a clip out of the store is no slower than out of an Arrow file", ratio, 1, ratio >= 1)
    report.claim("opening takes at most 20 microseconds a clip", 1e6 * opening / clips, 20, 1e6 * opening / clips <= 20)
    return per_clip


def main() -> None:
    """Measure, print and record the results."""
    args = harness.arguments(__doc__)
    report = harness.Report("features", seeds=[args.seed])
    rng = np.random.default_rng(args.seed)
    torch.manual_seed(args.seed)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "films").mkdir()
        epochs = training(report, Path(name) / "films", rng, args.quick)
        (Path(name) / "clips").mkdir()
        clips = reading(report, Path(name) / "clips", rng, 200 if args.quick else 2000)

    def plot(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for axes, bars, label in ((left, epochs, "processor ms per clip"), (right, clips, "processor µs per clip")):
            axes.barh(list(bars)[::-1], list(bars.values())[::-1], color="#4477aa")
            axes.set_xscale("log")
            axes.set_xlabel(label)

    report.finish(cast(Any, plot))


if __name__ == "__main__":
    main()
