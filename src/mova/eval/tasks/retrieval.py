"""Retrieval with a model: every text of a split against every video, by a named protocol.

Shape legend: Q texts, N videos, M texts of a bank.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mova.data.manifest import Row, fingerprint
from mova.errors import UsageError
from mova.eval.protocols import Captions, Protocol
from mova.eval.report_figures import Report
from mova.eval.reports import add_qb_norm, report_matrix
from mova.eval.score_files import Ids, ScoreMatrix
from mova.eval.tasks.split import EvalSplit

Scores = npt.NDArray[np.float32]


def evaluate_retrieval(
    test: EvalSplit,
    protocol: Protocol,
    *,
    dual_softmax: bool = False,
    bank: str | None = None,
    scores_file: str | Path | None = None,
) -> Report:
    """Ranks both ways among the videos of a split.

    Args:
        test: what is measured.
        protocol: task "retrieval"; says which captions are queries.
        dual_softmax: add a transductive row.
        bank: split of the same manifest whose texts are the bank of QB-Norm, a transductive row. Texts that the test
            has too are left out of it and counted.
        scores_file: an `.npy` file to write the scores to, texts by videos, as `mova eval matrix` reads them.

    Returns:
        As `reports.report_matrix`, with "task", "model", "excluded", and the form in "settings".

    Raises:
        UsageError: sizes or captions do not fit the protocol, or the bank is the test itself.
        DataError: nothing can be measured.
        ValueError: a score is NaN.
    """
    rows = test.keep(lambda row: bool(row.captions), "it has no caption")
    owners, texts = texts_of(rows, protocol.captions)
    protocol.check_size(len(texts), len(test.rows))
    others = _bank_rows(test, bank)
    offered, asked = texts_of(others, protocol.captions)[1], set(texts)
    told = [text for text in offered if text not in asked]
    if bank is not None and not told:
        raise UsageError(f"--qb-norm {bank}: the test has all {len(offered)} texts of that split, so no bank is left")
    scores, banked = _scores(test, rows, texts, told)
    kept = {row.id for row in test.kept}
    columns = np.array([row.id in kept for row in rows])
    lines = np.array([owner in kept for owner in owners])
    videos = tuple(row.id for row in rows if row.id in kept)
    ids = Ids(videos, tuple(owner for owner in owners if owner in kept), fingerprint(test.kept))
    if not columns.all():
        scores, banked = scores[np.ix_(lines, columns)], banked[:, columns]
    if scores_file is not None:
        np.save(scores_file, scores)
    followed = test.of(protocol)
    matrix = ScoreMatrix(scores, None, videos)
    report = report_matrix(matrix, followed, ids, transductive=dual_softmax)
    if bank is not None:
        add_qb_norm(report, matrix, ScoreMatrix(banked, None, videos), followed, ids)
        said = {"split": bank, "fingerprint": fingerprint(others), "left_out": len(offered) - len(told)}
        for row in report["transductive"].values():
            if "bank" in row:
                row["bank"] |= said
    return report | test.about(protocol)


def texts_of(rows: Sequence[Row], captions: Captions) -> tuple[list[str], list[str]]:
    """The texts of rows by a protocol's caption mode, and whose they are.

    "one": the only caption of a row. "first": its first caption. "paragraph": its first caption of several sentences,
    or the only one. "each": every caption.

    Returns:
        (Q,) ids of rows, and (Q,) texts, row by row.

    Raises:
        UsageError: a row has several captions where the mode needs one.
    """
    owners, texts = [], []
    for row in rows:
        found = [caption.text for caption in row.captions]
        if captions == "paragraph":
            found = [caption.text for caption in row.captions if len(caption.sentences) > 1][:1] or found
        if captions == "first":
            found = found[:1]
        if captions != "each" and len(found) > 1:
            raise UsageError(
                f"row {row.id!r} has {len(found)} captions, and the protocol takes one a video: "
                "'captions' takes each, 'paragraphs' the first of several sentences"
            )
        owners += [row.id] * len(found)
        texts += found
    return owners, texts


def _bank_rows(test: EvalSplit, bank: str | None) -> list[Row]:
    if bank is None:
        return []
    if bank == test.split:
        raise UsageError(f"--qb-norm {bank}: the bank must be of training texts, not of the split that is measured")
    rows = [row for row in test.others if row.split == bank and row.captions]
    if not rows:
        raise UsageError(f"--qb-norm {bank}: no row of that split has a caption")
    return rows


def _scores(test: EvalSplit, rows: Sequence[Row], texts: Sequence[str], bank: Sequence[str]) -> tuple[Scores, Scores]:
    """(Q, N) scores, and (M, N) of the bank; the column of a row that cannot be read holds NaN and is not used."""
    place = {row.id: column for column, row in enumerate(rows)}
    found = [np.full((len(part), len(rows)), np.nan, dtype=np.float32) for part in (texts, bank)]
    encoded = [test.form.encode(part) if part else None for part in (texts, bank)]
    for group in test.groups():
        for scores, part in zip(found, encoded, strict=True):
            if part is None:
                continue
            block = test.form.score([embedding for embedding, _ in group], part).float().cpu().numpy()
            for line, (_, shown) in zip(block, group, strict=True):
                for row in shown:
                    scores[:, place[row.id]] = line
    return found[0], found[1]
