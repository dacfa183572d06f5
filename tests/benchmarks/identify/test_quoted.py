"""The page of the theory quotes the recorded study."""

from __future__ import annotations

import pytest

from tests.benchmarks.test_quoted_results import ROOT, cells, rows

PAGE = ROOT / "docs/research/theory.md"
CONDITIONS = ("full", "no sparsity", "weak sparsity", "no view diversity", "no temporal masks", "published contrast")
SIDES = {
    "": (
        "code to truth",
        "truth to code",
        "code to absent",
        "text nuisance",
        "frame nuisance",
        "d/d nuisance",
        "mask precision",
        "mask recall",
        "atom: own",
        "atom: other",
    ),
    ", frames": (
        "video: code to truth",
        "video: truth to code",
        "video: code to absent",
        "video: atom own",
        "video: atom other",
    ),
}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("side", SIDES)
def test_the_page_of_the_theory_quotes_the_study(condition: str, side: str) -> None:
    measured = rows("identify")
    expected = [pytest.approx(measured[name][condition], abs=0.0051) for name in SIDES[side]]
    assert [float(cell) for cell in cells(PAGE, condition + side)] == expected
