"""`mova eval long`: a model on galleries of long videos with near duplicates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mova.cli.console import emit, note, progress_bar, show
from mova.cli.options import Json, Model
from mova.errors import DataError

if TYPE_CHECKING:
    from rich.progress import Progress

    from mova.eval.tasks.long_galleries import LongGallery
    from mova.eval.tasks.long_videos import LongFigures, Recalls
    from mova.models.encoder import DualEncoder


def long(
    model: Model = None,
    minutes: Annotated[float, typer.Option(help="Length of a video.")] = 10.0,
    videos: Annotated[int, typer.Option(help="Number of videos.")] = 200,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="Join the captioned clips of this .jsonl, such as one of `mova data convert`; default: Worlds."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the manifest (default: `test`, or the only one).")] = None,
    features: Annotated[
        Path | None, typer.Option(help="A store of `mova data features`: read its vectors instead of decoding videos.")
    ] = None,
    form: Annotated[
        list[str] | None,
        typer.Option(help="Scoring form; may be repeated (default: all without masks over dimensions)."),
    ] = None,
    style: Annotated[str, typer.Option(help="Worlds: styles seen in training, or unseen.")] = "unseen",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the gallery.")] = 0,
    json: Json = False,
) -> None:
    """Evaluate a model on long videos with near duplicates: retrieval by every scoring form, and localization.

    Short clips are encoded once and joined, so that 200 videos of ten minutes take about as long as their pool of
    clips. Captions describe a few of the many clips of a video. An oracle, knowledge of the group of near duplicates
    alone, and chance are measured beside the model.
    """
    for option, path in (("--manifest", manifest), ("--features", features)):
        if path is not None and not path.exists():
            raise DataError(f"{option} {path}: no such file or folder")
    from mova.eval.tasks.long_videos import evaluate_long
    from mova.eval.tasks.scoring_forms import ScoringForm
    from mova.models.known import DEFAULT_MODEL
    from mova.models.registry import load

    encoder = load(model or DEFAULT_MODEL)
    for name in form or ():  # before anything is encoded
        ScoringForm(encoder, name)
    size = {"videos": videos, "minutes": minutes, "seed": seed}
    excluded: dict[str, str] = {}
    with progress_bar() as bar:
        if manifest is None:
            gallery = _worlds(encoder, style, bar, **size)
            where = f"Worlds, {style} style, seed {seed}"
        else:
            gallery, excluded = _clips(encoder, manifest, split, features, bar, **size)
            where = f"{manifest}, seed {seed}"
        figures = evaluate_long(encoder, gallery, form, _shown(bar, "scoring: form"))
    for row, cause in excluded.items():
        note(f"not measured: {row}: {cause}")
    if json:
        emit({"task": "long", "model": encoder.name, "gallery": where, "excluded": excluded, **figures.to_json()})
        return
    _show(encoder.name, where, figures)


def _worlds(encoder: DualEncoder, style: str, bar: Progress, **size: float) -> LongGallery:
    from mova.eval.tasks.long_galleries import worlds_gallery

    return worlds_gallery(encoder, style=style, progress=_shown(bar, "encoding: clip"), **size)  # type: ignore[arg-type]


def _clips(
    encoder: DualEncoder, manifest: Path, split: str | None, features: Path | None, bar: Progress, **size: float
) -> tuple[LongGallery, dict[str, str]]:
    """Return the gallery, and the rows that it leaves out, with the reason."""
    from mova.eval.tasks.long_galleries import manifest_gallery
    from mova.eval.tasks.split import open_split

    stored = None
    if features is not None:
        from mova.data.feature_store import FeatureStore
        from mova.features.stored import StoredEmbeddings

        stored = StoredEmbeddings(FeatureStore(features), encoder, None)
    rows = open_split(encoder, manifest, split, encode=stored, progress=_shown(bar, "encoding: clip"))
    return manifest_gallery(rows, **size), rows.excluded  # type: ignore[arg-type]


def _shown(bar: Progress, activity: str) -> Callable[[int, int], None]:
    """Return a function that shows how many of all items are done."""
    task = bar.add_task(activity, total=None)
    return lambda done, total: bar.update(task, completed=done, total=total, line=f"{activity} {done} of {total}")


def _show(model: str, where: str, figures: LongFigures) -> None:
    """Print the recalls of every form and of the bounds, in two tables, and localization."""
    rows = {**figures.forms, **figures.bounds}
    first = next(iter(rows.values()))
    size = f"{figures.videos} videos of {figures.minutes:.1f} minutes"
    table = _table(f"{model}: R@1 in percent, {size} ({where})", ["t2v", "v2t", "group", *first.members])
    _fill(table, rows, len(figures.forms), lambda r: [r.t2v, r.v2t, r.group, *r.members.values()])
    show(table)
    heads = [f"{count} statements" for count in first.statements]
    table = _table("t2v by length of the caption, and by share of uncovered frames", [*heads, *first.uncovered])
    _fill(table, rows, len(figures.forms), lambda r: [*r.statements.values(), *r.uncovered.values()])
    show(table)
    for name, value in figures.localization.items():
        note(f"{name}: {value:.3f}")
    note(f"{figures.videos} queries: differences below {100 / figures.videos**0.5:.0f} points may be chance")


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, header_style="bold")
    table.add_column("form")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _fill(table: Table, rows: Mapping[str, Recalls], forms: int, cells: Callable[[Recalls], Sequence[float]]) -> None:
    for number, (name, recalls) in enumerate(rows.items()):
        if number == forms:
            table.add_section()
        table.add_row(name, *(f"{value:.1f}" for value in cells(recalls)))
