"""The tables of search beside other engines: every figure is that of the recorded run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/measurements.md").read_text(encoding="utf-8")
OWN = {"mova, exact": "mova search", "LanceDB, IVF-RQ": "LanceDB, approximate: the same search"}
"""Names of rows in the results, where they are not those of the page."""


def recorded(study: str) -> dict[str, dict[str, Any]]:
    document = json.loads((ROOT / f"benchmarks/results/{study}.json").read_text(encoding="utf-8"))
    return {row["name"]: row for row in document["rows"]}


def tables(title: str) -> dict[str, list[list[str]]]:
    """Return the cells of all rows of the tables of a section, by the first cell of their headers."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found: dict[str, list[list[str]]] = {}
    for block in re.findall(r"(?:^\|.*\|\n)+", section, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        found[rows[0][0]] = rows[2:]
    return found


def shown(row: dict[str, Any]) -> list[str]:
    """Return recall, latency, disk and processor seconds as the page has them."""
    disk, seconds = row.get("disk"), row.get("build_processor_seconds")
    latency = f"{row['p50_ms']:,.0f} / {row['p99_ms']:,.0f}"
    return [
        f"{row['recall']:.3f}",
        latency,
        "" if disk is None else f"{disk:.2f}",
        "" if seconds is None else f"{seconds:,.0f}",
    ]


@pytest.mark.parametrize("kind", tables("Search beside other engines"))
def test_every_engine_has_its_recorded_figures(kind: str) -> None:
    results, plain = recorded("search_scale"), kind.replace(",", "")
    rows = tables("Search beside other engines")[kind]
    assert len(rows) >= 8
    for engine, *cells in rows:
        name = OWN.get(engine, f"{engine.replace('1,024', '1024')}: the same search")
        assert cells == shown(results[f"{name}, {plain}"]), engine
