"""Kills of compaction, conversion and indexing of stretches: a few of the soak test, which has a hundred of each."""

from __future__ import annotations

import pytest

from benchmarks.common import harness
from benchmarks.soak.interrupted import ARMS


@pytest.mark.slow
def test_nothing_is_lost_twice_or_wrong_after_a_few_kills() -> None:
    counts = harness.in_subprocess("benchmarks.soak.interrupted", "1", "20")  # LanceDB may be in use here: no fork
    assert counts.keys() == ARMS.keys()
    for name, row in counts.items():
        assert row["killed"] == 1, name
        assert row["lost"] == row["twice"] == row["wrong"] == 0, name
