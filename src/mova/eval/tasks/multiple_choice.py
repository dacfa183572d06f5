"""Evaluate multiple choice: the option whose text scores highest with the video is the model's answer.

A row has `question`, `options` and `answer` (the index of the right option, from 0) in `meta`. A template makes the
text of an option: "{question} {option}" is GEXIA's for How2QA, "{option}" is for options that are statements. Tied
options share the answer, so their order does not matter. Groups are the types of question, and NExT-QA's three kinds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.data.manifest import Row
from mova.errors import DataError, UsageError
from mova.eval.metrics.classification import choice_hits
from mova.eval.protocols import Protocol
from mova.eval.report import MetricGroup, Report, named_groups
from mova.eval.tasks.entailment import score_texts
from mova.eval.tasks.split import EvalSplit
from mova.utils.hashing import digest

TEMPLATE = "{question} {option}"
NEXTQA_KINDS = {
    **dict.fromkeys(("CW", "CH"), "causal"),
    **dict.fromkeys(("TN", "TC", "TP"), "temporal"),
    **dict.fromkeys(("DC", "DL", "DO"), "descriptive"),
}
"""Type of a NExT-QA question -> its kind (Xiao et al., CVPR 2021)."""


def evaluate_choice(split: EvalSplit, protocol: Protocol, template: str = TEMPLATE) -> Report:
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
    options = {row.id: options_of(row, template) for row in rows}
    scores_of = score_texts(split, options)
    kept = [row for row in rows if row.id in scores_of]
    width = max(len(options[row.id]) for row in kept)
    scores = np.full((len(kept), width), -np.inf)
    for line, row in zip(scores, kept, strict=True):
        line[: len(options[row.id])] = [scores_of[row.id][text] for text in options[row.id]]
    hits = 100.0 * choice_hits(scores, [int(row.meta["answer"]) for row in kept])
    types = [str(row.meta["type"]) if row.meta.get("type") else None for row in kept]
    order = digest([row.id for row in kept])
    truth = [json.dumps([row.meta.get("question"), row.meta["options"], row.meta["answer"]]) for row in kept]
    return Report(
        head=split.head(protocol, order, len(kept), width, truth, template=template),
        ties=int(((scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum()),
        groups=named_groups(_groups(hits, types)),
    )


def _groups(hits: npt.NDArray[np.float64], types: Sequence[str | None]) -> Iterator[tuple[str, MetricGroup]]:
    """Yield all questions, then kinds of NExT-QA if every type has one, then types."""
    kinds = [NEXTQA_KINDS.get(name or "") for name in types]
    yield "all", MetricGroup.of_values({"accuracy": hits}, {"questions": len(hits)})
    for names in (kinds if all(kinds) else [], types):
        for name in sorted({name for name in names if name}):
            of_kind = np.array([kind == name for kind in names])
            yield name, MetricGroup.of_values({"accuracy": hits[of_kind]}, {"questions": int(of_kind.sum())})


def options_of(row: Row, template: str = TEMPLATE) -> list[str]:
    """Return the texts of a question's options, in order.

    Raises:
        UsageError: the template has other fields, or no option.
        DataError: the row has fewer than two options, or its answer is not one of them.
    """
    if "{option}" not in template:
        raise UsageError(f"--template {template!r}: needs {{option}}")
    options, answer = row.meta["options"], row.meta.get("answer")
    if not isinstance(options, list) or len(options) < 2 or not all(isinstance(text, str) for text in options):
        raise DataError(f"row {row.id!r}: meta.options must be a list of at least two texts")
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(options):
        raise DataError(f"row {row.id!r}: meta.answer must be 0 to {len(options) - 1}, not {answer!r}")
    return [_filled(template, {"question": row.meta.get("question", ""), "option": text}) for text in options]


def _filled(template: str, fields: Mapping[str, Any]) -> str:
    try:
        return template.format(**fields).strip()
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        known = ", ".join(f"{{{name}}}" for name in fields)
        raise UsageError(f"--template {template!r}: the only fields are {known}") from error
