"""`mova eval matrix`: score files of any system."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mova.cli.report_output import ReportOutput, as_data_error
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.eval.protocols import Protocol
    from mova.eval.report import Report

LEGACY = {"retrieval": "clip4clip", "entailment": "argsort"}
"""Task -> its legacy arithmetic, as --compat names it."""


@dataclass(frozen=True)
class MatrixOptions:
    """Everything about the scores beside the file and the protocol."""

    ids: Annotated[
        Path | None, typer.Option(help='The video of each text: a manifest, or {"videos", "texts"} as JSON.')
    ] = None
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Labels (VideoCon's csv), annotations (QVHighlights' jsonl), questions (NExT-QA's csv, a manifest) or "
            "ratings (T2VScore's json, a table)."
        ),
    ] = None
    compat: Annotated[
        str | None, typer.Option(help="Add figures of legacy arithmetic: `clip4clip`, or `argsort` for VideoCon's.")
    ] = None
    dual_softmax: Annotated[bool, typer.Option("--dual-softmax", help="Add metrics after dual softmax.")] = False
    column: Annotated[
        str | None, typer.Option(help="Column of scores, or VBench's dimension; for protocol `ratings`.")
    ] = None
    bank: Annotated[
        Path | None, typer.Option(help="Scores of TRAINING texts with these videos: adds metrics after QB-Norm.")
    ] = None

    def check(self, protocol: Protocol) -> None:
        """Refuse options that do not apply to a protocol.

        Raises:
            UsageError: one does not, or --truth is missing.
        """
        name, task = protocol.name, protocol.task
        if task == "classify":
            raise UsageError(f"--protocol {name}: does not apply to score files; see `mova eval {task}`")
        legacy = LEGACY.get(task)
        if self.compat is not None and self.compat != legacy:
            raise UsageError(f"--compat {self.compat}: protocol {name} has {legacy or 'no legacy arithmetic'}")
        if self.truth is None and task != "retrieval":
            raise UsageError(f"--truth is required by protocol {name}")
        if self.truth is not None and task == "retrieval":
            raise UsageError(f"--truth does not apply to protocol {name}")
        if task != "retrieval" and (self.ids or self.bank or self.dual_softmax):
            raise UsageError(f"--ids, --bank and --dual-softmax do not apply to protocol {name}")
        if self.column is not None and task != "ratings":
            raise UsageError(f"--column does not apply to protocol {name}")


def matrix(
    scores: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Texts by videos, questions by options (npy, csv, parquet), or a file in the protocol's own format.",
        ),
    ],
    protocol: Annotated[
        str, typer.Option(help="A named protocol; `pairs` and `captions` accept any gallery.")
    ] = "pairs",
    *,
    options: MatrixOptions,
    output: ReportOutput,
) -> None:
    """Evaluate scores from any system under a named protocol. Ties count by expected rank; NaN is rejected."""
    from mova.eval.protocols import find_protocol

    output.check()
    chosen = find_protocol(protocol)
    options.check(chosen)
    with as_data_error(scores):
        report = _evaluate(scores, chosen, options)
    output.write(report, scores.stem)


def _evaluate(scores: Path, protocol: Protocol, options: MatrixOptions) -> Report:
    from mova.eval.choices import read_choices, report_choice
    from mova.eval.moment_files import read_moments
    from mova.eval.ratings import read_rated, read_video_scores, report_ratings
    from mova.eval.score_files import read_entailment, read_ids, read_matrix
    from mova.eval.score_reports import QueryBank, report_entailment, report_matrix, report_moments

    legacy = options.compat is not None
    if options.truth is not None and protocol.task == "choice":
        return report_choice(read_choices(scores, options.truth), protocol)
    if options.truth is not None and protocol.task == "ratings":
        return report_ratings(read_video_scores(scores, options.column), read_rated(options.truth), protocol)
    if options.truth is not None and protocol.task == "entailment":
        return report_entailment(read_entailment(scores, options.truth), protocol, legacy)
    if options.truth is not None:
        return report_moments(read_moments(scores, options.truth), protocol)
    return report_matrix(
        read_matrix(scores),
        protocol,
        None if options.ids is None else read_ids(options.ids),
        legacy=legacy,
        dual_softmax=options.dual_softmax,
        bank=None if options.bank is None else QueryBank(read_matrix(options.bank)),
    )
