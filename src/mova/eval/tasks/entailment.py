"""Entailment with a model: does a video show a caption, or the false one beside it?

A row's captions are true of its video; `meta["negatives"]`, a list of objects with "text", are false. Two figures need
no threshold: ROC-AUC over all captions of all videos, and accuracy, how often a true caption scores above a false one
of the same video (a tie counts half). Both stand for all rows and for the rows of each kind of false caption. Intervals
draw videos, with all their captions.

Where all rows have the same captions, true or false (SSv2 in VideoCon's form), the pairs are a matrix, and
text-to-video mAP with several right videos a text is the headline.

Shape legend: R rows, Q texts, N videos.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mova.data.manifest import Row
from mova.errors import DataError
from mova.eval.metrics.bootstrap import bootstrap
from mova.eval.metrics.classification import auc_over_rows
from mova.eval.protocols import Protocol
from mova.eval.report_figures import Report, add_figures
from mova.eval.reports import report_entailment
from mova.eval.score_files import Entailment
from mova.eval.tasks.split import EvalSplit
from mova.utils.hashing import digest

KINDS = ("misalignment", "kind")
"""Keys of a false caption that may name its kind: VideoCon's and Worlds'."""


@dataclass(frozen=True)
class Claims:
    """A row's captions: `true` texts, `false` texts, and the kind of each false one (None where not said)."""

    row: Row
    true: tuple[str, ...]
    false: tuple[str, ...]
    kinds: tuple[str | None, ...]


def evaluate_entailment(test: EvalSplit, protocol: Protocol) -> Report:
    """ROC-AUC and accuracy by kind of false caption, and mAP where all rows have the same captions.

    Returns:
        "figures" with "AUC" and "accuracy" in percent for "all" and every kind; where the pairs are a matrix also what
        `reports.report_entailment` gives.

    Raises:
        UsageError: sizes do not fit the protocol.
        DataError: nothing can be measured, or a negative is not of the form.
        ValueError: a score is NaN.
    """
    rows = test.keep(lambda row: bool(row.captions), "it has no caption")
    rows = test.keep(lambda row: bool(row.meta.get("negatives")), "it has no false caption in meta.negatives")
    claims = [claims_of(row) for row in rows]
    texts = sorted({*claims[0].true, *claims[0].false})
    crossed = len(claims) > 1 and all(sorted({*c.true, *c.false}) == texts for c in claims)
    protocol.check_size(len(texts) if crossed else len(claims), len(claims))
    scored = score_texts(test, {claim.row.id: (*claim.true, *claim.false) for claim in claims})
    kept = [claim for claim in claims if claim.row.id in scored]
    ids = [claim.row.id for claim in kept]
    shown = [text for text in texts if any(text in claim.true for claim in kept)]
    report = report_entailment(_matrix(kept, shown, scored), test.of(protocol)) if crossed else {}
    truth = [json.dumps([claim.true, claim.false, claim.kinds]) for claim in kept]
    said = {"texts_without_a_right_video": len(texts) - len(shown)} if crossed else {}
    report |= test.head(protocol, digest(ids), len(shown) if crossed else len(kept), len(kept), truth, **said)
    for kind in (None, *sorted({k for c in kept for k in c.kinds if k is not None})):
        _add_kind(report, kind, kept, scored)
    return report


def claims_of(row: Row) -> Claims:
    """What is true and what is false of a row's video; a text that is both is an error.

    Raises:
        DataError: `meta["negatives"]` is not a list of objects with "text", or a caption is among them.
    """
    negatives = row.meta["negatives"]
    if not isinstance(negatives, list) or not all(isinstance(n, dict) and _is_text(n.get("text")) for n in negatives):
        raise DataError(f'row {row.id!r}: meta.negatives must be a list of {{"text": ...}}')
    true = tuple(caption.text for caption in row.captions)
    false = tuple(negative["text"] for negative in negatives)
    if both := set(true) & set(false):
        raise DataError(f"row {row.id!r}: {min(both)!r} is a caption and stands in meta.negatives too")
    return Claims(row, true, false, tuple(_kind(negative) for negative in negatives))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _kind(negative: Mapping[str, Any]) -> str | None:
    return next((str(negative[key]) for key in KINDS if negative.get(key)), None)


def score_texts(test: EvalSplit, wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Score every row's own texts against its clip.

    The texts of a group of clips are encoded together; those of the group before are used again where they are the
    same.

    Args:
        test: what is measured.
        wanted: row id -> its texts.

    Returns:
        Row id -> text -> score; rows whose clip cannot be read are absent.

    Raises:
        DataError: no clip can be read, or a score is NaN (with the row).
    """
    found: dict[str, dict[str, float]] = {}
    texts: list[str] = []
    encoded: Any = None
    for group in test.groups():
        now = sorted({text for _, shown in group for row in shown for text in wanted[row.id]})
        if now != texts:
            texts, encoded = now, test.form.encode(now)
        place = {text: column for column, text in enumerate(texts)}
        block = test.form.score([embedding for embedding, _ in group], encoded).double().cpu().numpy()
        for line, (_, shown) in zip(block, group, strict=True):
            for row in shown:
                scores = {text: float(line[place[text]]) for text in wanted[row.id]}
                if np.isnan(list(scores.values())).any():
                    raise DataError(f"row {row.id!r}: a score is NaN; nothing can be ranked by it")
                found[row.id] = scores
    return found


def _matrix(kept: Sequence[Claims], texts: Sequence[str], scored: Mapping[str, Mapping[str, float]]) -> Entailment:
    """The same pairs as texts (Q) by videos (N)."""
    scores = np.array([[scored[claim.row.id][text] for claim in kept] for text in texts])
    right = np.array([[text in claim.true for claim in kept] for text in texts])
    videos = tuple(claim.row.id for claim in kept)
    return Entailment(scores, right, tuple(texts), videos, "")


def _add_kind(
    report: Report, kind: str | None, kept: Sequence[Claims], scored: Mapping[str, Mapping[str, float]]
) -> None:
    """Figures of the rows that hold a false caption of one kind, or of all."""
    true, false = [], []
    for claim in kept:
        own = scored[claim.row.id]
        wrong = [own[text] for text, k in zip(claim.false, claim.kinds, strict=True) if kind is None or k == kind]
        if wrong:
            true.append([own[text] for text in claim.true])
            false.append(wrong)
    hits = [
        100.0 * float(np.mean([float(t > f) + 0.5 * float(t == f) for t in ts for f in fs]))
        for ts, fs in zip(true, false, strict=True)
    ]
    group = "all" if kind is None else kind
    counts = {"videos": len(true), "true": sum(map(len, true)), "false": sum(map(len, false))}
    add_figures(report, group, {"accuracy": hits}, counts)
    interval = bootstrap(np.arange(len(true)), auc_over_rows(true, false))
    report["figures"][group]["AUC"] = interval.value
    report["intervals"][group]["AUC"] = interval.to_json()
    report["places"][group] |= {"true": true, "false": false}
