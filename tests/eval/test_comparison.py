"""Comparing reports of every task: differences by counting, the same draws, refusals."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mova.errors import DataError
from mova.eval.comparison import compare as compare_reports
from mova.eval.protocols import find_protocol
from mova.eval.report import Report
from mova.eval.tasks.entailment import evaluate_entailment
from mova.eval.tasks.moments import evaluate_moment_retrieval
from mova.eval.tasks.multiple_choice import evaluate_choice
from tests.support.known import Clips, drawn, known_split, row

ROWS = [
    row(
        f"v{i}",
        (f"true {i}", 1.0, 3.0),
        negatives=[{"text": f"false {i}"}],
        question="q",
        options=[f"a {i}", f"b {i}"],
        answer=i % 2,
    )
    for i in range(25)
]
OTHER = Clips({source.video: drawn(f"other {source.id}", 6).tolist() for source in ROWS})
TASKS = {"entailment": evaluate_entailment, "choice": evaluate_choice, "moments": evaluate_moment_retrieval}


def two_reports(task: str) -> list[dict[str, Any]]:
    reports = (TASKS[task](known_split(ROWS, clips=clips), find_protocol(task)) for clips in (Clips(), OTHER))
    return [json.loads(json.dumps(report.to_json(), allow_nan=False)) for report in reports]


def compare(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Compare two documents."""
    return compare_reports(Report.from_json(first, "a.json"), Report.from_json(second, "b.json")).to_json()


@pytest.mark.parametrize("task", TASKS)
def test_differences_are_those_of_the_metrics(task: str) -> None:
    first, second = two_reports(task)
    differences = compare(first, second)
    checked = 0
    for group, figures in first["figures"].items():
        for metric, value in figures.items():
            row = differences[group][metric]
            assert row["value"] == pytest.approx(second["figures"][group][metric] - value)
            assert row["low"] <= row["value"] <= row["high"]
            checked += 1
    assert checked >= 1
    same = compare(first, first)
    assert all(row["value"] == row["low"] == row["high"] == 0 for row in same[next(iter(first["figures"]))].values())


def test_the_interval_of_auc_is_that_of_rows_drawn_for_both() -> None:
    first, second = two_reports("entailment")
    difference = compare(first, second)["all"]["AUC"]

    def auc(report: dict[str, Any], drawn_rows: np.ndarray) -> float:
        true, false = (np.array(report["places"]["all"][kind])[drawn_rows].ravel() for kind in ("true", "false"))
        return 100 * float((true[:, None] > false[None]).mean() + 0.5 * (true[:, None] == false[None]).mean())

    rng = np.random.default_rng(0)
    draws = [rng.integers(0, 25, 25) for _ in range(2000)]
    moved = [auc(second, d) - auc(first, d) for d in draws]
    low, high = np.quantile(moved, [0.025, 0.975])
    assert difference["low"] == pytest.approx(low, abs=1.5)
    assert difference["high"] == pytest.approx(high, abs=1.5)


def test_reports_of_different_tests_are_rejected() -> None:
    first, second = two_reports("choice")
    for field, changed_value in {
        "protocol": "x",
        "fingerprint": "x",
        "queries": 7,
        "candidates": 7,
        "order": "x",
    }.items():
        with pytest.raises(DataError, match=f"differ in {field}"):
            compare(first, {**second, field: changed_value})
    with pytest.raises(DataError, match="both reports need 'places'"):
        compare(first, {key: value for key, value in second.items() if key != "places"})
    with pytest.raises(DataError, match="different groups of queries"):
        compare(first, {**second, "places": {"some": {}}})
    with pytest.raises(DataError, match="different values per query"):
        compare(first, {**second, "places": {"all": {"top-1": [1.0]}}})


@pytest.mark.parametrize(
    "change", [{"right": [10**18]}, {"better": [-1]}, {"tied": [0]}, {"right": ["x"]}, {"right": [[]]}]
)
def test_ranks_beyond_measure_are_damage(change: dict[str, list[Any]]) -> None:
    places = {way: {"better": [0], "tied": [1], "right": [1]} for way in ("t2v", "v2t")}
    head = {"protocol": "pairs", "fingerprint": "0", "order": "1", "queries": 1, "candidates": 1, "settings": {}}
    report = {**head, "t2v": {}, "v2t": {}, "places": places}
    whole = Report.from_json(report, "x.json")
    assert set(compare_reports(whole, whole).groups) == {"t2v", "v2t"}
    damaged = Report.from_json({**report, "places": {**places, "t2v": {**places["t2v"], **change}}}, "x.json")
    with pytest.raises(DataError, match="'places' of group 't2v' is damaged"):
        compare_reports(damaged, damaged)
