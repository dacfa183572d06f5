"""`mova eval relations`: does a model tell what two moments share?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mova.cli.console import emit, file_bar, note, show
from mova.cli.options import Json, Model

if TYPE_CHECKING:
    from mova.eval.tasks.relations import ConceptRelations


def relations(
    gallery: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TABLE.csv]",
            help="Moments: columns file, start and end (seconds, optional), and one per concept. Default: Worlds.",
        ),
    ] = None,
    model: Model = None,
    clips: Annotated[int, typer.Option(help="Worlds: number of moments.")] = 600,
    style: Annotated[str, typer.Option(help="Worlds: styles seen in training, or unseen.")] = "unseen",
    seed: Annotated[int, typer.Option(min=0, help="Worlds: seed of events and sentences.")] = 0,
    json: Json = False,
) -> None:
    """Evaluate whether a model tells what two moments share: the same color, place, shape, ...

    Pairs of moments with the same value are ranked against all other pairs (ROC-AUC in percent; 50 is chance), by the
    model's own similarity in that respect and by similarities that need no training.
    """
    from mova.errors import UsageError
    from mova.models.known import DEFAULT_MODEL

    if gallery is not None and not gallery.is_file():
        raise UsageError(f"{gallery}: no such file")
    from mova.eval.tasks.relations import ARMS, evaluate_relations, read_gallery, worlds_gallery
    from mova.models.registry import load

    encoder = load(model or DEFAULT_MODEL)
    if gallery is None:
        moments = worlds_gallery(encoder, clips=clips, style=style, seed=seed)
    else:
        with file_bar("reading", "moment") as progress:
            moments = read_gallery(gallery, encoder, progress)
    results = evaluate_relations(encoder, moments)
    means = {arm: fmean(figures.auc[arm] for figures in results.values()) for arm in ARMS}
    where = str(gallery) if gallery is not None else f"Worlds, {style} style, seed {seed}"
    if json:
        concepts = {
            name: {
                "auc": dict(figures.auc),
                "moments": figures.moments,
                "pairs": {"same": figures.same, "different": figures.different},
                "trained": figures.trained,
            }
            for name, figures in results.items()
        }
        emit({"task": "relations", "model": encoder.name, "gallery": where, "mean": means, "concepts": concepts})
        return
    _show(f"{encoder.name}: what two moments share ({where})", results, means)


def _show(title: str, results: Mapping[str, ConceptRelations], means: Mapping[str, float]) -> None:
    """Print a row per concept, and the means."""
    table = Table(title=title, header_style="bold")
    table.add_column("concept")
    for arm in means:
        table.add_column(arm, justify="right")
    for name, figures in results.items():
        label = name if figures.trained else f"{name} (words only)"
        table.add_row(label, *(f"{figures.auc[arm]:.1f}" for arm in means))
    table.add_section()
    table.add_row("mean", *(f"{value:.1f}" for value in means.values()))
    show(table)
    note("ROC-AUC of pairs with the same value in percent; 50 is chance")
    note("the posterior is the best of 8 forms on these pairs")
