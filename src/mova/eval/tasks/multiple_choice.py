"""Multiple choice with a model: the option whose text scores highest with the video is the answer.

A row holds `question`, `options` and `answer` (the place of the right option, from 0) in `meta`. The text of an option
is made by a template; "{question} {option}" is GEXIA's way for How2QA, "{option}" is for options that are statements.
Options that tie share the answer, so that their order cannot matter. Groups are the questions' types, and NExT-QA's
three kinds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mova.data.manifest import Row
from mova.errors import DataError, UsageError
from mova.eval.metrics.classification import choice_hits
from mova.eval.protocols import Protocol
from mova.eval.report_figures import Report, add_figures
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


def evaluate_choice(test: EvalSplit, protocol: Protocol, template: str = TEMPLATE) -> Report:
    """Accuracy in percent over all questions, by type and, where all types are NExT-QA's, by kind.

    Args:
        test: what is measured.
        protocol: task "choice".
        template: of a text, with `{option}` and, if it matters, `{question}`.

    Raises:
        UsageError: sizes do not fit the protocol, or the template has other fields or no option.
        DataError: nothing can be measured, or a question is not of the form.
    """
    rows = test.keep(lambda row: "options" in row.meta, "it has no options in meta")
    protocol.check_size(len(rows), len({row.video for row in rows}))
    options = {row.id: options_of(row, template) for row in rows}
    scored = score_texts(test, options)
    kept = [row for row in rows if row.id in scored]
    width = max(len(options[row.id]) for row in kept)
    scores = np.full((len(kept), width), -np.inf)
    for line, row in zip(scores, kept, strict=True):
        line[: len(options[row.id])] = [scored[row.id][text] for text in options[row.id]]
    hits = 100.0 * choice_hits(scores, [int(row.meta["answer"]) for row in kept])
    order = digest([row.id for row in kept])
    truth = [json.dumps([row.meta.get("question"), row.meta["options"], row.meta["answer"]]) for row in kept]
    report = test.head(protocol, order, len(kept), width, truth, template=template)
    report["ties"] = int(((scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum())
    add_figures(report, "all", {"accuracy": hits}, {"questions": len(hits)})
    types = [str(row.meta["type"]) if row.meta.get("type") else None for row in kept]
    kinds = [NEXTQA_KINDS.get(name or "") for name in types]
    for names in (kinds if all(kinds) else [], types):
        for name in sorted({name for name in names if name}):
            mine = np.array([other == name for other in names])
            add_figures(report, name, {"accuracy": hits[mine]}, {"questions": int(mine.sum())})
    return report


def options_of(row: Row, template: str = TEMPLATE) -> list[str]:
    """The texts of a question's options, in order.

    Raises:
        UsageError: the template has other fields, or no option.
        DataError: the row has fewer than two options, or its answer is none of them.
    """
    if "{option}" not in template:
        raise UsageError(f"--template {template!r}: needs {{option}}")
    options, answer = row.meta["options"], row.meta.get("answer")
    if not isinstance(options, list) or len(options) < 2 or not all(isinstance(text, str) for text in options):
        raise DataError(f"row {row.id!r}: meta.options must be a list of two texts or more")
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(options):
        raise DataError(f"row {row.id!r}: meta.answer must be 0 to {len(options) - 1}, not {answer!r}")
    return [_filled(template, {"question": row.meta.get("question", ""), "option": text}) for text in options]


def _filled(template: str, fields: Mapping[str, Any]) -> str:
    try:
        return template.format(**fields).strip()
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"--template {template!r}: only {', '.join(f'{{{name}}}' for name in fields)}") from error
