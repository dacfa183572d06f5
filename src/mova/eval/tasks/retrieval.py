"""Evaluate retrieval: every text of a split against every video, by a named protocol.

Shape legend: Q texts, N videos, M texts of a bank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mova.data.manifest import Row, fingerprint
from mova.errors import UsageError
from mova.eval.protocols import Captions, Protocol
from mova.eval.report import Report
from mova.eval.score_files import Ids, ScoreMatrix
from mova.eval.score_reports import QueryBank, report_matrix
from mova.eval.tasks.score_table import ScoreTable
from mova.eval.tasks.split import EvalSplit


def evaluate_retrieval(
    split: EvalSplit,
    protocol: Protocol,
    *,
    dual_softmax: bool = False,
    bank: str | None = None,
    scores_file: str | Path | None = None,
) -> Report:
    """Evaluate retrieval in both directions among the videos of a split.

    Args:
        split: rows and model.
        protocol: task "retrieval"; it defines which captions are queries.
        dual_softmax: add metrics after dual softmax, which is transductive.
        bank: split of the same manifest whose texts are the bank of QB-Norm, which is transductive. Texts of the test
            are removed from the bank and counted.
        scores_file: an `.npy` file to write the scores to, texts by videos, as `mova eval matrix` reads them.

    Returns:
        As `score_reports.report_matrix`, with the model, excluded rows, and the form in the settings.

    Raises:
        UsageError: sizes or captions do not fit the protocol, or the bank is the test itself.
        DataError: nothing can be measured.
        ValueError: a score is NaN.
    """
    rows = split.keep(lambda row: bool(row.captions), "it has no caption")
    owners, texts = texts_of(rows, protocol.captions)
    protocol.check_size(len(texts), len(split.rows))
    bank_rows = _bank_rows(split, bank)
    all_bank_texts, test_texts = texts_of(bank_rows, protocol.captions)[1], set(texts)
    bank_texts = [text for text in all_bank_texts if text not in test_texts]
    if bank is not None and not bank_texts:
        raise UsageError(
            f"--qb-norm {bank}: the test contains all {len(all_bank_texts)} texts of that split, so no bank is left"
        )
    table, bank_table = _scores(split, rows, texts, bank_texts)
    kept = {row.id for row in split.kept}
    columns = [column for column, row in enumerate(rows) if row.id in kept]
    lines = [line for line, owner in enumerate(owners) if owner in kept]
    videos = tuple(rows[column].id for column in columns)
    ids = Ids(videos, tuple(owners[line] for line in lines), fingerprint(split.kept))
    scores, bank_scores = table.keep(lines, columns), bank_table.keep(range(len(bank_texts)), columns)
    if scores_file is not None:
        np.save(scores_file, scores)
    left_out = len(all_bank_texts) - len(bank_texts)
    source = {"split": bank, "fingerprint": fingerprint(bank_rows), "left_out": left_out}
    report = report_matrix(
        ScoreMatrix(scores, None, videos),
        split.followed(protocol),
        ids,
        dual_softmax=dual_softmax,
        bank=None if bank is None else QueryBank(ScoreMatrix(bank_scores, None, videos), source),
    )
    return replace(report, head=split.add_model(report.head, protocol))


def texts_of(rows: Sequence[Row], captions: Captions) -> tuple[list[str], list[str]]:
    """Return the texts of rows by a protocol's caption mode, and the row of each.

    "one": the only caption of a row. "first": its first caption. "paragraph": its first caption of several sentences,
    or the only one. "each": every caption.

    Returns:
        Ids of rows (Q,), and texts (Q,), row by row.

    Raises:
        UsageError: a row has several captions, and the mode needs one.
    """
    owners, texts = [], []
    for row in rows:
        row_texts = [caption.text for caption in row.captions]
        if captions == "paragraph":
            row_texts = [caption.text for caption in row.captions if len(caption.sentences) > 1][:1] or row_texts
        if captions == "first":
            row_texts = row_texts[:1]
        if captions != "each" and len(row_texts) > 1:
            raise UsageError(
                f"row {row.id!r} has {len(row_texts)} captions, but the protocol takes one per video; use "
                "protocol 'captions' (every caption) or 'paragraphs' (the first one of several sentences)"
            )
        owners += [row.id] * len(row_texts)
        texts += row_texts
    return owners, texts


def _bank_rows(split: EvalSplit, bank: str | None) -> list[Row]:
    if bank is None:
        return []
    if bank == split.name:
        raise UsageError(f"--qb-norm {bank}: the bank must be training texts, not the split that is evaluated")
    rows = [row for row in split.others if row.split == bank and row.captions]
    if not rows:
        raise UsageError(f"--qb-norm {bank}: no row of that split has a caption")
    return rows


def _scores(
    split: EvalSplit, rows: Sequence[Row], texts: Sequence[str], bank: Sequence[str]
) -> tuple[ScoreTable, ScoreTable]:
    """Return the scores of texts, and of the bank, with all rows; those of unreadable rows are not set."""
    columns = {row.id: column for column, row in enumerate(rows)}
    tables = ScoreTable(len(texts), len(rows)), ScoreTable(len(bank), len(rows))
    encoded = [split.form.encode(part) if part else None for part in (texts, bank)]
    for group in split.groups():
        for table, part in zip(tables, encoded, strict=True):
            if part is None:
                continue
            block = split.form.score([embedding for embedding, _ in group], part).float().cpu().numpy()
            for line, (_, clip_rows) in zip(block, group, strict=True):
                for row in clip_rows:
                    table.set(columns[row.id], line)
    return tables
