"""Evaluate classification: with the model's linear head if it has one, else zero-shot with a text template.

`mova.data.row_texts.row_labels` defines the classes of a row; `meta["task"]` splits one manifest into several tests, as
in LVU. With one class per video, the metrics are top-1, top-5 and top-1 averaged over classes. With several classes or
none, every class is a text, videos are ranked for it, and mAP is over classes (GEXIA's caption retrieval for
Charades-Ego).

Classes are those of the whole manifest, all splits together, so that a test is not easier for lacking some.

Shape legend: V videos, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol as Contract
from typing import runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.data.manifest import Row
from mova.data.row_texts import DEFAULT_KEY, NOUN, PHRASE, class_text, has_several, row_labels
from mova.errors import DataError
from mova.eval.metrics.classification import average_precision
from mova.eval.metrics.ranking import find_ranks
from mova.eval.protocols import Protocol
from mova.eval.report import MetricGroup, Report
from mova.eval.tasks.split import EvalSplit
from mova.models.encoder import VideoEmbedding
from mova.utils.hashing import digest

Scores = npt.NDArray[np.float64]


@runtime_checkable
class Classifier(Contract):
    """A model that may have a linear head: names of classes, and logits."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of the head's classes; empty without a head."""

    def classify(self, videos: Sequence[VideoEmbedding]) -> Tensor:
        """Return logits in the order of `labels`: (V, C)."""


@dataclass(frozen=True)
class LabelSet:
    """One test: a task of the manifest with its classes.

    Attributes:
        group: name of the task.
        classes: names of all classes.
        of: row id -> its classes: one, or any number if `several`.
        several: whether a video may have several classes.
    """

    group: str
    classes: tuple[str, ...]
    of: Mapping[str, tuple[str, ...]]
    several: bool


def evaluate_classify(
    split: EvalSplit,
    protocol: Protocol,
    template: str | None = None,
    zero_shot: bool = False,
    task: str | None = None,
    label: str = DEFAULT_KEY,
    view: str | None = None,
) -> Report:
    """Evaluate classification; one group per task of the manifest ("all" if it names none), figures in percent.

    Args:
        split: rows and model.
        protocol: task "classify".
        template: text of a class, with `{label}`. Default: `NOUN` of `data/row_texts.py`, or `PHRASE` if videos have
            several classes.
        zero_shot: use the template even if the model has a linear head.
        task: only rows whose `meta["task"]` is this. Default: every task.
        label: key of `meta` that contains the classes.
        view: only rows whose `meta["view"]` is this, "first" or "third" (Charades-Ego). The classes of all rows stay.

    Raises:
        UsageError: sizes do not fit the protocol, the task or view is unknown, or the template lacks `{label}`.
        DataError: nothing can be measured, a label is malformed, or the head lacks a class.
        ValueError: a score is NaN.
    """
    if task is not None:
        split.select_task(task)
    if view is not None:
        split.select_view(view)
    rows = split.keep(lambda row: row_labels(row, label) is not None, f"it has no label in meta.{label}")
    protocol.check_size(len(rows), 0)
    label_sets = read_label_sets([*rows, *split.others], {row.id for row in rows}, label)
    model = split.model
    head = model if isinstance(model, Classifier) and model.labels and not zero_shot else None
    groups, kept = class_metrics(split, rows, label_sets, template, head)
    truth = [
        *(json.dumps([row.id, row_labels(row, label)]) for row in kept),
        *(json.dumps(labels.classes) for labels in label_sets),
    ]
    how = {"by": "template", "template": _templates(template, label_sets)} if head is None else {"by": "linear head"}
    how |= {} if view is None else {"view": view}
    classes = sum(len(labels.classes) for labels in label_sets)
    order = digest([row.id for row in kept])
    return Report(head=split.head(protocol, order, len(kept), classes, truth, **how), groups=groups)


def class_metrics(
    split: EvalSplit,
    rows: Sequence[Row],
    label_sets: Sequence[LabelSet],
    template: str | None = None,
    head: Classifier | None = None,
) -> tuple[dict[str, MetricGroup], list[Row]]:
    """Return the metrics of every test by its name, in percent, and the rows whose videos could be read.

    Args:
        split: the model.
        rows: labelled rows of the split.
        label_sets: see `read_label_sets`.
        template: text of a class, if there is no head.
        head: model with a linear head, which scores instead of texts.

    Raises:
        UsageError: the template lacks `{label}`.
        DataError: no video of a test can be read, or the head lacks a class.
        ValueError: a score is NaN.
    """
    scores = _scores(split, label_sets, template, head)
    kept = [row for row in rows if row.id in scores]
    measured = [labels for labels in label_sets if not labels.of.keys() <= split.quarantined]
    return {
        labels.group: _metrics(labels, [row for row in kept if row.id in labels.of], scores) for labels in measured
    }, kept


def read_label_sets(rows: Sequence[Row], measured: set[str], label: str = DEFAULT_KEY) -> list[LabelSet]:
    """Return the tests of a manifest's rows, sorted by task; rows without a label are skipped.

    Raises:
        DataError: a label is malformed, or a task has fewer than two classes.
    """
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        if row_labels(row, label) is not None:
            by_task.setdefault(str(row.meta.get("task", "all")), []).append(row)
    label_sets = []
    for task, task_rows in sorted(by_task.items()):
        of = {row.id: row_labels(row, label) or () for row in task_rows}
        if not of.keys() & measured:
            continue
        classes = tuple(sorted({name for names in of.values() for name in names}))
        if len(classes) < 2:
            raise DataError(
                f"task {task!r} has {len(classes)} classes in the manifest; classification needs at least two"
            )
        kept = {id: names for id, names in of.items() if id in measured}
        label_sets.append(LabelSet(task, classes, kept, any(has_several(row, label) for row in task_rows)))
    return label_sets


def _template(template: str | None, labels: LabelSet) -> str:
    return template or (PHRASE if labels.several else NOUN)


def _templates(template: str | None, label_sets: Sequence[LabelSet]) -> list[str]:
    return sorted({_template(template, labels) for labels in label_sets})


def _scores(
    split: EvalSplit, label_sets: Sequence[LabelSet], template: str | None, head: Classifier | None
) -> dict[str, Scores]:
    """Return row id -> scores of its task's classes: (C,)."""
    columns: dict[str, list[int]] = {}
    texts: list[str] = []
    for labels in label_sets:
        columns[labels.group] = _head_columns(head, labels) if head is not None else []
        if head is None:
            columns[labels.group] = list(range(len(texts), len(texts) + len(labels.classes)))
            texts += [class_text(name, _template(template, labels)) for name in labels.classes]
    group_of = {id: labels.group for labels in label_sets for id in labels.of}
    encoded = split.form.encode(texts) if head is None else None
    scores: dict[str, Scores] = {}
    for group in split.groups():
        videos = [embedding for embedding, _ in group]
        with torch.no_grad():
            block = head.classify(videos) if head is not None else split.form.score(videos, encoded)
        for line, (_, rows) in zip(block.double().cpu().numpy(), group, strict=True):
            scores |= {row.id: line[columns[group_of[row.id]]] for row in rows}
    return scores


def _head_columns(head: Classifier, labels: LabelSet) -> list[int]:
    columns = {name: column for column, name in enumerate(head.labels)}
    if missing := [name for name in labels.classes if name not in columns]:
        raise DataError(
            f"the model's linear head does not know {len(missing)} of {len(labels.classes)} classes of task "
            f"{labels.group!r}, such as {missing[0]!r}; select its task with --task, or evaluate with --zero-shot"
        )
    return [columns[name] for name in labels.classes]


def _metrics(labels: LabelSet, rows: Sequence[Row], scores_of: Mapping[str, Scores]) -> MetricGroup:
    if not rows:
        raise DataError(f"no video of task {labels.group!r} can be read; remove its rows from the manifest")
    scores = np.stack([scores_of[row.id] for row in rows])
    right = np.array([[name in labels.of[row.id] for name in labels.classes] for row in rows])
    counts = {"videos": len(scores), "classes": len(labels.classes)}
    if labels.several:
        return _several_labels(labels, scores, right, counts)
    return _one_label(scores, right, [row.id for row in rows], counts)


def _one_label(
    scores: Scores, right: npt.NDArray[np.bool_], ids: Sequence[str], counts: Mapping[str, int]
) -> MetricGroup:
    """Top-1, top-5 and top-1 averaged over classes; ties count by expected rank."""
    ranks = find_ranks(scores, right, ids)
    values = {f"top-{k}": 100.0 * ranks.within(k) for k in (1, 5)}
    answers = right.argmax(axis=1)
    by_class = [float(values["top-1"][answers == c].mean()) for c in np.unique(answers)]
    group = MetricGroup.of_values(values, {**counts, "ties": int((~ranks.decided).sum())})
    return group.with_metric("mean class", float(np.mean(by_class)))


def _several_labels(
    labels: LabelSet, scores: Scores, right: npt.NDArray[np.bool_], counts: Mapping[str, int]
) -> MetricGroup:
    """mAP over the classes that some video has; videos are ranked for each class."""
    present = np.flatnonzero(right.any(axis=0))
    if not len(present):
        raise DataError(f"no video of task {labels.group!r} has a label")
    precisions = [average_precision(scores[:, c], right[:, c]) for c in present]
    group = MetricGroup.of_values(
        {"mAP": [100.0 * precision.expected for precision in precisions]},
        {**counts, "classes without a video": right.shape[1] - len(precisions)},
    )
    best, worst = (100.0 * float(np.mean([getattr(p, case) for p in precisions])) for case in ("best", "worst"))
    return replace(group, bounds={"mAP": [best, worst]})
