"""Entailment with a model: AUC and accuracy against scikit-learn and counting, mAP of crossed pairs, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from mova.data.manifest import Row
from mova.errors import DataError, UsageError
from mova.eval.protocols import find_protocol
from mova.eval.tasks.entailment import claims_of, evaluate_entailment
from tests.support.known import Clips, cosines, drawn, known_split, pooled, row

ANY = find_protocol("entailment")
KINDS = ("action", "flip")


def negative(text: str, kind: str | None = None) -> dict[str, str]:
    return {"text": text} | ({"misalignment": kind} if kind else {})


ROWS = [
    row(f"v{i}", f"true {i}", negatives=[negative(f"false {i}", KINDS[i % 3 == 0]), negative(f"wrong {i}", "flip")])
    for i in range(30)
]


def score(owner: Row, text: str) -> float:
    return float(cosines(drawn(text), pooled(drawn(owner.video, 5))[None])[0, 0])


def test_auc_and_accuracy_by_kind_are_those_of_scikit_learn_and_of_counting() -> None:
    report = evaluate_entailment(known_split(ROWS), ANY).to_json()
    for group in ("all", *KINDS):
        true, false, hits = [], [], []
        for source in ROWS:
            wrong = [n["text"] for n in source.meta["negatives"] if group in ("all", n["misalignment"])]
            if wrong:
                true_score, false_scores = (
                    score(source, source.captions[0].text),
                    [score(source, text) for text in wrong],
                )
                true.append(true_score)
                false += false_scores
                hits.append(np.mean([true_score > false_score for false_score in false_scores]))
        expected = roc_auc_score([1] * len(true) + [0] * len(false), true + false)
        assert report["figures"][group]["AUC"] == pytest.approx(100 * expected)
        assert report["figures"][group]["accuracy"] == pytest.approx(100 * np.mean(hits))
        assert report["counts"][group] == {"videos": len(true), "true": len(true), "false": len(false)}
        interval = report["intervals"][group]["AUC"]
        assert interval["low"] < interval["value"] < interval["high"]
    assert report["task"] == "entailment"
    assert "t2v" not in report


def test_shared_captions_are_ranked_over_videos() -> None:
    actions = ["push", "pull", "lift"]
    rows = [
        row(f"v{i}", actions[i % 3], negatives=[negative(a) for a in actions if a != actions[i % 3]]) for i in range(12)
    ]
    test = known_split(rows)
    report = evaluate_entailment(test, ANY).to_json()
    expected = [
        average_precision_score([i % 3 == a for i in range(12)], [score(r, action) for r in rows])
        for a, action in enumerate(actions)
    ]
    assert report["t2v"]["mAP"] == pytest.approx(100 * np.mean(expected))
    assert (report["queries"], report["candidates"]) == (3, 12)
    assert report["figures"]["all"]["AUC"] > 0
    assert sorted(test.model.encoded) == sorted(actions)  # type: ignore[attr-defined]
    pushes = [source.video for i, source in enumerate(rows) if i % 3 == 0]
    remaining = evaluate_entailment(known_split(rows, clips=Clips(broken=pushes)), ANY).to_json()
    assert remaining["t2v"]["mAP"] > 0
    assert (remaining["queries"], remaining["settings"]["texts_without_a_right_video"], len(remaining["excluded"])) == (
        2,
        1,
        4,
    )
    with pytest.raises(UsageError, match="3 texts instead of 18, 12 videos instead of 216"):
        evaluate_entailment(known_split(rows), find_protocol("ssv2-temporal"))


def test_ties_count_half_and_rows_that_cannot_be_measured_are_named() -> None:
    same = {source.video: [[1.0] * 16] for source in ROWS}
    rows = [*ROWS, row("nothing false", "text"), row("broken", "text", negatives=[negative("no")])]
    test = known_split(rows, clips=Clips(same, broken=["broken.mp4"]))
    texts = {
        text: [1.0] * 16
        for source in ROWS
        for text in (source.captions[0].text, *(n["text"] for n in source.meta["negatives"]))
    }
    test.model.texts |= texts  # type: ignore[attr-defined]
    report = evaluate_entailment(test, ANY).to_json()
    assert report["figures"]["all"] == {"accuracy": 50.0, "AUC": 50.0}
    assert {source["id"] for source in report["excluded"]} == {"nothing false", "broken"}


def test_the_fingerprint_is_of_the_false_captions_too() -> None:
    changed = [*ROWS[:-1], row("v29", "true 29", negatives=[negative("another")])]
    first, second = (evaluate_entailment(known_split(rows), ANY).to_json() for rows in (ROWS, changed))
    assert first["fingerprint"] != second["fingerprint"]
    assert first["order"] == second["order"]


def test_malformed_rows_are_refused() -> None:
    for bad in ("no list", [{"caption": "x"}], [{"text": " "}]):
        with pytest.raises(DataError, match=r"meta\.negatives must be a list"):
            claims_of(row("a", "text", negatives=bad))
    with pytest.raises(DataError, match=r"'text' is both a caption and in meta\.negatives"):
        claims_of(row("a", "text", negatives=[negative("text")]))
    test = known_split(ROWS, clips=Clips({"v4.mp4": torch.full((2, 16), float("nan")).tolist()}))
    with pytest.raises(DataError, match="'v4': a score is NaN"):
        evaluate_entailment(test, ANY)
