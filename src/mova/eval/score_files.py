"""Read score files of any system: matrices (npy, csv, parquet), VideoCon's score tables, QVHighlights' predictions.

Rows of a matrix are texts, columns are videos. A csv file may name videos in its first line and texts in its first
column. A parquet file names videos by its columns, and texts in a column of strings.

Shape legend: Q texts, N videos, C clips, A annotators.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.data.manifest import fingerprint, read_manifest
from mova.errors import DataError, UsageError
from mova.eval.metrics.spans import CLIP_SECONDS, MomentPrediction, MomentTruth
from mova.utils.hashing import digest

Array = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class ScoreMatrix:
    """Scores (Q, N), and the names of texts and videos if the file has them."""

    scores: Array
    texts: tuple[str, ...] | None = None
    videos: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Ids:
    """The video of each text.

    Attributes:
        videos: (N,), in the order of columns.
        owners: (Q,), the video of each text, in the order of rows.
        fingerprint: hash of videos and texts.
    """

    videos: tuple[str, ...]
    owners: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Entailment:
    """Scores of every text with every video (Q, N), which pairs are right (Q, N), and a fingerprint of the labels."""

    scores: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    texts: tuple[str, ...]
    videos: tuple[str, ...]
    fingerprint: str


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


def read_matrix(path: str | Path) -> ScoreMatrix:
    """Read a matrix from `.npy` (memory-mapped), `.csv` or `.parquet`.

    Raises:
        UsageError: another kind of file, or no such file.
        DataError: not a matrix of numbers, or duplicate names.
    """
    path = Path(path)
    readers = {".npy": _read_npy, ".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise UsageError(f"{path}: a matrix must be a file of type {', '.join(readers)}")
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        matrix = readers[path.suffix.lower()](path)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as a matrix of numbers: {error}") from error
    scores = matrix.scores
    if scores.ndim != 2 or scores.dtype.kind != "f" or not scores.size:
        raise DataError(
            f"{path}: a floating-point matrix (texts, videos) expected, not {scores.dtype} of shape {scores.shape}"
        )
    for kind, names in (("text", matrix.texts), ("video", matrix.videos)):
        _refuse_duplicates(names or (), path, kind)
    return matrix


def read_ids(path: str | Path) -> Ids:
    """Read the video of each text from a manifest (`.jsonl`) or `.json`: `{"videos": [...], "texts": [...]}`.

    `texts` contains the id of the video of each text. The texts of a manifest are its captions, row by row.

    Raises:
        UsageError: no such file.
        DataError: another format, a duplicate id, or a text of an unknown video.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if path.suffix == ".jsonl":
        rows = read_manifest(path)
        owners = tuple(row.id for row in rows for _ in row.captions)
        return Ids(tuple(row.id for row in rows), owners, fingerprint(rows))
    document = _json(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(document, dict) or not all(isinstance(document.get(key), list) for key in ("videos", "texts")):
        raise DataError(f'{path}: {{"videos": [ids], "texts": [the video of each text]}} expected')
    videos, texts = (tuple(map(str, document[key])) for key in ("videos", "texts"))
    _refuse_duplicates(videos, path, "video")
    if unknown := set(texts) - set(videos):
        raise DataError(f"{path}: a text belongs to {min(unknown)!r}, which is not in the list of videos")
    return Ids(videos, texts, digest([*sorted(videos), "", *sorted(texts)]))


def read_entailment(scores: str | Path, labels: str | Path) -> Entailment:
    """Read VideoCon's files: (videopath, caption, score, ...) without a header, (videopath, caption, match) with one.

    Texts and videos are sorted, as in VideoCon's own evaluation. A duplicate row with the same value counts once.

    Raises:
        UsageError: no such file.
        DataError: a malformed row, one pair with two values, or a pair that one of the files lacks.
    """
    labels, scores = Path(labels), Path(scores)
    matches = _pairs(labels, header=True)
    values = _pairs(scores, header=False)
    videos, texts = (tuple(sorted({pair[i] for pair in matches})) for i in (0, 1))
    expected = {(video, text) for video in videos for text in texts}
    for path, pairs in ((labels, matches), (scores, values)):
        missing = expected - pairs.keys()
        if missing:
            video, text = min(missing)
            raise DataError(f"{path}: {len(missing)} pairs are missing, such as {video} with {text[-80:]!r}")
        if extra := pairs.keys() - expected:
            raise DataError(f"{path}: {len(extra)} pairs are not among the labels, such as {min(extra)[0]}")
    matrix = np.array([[values[video, text] for video in videos] for text in texts])
    right = np.array([[matches[video, text] for video in videos] for text in texts])
    if not np.isin(right, (0, 1)).all():
        raise DataError(f"{labels}: match must be 0 or 1")
    lines = [f"{video}\t{text}\t{int(matches[video, text])}" for video, text in sorted(expected)]
    return Entailment(matrix, right == 1, texts, videos, digest(lines))


def read_moments(predictions: str | Path, truth: str | Path) -> MomentScores:
    """Read QVHighlights' files: predictions and annotations, in the order of the predictions.

    Raises:
        UsageError: no such file.
        DataError: a malformed line, a duplicate id, or queries that differ between the files.
    """
    predicted, annotated = _lines(Path(predictions)), _lines(Path(truth))
    if predicted.keys() != annotated.keys():
        missing, extra = annotated.keys() - predicted.keys(), predicted.keys() - annotated.keys()
        example = min(missing | extra)
        raise DataError(
            f"{predictions}: {len(missing)} queries of {truth} have no prediction, and {len(extra)} predictions have "
            f"no query in it, such as {example}; the queries of both files must be the same"
        )
    read_predictions, truths = [], []
    for qid, row in predicted.items():
        try:
            windows, saliency = row.get("pred_relevant_windows"), row.get("pred_saliency_scores")
            read_predictions.append(
                MomentPrediction(
                    None if windows is None else np.asarray(windows, dtype=np.float64).reshape(-1, 3),
                    None if saliency is None else np.asarray(saliency, dtype=np.float64),
                )
            )
            truths.append(moment_truth(annotated[qid]))
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise DataError(f"query {qid} of {predictions} or {truth}: {type(error).__name__}: {error}") from error
    parts = [json.dumps([qid, row.get("query"), row["relevant_windows"]]) for qid, row in sorted(annotated.items())]
    return MomentScores(read_predictions, truths, list(predicted), digest(parts))


def moment_truth(row: dict[str, Any]) -> MomentTruth:
    """Read windows and saliency, if annotated, from a row of QVHighlights; `duration` in seconds.

    >>> moment_truth({"relevant_windows": [[0, 4]]}).windows
    array([[0., 4.]])
    """
    windows = np.asarray(row["relevant_windows"], dtype=np.float64).reshape(-1, 2)
    if "saliency_scores" not in row:
        return MomentTruth(windows)
    annotated = np.asarray(row["saliency_scores"], dtype=np.int64)
    saliency = np.zeros((int(row["duration"] / CLIP_SECONDS), annotated.shape[1]), dtype=np.int64)
    saliency[np.asarray(row["relevant_clip_ids"], dtype=np.int64)] = annotated
    return MomentTruth(windows, saliency)


def _read_npy(path: Path) -> ScoreMatrix:
    return ScoreMatrix(np.load(path, mmap_mode="r", allow_pickle=False))


def _read_csv(path: Path) -> ScoreMatrix:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise ValueError("it is empty")
    videos: tuple[str, ...] | None = None
    named = not all(_is_number(row[0]) for row in rows[1:])
    if not all(map(_is_number, rows[0][1 if named else 0 :])):
        videos = tuple(rows.pop(0)[1 if named else 0 :])
    texts = tuple(row[0] for row in rows) if named else None
    return ScoreMatrix(np.array([row[1 if named else 0 :] for row in rows], dtype=np.float64), texts, videos)


def _read_parquet(path: Path) -> ScoreMatrix:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    text_columns = [f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
    if len(text_columns) > 1:
        raise ValueError(f"at most one column of text names expected, not {', '.join(text_columns)}")
    videos = tuple(name for name in table.column_names if name not in text_columns)
    scores = np.stack([table.column(name).to_numpy() for name in videos], axis=1)
    texts = tuple(table.column(text_columns[0]).to_pylist()) if text_columns else None
    return ScoreMatrix(scores, texts, videos)


def _pairs(path: Path, header: bool) -> dict[tuple[str, str], float]:
    """Return (video, text) -> third column."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    values: dict[tuple[str, str], float] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        for number, row in enumerate(reader):
            if header and number == 0:
                continue
            if len(row) < 3 or not _is_number(row[2]) or not np.isfinite(float(row[2])):
                raise DataError(f"{path}, line {reader.line_num}: video, text and a number expected, not {row[:3]}")
            pair, value = (row[0], row[1]), float(row[2])
            if values.setdefault(pair, value) != value:
                raise DataError(f"{path}, line {reader.line_num}: {row[0]} has two values for one text")
    return values


def _lines(path: Path) -> dict[str, dict[str, Any]]:
    """Return query id -> row."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        row = _json(line, f"{path}, line {number}")
        if not isinstance(row, dict) or "qid" not in row:
            raise DataError(f"{path}, line {number}: an object with 'qid' expected")
        if str(row["qid"]) in rows:
            raise DataError(f"{path}, line {number}: duplicate query {row['qid']}")
        rows[str(row["qid"])] = row
    return rows


def _json(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{source}: not JSON: {error}") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _refuse_duplicates(names: Sequence[str], path: Path, kind: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{path}: duplicate {kind} {name!r}")
        seen.add(name)
