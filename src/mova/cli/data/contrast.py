"""`mova data contrast`: generate hard negatives for captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mova.cli.console import emit, say
from mova.cli.options import Json
from mova.cli.output_files import manifest_argument

if TYPE_CHECKING:
    from mova.data.negatives.generate import NegativesReport


def contrast(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Manifest with correct captions.")],
    target: Annotated[
        Path,
        manifest_argument(
            "Manifest to write (.jsonl), a folder for manifest.jsonl, or a .csv with VideoCon's columns.",
            metavar="OUT",
        ),
    ],
    kinds: Annotated[
        str | None,
        typer.Option(help="Kinds of negatives, separated by commas (default: all; an unknown name lists them)."),
    ] = None,
    per_caption: Annotated[
        int | None,
        typer.Option(
            min=1, help="Maximum number of negatives per caption, balanced over kinds (default: one per kind)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    llm: Annotated[
        str | None, typer.Option(help="Instruction-tuned language model that writes the negatives: Hub name or folder.")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="OpenAI-compatible server that hosts the model of --llm; the key is read from OPENAI_API_KEY."
        ),
    ] = None,
    entailment: Annotated[
        str | None, typer.Option(help="NLI model that rejects negatives entailed by the caption: Hub name or folder.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device of local models: cpu, cuda, cuda:1, ...")] = "cpu",
    json: Json = False,
) -> None:
    """Generate hard negatives of captions, by rules or with a language model."""
    from mova.data.manifest import read_manifest, rebased, write_manifest
    from mova.data.negatives.generate import generate_negatives, rule_writer, triplet_rows
    from mova.data.negatives.kinds import KINDS
    from mova.data.negatives.llm_writer import make_writer
    from mova.data.negatives.videocon_csv import write_videocon
    from mova.text.nli import NLIModel

    names = KINDS if kinds is None else tuple(name for name in kinds.split(",") if name.strip())
    writer = rule_writer if llm is None and endpoint is None else make_writer(llm, endpoint, device)
    judge = None if entailment is None else NLIModel(entailment, device=device)
    path = target if target.suffix in (".jsonl", ".csv") else target / "manifest.jsonl"
    rows = [rebased(row, manifest.parent, path.parent) for row in read_manifest(manifest)]
    triplets, report = generate_negatives(rows, names, per_caption, seed, writer, judge)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        write_videocon(path, triplets)
    else:
        write_manifest(path, triplet_rows(triplets))
    if json:
        emit({"out": str(path), "triplets": len(triplets), "seed": seed, **report.to_json()})
        return
    _print_report(report)
    say(f"{path}: {len(triplets)} negatives of {report.captions} captions; {report.without} captions have none")


def _print_report(report: NegativesReport) -> None:
    for kind, made in report.made.items():
        say(f"{kind}: {made} made, {report.impossible[kind]} not possible, {report.refused[kind]} rejected")
    for reason, count in report.reasons.most_common():
        say(f"rejected: {reason}: {count}")
