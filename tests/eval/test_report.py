"""Reports of every task: the document can be read back, and what is not a report is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mova.errors import DataError
from mova.eval.metrics.spans import MomentPrediction, MomentTruth
from mova.eval.moment_files import MomentScores
from mova.eval.protocols import find_protocol
from mova.eval.report import MetricGroup, Report, named_groups
from mova.eval.score_files import Entailment, Ids, ScoreMatrix
from mova.eval.score_reports import QueryBank, report_entailment, report_matrix, report_moments
from mova.eval.tasks.entailment import evaluate_entailment
from mova.eval.tasks.multiple_choice import evaluate_choice
from mova.eval.tasks.retrieval import evaluate_retrieval
from tests.support.known import Clips, known_split, row

RNG = np.random.default_rng(0)
QUESTIONS = [row(f"q{i}", f"text {i}", question="q", options=["a", "b"], answer=0, type="CW") for i in range(4)]
CLAIMS = [row(f"v{i}", f"true {i}", negatives=[{"text": f"false {i}"}]) for i in range(4)]
CROSSED = [row(f"v{i}", f"text {i % 2}", negatives=[{"text": f"text {1 - i % 2}", "kind": "action"}]) for i in range(4)]


def matrix() -> Report:
    scores = np.round(RNG.normal(size=(6, 6)), 1)
    bank = QueryBank(ScoreMatrix(RNG.normal(size=(3, 6))))
    return report_matrix(ScoreMatrix(scores), find_protocol("pairs"), legacy=True, dual_softmax=True, bank=bank)


def captions() -> Report:
    ids = Ids(("a", "b"), ("a", "a", "b"), "0123")
    return report_matrix(ScoreMatrix(RNG.normal(size=(3, 2))), find_protocol("captions"), ids)


def entailment() -> Report:
    right = np.array([[True, False, True], [False, True, False]])
    scores = Entailment(np.round(RNG.random((2, 3)), 1), right, ("x", "y"), ("a", "b", "c"), "0123")
    return report_entailment(scores, find_protocol("entailment"), legacy=True)


def moments(windows: bool, saliency: bool) -> Report:
    prediction = MomentPrediction(
        np.array([[0.0, 2.0, 0.5], [4.0, 6.0, 0.5]]) if windows else None,
        np.array([0.1, 0.4, 0.4]) if saliency else None,
    )
    truth = MomentTruth(np.array([[1.0, 3.0]]), np.array([[4, 4, 3], [2, 0, 0], [3, 3, 3]]))
    return report_moments(
        MomentScores([prediction] * 3, [truth] * 3, ["1", "2", "3"], "0123"), find_protocol("moments")
    )


REPORTS = {
    "matrix": matrix,
    "captions": captions,
    "entailment": entailment,
    "moments": lambda: moments(True, False),
    "highlights": lambda: moments(False, True),
    "moments and highlights": lambda: moments(True, True),
    "retrieval": lambda: evaluate_retrieval(
        known_split(QUESTIONS, clips=Clips(broken=["q1.mp4"])), find_protocol("pairs"), dual_softmax=True
    ),
    "crossed entailment": lambda: evaluate_entailment(known_split(CROSSED), find_protocol("entailment")),
    "plain entailment": lambda: evaluate_entailment(known_split(CLAIMS), find_protocol("entailment")),
    "choice": lambda: evaluate_choice(known_split(QUESTIONS), find_protocol("choice")),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_document_that_is_read_back_gives_the_same_document(name: str) -> None:
    report = REPORTS[name]()
    text = json.dumps(report.to_json(), allow_nan=False)
    assert json.dumps(Report.from_json(json.loads(text), "a.json").to_json()) == text


def test_the_head_of_a_document_comes_first() -> None:
    keys = ["protocol", "fingerprint", "order", "queries", "candidates"]
    assert all(list(make().to_json())[:5] == keys for make in REPORTS.values())


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], r"a\.json: not a report of `mova eval`: a JSON object expected"),
        ({}, r"a\.json: not a report of a single evaluation: protocol, fingerprint, order"),
        ({"task": "synvita", "tests": {}}, "one report per test, at tests.NAME.report"),
    ],
)
def test_files_that_are_not_reports_raise(document: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Report.from_json(document, "a.json")


def test_a_damaged_report_is_refused() -> None:
    document = captions().to_json()
    document["intervals"]["t2v"]["R@1"] = {"value": 1.0}
    with pytest.raises(DataError, match=r"a\.json: damaged report: TypeError"):
        Report.from_json(document, "a.json")


def test_two_groups_of_one_name_are_refused() -> None:
    group = MetricGroup.of_values({"accuracy": [1.0]})
    with pytest.raises(ValueError, match="two groups have the name 'all'"):
        named_groups([("all", group), ("all", group)])


def test_a_kind_of_false_caption_named_as_a_direction_is_refused() -> None:
    rows = [row(f"v{i}", f"text {i % 2}", negatives=[{"text": f"text {1 - i % 2}", "kind": "t2v"}]) for i in range(4)]
    with pytest.raises(ValueError, match="group 't2v' has the name of a retrieval direction"):
        evaluate_entailment(known_split(rows), find_protocol("entailment"))
