"""Natural footage and odd files through the whole path, with a tiny checkpoint of a real architecture."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mova.models.registry import load
from mova.search.align import align
from mova.search.index import Index
from mova.video.probe import probe

BROKEN = {"no_video_stream.mp4", "nostreams.mp4", "zero_bytes.mp4"}


@pytest.mark.slow
def test_every_playable_file_indexes_searches_and_aligns(shared_data: Path, tiny_clip: Path, tmp_path: Path) -> None:
    folders = [shared_data / "realclips", shared_data / "odd"]
    index = Index(tmp_path / "index", load(tiny_clip))
    report = index.add(folders)
    files = {p.name for folder in folders for p in folder.iterdir() if p.suffix != ".json"}
    assert {Path(path).name for path, _ in report.failed} == BROKEN
    assert {Path(path).name for path in report.indexed + report.moved} == files - BROKEN
    assert index.add(folders).frames == 0

    facts = {row["file"]: row for row in json.loads((shared_data / "odd" / "PROBE.json").read_text())}
    described = [json.loads(line) for line in (shared_data / "realclips.jsonl").read_text().splitlines()]
    lengths = {Path(row["video"]).name: row["duration"] for row in described}
    for video in index.videos():
        name = Path(video.path).name
        if name in lengths:
            assert video.duration == pytest.approx(lengths[name], abs=0.15), name
        elif facts[name]["header_duration"]:
            assert video.duration == pytest.approx(facts[name]["header_duration"], abs=0.6), name

    duration_of = cache(lambda path: probe(path).duration)
    for row in described:
        moments = index.search(row["events"][0]["text"], k=5)
        assert moments
        assert all(0 <= m.start < m.end <= duration_of(m.video) + 0.05 for m in moments)
        path = shared_data / row["video"]
        timeline = align(index.model, path, row["caption"], index=index)
        assert timeline.duration == pytest.approx(row["duration"], abs=0.15)
        assert np.all(np.diff(timeline.times) > 0)
        covered = sum(s.duration for s in timeline.irrelevant)
        assert covered <= timeline.duration + 1e-6
