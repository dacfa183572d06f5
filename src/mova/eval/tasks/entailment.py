"""Evaluate entailment: does a video show a caption, or the false one next to it?

A row's captions are true of its video; `meta["negatives"]`, a list of objects with "text", are false. Two metrics need
no threshold: ROC-AUC over all captions of all videos, and accuracy, how often a true caption scores above a false one
of the same video (a tie counts half). Both are reported for all rows and per kind of false caption. Intervals resample
videos together with all their captions.

If all rows have the same captions, true or false (SSv2 in VideoCon's form), the pairs are a matrix, and text-to-video
mAP with several right videos per text is the headline.

Shape legend: R rows, Q texts, N videos.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mova.data.manifest import Row
from mova.errors import DataError
from mova.eval.metrics.bootstrap import bootstrap
from mova.eval.metrics.classification import auc_over_rows
from mova.eval.protocols import Protocol
from mova.eval.report import MetricGroup, Report, named_groups
from mova.eval.score_files import Entailment
from mova.eval.score_reports import report_entailment
from mova.eval.tasks.split import EvalSplit
from mova.utils.hashing import digest

KIND_KEYS = ("misalignment", "kind")
"""Keys of a false caption that may name its kind: VideoCon's and Worlds'."""


@dataclass(frozen=True)
class Claims:
    """A row's captions: `true` texts, `false` texts, and the kind of each false one (None if not annotated)."""

    row: Row
    true: tuple[str, ...]
    false: tuple[str, ...]
    kinds: tuple[str | None, ...]


def evaluate_entailment(split: EvalSplit, protocol: Protocol) -> Report:
    """Evaluate ROC-AUC and accuracy by kind of false caption, and mAP if all rows have the same captions.

    Returns:
        Groups "all" and every kind with "AUC" and "accuracy" in percent; if the pairs are a matrix, also what
        `score_reports.report_entailment` returns.

    Raises:
        UsageError: sizes do not fit the protocol.
        DataError: nothing can be measured, or a negative is malformed.
        ValueError: a score is NaN.
    """
    rows = split.keep(lambda row: bool(row.captions), "it has no caption")
    rows = split.keep(lambda row: bool(row.meta.get("negatives")), "it has no false caption in meta.negatives")
    claims = [claims_of(row) for row in rows]
    texts = sorted({*claims[0].true, *claims[0].false})
    crossed = crossed_texts(claims)
    protocol.check_size(crossed or len(claims), len(claims))
    scores = score_texts(split, {claim.row.id: (*claim.true, *claim.false) for claim in claims})
    kept = [claim for claim in claims if claim.row.id in scores]
    kinds = (None, *sorted({k for c in kept for k in c.kinds if k is not None}))
    groups = named_groups(("all" if kind is None else kind, _metrics(kind, kept, scores)) for kind in kinds)
    order = digest([claim.row.id for claim in kept])
    truth = [json.dumps([claim.true, claim.false, claim.kinds]) for claim in kept]
    if not crossed:
        return Report(head=split.head(protocol, order, len(kept), len(kept), truth), groups=groups)
    answered = [text for text in texts if any(text in claim.true for claim in kept)]
    unanswered = len(texts) - len(answered)
    report = report_entailment(_matrix(kept, answered, scores), split.followed(protocol))
    head = split.head(protocol, order, len(answered), len(kept), truth, texts_without_a_right_video=unanswered)
    return replace(report, head=head, groups=groups)


def crossed_texts(claims: Sequence[Claims]) -> int:
    """Return the number of texts if all videos have the same ones, each true or false; else 0."""
    texts = {*claims[0].true, *claims[0].false}
    return len(texts) if len(claims) > 1 and all({*c.true, *c.false} == texts for c in claims) else 0


def claims_of(row: Row) -> Claims:
    """Return the true and the false texts of a row's video.

    Raises:
        DataError: `meta["negatives"]` is not a list of objects with "text", or contains one of the captions.
    """
    negatives = row.meta["negatives"]
    if not isinstance(negatives, list) or not all(isinstance(n, dict) and _is_text(n.get("text")) for n in negatives):
        raise DataError(f'row {row.id!r}: meta.negatives must be a list of {{"text": ...}}')
    true = tuple(caption.text for caption in row.captions)
    false = tuple(negative["text"] for negative in negatives)
    if both := set(true) & set(false):
        raise DataError(f"row {row.id!r}: {min(both)!r} is both a caption and in meta.negatives")
    return Claims(row, true, false, tuple(_kind(negative) for negative in negatives))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _kind(negative: Mapping[str, Any]) -> str | None:
    return next((str(negative[key]) for key in KIND_KEYS if negative.get(key)), None)


def score_texts(split: EvalSplit, texts_of: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Score the texts of every row against its clip.

    The texts of a group of clips are encoded together, and reused for the next group if it has the same texts.

    Args:
        split: rows and model.
        texts_of: row id -> its texts.

    Returns:
        Row id -> text -> score; rows whose clip cannot be read are absent.

    Raises:
        DataError: no clip can be read, or a score is NaN (with the row).
    """
    scores: dict[str, dict[str, float]] = {}
    texts: list[str] = []
    encoded: Any = None
    for group in split.groups():
        group_texts = sorted({text for _, rows in group for row in rows for text in texts_of[row.id]})
        if group_texts != texts:
            texts, encoded = group_texts, split.form.encode(group_texts)
        columns = {text: column for column, text in enumerate(texts)}
        block = split.form.score([embedding for embedding, _ in group], encoded).double().cpu().numpy()
        for line, (_, rows) in zip(block, group, strict=True):
            for row in rows:
                scores[row.id] = {text: float(line[columns[text]]) for text in texts_of[row.id]}
                if np.isnan(list(scores[row.id].values())).any():
                    raise DataError(f"row {row.id!r}: a score is NaN and cannot be ranked")
    return scores


def _matrix(kept: Sequence[Claims], texts: Sequence[str], scores_of: Mapping[str, Mapping[str, float]]) -> Entailment:
    """Return the same pairs as texts (Q) by videos (N)."""
    scores = np.array([[scores_of[claim.row.id][text] for claim in kept] for text in texts])
    right = np.array([[text in claim.true for claim in kept] for text in texts])
    videos = tuple(claim.row.id for claim in kept)
    return Entailment(scores, right, tuple(texts), videos, "")


def _metrics(kind: str | None, kept: Sequence[Claims], scores_of: Mapping[str, Mapping[str, float]]) -> MetricGroup:
    """Return the metrics of the rows that have a false caption of one kind; None: of any kind."""
    true, false = [], []
    for claim in kept:
        scores = scores_of[claim.row.id]
        wrong = [scores[text] for text, k in zip(claim.false, claim.kinds, strict=True) if kind is None or k == kind]
        if wrong:
            true.append([scores[text] for text in claim.true])
            false.append(wrong)
    hits = [
        100.0 * float(np.mean([float(t > f) + 0.5 * float(t == f) for t in ts for f in fs]))
        for ts, fs in zip(true, false, strict=True)
    ]
    counts = {"videos": len(true), "true": sum(map(len, true)), "false": sum(map(len, false))}
    auc = bootstrap(np.arange(len(true)), auc_over_rows(true, false))
    group = MetricGroup.of_values({"accuracy": hits}, counts)
    return group.with_metric("AUC", auc.value, interval=auc, true=true, false=false)
