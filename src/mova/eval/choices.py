"""Multiple choice: files of scores per option, or of predictions, and accuracy by type of question.

Scores are a matrix with one row per question and one column per option, or NExT-QA's own predictions,
`{"VIDEO_QID": {"prediction": 2, "answer": 0}}`. Questions are NExT-QA's table (`video, question, answer, qid, type,
a0, ...`) or a manifest with `options` and `answer` in `meta`. A file may cover some of the questions; the report then
says how many. VideoCon's files of ATP-Hard (`atphard_scores.csv`, `eval-nextqa-atphard.csv`) name no options but
statements; they cover 1,844 of the 2,269 questions.

Shape legend: Q questions, C options (of the question that has most).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.data.manifest import read_manifest
from mova.data.readers.annotations import to_number, to_whole
from mova.data.row_texts import option_texts
from mova.errors import DataError, UsageError
from mova.eval.metrics.classification import choice_hits
from mova.eval.protocols import Protocol
from mova.eval.report import MetricGroup, Report, ReportHead, named_groups
from mova.eval.score_files import read_matrix
from mova.utils.hashing import digest
from mova.utils.tables import read_csv, read_json, read_table
from mova.utils.text_files import brief

NEXTQA_KINDS = {
    **dict.fromkeys(("CW", "CH"), "causal"),
    **dict.fromkeys(("TN", "TC", "TP"), "temporal"),
    **dict.fromkeys(("DC", "DL", "DO"), "descriptive"),
}
"""Type of a NExT-QA question -> its kind (Xiao et al., CVPR 2021)."""
BEFORE_AND_AFTER = "TN and TP"
"""Group of questions about the previous and the next action, which NExT-QA's own evaluation joins."""


@dataclass(frozen=True)
class Question:
    """A multiple-choice question: its id, the number of options, the index of the correct one, and its type.

    >>> Question("4010069381_6", options=5, answer=0, type="CH").answer
    0
    """

    id: str
    options: int
    answer: int
    type: str | None = None


@dataclass(frozen=True, eq=False)
class ChoiceScores:
    """Scores of the options of questions.

    Attributes:
        scores: float64, (Q, C); -inf where a question has fewer options.
        questions: Q questions that have scores, in the order of the question file.
        total: number of questions in that file.
        fingerprint: hash of the Q questions.
        subset: name of a known subset of a larger test that the question file is; None if it is a whole test.

    >>> two = ChoiceScores(np.array([[0.2, 0.7], [0.9, 0.1]]), questions=(), total=2, fingerprint="0123")
    >>> two.scores.argmax(axis=1).tolist(), two.subset
    ([1, 0], None)
    """

    scores: npt.NDArray[np.float64]
    questions: Sequence[Question]
    total: int
    fingerprint: str
    subset: str | None = None


def read_choices(scores: str | Path, truth: str | Path) -> ChoiceScores:
    """Read scores per option, or predictions, and the questions that they belong to.

    Args:
        scores: a matrix (`.npy`, `.csv`, `.parquet`) whose rows are named by ids of questions (`VIDEO_QID`, or the ids
            of the manifest), or are in the order of the questions; or predictions (`.json`); or VideoCon's scores of
            statements.
        truth: NExT-QA's table (`.csv`), a manifest (`.jsonl`), or VideoCon's table of statements. Statements have no
            types of questions: they are read from `nextqa-atphard.csv` if it is in the same folder, as in VideoCon.

    Raises:
        UsageError: no such file, or an unknown kind of file.
        DataError: a malformed file, a score for an unknown question, another number of options, or a prediction file
            with other answers.

    >>> _ = Path("val.csv").write_text("video,question,answer,qid,type,a0,a1\\n7,who runs,1,0,DO,cat,dog\\n")
    >>> _ = Path("predictions.json").write_text('{"7_0": {"prediction": 1, "answer": 1}}')
    >>> read_choices("predictions.json", "val.csv").scores
    array([[0., 1.]])
    """
    scores, truth = Path(scores), Path(truth)
    if not scores.is_file():
        raise UsageError(f"{scores}: no such file")
    if truth.suffix.lower() == ".csv" and truth.is_file() and _has_statements(truth):
        return _read_statements(scores, truth)
    questions, texts = _questions(truth)
    by_id = {question.id: question for question in questions}
    if scores.suffix.lower() == ".json":
        rows = _predictions(scores, by_id)
    else:
        rows = _option_scores(scores, questions)
    if unknown := rows.keys() - by_id.keys():
        raise DataError(f"{scores}: {len(unknown)} questions are not in {truth}, such as {min(unknown)!r}")
    kept = [question for question in questions if question.id in rows]
    matrix = np.full((len(kept), max(question.options for question in kept)), -np.inf)
    for line, question in zip(matrix, kept, strict=True):
        line[: question.options] = rows[question.id]
    described = [json.dumps([q.id, q.options, q.answer, texts.get(q.id)]) for q in kept]
    return ChoiceScores(matrix, kept, len(questions), digest(sorted(described)))


def report_choice(choices: ChoiceScores, protocol: Protocol) -> Report:
    """Evaluate accuracy in percent: over all questions, by type, and by kind if all types are NExT-QA's.

    If some questions have no scores, the protocol is reported as `NAME-incomplete`, and `settings` has a note.

    Args:
        choices: see `read_choices`.
        protocol: task "choice".

    Raises:
        UsageError: the number of questions is not that of the protocol.
        ValueError: a score is NaN.

    >>> from mova.eval.protocols import find_protocol
    >>> questions = [Question("7_0", 2, 1, "DO"), Question("7_1", 2, 0, "CW")]
    >>> made = ChoiceScores(np.array([[0.2, 0.9], [0.1, 0.3]]), questions, total=2, fingerprint="0123")
    >>> report_choice(made, find_protocol("choice")).groups["all"].figures
    {'accuracy': 50.0}
    """
    if choices.subset is None or protocol.texts is None or choices.total >= protocol.texts:
        protocol.check_size(choices.total, 0)
    hits = 100.0 * choice_hits(choices.scores, [question.answer for question in choices.questions])
    order = digest([question.id for question in choices.questions])
    whole = len(choices.questions) == choices.total and choices.subset is None
    head = ReportHead.of_scores(
        protocol if whole else protocol.incomplete(), choices.fingerprint, order, *choices.scores.shape
    )
    top = choices.scores == choices.scores.max(axis=1, keepdims=True)
    report = Report(
        head=head,
        ties=int((top.sum(axis=1) > 1).sum()),
        groups=named_groups(choice_groups(hits, [question.type for question in choices.questions])),
    )
    if whole:
        return report
    note = f"{len(hits)} of {choices.total} questions have scores; the others do not count"
    return report.with_settings(note=f"{choices.subset}: {note}" if choices.subset else note)


def choice_groups(hits: npt.NDArray[np.float64], types: Sequence[str | None]) -> Iterator[tuple[str, MetricGroup]]:
    """Yield all questions, then kinds of NExT-QA if every type has one, then types.

    Args:
        hits: (Q,), in percent.
        types: Q types; None where a question has none.

    >>> [name for name, _ in choice_groups(np.array([100.0, 0.0]), ["TN", "TP"])]
    ['all', 'temporal', 'TN', 'TP', 'TN and TP']
    """
    kinds = [NEXTQA_KINDS.get(name or "") for name in types]
    yield "all", MetricGroup.of_values({"accuracy": hits}, {"questions": len(hits)})
    for names in (kinds if all(kinds) else [], types):
        for name in sorted({name for name in names if name}):
            yield name, _group(hits, [kind == name for kind in names])
    if all(kinds) and {"TN", "TP"} <= set(types):
        yield BEFORE_AND_AFTER, _group(hits, [name in ("TN", "TP") for name in types])


def _group(hits: npt.NDArray[np.float64], inside: Sequence[bool]) -> MetricGroup:
    chosen = hits[np.array(inside)]
    return MetricGroup.of_values({"accuracy": chosen}, {"questions": len(chosen)})


def _questions(path: Path) -> tuple[list[Question], dict[str, Any]]:
    """Return the questions of a file in order, and id -> its texts."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise UsageError(f"{path}: questions must be a NExT-QA table (.csv) or a manifest (.jsonl)")
    questions: list[Question] = []
    texts: dict[str, Any] = {}
    if path.suffix.lower() == ".csv":
        for where, row in read_csv(path, "video", "question", "answer", "qid", "type", "a0", "a1"):
            options = [row[name] for name in sorted(row) if name[:1] == "a" and name[1:].isdigit()]
            if row["answer"] not in map(str, range(len(options))):
                raise DataError(f"{where}: the answer must be 0 to {len(options) - 1}, not {row['answer']!r}")
            question = Question(f"{row['video']}_{row['qid']}", len(options), int(row["answer"]), row["type"] or None)
            questions.append(question)
            texts[question.id] = [row["question"], options]
    else:
        for entry in read_manifest(path):
            if "options" in entry.meta:
                options = option_texts(entry, "{option}")
                type = str(entry.meta["type"]) if entry.meta.get("type") else None
                questions.append(Question(entry.id, len(options), entry.meta["answer"], type))
                texts[entry.id] = [entry.meta.get("question"), options]
    if not questions:
        raise DataError(f"{path}: has no questions")
    if len(texts) < len(questions):
        seen: set[str] = set()
        double = next(q.id for q in questions if q.id in seen or seen.add(q.id))  # type: ignore[func-returns-value]
        raise DataError(f"{path}: duplicate question {double!r}")
    return questions, texts


def _option_scores(path: Path, questions: Sequence[Question]) -> dict[str, npt.NDArray[np.float64]]:
    """Return id -> scores of its options."""
    matrix = read_matrix(path)
    if matrix.texts is None and len(matrix.scores) != len(questions):
        raise DataError(
            f"{path}: has {len(matrix.scores)} rows for {len(questions)} questions; name the rows by the ids of the "
            f"questions, such as {questions[0].id!r}, if it covers some of them"
        )
    names = [question.id for question in questions] if matrix.texts is None else list(matrix.texts)
    options = {question.id: question.options for question in questions}
    scores = {}
    for name, line in zip(names, np.asarray(matrix.scores, dtype=np.float64), strict=True):
        count = options.get(name, len(line))
        if len(line) < count or not np.isneginf(line[count:]).all():
            raise DataError(f"{path}: question {name!r} has {count} options, and the file has {len(line)} scores")
        scores[name] = line[:count]
    return scores


def _predictions(path: Path, questions: Mapping[str, Question]) -> dict[str, npt.NDArray[np.float64]]:
    """Return id -> 1 for the predicted option and 0 for the others, of NExT-QA's predictions."""
    document = read_json(path)
    if not isinstance(document, dict) or not document:
        raise DataError(f'{path}: {{"VIDEO_QID": {{"prediction": OPTION, "answer": OPTION}}}} expected')
    scores = {}
    for id, entry in document.items():
        question = questions.get(id, Question(id, 0, 0))
        chosen = entry.get("prediction") if isinstance(entry, dict) else entry
        stated = entry.get("answer") if isinstance(entry, dict) else None
        if isinstance(chosen, bool) or not isinstance(chosen, int):
            raise DataError(f"{path}: question {id!r}: a prediction is the index of an option, not {brief(chosen)}")
        if question.options and not 0 <= chosen < question.options:
            raise DataError(f"{path}: question {id!r} has options 0 to {question.options - 1}, not {chosen}")
        if question.options and stated is not None and stated != question.answer:
            raise DataError(
                f"{path}: question {id!r} has the answer {brief(stated)}, but {question.answer} in the question file; "
                "the predictions belong to other questions or another order of options"
            )
        scores[id] = np.eye(max(question.options, 1))[chosen if question.options else 0]
    return scores


STATEMENTS = ("videopath", "question", "answer", "option", "caption")
"""Columns of VideoCon's table of statements."""


def _has_statements(path: Path) -> bool:
    _, header = next(read_table(path), ("", []))
    return set(STATEMENTS) <= set(header)


def _read_statements(scores: Path, truth: Path) -> ChoiceScores:
    """Read VideoCon's scores of ATP-Hard's statements: (videopath, caption, score, ...), one row per statement.

    As in VideoCon's own evaluation, equal rows count once, and a question counts only if every option then has one
    score: statements that two questions of a video share, with different scores, exclude both.
    """
    values: dict[tuple[str, str], set[float]] = {}
    for where, cells in read_table(scores):
        if len(cells) < 3:
            raise DataError(f"{where}: video, statement and a number expected, not {brief(cells)}")
        values.setdefault((cells[0], cells[1]), set()).add(to_number(where, cells[2]))
    options: dict[tuple[str, str], set[tuple[int, int, str]]] = {}
    for where, row in read_csv(truth, *STATEMENTS):
        place, answer = (to_whole(where, row[name]) for name in ("option", "answer"))
        options.setdefault((row["videopath"], row["question"]), set()).add((place, answer, row["caption"]))
    types, questions, lines = _types(truth.parent), [], []
    for (video, text), rows in options.items():
        found = [(place, score) for place, _, caption in rows for score in values.get((video, caption), ())]
        count = len({place for place, _, _ in rows})
        if len(rows) != count or sorted(place for place, _ in found) != list(range(count)):
            continue
        id = f"{Path(video).stem}-{text}"
        questions.append(Question(id, count, min(answer for _, answer, _ in rows), types.get(id)))
        lines.append([score for _, score in sorted(found)])
    if not questions:
        raise DataError(f"{scores}: has a score for every option of no question of {truth}")
    described = sorted(json.dumps([q.id, q.options, q.answer]) for q in questions)
    return ChoiceScores(
        np.array(lines, dtype=np.float64), questions, len(options), digest(described), "VideoCon's statements"
    )


def _types(folder: Path) -> dict[str, str]:
    """Return question -> type, from `nextqa-atphard.csv`; empty without the file."""
    path = folder / "nextqa-atphard.csv"
    if not path.is_file():
        return {}
    return {f"{row['video']}-{row['question']}": row["type"] for _, row in read_csv(path, "video", "question", "type")}
