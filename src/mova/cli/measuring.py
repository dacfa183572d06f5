"""`mova eval`: measure a model, anybody's score files, or the difference of two reports."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mova.cli.console import Json, Model, emit, note, say, show
from mova.errors import DataError, UsageError

if TYPE_CHECKING:
    from mova.eval.protocols import Protocol

METRICS = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR", "mAP")


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    group = typer.Typer(help="Measure: Worlds, score files of any system, two reports.", no_args_is_help=True)
    group.command()(worlds)
    group.command()(matrix)
    group.command()(compare)
    app.add_typer(group, name="eval")


def worlds(
    model: Model = None,
    seed: Annotated[int, typer.Option(help="Another draw of the held-out data.")] = 1,
    json: Json = False,
) -> None:
    """Measure a model: retrieval, localisation and every factor on held-out Worlds of each style."""
    from mova.eval.worlds import evaluate_worlds
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
    output: Annotated[Path | None, typer.Option(help="Write the JSON document to this file too.")] = None,
    json: Json = False,
) -> None:
    """Measure anybody's scores by a named protocol: ties by their expected value, NaN refused, a fingerprint."""
    from mova.eval.protocols import find_protocol

    chosen = find_protocol(protocol)
    old = {"retrieval": "clip4clip", "entailment": "argsort"}.get(chosen.task)
    if compat is not None and compat != old:
        raise UsageError(f"--compat {compat}: protocol {protocol} has {old or 'no old arithmetic'}")
    if (truth is None) == (chosen.task != "retrieval"):
        raise UsageError(f"--truth {'is needed by' if truth is None else 'has no meaning for'} protocol {protocol}")
    if chosen.task != "retrieval" and (ids or bank or dual_softmax):
        raise UsageError(f"--ids, --bank and --dual-softmax have no meaning for protocol {protocol}")
    try:
        report = _measure(scores, chosen, ids, truth, compat is not None, dual_softmax, bank)
    except UsageError:
        raise
    except ValueError as error:
        raise DataError(f"{scores}: {error}") from error
    if output is not None:
        output.write_text(json_module.dumps(report, allow_nan=False) + "\n", encoding="utf-8")
    if json:
        emit(report)
    else:
        _print(report, scores.stem)


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
    from mova.eval.scorefiles import read_entailment, read_ids, read_matrix, read_moments

    if protocol.task == "entailment":
        assert truth is not None
        return report_entailment(read_entailment(scores, truth), protocol, compat)
    if protocol.task == "moments":
        assert truth is not None
        predictions, truths, _, fingerprint = read_moments(scores, truth)
        return report_moments(predictions, truths, fingerprint, protocol)
    found = read_matrix(scores)
    names = read_ids(ids) if ids is not None else None
    report = report_matrix(found, protocol, names, compat, dual_softmax)
    if bank is not None:
        add_qb_norm(report, found, read_matrix(bank), protocol, names)
    return report


def compare(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A report of `mova eval matrix --json`.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Another one of the same test.")],
    json: Json = False,
) -> None:
    """Second minus first, with a paired bootstrap over queries; reports of different tests are refused."""
    from mova.eval import reports

    found = reports.compare(_read(first), _read(second))
    if json:
        emit(found)
        return
    if found["fingerprint"].startswith("positions-"):
        note("neither report names its texts and videos (--ids): that both are of one test is taken on trust")
    table = Table(title=f"{second} minus {first}, {found['protocol']}", header_style="bold")
    for column in ("way", "metric", "difference", "95 % interval", "p"):
        table.add_column(column, justify="left" if column in ("way", "metric") else "right")
    for way in reports.WAYS:
        for metric, row in found[way].items():
            interval = f"[{row['low']:+.2f}, {row['high']:+.2f}]"
            table.add_row(way, metric, f"{row['value']:+.2f}", interval, f"{row['p']:.4f}")
    show(table)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json_module.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not a report: {error}") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: not a report of `mova eval`")
    return document


def _print(report: dict[str, Any], name: str) -> None:
    """Tables, then what differs, then a Markdown row."""
    from mova.eval.reports import WAYS, markdown_row

    title = f"{report['protocol']}: {report['settings']['data']}, fingerprint {report['fingerprint']}"
    if "t2v" not in report:
        _print_moments(report, title)
        return
    table = Table(title=title, header_style="bold")
    shown = [metric for metric in METRICS if metric in report["t2v"]]
    for column in ("row", *shown, "tied"):
        table.add_column(column, justify="left" if column == "row" else "right")
    for way in WAYS:
        table.add_row(way, *(f"{report[way][m]:.2f}" for m in shown), str(report["ties"][way]))
        bounds = report["bounds"].get(way, {})
        for case, label in enumerate(("ties fall well", "ties fall badly") if bounds else ()):
            table.add_row(f"  {label}", *(f"{bounds[m][case]:.2f}" if m in bounds else "" for m in shown), "")
    extra = [(f"v2t, {name}", row) for name, row in report.get("conventions", {}).items()]
    for label, ways in report.get("transductive", {}).items():
        extra += [(f"{way}, transductive: {label}", ways[way]) for way in WAYS if way in ways]
    for label, ways in report.get("compat", {}).items():
        extra += [(f"{way}, old: {label}", ways[way]) for way in WAYS if label != "differs" and way in ways]
    for label, row in extra:
        table.add_row(label, *(f"{row[m]:.2f}" if m in row else "" for m in shown), "")
    show(table)
    for label, value in report.get("other arithmetic", {}).items():
        say(f"{label}: {value:.2f}")
    for line in report.get("compat", {}).get("differs", []):
        say(f"old arithmetic, {line}")
    say(markdown_row(name, report))


def _print_moments(report: dict[str, Any], title: str) -> None:
    table = Table(title=title, header_style="bold")
    columns = ("part", "R1@0.5", "R1@0.7", "mAP@0.5", "mAP@0.75", "mAP", "HIT@1")
    for column in columns:
        table.add_column(column, justify="left" if column == "part" else "right")
    for length, rows in report.get("moments", {}).items():
        figures = (
            rows["R1"]["0.5"],
            rows["R1"]["0.7"],
            rows["mAP"]["0.5"],
            rows["mAP"]["0.75"],
            rows["mAP"]["average"],
        )
        table.add_row(f"moments, {length}", *(f"{value:.2f}" for value in figures), "")
    for grade, row in report.get("highlights", {}).items():
        table.add_row(f"highlights, {grade}", "", "", "", "", f"{row['mAP']:.2f}", f"{row['Hit1']:.2f}")
    show(table)
    say(f"{report['ties']} of {report['queries']} queries hold equal scores; they stand in the order of the file")
