"""Read score files of any system: matrices (npy, csv, parquet), and VideoCon's score tables.

Rows of a matrix are texts, columns are videos. A csv file may name videos in its first line and texts in its first
column; if the names are numbers, its first cell is empty. A parquet file names videos by its columns, and texts in a
column of strings.

Shape legend: Q texts, N videos.
"""

from __future__ import annotations

import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mova.data.manifest import fingerprint, read_manifest
from mova.errors import DataError, UsageError
from mova.text.sentences import is_unicode
from mova.utils.hashing import digest
from mova.utils.tables import read_table
from mova.utils.text_files import PARSER_ERRORS, brief, parse_json, read_text

Array = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class ScoreMatrix:
    """Scores (Q, N), and the names of texts and videos if the file has them.

    >>> _ = Path("scores.csv").write_text(",a.mp4,b.mp4\\na dog,0.9,0.1\\n")
    >>> matrix = read_matrix("scores.csv")
    >>> matrix.scores, matrix.texts, matrix.videos
    (array([[0.9, 0.1]]), ('a dog',), ('a.mp4', 'b.mp4'))
    """

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

    >>> Ids(videos=("a.mp4", "b.mp4"), owners=("b.mp4", "a.mp4"), fingerprint="0123").owners[0]
    'b.mp4'
    """

    videos: tuple[str, ...]
    owners: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Entailment:
    """Scores of every text with every video (Q, N), which pairs are right (Q, N), and a fingerprint of the labels.

    >>> scores = np.array([[0.9, 0.1]])
    >>> Entailment(scores, scores > 0.5, texts=("a dog",), videos=("a.mp4", "b.mp4"), fingerprint="0123").right
    array([[ True, False]])
    """

    scores: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    texts: tuple[str, ...]
    videos: tuple[str, ...]
    fingerprint: str


def read_matrix(path: str | Path) -> ScoreMatrix:
    """Read a matrix from `.npy` (memory-mapped), `.csv` or `.parquet`.

    Raises:
        UsageError: another kind of file, or no such file.
        DataError: not a matrix of numbers, or duplicate names.

    >>> np.save("scores.npy", np.eye(3))
    >>> read_matrix("scores.npy").scores.shape
    (3, 3)
    """
    path = Path(path)
    readers = {".npy": _read_npy, ".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise UsageError(f"{path}: a matrix must be a file of type {', '.join(readers)}")
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        matrix = readers[path.suffix.lower()](path)
    except (tokenize.TokenError, *PARSER_ERRORS) as error:
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

    >>> read_ids("films/manifest.jsonl").videos
    ('world-flat-1-00000', 'world-flat-1-00001')
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if path.suffix == ".jsonl":
        rows = read_manifest(path)
        owners = tuple(row.id for row in rows for _ in row.captions)
        return Ids(tuple(row.id for row in rows), owners, fingerprint(rows))
    document = parse_json(read_text(path), str(path))
    if not isinstance(document, dict) or not all(isinstance(document.get(key), list) for key in ("videos", "texts")):
        raise DataError(f'{path}: {{"videos": [ids], "texts": [the video of each text]}} expected')
    for id in (*document["videos"], *document["texts"]):
        if not isinstance(id, str | int) or not is_unicode(str(id)):
            raise DataError(f"{path}: an id must be a text or a whole number, not {brief(id)}")
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

    >>> _ = Path("labels.csv").write_text("videopath,caption,match\\na.mp4,a dog,1\\nb.mp4,a dog,0\\n")
    >>> _ = Path("scores.csv").write_text("a.mp4,a dog,0.9\\nb.mp4,a dog,0.2\\n")
    >>> read_entailment("scores.csv", "labels.csv").right
    array([[ True, False]])
    """
    labels, scores = Path(labels), Path(scores)
    matches = _pairs(labels, header=True)
    values = _pairs(scores, header=False)
    videos, texts = (tuple(sorted({pair[i] for pair in matches})) for i in (0, 1))
    if missing := len(videos) * len(texts) - len(matches):
        pair = next(pair for pair in product(videos, texts) if pair not in matches)
        raise _missing_pairs(labels, missing, pair)
    if absent := matches.keys() - values.keys():
        raise _missing_pairs(scores, len(absent), min(absent))
    if extra := values.keys() - matches.keys():
        raise DataError(f"{scores}: {len(extra)} pairs are not among the labels, such as {min(extra)[0]}")
    matrix = np.array([[values[video, text] for video in videos] for text in texts])
    right = np.array([[matches[video, text] for video in videos] for text in texts])
    if not np.isin(right, (0, 1)).all():
        raise DataError(f"{labels}: match must be 0 or 1")
    lines = [f"{video}\t{text}\t{int(matches[video, text])}" for video, text in sorted(matches)]
    return Entailment(matrix, right == 1, texts, videos, digest(lines))


def _missing_pairs(path: Path, count: int, pair: tuple[str, str]) -> DataError:
    return DataError(f"{path}: {count} pairs are missing, such as {pair[0]} with {pair[1][-80:]!r}")


def _read_npy(path: Path) -> ScoreMatrix:
    scores = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(scores, np.ndarray):
        raise ValueError("it is an archive of several arrays")
    return ScoreMatrix(scores)


def _read_csv(path: Path) -> ScoreMatrix:
    lines = list(read_table(path))
    if not lines:
        raise ValueError("it is empty")
    rows = [cells for _, cells in lines]
    if len(rows[0]) == 1 and ";" in rows[0][0]:
        raise DataError(f"{path}: columns are separated by semicolons; save it with commas, and decimals with points")
    for where, cells in lines:
        if len(cells) != len(rows[0]):
            raise DataError(f"{where}: has {len(cells)} columns instead of {len(rows[0])}")
    header, named = _find_names(path, rows)
    videos = tuple(rows[0][named:]) if header else None
    texts = tuple(row[0] for row in rows[header:]) if named else None
    for where, cells in lines[header:]:
        if wrong := [cell for cell in cells[named:] if not _is_number(cell)]:
            raise DataError(f"{where}: expected a number, not {brief(wrong[0])}")
    return ScoreMatrix(np.array([row[named:] for row in rows[header:]], dtype=np.float64), texts, videos)


def _find_names(path: Path, rows: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Return the number of lines with names of videos, and of columns with names of texts: 0 or 1 each.

    Cells that are not numbers are names. If names are numbers, the first cell of the file must be empty.

    Raises:
        DataError: whole numbers in the first line or column may be names or scores.
    """
    column, (corner, *line) = [row[0] for row in rows[1:]], rows[0]
    if not corner.strip() and len(rows) > 1:
        if all(map(_is_number, column)) and not all(map(_is_whole, column)):
            raise DataError(f"{path}, line 1: the first cell is empty, but the first column has scores, not names")
        return 1, 1
    named = int(not all(map(_is_number, column)))
    header = int(not all(map(_is_number, rows[0][named:])))
    others = [cell for row in rows[1:] for cell in row[1:]]
    for numbers, is_known, what in (
        (line if named else rows[0], header, "the first line may have names of videos"),
        (column, named, "the first column may have names of texts"),
    ):
        if not is_known and _may_be_names(numbers) and not all(map(_is_whole, others)):
            raise DataError(
                f"{path}, line 1: {what} or scores, because it has whole numbers and other cells do not; leave the "
                "first cell of the file empty if they are names, or write scores as in 3.0"
            )
    return header, named


def _may_be_names(cells: Sequence[str]) -> bool:
    """Return whether at least three cells are different whole numbers."""
    return len(cells) >= 3 and all(map(_is_whole, cells)) and len(set(cells)) == len(cells)


def _read_parquet(path: Path) -> ScoreMatrix:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    text_columns = [f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
    if len(text_columns) > 1:
        raise ValueError(f"at most one column of text names expected, not {', '.join(text_columns)}")
    videos = tuple(name for name in table.column_names if name not in text_columns)
    scores = np.stack([table.column(name).to_numpy() for name in videos], axis=1)
    texts = tuple(table.column(text_columns[0]).to_pylist()) if text_columns else None
    if texts is not None and None in texts:
        raise ValueError(f"the text in row {texts.index(None) + 1} has no name")
    return ScoreMatrix(scores, texts, videos)


def _pairs(path: Path, header: bool) -> dict[tuple[str, str], float]:
    """Return (video, text) -> third column."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    values: dict[tuple[str, str], float] = {}
    for number, (where, row) in enumerate(read_table(path)):
        if header and number == 0:
            continue
        if len(row) < 3 or not _is_number(row[2]) or not np.isfinite(float(row[2])):
            raise DataError(f"{where}: video, text and a number expected, not {brief(row[:3])}")
        pair, value = (row[0], row[1]), float(row[2])
        if values.setdefault(pair, value) != value:
            raise DataError(f"{where}: {row[0]} has two values for one text")
    if not values:
        raise DataError(f"{path}: has no pairs")
    return values


def _is_number(cell: str) -> bool:
    if "_" in cell:  # Python reads 4010069381_6, an id of NExT-QA, as a number
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_whole(cell: str) -> bool:
    """Return whether a cell is written as a whole number, without a decimal point."""
    return re.fullmatch(r"\s*[+-]?[0-9]+\s*", cell) is not None


def _refuse_duplicates(names: Sequence[str], path: Path, kind: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{path}: duplicate {kind} {name!r}")
        seen.add(name)
