"""`mova eval`: measure a model, anybody's score files, or the difference of two reports."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mova.cli.console import emit, note, show
from mova.cli.options import Json, Model
from mova.cli.report_output import Delivery, refused_as_data
from mova.errors import DataError, UsageError

if TYPE_CHECKING:
    from mova.eval.protocols import Protocol


def worlds(
    model: Model = None,
    seed: Annotated[int, typer.Option(help="Another draw of the held-out data.")] = 1,
    json: Json = False,
) -> None:
    """Measure a model: retrieval, localisation and every factor on held-out Worlds of each style."""
    from mova.eval.tasks.worlds import evaluate_worlds
    from mova.models.registry import DEFAULT_MODEL, load

    encoder = load(model or DEFAULT_MODEL)
    report = evaluate_worlds(encoder, seed=seed)
    if json:
        emit({"task": "worlds", "model": encoder.name, "seed": seed, "styles": report})
        return
    styles = list(report)
    table = Table(title=f"{encoder.name} on held-out Worlds", header_style="bold")
    table.add_column("measure")
    for style in styles:
        table.add_column(style, justify="right")
    for measure in report[styles[0]]:
        table.add_row(measure, *(f"{report[style][measure]:.3f}" for style in styles))
    show(table)


def matrix(
    scores: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Texts by videos (npy, csv, parquet), or a file of the protocol's form."),
    ],
    protocol: Annotated[str, typer.Option(help="A named protocol; `pairs` and `captions` take any gallery.")] = "pairs",
    ids: Annotated[
        Path | None, typer.Option(help='Which video each text belongs to: a manifest, or {"videos", "texts"} as JSON.')
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Labels (VideoCon's csv) or annotations (QVHighlights' jsonl).")
    ] = None,
    compat: Annotated[
        str | None, typer.Option(help="Add old arithmetic: `clip4clip`, or `argsort` for VideoCon's.")
    ] = None,
    dual_softmax: Annotated[bool, typer.Option("--dual-softmax", help="Add a transductive row.")] = False,
    bank: Annotated[
        Path | None, typer.Option(help="Scores of TRAINING texts with these videos: adds a transductive row, QB-Norm.")
    ] = None,
    *,
    delivery: Delivery,
) -> None:
    """Measure anybody's scores by a named protocol: ties by their expected value, NaN refused, a fingerprint."""
    from mova.eval.protocols import find_protocol

    delivery.check()
    chosen = find_protocol(protocol)
    if chosen.task in ("classify", "choice"):
        raise UsageError(f"--protocol {protocol}: is not of a score file; see `mova eval {chosen.task}`")
    old = {"retrieval": "clip4clip", "entailment": "argsort"}.get(chosen.task)
    if compat is not None and compat != old:
        raise UsageError(f"--compat {compat}: protocol {protocol} has {old or 'no old arithmetic'}")
    if (truth is None) == (chosen.task != "retrieval"):
        raise UsageError(f"--truth {'is needed by' if truth is None else 'has no meaning for'} protocol {protocol}")
    if chosen.task != "retrieval" and (ids or bank or dual_softmax):
        raise UsageError(f"--ids, --bank and --dual-softmax have no meaning for protocol {protocol}")
    with refused_as_data(scores):
        report = _measure(scores, chosen, ids, truth, compat is not None, dual_softmax, bank)
    delivery.deliver(report, scores.stem)


def _measure(
    scores: Path,
    protocol: Protocol,
    ids: Path | None,
    truth: Path | None,
    compat: bool,
    dual_softmax: bool,
    bank: Path | None,
) -> dict[str, Any]:
    from mova.eval.reports import add_qb_norm, report_entailment, report_matrix, report_moments
    from mova.eval.score_files import read_entailment, read_ids, read_matrix, read_moments

    if protocol.task == "entailment":
        assert truth is not None
        return report_entailment(read_entailment(scores, truth), protocol, compat)
    if protocol.task == "moments":
        assert truth is not None
        predictions, truths, queries, fingerprint = read_moments(scores, truth)
        return report_moments(predictions, truths, fingerprint, protocol, queries)
    found = read_matrix(scores)
    names = read_ids(ids) if ids is not None else None
    report = report_matrix(found, protocol, names, compat, dual_softmax)
    if bank is not None:
        add_qb_norm(report, found, read_matrix(bank), protocol, names)
    return report


def compare(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A report: what `mova eval ... --out` wrote.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Another one of the same test.")],
    json: Json = False,
) -> None:
    """Second minus first, with a paired bootstrap over queries; reports of different tests are refused."""
    from mova.eval.comparison import compare as compare_reports

    found = compare_reports(_read(first), _read(second))
    if json:
        emit(found)
        return
    if found["fingerprint"].startswith("positions-"):
        note("neither report names its texts and videos (--ids): that both are of one test is taken on trust")
    table = Table(title=f"{second} minus {first}, {found['protocol']}", header_style="bold")
    for column in ("of", "metric", "difference", "95 % interval", "p"):
        table.add_column(column, justify="left" if column in ("of", "metric") else "right")
    for group, rows in found.items():
        for metric, row in rows.items() if isinstance(rows, dict) else ():
            interval = f"[{row['low']:+.2f}, {row['high']:+.2f}]"
            table.add_row(group, metric, f"{row['value']:+.2f}", interval, f"{row['p']:.4f}")
    show(table)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json_module.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not a report: {error}") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: not a report of `mova eval`")
    return document
