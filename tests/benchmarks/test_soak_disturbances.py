"""One of each disturbance of the soak test, which has forty: nothing is lost, and only errors of mova escape."""

from __future__ import annotations

import sys

import pytest

from benchmarks.common import harness
from benchmarks.soak.disturbances import BAD


@pytest.mark.slow
@pytest.mark.parametrize(("module", "kinds"), [("disturbances", 5), ("drives", 3)])
def test_one_of_each_disturbance_loses_nothing(module: str, kinds: int) -> None:
    if module == "drives" and sys.platform != "linux":
        pytest.skip("only Linux has these mounts")
    counts = harness.in_subprocess(f"benchmarks.soak.{module}", "1", "20")  # LanceDB may be in use here: no fork
    if not counts:
        pytest.skip("this system permits no mount")
    assert len(counts) == kinds
    for name, row in counts.items():
        assert row["trials"] == 1, name
        assert all(row[kind] == 0 for kind in BAD), name
