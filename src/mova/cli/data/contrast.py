"""`mova data contrast`: hard negatives of captions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mova.cli.console import emit, say
from mova.cli.options import Json


def contrast(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Manifest whose captions are true.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="manifest.jsonl, a folder for it, or a .csv with VideoCon's columns.")
    ],
    kinds: Annotated[str | None, typer.Option(help="Kinds, with commas between them; a wrong name lists all.")] = None,
    per_caption: Annotated[
        int | None, typer.Option(min=1, help="At most so many a caption, kinds balanced. One of every possible kind.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same negatives.")] = 0,
    llm: Annotated[str | None, typer.Option(help="Let an instruct model write them: hub name or folder.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Server of OpenAI's protocol that has the model of --llm; key: OPENAI_API_KEY.")
    ] = None,
    entailment: Annotated[
        str | None, typer.Option(help="Refuse what follows from the caption, by this inference model.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where models run here: cpu, cuda, cuda:1, ...")] = "cpu",
    json: Json = False,
) -> None:
    """Make hard negatives of captions: seven kinds, by rule without any model, or by a language model."""
    from mova.data.manifest import read_manifest, rebased, write_manifest
    from mova.data.negatives.generate import generate_negatives, rule_writer, triplet_rows
    from mova.data.negatives.kinds import KINDS
    from mova.data.negatives.llm_writer import make_writer
    from mova.data.negatives.videocon_csv import write_videocon
    from mova.text.nli import Inference

    names = KINDS if kinds is None else tuple(name for name in kinds.split(",") if name.strip())
    writer = rule_writer if llm is None and endpoint is None else make_writer(llm, endpoint, device)
    judge = None if entailment is None else Inference(entailment, device=device)
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
    for kind, made in report.made.items():
        say(f"{kind}: {made}, not possible for {report.impossible[kind]}, all refused for {report.refused[kind]}")
    for reason, count in report.reasons.most_common():
        say(f"refused: {reason}: {count}")
    say(f"{path}: {len(triplets)} of {report.captions} captions; {report.without} captions without any")
