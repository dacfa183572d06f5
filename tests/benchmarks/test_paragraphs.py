"""The benchmark of paragraphs: both sides rank videos by the mean over sentences of the best cosine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.common.footage import Footage
from benchmarks.speed.paragraphs import own_videos, videos_of, write_multivectors
from benchmarks.speed.search_scale import LENGTH, build
from mova.search.cold.snapshot import Snapshot


def test_lancedb_and_mova_rank_videos_as_a_direct_computation_does(tmp_path: Path) -> None:
    drawn = Footage(np.random.default_rng(0))
    build(tmp_path / "index", drawn, 24 * LENGTH + 7)  # the last video is shorter
    snapshot = Snapshot.open(tmp_path / "index")
    assert snapshot is not None
    table = write_multivectors(snapshot, tmp_path / "multivectors")
    contents = sorted(record.content for record in snapshot.records().values())
    assert table.count_rows() == len(contents) == 25
    stored = snapshot.fetch(contents)
    for sentences in drawn.texts(15).reshape(3, 5, -1):
        means = [float((sentences @ stored[content].vectors.T).max(axis=1).mean()) for content in contents]
        best = [contents[i] for i in np.argsort(means)[::-1][:10]]
        assert own_videos(snapshot, sentences) == best
        assert videos_of(table, sentences) == best
