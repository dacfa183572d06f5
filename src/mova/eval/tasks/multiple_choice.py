"""Evaluate multiple choice: the option whose text scores highest with the video is the model's answer.

A row has `question`, `options` and `answer` (the index of the right option, from 0) in `meta`. A template makes the
text of an option: "{question} {option}" is GEXIA's for How2QA, "{option}" is for options that are statements. Tied
options share the answer, so their order does not matter. Groups are the types of question, and NExT-QA's three kinds.

Shape legend: Q questions, C options (of the question that has most).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mova.data.manifest import Row
from mova.data.row_texts import OPTION, option_texts
from mova.eval.choices import choice_groups
from mova.eval.metrics.classification import choice_hits
from mova.eval.protocols import Protocol
from mova.eval.report import Report, named_groups
from mova.eval.tasks.entailment import score_texts
from mova.eval.tasks.split import EvalSplit
from mova.utils.hashing import digest


def evaluate_choice(split: EvalSplit, protocol: Protocol, template: str = OPTION) -> Report:
    """Evaluate accuracy in percent: over all questions, by type, and by kind if all types are NExT-QA's.

    Args:
        split: rows and model.
        protocol: task "choice".
        template: text of an option, with `{option}` and optionally `{question}`.

    Raises:
        UsageError: sizes do not fit the protocol, or the template has other fields or no option.
        DataError: nothing can be measured, or a question is malformed.
    """
    rows = split.keep(lambda row: "options" in row.meta, "it has no options in meta")
    protocol.check_size(len(rows), len({row.video for row in rows}))
    kept, scores = score_options(split, rows, template)
    width = scores.shape[1]
    hits = 100.0 * choice_hits(scores, [int(row.meta["answer"]) for row in kept])
    types = [str(row.meta["type"]) if row.meta.get("type") else None for row in kept]
    order = digest([row.id for row in kept])
    truth = [json.dumps([row.meta.get("question"), row.meta["options"], row.meta["answer"]]) for row in kept]
    return Report(
        head=split.head(protocol, order, len(kept), width, truth, template=template),
        ties=int(((scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum()),
        groups=named_groups(choice_groups(hits, types)),
    )


def score_options(
    split: EvalSplit, rows: Sequence[Row], template: str = OPTION
) -> tuple[list[Row], npt.NDArray[np.float64]]:
    """Score every option of every question.

    Args:
        split: the model.
        rows: questions of the split.
        template: see `evaluate_choice`.

    Returns:
        The rows whose videos could be read, and their scores, float64 (Q, C): -inf where a question has fewer options.

    Raises:
        UsageError: the template has other fields or no option.
        DataError: no video can be read, or a question is malformed.
    """
    options = {row.id: option_texts(row, template) for row in rows}
    scores_of = score_texts(split, options)
    kept = [row for row in rows if row.id in scores_of]
    scores = np.full((len(kept), max(len(options[row.id]) for row in kept)), -np.inf)
    for line, row in zip(scores, kept, strict=True):
        line[: len(options[row.id])] = [scores_of[row.id][text] for text in options[row.id]]
    return kept, scores
