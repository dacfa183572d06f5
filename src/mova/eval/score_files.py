"""Files that hold anybody's scores: matrices (npy, csv, parquet), VideoCon's score tables, QVHighlights' predictions.

Rows of a matrix are texts, columns are videos. A csv may have names of videos in its first line and names of texts in
its first column; a parquet file has names of videos as names of columns, and names of texts in a column of strings.

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
    """Scores (Q, N), and the names of texts and videos where the file has them."""

    scores: Array
    texts: tuple[str, ...] | None = None
    videos: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Ids:
    """Which video each text belongs to.

    Attributes:
        videos: (N,), in the order of columns.
        owners: (Q,), the video of each text, in the order of rows.
        fingerprint: of what they name.
    """

    videos: tuple[str, ...]
    owners: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Entailment:
    """Scores (Q, N) of every text with every video, which are right (Q, N), and a fingerprint of the labels."""

    scores: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    texts: tuple[str, ...]
    videos: tuple[str, ...]
    fingerprint: str


def read_matrix(path: str | Path) -> ScoreMatrix:
    """A matrix from `.npy` (mapped, not read), `.csv` or `.parquet`.

    Raises:
        UsageError: another kind of file, or none.
        DataError: not a matrix of numbers, or names that stand twice.
    """
    path = Path(path)
    kinds = {".npy": _read_npy, ".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in kinds:
        raise UsageError(f"{path}: a matrix comes as {', '.join(kinds)}")
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        found = kinds[path.suffix.lower()](path)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as a matrix of numbers: {error}") from error
    if found.scores.ndim != 2 or found.scores.dtype.kind != "f" or not found.scores.size:
        raise DataError(
            f"{path}: a matrix (texts, videos) of floating point expected, "
            f"not {found.scores.dtype} of shape {found.scores.shape}"
        )
    for what, names in (("text", found.texts), ("video", found.videos)):
        _refuse_doubles(names or (), path, what)
    return found


def read_ids(path: str | Path) -> Ids:
    """Which text belongs to which video, from a manifest (`.jsonl`) or `.json`: `{"videos": [...], "texts": [...]}`.

    `texts` holds the id of the video of each text. A manifest's texts are its captions, row by row.

    Raises:
        UsageError: no such file.
        DataError: another form, an id that stands twice, or a text of a video that is not there.
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
    _refuse_doubles(videos, path, "video")
    strangers = set(texts) - set(videos)
    if strangers:
        raise DataError(f"{path}: texts of {min(strangers)!r}, which is no video of the list")
    return Ids(videos, texts, digest([*sorted(videos), "", *sorted(texts)]))


def read_entailment(scores: str | Path, labels: str | Path) -> Entailment:
    """VideoCon's form: (videopath, caption, score, ...) without a header, (videopath, caption, match) with one.

    Texts and videos come out sorted, as VideoCon's own evaluation sorts them. A row that stands twice with one value
    counts once.

    Raises:
        UsageError: no such file.
        DataError: a row that is no such row, one pair with two values, or a pair that is missing in one of the files.
    """
    labels, scores = Path(labels), Path(scores)
    matches = _pairs(labels, header=True)
    values = _pairs(scores, header=False)
    videos, texts = (tuple(sorted({pair[i] for pair in matches})) for i in (0, 1))
    whole = {(video, text) for video in videos for text in texts}
    for path, found in ((labels, matches), (scores, values)):
        missing = whole - found.keys()
        if missing:
            video, text = min(missing)
            raise DataError(f"{path}: {len(missing)} pairs are missing, such as {video} with {text[-80:]!r}")
        if extra := found.keys() - whole:
            raise DataError(f"{path}: {len(extra)} pairs are not among the labels, such as {min(extra)[0]}")
    matrix = np.array([[values[video, text] for video in videos] for text in texts])
    right = np.array([[matches[video, text] for video in videos] for text in texts])
    if not np.isin(right, (0, 1)).all():
        raise DataError(f"{labels}: match must be 0 or 1")
    told = [f"{video}\t{text}\t{int(matches[video, text])}" for video, text in sorted(whole)]
    return Entailment(matrix, right == 1, texts, videos, digest(told))


def read_moments(
    predictions: str | Path, truth: str | Path
) -> tuple[list[MomentPrediction], list[MomentTruth], list[str], str]:
    """QVHighlights' form: predictions, annotations, ids of queries and fingerprint, in the order of the predictions.

    Raises:
        UsageError: no such file.
        DataError: a line that is no such line, an id that stands twice, or queries that differ between the files.
    """
    found = {str(path): _lines(Path(path)) for path in (predictions, truth)}
    told, known = found[str(predictions)], found[str(truth)]
    if told.keys() != known.keys():
        missing, extra = known.keys() - told.keys(), told.keys() - known.keys()
        example = min(missing | extra)
        raise DataError(
            f"{predictions}: {len(missing)} queries of {truth} have no prediction, and {len(extra)} are not in it, "
            f"such as {example}; nothing is left out silently"
        )
    first, second = [], []
    for qid, row in told.items():
        try:
            windows, saliency = row.get("pred_relevant_windows"), row.get("pred_saliency_scores")
            first.append(
                MomentPrediction(
                    None if windows is None else np.asarray(windows, dtype=np.float64).reshape(-1, 3),
                    None if saliency is None else np.asarray(saliency, dtype=np.float64),
                )
            )
            second.append(moment_truth(known[qid]))
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise DataError(f"query {qid} of {predictions} or {truth}: {type(error).__name__}: {error}") from error
    parts = [json.dumps([qid, known[qid].get("query"), known[qid]["relevant_windows"]]) for qid in sorted(known)]
    return first, second, list(told), digest(parts)


def moment_truth(row: dict[str, Any]) -> MomentTruth:
    """Windows and, where known, saliency of a query in QVHighlights' form; `duration` in seconds."""
    windows = np.asarray(row["relevant_windows"], dtype=np.float64).reshape(-1, 2)
    if "saliency_scores" not in row:
        return MomentTruth(windows)
    given = np.asarray(row["saliency_scores"], dtype=np.int64)
    saliency = np.zeros((int(row["duration"] / CLIP_SECONDS), given.shape[1]), dtype=np.int64)
    saliency[np.asarray(row["relevant_clip_ids"], dtype=np.int64)] = given
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
    words = [f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
    if len(words) > 1:
        raise ValueError(f"one column of names at most expected, not {', '.join(words)}")
    videos = tuple(name for name in table.column_names if name not in words)
    scores = np.stack([table.column(name).to_numpy() for name in videos], axis=1)
    return ScoreMatrix(scores, tuple(table.column(words[0]).to_pylist()) if words else None, videos)


def _pairs(path: Path, header: bool) -> dict[tuple[str, str], float]:
    """(video, text) -> third column."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    found: dict[tuple[str, str], float] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        for number, row in enumerate(reader):
            if header and number == 0:
                continue
            if len(row) < 3 or not _is_number(row[2]) or not np.isfinite(float(row[2])):
                raise DataError(f"{path}, line {reader.line_num}: video, text and a number expected, not {row[:3]}")
            pair, value = (row[0], row[1]), float(row[2])
            if found.setdefault(pair, value) != value:
                raise DataError(f"{path}, line {reader.line_num}: {row[0]} has two values for one text")
    return found


def _lines(path: Path) -> dict[str, dict[str, Any]]:
    """Query id -> row."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        row = _json(line, f"{path}, line {number}")
        if not isinstance(row, dict) or "qid" not in row:
            raise DataError(f"{path}, line {number}: an object with 'qid' expected")
        if str(row["qid"]) in found:
            raise DataError(f"{path}, line {number}: query {row['qid']} stands twice")
        found[str(row["qid"])] = row
    return found


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _refuse_doubles(names: Sequence[str], path: Path, what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{path}: {what} {name!r} stands twice")
        seen.add(name)
