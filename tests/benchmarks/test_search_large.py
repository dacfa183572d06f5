"""The benchmark of ten million frames: a stopped build is continued to the same index, and a small disk is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.speed import search_large
from mova.search.cold.snapshot import Snapshot
from mova.search.storage.store import Store

ROWS = 1500


def test_a_stopped_build_is_continued_to_the_same_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_large, "VIDEOS", 1)
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    search_large.build(tmp_path / "whole" / "index", search_large.DrawnAnew(3), ROWS)
    commit, calls = Store.commit, list[Any]()

    def stopped(self: Store, records: Any) -> None:
        calls.append(records)
        if len(calls) == 2:
            raise KeyboardInterrupt
        commit(self, records)

    monkeypatch.setattr(Store, "commit", stopped)
    with pytest.raises(KeyboardInterrupt):
        search_large.build(tmp_path / "stopped" / "index", search_large.DrawnAnew(3), ROWS)
    built = search_large.build(tmp_path / "stopped" / "index", search_large.DrawnAnew(3), ROWS)
    assert built["tables_seconds"] > 0
    one, other = (Snapshot.open(tmp_path / name / "index") for name in ("whole", "stopped"))
    assert one is not None
    assert other is not None
    assert list(one.records()) == list(other.records())
    contents = [record.content for record in one.records().values()]
    frames = one.fetch(contents), other.fetch(contents)
    for content in contents:
        np.testing.assert_array_equal(frames[0][content].vectors, frames[1][content].vectors)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"GB more are needed, .* are free; use --rows"):
        search_large.measured(tmp_path, 10**13, 0)
    assert list(tmp_path.iterdir()) == []
