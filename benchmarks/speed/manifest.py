"""Opening a manifest of millions of rows for training, as JSON lines and as a memory-mapped table.

GEXIA's pre-training has 12 million rows of three granularities (10 M short clips, 1 M long videos with long and 1 M
with short texts). Each row of the benchmark has a caption of seven words, or of forty in LVLT, and a clip of a file. A
fresh process opens the manifest, builds the training pairs of all three granularities, their order for an epoch, their
fingerprint, and 1,000 random rows. Peak memory includes the pages of the table that it touched, which processes share
and the system may drop; private memory, which each process needs, is sampled every 10 ms.
JSON lines are measured with 100,000 rows only.

With `--rows N`, tables of N rows only. The table is written from columns directly: converting 12 M JSON lines with
`mova data table` takes long, and its rate is measured on the JSON lines here.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import harness

SIZES, QUICK = (100_000, 1_000_000, 12_000_000), (20_000, 100_000)
MOST_LINES = 100_000
"""Up to this size JSON lines are measured too."""
LIMIT_SECONDS, LIMIT_MEGABYTES = 60.0, 1000.0
ONE_IN = 12
"""One row in twelve is LVLT, one LVST, the others SVST."""
SHORT, LONG = "A cat runs over the wet grass.", " ".join(["A cat runs over the wet grass now."] * 5)


def granularity(number: int) -> str:
    """Return the granularity of a row."""
    return {0: "LVLT", 1: "LVST"}.get(number % ONE_IN, "SVST")


def write_lines(path: Path, rows: int) -> None:
    """Write JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            name, start = granularity(number), float(number % 50)
            row = {
                "id": f"clip-{number:09d}",
                "video": f"videos/{number // 3:08d}.mp4",
                "duration": 120.0,
                "split": "val" if number % 1000 == 999 else "train",
                "start": start,
                "end": start + (60.0 if name[0] == "L" else 10.0),
                "captions": [{"text": LONG if name == "LVLT" else SHORT, "sentences": []}],
                "meta": {"granularity": name},
            }
            file.write(json.dumps(row) + "\n")


def write_columns(path: Path, rows: int) -> None:
    """Write the same rows as a table, a batch of columns at a time."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import ipc

    from mova.data.columns.layout import ROWS_PER_BATCH, SCHEMA, to_batch
    from mova.data.manifest import Row

    lines = [
        Row.from_json(
            {
                "id": "x",
                "video": "x",
                "duration": 120.0,
                "split": "train",
                "captions": [{"text": LONG if granularity(n) == "LVLT" else SHORT, "sentences": []}],
                "meta": {"granularity": granularity(n)},
            }
        )
        for n in range(ONE_IN)
    ]
    pattern = pa.Table.from_batches([to_batch(lines)])
    with ipc.new_file(str(path), SCHEMA) as writer:
        for first in range(0, rows, ROWS_PER_BATCH):
            numbers = np.arange(first, min(first + ROWS_PER_BATCH, rows))
            batch = pattern.take(pa.array(numbers % ONE_IN))
            ids = pc.binary_join_element_wise("clip-", pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 9, "0"), "")
            files = pc.utf8_lpad(pa.array(numbers // 3).cast(pa.string()), 8, "0")
            starts = (numbers % 50).astype(float)
            long_ones = np.isin(numbers % ONE_IN, (0, 1))
            changed: dict[str, Any] = {
                "id": ids,
                "video": pc.binary_join_element_wise("videos/", files, ".mp4", ""),
                "split": pa.array(np.where(numbers % 1000 == 999, "val", "train")),
                "start": pa.array(starts),
                "end": pa.array(starts + np.where(long_ones, 60.0, 10.0)),
                "origins": pa.ListArray.from_arrays(pa.array(np.arange(len(numbers) + 1, dtype=np.int32)), files),
                "digest": pa.array(numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)),
            }
            for name, values in changed.items():
                batch = batch.set_column(
                    SCHEMA.get_field_index(name), SCHEMA.field(name), values.cast(SCHEMA.field(name).type)
                )
            writer.write_table(batch.combine_chunks())


def child(action: str, path: str, rows: str) -> None:
    """Write a file, convert it, or open it for training; print what it took."""
    began, private = time.perf_counter(), 0.0
    done = threading.Event()

    def sample() -> None:
        nonlocal private
        while not done.wait(0.01):
            private = max(private, harness.resident("RssAnon"))

    watcher = threading.Thread(target=sample)
    watcher.start()
    target = Path(path)
    if action == "write":
        (write_columns if target.suffix == ".arrow" else write_lines)(target, int(rows))
    elif action == "convert":
        from mova.data.columns.table import write_table

        write_table(target, target.with_suffix(".converted.arrow"))
    else:
        opened(target)
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    print(json.dumps({"seconds": seconds, "private": private, "peak": harness.resident("VmHWM")}))


def opened(path: Path) -> None:
    """Do what a training process does with a manifest before its first batch."""
    from mova.data.columns.selection import RowFilter, open_rows, split_rows
    from mova.data.dataset import PairDataset
    from mova.data.granularity import LengthRule
    from mova.data.granularity_batches import GranularityBatchSampler, GranularitySettings, MixedPairDataset
    from mova.video.reader import FrameRule

    granules = {"SVST": GranularitySettings(16), "LVLT": GranularitySettings(32), "LVST": GranularitySettings(32)}

    def build(granule: GranularitySettings, keep: RowFilter) -> PairDataset:
        rule = FrameRule(granule.frames, rule="linspace")
        return PairDataset(path, split="train", sampling=rule, captions="first", keep=keep)

    rows = split_rows(open_rows(path)[0], "train", "first", RowFilter())
    dataset = MixedPairDataset.from_rows(build, granules, rows, LengthRule())
    sampler = GranularityBatchSampler({name: len(part) for name, part in dataset.parts.items()}, 512, seed=0)
    order = iter(sampler)
    for _ in range(1000):
        draw = next(order)
        part = dataset.parts["SVST"]
        _ = part.rows[draw.item % len(part)].captions[0].text
    dataset.to_json()


def main() -> None:
    """Run all sizes, print and record the results."""
    parser = harness.plain_parser(__doc__)
    parser.add_argument("--rows", type=int, default=None, help="tables of this many rows only")
    args = parser.parse_args()
    report = harness.Report("manifest", [args.seed])
    sizes = (args.rows,) if args.rows else QUICK if args.quick else SIZES
    results: dict[tuple[str, int], dict[str, float]] = {}
    module = "benchmarks.speed.manifest"
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            for kind in ("jsonl", "arrow"):
                if kind == "jsonl" and (size > MOST_LINES or args.rows):
                    continue
                path = Path(folder) / f"m.{kind}"
                harness.in_subprocess(module, "write", str(path), str(size))
                row = results[kind, size] = harness.in_subprocess(module, "open", str(path), str(size))
                if kind == "jsonl":
                    row["convert"] = harness.in_subprocess(module, "convert", str(path), str(size))["seconds"]
                megabytes = path.stat().st_size / 1e6
                report.row(
                    name=f"{size:,} rows, {kind}",
                    seconds=row["seconds"],
                    private_MB=row["private"],
                    peak_MB=row["peak"],
                    file_MB=megabytes,
                    convert_rows_per_second=size / row["convert"] if "convert" in row else None,
                )
    largest = results["arrow", sizes[-1]]
    name = f"opening {sizes[-1]:,} rows as a table"
    report.claim(f"{name}: seconds", largest["seconds"], LIMIT_SECONDS, largest["seconds"] <= LIMIT_SECONDS)
    report.claim(f"{name}: private MB", largest["private"], LIMIT_MEGABYTES, largest["private"] <= LIMIT_MEGABYTES)
    report.finish()


if __name__ == "__main__":
    main()
