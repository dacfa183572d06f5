"""Run SynViTA's six tests in one report (Zanella et al. 2025, Table 3), for any model.

    VideoCon LLM, Human, Human-Hard   entailment   ROC-AUC
    SSv2-Temporal, SSv2-Events        retrieval    mAP, 12 right videos per text
    ATP-Hard                          choice       accuracy: all, causal and temporal

They belong together: the paper's model gains on retrieval and choice and loses on VideoCon LLM, which no single test
would show. A test without data is reported as missing. ATP-Hard uses VideoCon's statements if present, else questions
with their options; statements have no types, so they have one figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mova.data.manifest import Row, read_manifest
from mova.data.row_texts import OPTION
from mova.errors import DataError, UsageError
from mova.eval.metrics.bootstrap import Interval
from mova.eval.protocols import OF_ANY_SIZE, find_protocol
from mova.eval.published import Figure, published_figures
from mova.eval.report import Report
from mova.eval.tasks.encoding import Progress
from mova.eval.tasks.entailment import claims_of, crossed_texts, evaluate_entailment
from mova.eval.tasks.multiple_choice import evaluate_choice
from mova.eval.tasks.video_llm import open_any_split
from mova.models.encoder import DualEncoder
from mova.models.entailment import EntailmentModel

ReadFigures = Callable[[Report], Mapping[str, Interval]]
"""Picks the figures of a test from its report, in percent."""


PAPER, TABLE = "SynViTA paper", "Table 3"


@dataclass(frozen=True)
class PaperTest:
    """One of the six tests.

    Attributes:
        name: in the paper.
        sets: names of `mova data convert` that contain it, the preferred one first.
        protocol: of `mova.eval.protocols`.
        figures: picks its figures from a report.
        templates: set -> text template, if it is multiple choice.
        about: number of pairs of a video and a text that the paper states rounded to thousands; None where the protocol
            has the exact size.
    """

    name: str
    sets: tuple[str, ...]
    protocol: str
    figures: ReadFigures
    templates: Mapping[str, str] | None = None
    about: int | None = None

    def check_size(self, rows: Sequence[Row]) -> None:
        """Refuse rows of another number than the paper's rounded one.

        The paper does not say whether a caption and its false caption are one pair or two: either may fit.

        Raises:
            UsageError: neither does.
        """
        texts = sum(len(row.captions) + len(row.meta.get("negatives", ())) for row in rows)
        if self.about is not None and all(abs(count - self.about) > 500 for count in (len(rows), texts)):
            raise UsageError(
                f"{self.name} has {len(rows)} rows and {texts} texts, but the public set has about {self.about} pairs "
                "of a video and a text; use --any-size for a part of it"
            )


@dataclass(frozen=True)
class Outcome:
    """One test: its set, figures and whole report; or, without data, what to do."""

    set: str | None = None
    figures: Mapping[str, Interval] | None = None
    report: Report | None = None
    missing: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return `{"set", "figures", "report"}` or `{"missing"}`."""
        if self.report is None:
            return {"missing": self.missing}
        figures = {name: interval.to_json() for name, interval in (self.figures or {}).items()}
        return {"set": self.set, "figures": figures, "report": self.report.to_json()}


@dataclass(frozen=True)
class SuiteReport:
    """All six tests with one model.

    Attributes:
        model, fingerprint: of the model.
        any_size: whether sets of other sizes than the public ones were accepted.
        outcomes: name of the test -> outcome, in the order of the paper.
    """

    model: str
    fingerprint: str
    any_size: bool
    outcomes: Mapping[str, Outcome]

    @property
    def missing(self) -> list[str]:
        """Names of the tests without data."""
        return [name for name, outcome in self.outcomes.items() if outcome.report is None]

    @property
    def complete(self) -> bool:
        """Whether every row of all six public sets was measured."""
        reports = [outcome.report for outcome in self.outcomes.values()]
        return not self.any_size and all(report is not None and not report.excluded for report in reports)

    @property
    def published(self) -> dict[str, list[Figure]]:
        """The paper's figures (Table 3) of each test that was measured as they were.

        Empty for a test of another size or set, with excluded rows, or with scores of another form than Eq. 1.
        """
        tables: dict[str, list[Figure]] = {}
        of_table = [f for f in published_figures() if (f.where, f.source, f.form) == (TABLE, PAPER, "")]
        for name in self.outcomes:
            figures = [figure for figure in of_table if self.comparable(name, figure)]
            if figures:
                tables[name] = figures
        return tables

    def comparable(self, name: str, figure: Figure) -> bool:
        """Return whether a test was measured as a published figure was: see `published`."""
        outcome = self.outcomes[name]
        if outcome.report is None or outcome.report.excluded or self.any_size:
            return False
        head = outcome.report.head
        return (head.protocol, str(head.settings.get("form"))) == (figure.protocol, figure.scoring)

    def to_json(self) -> dict[str, Any]:
        """Return `{"task", "model", "complete", "missing", "tests": {NAME: {...}}, "published": {NAME: [...]}}`."""
        return {
            "task": "synvita",
            "model": {"name": self.model, "fingerprint": self.fingerprint},
            "complete": self.complete,
            "missing": self.missing,
            "tests": {name: outcome.to_json() for name, outcome in self.outcomes.items()},
            "published": {name: [figure.to_json() for figure in figures] for name, figures in self.published.items()},
        }


def _auc(report: Report) -> Mapping[str, Interval]:
    return {"AUC": report.groups["all"].intervals["AUC"]}


def _precision(report: Report) -> Mapping[str, Interval]:
    if not report.directions:
        raise DataError("a text-to-video mAP needs the same captions, true or false, for every video")
    return {"mAP": report.directions["t2v"].intervals["mAP"]}


def _accuracy(report: Report) -> Mapping[str, Interval]:
    names = {"all": "accuracy", "causal": "accuracy, causal", "temporal": "accuracy, temporal"}
    return {name: report.groups[group].intervals["accuracy"] for group, name in names.items() if group in report.groups}


TESTS = (
    PaperTest("VideoCon LLM", ("videocon-llm",), "entailment", _auc, about=27_000),
    PaperTest("VideoCon Human", ("videocon-human",), "videocon-human", _auc),
    PaperTest("VideoCon Human-Hard", ("videocon-human-hard",), "videocon-human-hard", _auc),
    PaperTest("SSv2-Temporal", ("ssv2-temporal",), "ssv2-temporal", _precision),
    PaperTest("SSv2-Events", ("ssv2-events",), "ssv2-events", _precision),
    PaperTest(
        "ATP-Hard",
        ("atp-hard-statements", "atp-hard"),
        "atp-hard",
        _accuracy,
        {"atp-hard-statements": "{option}", "atp-hard": OPTION},
    ),
)
SIZED_SETS = {"atp-hard-statements": "atp-hard-statements"}
"""Set -> protocol, for sets of another size than their test's protocol."""


def evaluate_synvita(
    model: DualEncoder | EntailmentModel,
    folder: str | Path,
    *,
    any_size: bool = False,
    progress: Callable[[str], Progress] | None = None,
) -> SuiteReport:
    """Run the tests that a folder has data for.

    Args:
        model: a video LLM or a two-tower model.
        folder: contains `NAME/manifest.jsonl` or `NAME.jsonl` for the names of the sets.
        any_size: also accept parts of the public sets; their figures cannot be compared with published ones.
        progress: name of a test -> callback after every clip of it.

    Raises:
        DataError: the folder contains none of the tests, or one that cannot be measured.
        UsageError: a set has another size than the public one, unless `any_size`.
    """
    outcomes: dict[str, Outcome] = {}
    for test in TESTS:
        data = _find_manifest(test, Path(folder))
        if data is None:
            sets = " or ".join(test.sets)
            outcomes[test.name] = Outcome(
                missing=f"{folder} holds no {sets}; `mova data convert {test.sets[-1]}` makes it"
            )
            continue
        name, manifest = data
        report = _evaluate(model, test, name, manifest, any_size, progress(test.name) if progress else None)
        outcomes[test.name] = Outcome(name, test.figures(report), report)
    suite = SuiteReport(model.name, model.fingerprint(), any_size, outcomes)
    if len(suite.missing) == len(TESTS):
        sets = ", ".join(test.sets[-1] for test in TESTS)
        raise DataError(f"{folder}: contains none of the tests ({sets}), each as NAME/manifest.jsonl or NAME.jsonl")
    return suite


def check_suite(folder: str | Path) -> None:
    """Check the sizes of all sets in a folder, as `evaluate_synvita` does with each one before it measures it.

    Raises:
        UsageError: a set has another size than the public one.
        DataError: a manifest cannot be read, or a row of it is malformed.
    """
    for test in TESTS:
        found = _find_manifest(test, Path(folder))
        if found is None:
            continue
        rows = read_manifest(found[1])
        test.check_size(rows)
        protocol = find_protocol(SIZED_SETS.get(found[0], test.protocol))
        if test.templates:
            protocol.check_size(len(rows), len({row.video for row in rows}))
        else:
            claims = [claims_of(row) for row in rows if row.captions and row.meta.get("negatives")]
            protocol.check_size(crossed_texts(claims) or len(claims), len(claims))


def _evaluate(
    model: DualEncoder | EntailmentModel,
    test: PaperTest,
    name: str,
    manifest: Path,
    any_size: bool,
    progress: Progress | None,
) -> Report:
    task = "choice" if test.templates else "entailment"
    protocol = find_protocol(OF_ANY_SIZE[task][0] if any_size else SIZED_SETS.get(name, test.protocol))
    split = open_any_split(model, manifest, progress=progress)
    if not any_size:
        test.check_size(split.rows)
    if test.templates:
        return evaluate_choice(split, protocol, test.templates[name])
    return evaluate_entailment(split, protocol)


def _find_manifest(test: PaperTest, folder: Path) -> tuple[str, Path] | None:
    """Return the first of a test's sets that is present: its name and manifest."""
    candidates = (
        (name, path) for name in test.sets for path in (folder / name / "manifest.jsonl", folder / f"{name}.jsonl")
    )
    return next(((name, path) for name, path in candidates if path.is_file()), None)
