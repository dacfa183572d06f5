"""Classification with a model: by its own linear head where it has one, zero-shot by a template elsewhere.

What a row's classes are, `mova.data.labelled.row_labels` says; `meta["task"]` parts one manifest into several tests,
as LVU's. One class a video: top-1, top-5 and the mean over classes of top-1. Several or none: every class is a text,
videos are ranked for it, and mAP is over classes (GEXIA's caption retrieval for Charades-Ego).

Classes are those of the whole manifest, every split, so that a test is not made easier by what it happens to lack.

Shape legend: V videos, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol as Contract
from typing import runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.data.labelled import LABEL, has_several, row_labels
from mova.data.manifest import Row
from mova.errors import DataError, UsageError
from mova.eval.metrics.classification import average_precision
from mova.eval.metrics.ranking import find_ranks
from mova.eval.protocols import Protocol
from mova.eval.report_figures import Report, add_figures
from mova.eval.tasks.split import EvalSplit
from mova.models.encoder import VideoEmbedding
from mova.utils.hashing import digest

TEMPLATE = "A video of a {label}."
"""GEXIA's, for labels that are nouns."""
SEVERAL_TEMPLATE = "{label}"
"""For actions, whose names are phrases."""
Scores = npt.NDArray[np.float64]


@runtime_checkable
class Classifier(Contract):
    """What a model that may have a linear head has beside the contract of all: names of classes, and logits."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of the head's classes; none where there is no head."""

    def classify(self, videos: Sequence[VideoEmbedding]) -> Tensor:
        """(V, C) logits, in the order of `labels`."""


@dataclass(frozen=True)
class Labels:
    """One test: the classes by name, and the classes of each row (one, or several where `several`)."""

    group: str
    classes: tuple[str, ...]
    of: Mapping[str, tuple[str, ...]]
    several: bool


def evaluate_classify(
    test: EvalSplit,
    protocol: Protocol,
    template: str | None = None,
    zero_shot: bool = False,
    task: str | None = None,
    label: str = LABEL,
) -> Report:
    """Figures in percent, one group a task of the manifest ("all" where it names none).

    Args:
        test: what is measured.
        protocol: task "classify".
        template: of a class's text, with `{label}`; `TEMPLATE` or `SEVERAL_TEMPLATE` if left out.
        zero_shot: by template even where the model has a linear head.
        task: only rows whose `meta["task"]` is this; None: every task.
        label: key of `meta` that holds the classes.

    Raises:
        UsageError: sizes do not fit the protocol, there is no such task, or the template has no label.
        DataError: nothing can be measured, a label is not of the form, or the head lacks a class.
        ValueError: a score is NaN.
    """
    if task is not None:
        test.select_task(task)
    rows = test.keep(lambda row: row_labels(row, label) is not None, f"it has no label in meta.{label}")
    protocol.check_size(len(rows), 0)
    tests = labels_of([*rows, *test.others], {row.id for row in rows}, label)
    model = test.model
    head = model if isinstance(model, Classifier) and model.labels and not zero_shot else None
    found = _scores(test, tests, template, head)
    kept = [row for row in rows if row.id in found]
    truth = [json.dumps([row.id, row_labels(row, label)]) for row in kept] + [json.dumps(one.classes) for one in tests]
    said = {"by": "linear head"} if head is not None else {"by": "template", "template": _templates(template, tests)}
    classes = sum(len(one.classes) for one in tests)
    report = test.head(protocol, digest([row.id for row in kept]), len(kept), classes, truth, **said)
    for one in tests:
        mine = [row for row in kept if row.id in one.of]
        if one.of.keys() <= test.quarantined:
            continue
        if not mine:
            raise DataError(f"no video of task {one.group!r} can be read; leave its rows out of the manifest")
        scores = np.stack([found[row.id] for row in mine])
        right = np.array([[name in one.of[row.id] for name in one.classes] for row in mine])
        if one.several:
            _add_several(report, one, scores, right)
        else:
            _add_one(report, one, scores, right, [row.id for row in mine])
    return report


def labels_of(rows: Sequence[Row], measured: set[str], label: str = LABEL) -> list[Labels]:
    """The tests that a manifest's rows make up, by name of their task; rows without a label are passed over.

    Raises:
        DataError: a label is not of the form, or a task has fewer than two classes.
    """
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        if row_labels(row, label) is not None:
            grouped.setdefault(str(row.meta.get("task", "all")), []).append(row)
    found = []
    for group, own in sorted(grouped.items()):
        of = {row.id: row_labels(row, label) or () for row in own}
        if not of.keys() & measured:
            continue
        classes = tuple(sorted({name for names in of.values() for name in names}))
        if len(classes) < 2:
            raise DataError(
                f"task {group!r} has {len(classes)} classes in the manifest: there is nothing to tell apart"
            )
        kept = {id: names for id, names in of.items() if id in measured}
        found.append(Labels(group, classes, kept, any(has_several(row, label) for row in own)))
    return found


def _templates(template: str | None, tests: Sequence[Labels]) -> list[str]:
    return sorted({template or (SEVERAL_TEMPLATE if one.several else TEMPLATE) for one in tests})


def _scores(
    test: EvalSplit, tests: Sequence[Labels], template: str | None, head: Classifier | None
) -> dict[str, Scores]:
    """Row id -> (C,) scores of its task's classes."""
    columns: dict[str, list[int]] = {}
    texts: list[str] = []
    for one in tests:
        columns[one.group] = _head_columns(head, one) if head is not None else []
        if head is None:
            columns[one.group] = list(range(len(texts), len(texts) + len(one.classes)))
            texts += [_filled(template or (SEVERAL_TEMPLATE if one.several else TEMPLATE), c) for c in one.classes]
    group_of = {id: one.group for one in tests for id in one.of}
    encoded = test.form.encode(texts) if head is None else None
    found: dict[str, Scores] = {}
    for group in test.groups():
        videos = [embedding for embedding, _ in group]
        with torch.no_grad():
            block = head.classify(videos) if head is not None else test.form.score(videos, encoded)
        for line, (_, shown) in zip(block.double().cpu().numpy(), group, strict=True):
            found |= {row.id: line[columns[group_of[row.id]]] for row in shown}
    return found


def _head_columns(head: Classifier, one: Labels) -> list[int]:
    place = {name: column for column, name in enumerate(head.labels)}
    if missing := [name for name in one.classes if name not in place]:
        raise DataError(
            f"the model's linear head does not know {len(missing)} of {len(one.classes)} classes of task "
            f"{one.group!r}, such as {missing[0]!r}; name its own task with --task, or measure it with --zero-shot"
        )
    return [place[name] for name in one.classes]


def _filled(template: str, label: str) -> str:
    if "{label}" not in template:
        raise UsageError(f"--template {template!r}: needs {{label}}")
    return template.replace("{label}", label)


def _add_one(report: Report, one: Labels, scores: Scores, right: npt.NDArray[np.bool_], ids: Sequence[str]) -> None:
    """Top-1, top-5 and the mean over classes of top-1; ties by their expected value."""
    ranks = find_ranks(scores, right, ids)
    values = {f"top-{k}": 100.0 * ranks.within(k) for k in (1, 5)}
    answers = right.argmax(axis=1)
    present = np.unique(answers)
    by_class = [float(values["top-1"][answers == c].mean()) for c in present]
    counts = {"videos": len(scores), "classes": len(one.classes), "ties": int((~ranks.decided).sum())}
    add_figures(report, one.group, values, counts)
    report["figures"][one.group]["mean class"] = float(np.mean(by_class))


def _add_several(report: Report, one: Labels, scores: Scores, right: npt.NDArray[np.bool_]) -> None:
    """mAP over the classes that a video has; videos are ranked for each class."""
    present = np.flatnonzero(right.any(axis=0))
    if not len(present):
        raise DataError(f"no video of task {one.group!r} has a label")
    found = [average_precision(scores[:, c], right[:, c]) for c in present]
    counts = {
        "videos": len(scores),
        "classes": len(one.classes),
        "classes without a video": right.shape[1] - len(found),
    }
    add_figures(report, one.group, {"mAP": [100.0 * each.expected for each in found]}, counts)
    bounds = [100.0 * float(np.mean([getattr(each, case) for each in found])) for case in ("best", "worst")]
    report.setdefault("bounds", {})[one.group] = {"mAP": bounds}
