"""The tables of search beside other engines: every figure is that of the recorded run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
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


def test_the_page_of_decoding_quotes_near_samples() -> None:
    results = recorded("near_samples")
    page = (ROOT / "docs/reference/decoding.md").read_text(encoding="utf-8")
    for label, pattern in (("Worlds, `mova-worlds-tiny`", "Worlds, {} samples, seed"), ("events of 32", "clips, {}")):
        kinds = [
            [row for name, row in results.items() if name.startswith(pattern.format(k))] for k in ("exact", "near")
        ]
        cells = next(line for line in page.splitlines() if line.startswith(f"| {label}")).split("|")[2:-1]
        shown = [sum(row[key] for row in rows) / len(rows) for key in ("r1", "r5") for rows in kinds]
        assert [float(cell) for cell in cells] == [sum(row["sentences"] for row in kinds[0]), *np.round(shown, 1)]


PARAGRAPHS = {
    "mova, moments": "mova search",
    "LanceDB, exact, a sentence at a time, moments": "LanceDB, exact, a sentence at a time: the same search",
    "mova, videos": "mova, videos only",
    "LanceDB's multivectors, exact, videos": "LanceDB, multivectors, exact, videos only",
    "LanceDB's multivectors, IVF-RQ, 20 lists, videos": "LanceDB, multivectors, IVF-RQ, 20 lists, videos only",
    "LanceDB's multivectors, IVF-RQ, 100 lists, videos": "LanceDB, multivectors, IVF-RQ, 100 lists, videos only",
}


def test_the_table_of_paragraphs_has_the_recorded_figures() -> None:
    results = recorded("paragraphs")
    (rows,) = tables("Paragraphs beside multivectors").values()
    assert [label for label, *_ in rows] == list(PARAGRAPHS)
    for label, *cells in rows:
        shown = [
            results[f"{PARAGRAPHS[label]}, {sentences} sentences, {frames} frames"]
            for frames in (180_000, 1_000_000)
            for sentences in (3, 8)
        ]
        assert cells == [f"{row['recall']:.3f}: {row['p50_ms']:,.0f} / {row['p99_ms']:,.0f}" for row in shown]
