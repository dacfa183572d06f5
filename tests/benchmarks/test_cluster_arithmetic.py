"""The arithmetic for a million hours in the guide of clusters, computed again from the recorded results."""

from __future__ import annotations

import json
import math
import re

import pytest

from tests.benchmarks.test_quoted_results import ROOT, cells, rows

GUIDE = ROOT / "docs/guides/cluster.md"
HOURS, DIM, CORES = 1_000_000, 512, 2
FRAMES = HOURS * 3600
SHARD, BUILT = 10_000_000, 1_000_000


def numbers(text: str) -> list[float]:
    return [float(part.replace(",", "")) for part in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


def quoted(stage: str) -> list[float]:
    return numbers(cells(GUIDE, stage)[0])


def test_processors_and_gpus() -> None:
    film = rows("sampling")["decode, 30 real films"]
    speeds = [
        film["frames"] / film["processor_seconds_near"],
        rows("decode")["stream, 1 fps"]["video_seconds_per_second"] / CORES,
    ]
    assert numbers(cells(GUIDE, "decode")[1])[::2] == [round(speed) for speed in speeds]
    assert quoted("decode") == [round(HOURS / speed, -3) for speed in speeds]
    index = rows("sampling")["mova index, 8 real films of 720p and 1080p"]["video_seconds_per_second"]
    assert quoted("decode and encode without GPUs") == [round(HOURS * CORES / index, -3)]
    assert numbers(cells(GUIDE, "encode on GPUs")[1])[:2] == [round(HOURS / 1400), 1400]
    page = GUIDE.read_text(encoding="utf-8")
    fed = " to ".join(f"{1400 / speed:.0f}" for speed in speeds)
    assert f"A GPU of 1,400 frames per second is fed by {fed} decoding cores" in page


def test_tables_snapshots_disk_and_searches() -> None:
    large = rows("search_large")[f"mova search, {SHARD} frames"]
    assert quoted("frames") == [FRAMES / 1e9]
    assert quoted("bytes that are read") == [3600 / 8 * HOURS / 1e6]
    built = rows("search_scale")[f"mova search, {BUILT} frames"]
    snapshot = built.get("build_seconds") or built["snapshot_seconds"]
    for stage, seconds, count in (
        ("write the tables", large["tables_seconds"], SHARD),
        ("write the snapshots", snapshot, BUILT),
    ):
        assert quoted(stage)[0] == round(seconds * FRAMES / count / 3600)
        assert numbers(cells(GUIDE, stage)[1])[0] == round(seconds)
    assert quoted("disk") == [pytest.approx(large["disk"] * FRAMES * DIM * 2 / 1e12, abs=0.05)]
    assert quoted("memory for fast searches") == [pytest.approx(FRAMES * DIM / 1e12, abs=0.05)]
    assert quoted("one exact search on two cores") == [
        pytest.approx(large["p50_ms"] / 1000 * FRAMES / SHARD / 60, abs=0.05)
    ]


@pytest.mark.parametrize(("stored", "novelty"), [("every frame", 0.0), ("`--novelty`, 14 times fewer", 0.2)])
def test_shards(stored: str, novelty: float) -> None:
    large = rows("search_large")[f"mova search, {SHARD} frames"]
    smaller = 1.0
    if novelty:
        study = rows_of_novelty(novelty)
        smaller = study["smaller"]
        assert round(smaller) == numbers(stored)[0]
    shards = math.ceil(FRAMES / smaller / SHARD)
    count, disk, alone, together = cells(GUIDE, stored)
    assert numbers(count) == [shards]
    assert numbers(disk) == [round(large["disk"] * SHARD * DIM * 2 / 1e9, 1)]
    assert numbers(alone) == [round(large["p50_ms"] / 1000, 1)]
    assert numbers(together) == [pytest.approx(large["p50_ms"] / 1000 * shards * CORES / 64, rel=0.04)]


def rows_of_novelty(novelty: float) -> dict[str, float]:
    """Return the row of stretches of real clips."""
    document = json.loads((ROOT / "benchmarks/results/novelty.json").read_text(encoding="utf-8"))
    (row,) = [
        row
        for row in document["rows"]
        if (row["name"], row.get("form"), row["novelty"]) == ("clips", "stretches", novelty)
    ]
    return dict(row)
