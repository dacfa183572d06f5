"""Granularity expansion of a million clips: peak memory and rate, by number of rows.

Synthetic clips with captions of a few words, six per source video on average, in random order. They are integrated by
source (at least four), and the long texts are compressed to 20 words. Each size runs in its own process on one thread;
memory is the peak of that process, libraries included. The second claim is that memory does not grow with the number of
rows.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.common import harness
from mova.data.expansion.expand import expand
from mova.data.expansion.operations import parse_operations
from mova.data.manifest import Caption, Row, iter_manifest, write_manifest

SIZES, QUICK = (10_000, 100_000, 1_000_000), (2000, 20_000)
OPERATIONS = "integrate:source,min=4 compress:extractive,words=20"
LIMIT = 600.0
"""Memory limit of the process of the largest run, in MB."""
GROWTH = 2.0
"""Memory relative to ten times fewer rows up to which memory counts as bounded."""
WORDS = ("man", "woman", "dog", "red", "small", "ball", "throws", "runs", "catches", "then", "street", "kitchen", "and")


def clips(count: int, seed: int) -> Iterator[Row]:
    """Yield `count` clips of 2 to 20 s with captions of 4 to 14 words."""
    rng = np.random.default_rng([seed, count])
    sources = rng.integers(0, max(1, count // 6), count)
    starts, lengths = rng.integers(0, 600, count), rng.integers(2, 21, count)
    words = rng.integers(0, len(WORDS), (count, 14))
    sizes = rng.integers(4, 15, count)
    for n in range(count):
        text = " ".join(WORDS[word] for word in words[n, : sizes[n]]).capitalize() + "."
        start, video = float(starts[n]), f"s{sources[n]}"
        yield Row(
            f"clip{n}", f"{video}.mp4", 700.0, "train", (Caption(text),), start, start + float(lengths[n]), "synthetic"
        )


def child(count: str, seed: str) -> None:
    """Expand `count` clips and print the measurements as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_manifest(Path(folder) / "clips.jsonl", clips(int(count), int(seed)))
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak, which includes writing the clips
        began, worked = time.perf_counter(), time.process_time()
        result = expand(manifest, Path(folder) / "out", parse_operations([OPERATIONS]))
        seconds, processor = time.perf_counter() - began, time.process_time() - worked
        peak = harness.resident("VmHWM")
        size = result.manifest.stat().st_size / 1e6
        members = sum(len(row.meta["members"]) for _, row in iter_manifest(result.manifest) if "members" in row.meta)
        rows = {name: level["rows"] for name, level in result.statistics.items()}
        left = sum(reason["count"] for reason in result.left_out["LVLT"].values())
    print(
        json.dumps(
            {"seconds": seconds, "processor": processor, "peak": peak, "size": size, "used": members, "left": left}
            | rows
        )
    )


def main() -> None:
    """Run all sizes, print and record the results."""
    args = harness.arguments(__doc__)
    report = harness.Report("expand", [args.seed])
    results = {}
    for count in QUICK if args.quick else SIZES:
        row = results[count] = harness.in_subprocess("benchmarks.speed.expand", str(count), str(args.seed))
        report.row(
            name=f"{count:,} clips",
            LVLT=row["LVLT"],
            LVST=row["LVST"],
            peak_MB=row["peak"],
            seconds=row["seconds"],
            processor_seconds=row["processor"],
            rows_a_second=count / row["processor"],
            written_MB=row["size"],
        )
    counts = sorted(results)
    most = results[counts[-1]]["peak"]
    report.claim(f"peak memory of {counts[-1]:,} rows (MB)", most, LIMIT, most < LIMIT)
    growth = most / results[counts[-2]]["peak"]
    report.claim("peak memory, times that of ten times fewer rows", growth, GROWTH, growth < GROWTH)
    lost = max(abs(row["used"] + row["left"] - count) for count, row in results.items())
    report.claim("clips neither integrated nor counted as excluded", lost, 0, lost == 0)

    def plot(figure: object) -> None:
        memory, rate = figure.subplots(1, 2)  # type: ignore[attr-defined]
        highest = 1.1 * max(row["peak"] for row in results.values())
        fastest = 1.1 * max(count / row["processor"] for count, row in results.items())
        memory.plot(counts, [results[count]["peak"] for count in counts], "o-")
        memory.set(xscale="log", xlabel="clips", ylabel="peak memory (MB)", ylim=(0, highest))
        rate.plot(counts, [count / results[count]["processor"] for count in counts], "o-")
        rate.set(xscale="log", xlabel="clips", ylabel="clips per processor second", ylim=(0, fastest))

    report.finish(plot)


if __name__ == "__main__":
    main()
