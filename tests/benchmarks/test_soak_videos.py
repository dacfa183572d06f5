"""The parent of the soak test of damaged videos goes on behind a child that ends at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak import damaged_videos


def test_a_child_that_ends_before_its_first_line_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damaged_videos, "_CALL", "raise SystemExit(3)")
    reader = damaged_videos.Reader(tmp_path, 2, seed=0)
    reader.run()
    assert reader.outcomes == {"ends the process": 2}
    assert [row["file"] for row in reader.escaped] == [0, 1]
