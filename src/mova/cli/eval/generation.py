"""`mova eval generation`: measure generated videos on axes in VBench's manner, and on ours."""

from __future__ import annotations

import json as json_format
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.console import FAILURES_SHOWN, emit, file_bar, note, one_line, say, show, write_result
from mova.cli.options import Device, Json, Model, Precision, TimeLimit
from mova.cli.output_files import output_file
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.eval.metrics.bootstrap import Interval
    from mova.judge.generator.measure import GeneratorReport
    from mova.judge.generator.prompts import PromptList


def generation(
    prompts: Annotated[
        Path,
        typer.Argument(
            metavar="PROMPTS",
            help="VBench's list (.json), a prompt per line (.txt), or CSV or JSON lines with video, prompt, generator.",
        ),
    ],
    videos: Annotated[
        Path | None,
        typer.Option(help="Folder of the videos, named PROMPT-0.mp4, PROMPT-1.mp4, ... (default: that of PROMPTS)."),
    ] = None,
    model: Model = None,
    axes: Annotated[list[str] | None, typer.Option("--axis", help="Only this axis; may be repeated.")] = None,
    vbench: Annotated[Path | None, output_file("Write the results as VBench does (..._eval_results.json).")] = None,
    precision: Precision = None,
    device: Device = None,
    time_limit: TimeLimit = None,
    json: Json = False,
) -> None:
    """Measure generated videos: consistency, flicker, motion, and agreement with their prompts, sentence by sentence.

    Axes have VBench's names and definitions, but the vectors are the model's and the motion is found without a network,
    so that nothing is downloaded: compare generators with each other, not with published figures. The exit code is 1 if
    no video could be measured.
    """
    from mova.judge.generator.axes import parse_axes

    chosen = parse_axes(axes)
    if not prompts.is_file():
        raise UsageError(f"{prompts}: no such file")
    from mova.judge.generator.measure import measure_all
    from mova.judge.generator.prompts import read_prompt_list
    from mova.models.known import DEFAULT_MODEL
    from mova.models.registry import load
    from mova.video.limits import TIME_LIMIT

    found = read_prompt_list(prompts, videos)
    _note_unmatched(found)
    encoder = load(model or DEFAULT_MODEL, precision=precision or "auto", device=device)
    with (
        encoder.isolated(TIME_LIMIT if time_limit is None else time_limit),
        file_bar("measuring", "video") as progress,
    ):
        report = measure_all(encoder, found, chosen, progress)
    for video, cause in report.broken:
        note(f"not measured: {one_line(video)}: {one_line(cause)}")
    if json:
        missing = {"without_video": found.without_video, "without_prompt": found.without_prompt}
        emit({"model": encoder.name, **report.to_json(), **missing})
    else:
        _print(report, len(found.requests))
    if vbench is not None and report.values:
        write_result(partial(_write_vbench, report), vbench, "--vbench")
    if not report.values:
        raise typer.Exit(1)


def _write_vbench(report: GeneratorReport, path: Path) -> None:
    path.write_text(json_format.dumps(report.vbench(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _note_unmatched(found: PromptList) -> None:
    for what, names in (
        ("prompts without a video", found.without_video),
        ("videos that match no prompt", found.without_prompt),
    ):
        if names:
            listed = ", ".join(one_line(name[:60]) for name in names[:FAILURES_SHOWN])
            note(f"{len(names)} {what}: {listed}{', ...' if len(names) > FAILURES_SHOWN else ''}")


def _print(report: GeneratorReport, count: int) -> None:
    """Print one table: axes down, generators across."""
    from mova.judge.generator.axes import AXES

    means = report.means()
    table = Table(header_style="bold")
    table.add_column("axis")
    for name in means:
        table.add_column(Text(one_line(name) or "mean (95 % interval)"), justify="right")
    for axis in AXES:
        cells = [_figure(found[axis]) if axis in found else "" for found in means.values()]
        if any(cells):
            table.add_row(axis, *cells)
    show(table)
    say(f"{len(report.values)} of {count} videos measured")


def _figure(mean: Interval) -> str:
    """Return a mean with its interval, which one prompt alone does not have."""
    return f"{mean.value:.3f}" + (f" ({mean.low:.3f} to {mean.high:.3f})" if mean.low < mean.high else "")
