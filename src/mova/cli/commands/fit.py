"""`mova fit`: fit an encoder to your own captioned images and clips in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mova.cli.console import emit, note, say
from mova.cli.options import Device, Fps, Json, Model, Splits
from mova.cli.output_files import folder_argument
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder


def fit(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CAPTIONS",
            help="Manifest, table (.csv, .jsonl: file_name, caption), or folder of NAME.jpg or .mp4 with NAME.txt.",
        ),
    ],
    target: Annotated[Path, folder_argument("New folder for the fitted model.", metavar="OUT")],
    model: Model = None,
    fps: Fps = None,
    split: Splits = None,
    seed: Annotated[int, typer.Option(help="Seed of the division into folds.")] = 0,
    relations: Annotated[
        bool,
        typer.Option(
            "--relations",
            help="CAPTIONS is a table of moments (file, start, end, and one column per concept, such as place): "
            "fit what two moments share.",
        ),
    ] = False,
    device: Device = None,
    json: Json = False,
) -> None:
    """Fit an encoder to captioned images and clips by ridge regression, and save it as a model of its own.

    It takes a few hundred captioned images or clips, and seconds once they are encoded.
    With --relations, it learns in which respects two moments are alike, for search --like ... --by.
    What is fitted is measured on held-out files. If it does not help there, nothing is saved, and the exit code is 1.
    """
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder")
    if relations and (fps is not None or split):
        raise UsageError("--relations reads a table of moments; it takes neither --fps nor --split")
    from mova.features.fit import fit as fit_model
    from mova.models.known import DEFAULT_MODEL
    from mova.models.registry import load

    if target.exists() and any(target.iterdir() if target.is_dir() else [target]):
        raise UsageError(f"{target}: exists; name a new folder")
    encoder = load(model or DEFAULT_MODEL, precision="fp32", device=device)
    if relations:
        _fit_relations(encoder, source, target, seed, json)
        return
    with encoder.isolated():
        fitted, report = fit_model(encoder, source, splits=split or (), fps=fps, seed=seed, warn=note)
    if report.helps:
        fitted.save_pretrained(target)
    if json:
        emit({"model": str(target) if report.helps else None, "encoder": encoder.name, **report.to_json()})
    else:
        say(
            f"{report.images} images and {report.rows - report.images} clips, held out among {report.gallery}: "
            f"R@1 {report.recall_before:g} -> {report.recall_after:g} %, "
            f"mean reciprocal rank {report.rank_before:g} -> {report.rank_after:g} "
            f"(gain {report.gain:g}, standard error {report.error:g})"
        )
        say(f"saved {target}; use --model {target}" if report.helps else "not saved: the fit does not help")
    if not report.helps:
        raise typer.Exit(1)


def _fit_relations(encoder: DualEncoder, source: Path, target: Path, seed: int, json: bool) -> None:
    """Train a basis on a table of moments, and save the model with it if it helps."""
    from mova.cli.console import file_bar
    from mova.eval.tasks.relations import read_gallery
    from mova.train.relations import train_relations

    with encoder.isolated(), file_bar("reading", "moment") as progress:
        gallery = read_gallery(source, encoder, progress)
    relations, report = train_relations(encoder, gallery, seed=seed)
    if report.helps:
        encoder.save_pretrained(target)  # type: ignore[attr-defined]
        relations.save(target)
    if json:
        emit({"model": str(target) if report.helps else None, "encoder": encoder.name, **report.to_json()})
    else:
        say(
            f"{report.moments} moments of {report.files} files, {', '.join(report.concepts)}: AUC of equal values, "
            f"held out, {report.auc_words:g} (words alone) -> {report.auc_basis:g} % "
            f"(gain {report.gain:g}, standard error {report.error:g})"
        )
        say(f"saved {target}; use --model {target}" if report.helps else "not saved: the basis does not help")
    if not report.helps:
        raise typer.Exit(1)
