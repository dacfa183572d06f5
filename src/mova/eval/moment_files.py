"""Read QVHighlights' files: predicted windows and saliency, and their annotations, one query per line.

Shape legend: A annotators.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.data.readers.annotations import get_fields, to_list, to_number
from mova.errors import DataError, UsageError
from mova.eval.metrics.spans import CLIP_SECONDS, MomentPrediction, MomentTruth
from mova.utils.hashing import digest
from mova.utils.tables import read_jsonl
from mova.utils.text_files import brief

LONGEST = 1e6
"""Largest duration of a video with saliency, in seconds."""


@dataclass(frozen=True, eq=False)
class MomentScores:
    """Predictions and annotations of moment queries.

    Attributes:
        predictions, truths: one per query.
        ids: of the queries.
        fingerprint: hash of the queries and their windows.
    """

    predictions: Sequence[MomentPrediction]
    truths: Sequence[MomentTruth]
    ids: Sequence[str]
    fingerprint: str


def read_moments(predictions: str | Path, truth: str | Path) -> MomentScores:
    """Read QVHighlights' files: predictions and annotations, in the order of the predictions.

    Raises:
        UsageError: no such file.
        DataError: a malformed line, a duplicate id, a window that ends before it begins (the message has query and
            line), queries that differ between the files, or windows or saliency that only some predictions have.
    """
    predicted, annotated = _lines(Path(predictions)), _lines(Path(truth))
    if predicted.keys() != annotated.keys():
        missing, extra = annotated.keys() - predicted.keys(), predicted.keys() - annotated.keys()
        example = min(missing | extra)
        raise DataError(
            f"{predictions}: {len(missing)} queries of {truth} have no prediction, and {len(extra)} predictions have "
            f"no query in it, such as {example}; the queries of both files must be the same"
        )
    for name in ("pred_relevant_windows", "pred_saliency_scores"):
        require_all(f"no {name!r}", {where: row.get(name) is not None for where, row in predicted.values()})
    read_predictions = [_prediction(where, row) for where, row in predicted.values()]
    truths = [_annotation(*annotated[qid]) for qid in predicted]
    parts = [
        json.dumps([qid, row.get("query"), row["relevant_windows"]]) for qid, (_, row) in sorted(annotated.items())
    ]
    return MomentScores(read_predictions, truths, list(predicted), digest(parts))


def require_all(lacking: str, present: dict[str, bool], what: str = "predictions") -> None:
    """Raise a `DataError` that names the first query without something, if only some queries have it.

    Args:
        lacking: what the query has not, such as "no saliency".
        present: query -> whether it has it.
        what: the rows that are counted, for the message.

    >>> require_all("no saliency", {"query 1": True, "query 2": False})
    Traceback (most recent call last):
    mova.errors.DataError: query 2: has no saliency, as 1 of 2 predictions; all or none must have it
    """
    absent = [where for where, has in present.items() if not has]
    if absent and len(absent) < len(present):
        raise DataError(
            f"{absent[0]}: has {lacking}, as {len(absent)} of {len(present)} {what}; all or none must have it"
        )


def moment_truth(row: dict[str, Any]) -> MomentTruth:
    """Read windows and saliency, if annotated, from a row of QVHighlights; `duration` in seconds.

    Raises:
        ValueError: malformed saliency. Other malformed values also raise KeyError, IndexError, TypeError or
            OverflowError.

    >>> moment_truth({"relevant_windows": [[0, 4]]}).windows
    array([[0., 4.]])
    """
    windows = np.asarray(row["relevant_windows"], dtype=np.float64).reshape(-1, 2)
    if not (windows[:, 0] <= windows[:, 1]).all():
        raise ValueError("a window ends before it begins")
    if "saliency_scores" not in row:
        return MomentTruth(windows)
    if not 0 < row["duration"] <= LONGEST:
        raise ValueError(f"the duration must be between 0 and {LONGEST:g} s, not {row['duration']}")
    annotated, clips = (_whole(row, name) for name in ("saliency_scores", "relevant_clip_ids"))
    if annotated.ndim != 2 or clips.shape != annotated.shape[:1]:
        raise ValueError("'saliency_scores' must have one list of scores per clip of 'relevant_clip_ids'")
    if (clips < 0).any():
        raise ValueError(f"a clip has the number {clips.min()}")
    saliency = np.zeros((int(row["duration"] / CLIP_SECONDS), annotated.shape[1]), dtype=np.int64)
    saliency[clips] = annotated
    return MomentTruth(windows, saliency)


def _whole(row: dict[str, Any], name: str) -> npt.NDArray[np.int64]:
    """Return whole numbers; a fraction would be cut off silently."""
    numbers = np.asarray(row[name])
    if numbers.dtype.kind not in "iuO" and np.any(fractions := numbers.astype(np.float64) % 1 != 0):
        raise ValueError(f"{name!r} must be whole numbers, not {numbers[fractions].flat[0]}")
    return numbers.astype(np.int64)


def _annotation(where: str, row: dict[str, Any]) -> MomentTruth:
    (listed,) = get_fields(where, row, "relevant_windows")
    _windows(where, listed, 2)
    try:
        return moment_truth(row)
    except (KeyError, ValueError, IndexError, TypeError, OverflowError) as error:
        raise DataError(f"{where}: {type(error).__name__}: {error}") from error


def _prediction(where: str, row: dict[str, Any]) -> MomentPrediction:
    windows, saliency = row.get("pred_relevant_windows"), row.get("pred_saliency_scores")
    for name, values in (("pred_relevant_windows", windows), ("pred_saliency_scores", saliency)):
        if values is not None and not to_list(where, values):
            raise DataError(f"{where}: {name!r} is empty; predict at least one value, or leave the key out everywhere")
    return MomentPrediction(
        None if windows is None else np.asarray(_windows(where, windows, 3), dtype=np.float64).reshape(-1, 3),
        None if saliency is None else np.array([to_number(where, score) for score in to_list(where, saliency)]),
    )


def _windows(where: str, value: Any, width: int) -> list[list[float]]:
    """Return windows as lists of `width` numbers: start and end in seconds, and the score of a prediction."""
    windows = [
        [to_number(where, number) for number in to_list(where, window, width)] for window in to_list(where, value)
    ]
    for window in windows:
        if window[1] < window[0]:
            raise DataError(f"{where}: window {brief(window)} ends before it begins")
    return windows


def _lines(path: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return query id -> location and row."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    rows: dict[str, tuple[str, dict[str, Any]]] = {}
    for where, row in read_jsonl(path):
        if not isinstance(row, dict) or not isinstance(row.get("qid"), str | int):
            raise DataError(f"{where}: an object with 'qid' expected")
        qid = str(row["qid"])
        if qid in rows:
            raise DataError(f"{where}: duplicate query {qid}")
        rows[qid] = (f"{where}, query {qid}", row)
    return rows
