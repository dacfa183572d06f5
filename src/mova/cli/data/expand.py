"""`mova data expand`: derive more granularities (long videos, short texts, images) from one manifest."""

from __future__ import annotations

import json as json_text
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mova.cli.console import emit, note, say, show
from mova.cli.options import Json, Ray
from mova.cli.output_files import manifest_argument, output_folder
from mova.errors import DataError, UsageError, VideoError

if TYPE_CHECKING:
    from mova.data.expansion.expand import Expansion
    from mova.data.manifest import Row
    from mova.eval.summary_agreement import Agreement
    from mova.models.encoder import DualEncoder

log = logging.getLogger(__name__)

FRAMES = 16
"""Frames per video in the plot of similarities."""
BATCH = 64
"""Texts per batch."""


@dataclass(frozen=True)
class Files:
    """Video files of the new rows, if any."""

    materialize: Annotated[
        Path | None, output_folder("Folder to write one video file per row to, with a manifest.")
    ] = None
    short_side: Annotated[
        int | None, typer.Option(min=16, help="Shorter side in pixels of the videos of --materialize.")
    ] = None

    ray: Ray = None

    def check(self, *manifests: Path) -> None:
        """Raise if a manifest would be overwritten by that of the files.

        Raises:
            UsageError: the folder contains one of the manifests, or there is nothing that a cluster could write.
        """
        if self.materialize is None:
            if self.ray is not None:
                raise UsageError("--ray writes the files of --materialize FOLDER on a cluster; name one, or omit --ray")
            return
        for manifest in manifests:
            if (self.materialize / "manifest.jsonl").resolve() == manifest.resolve():
                raise UsageError(
                    f"--materialize {self.materialize}: its manifest.jsonl is {manifest}; choose another folder"
                )

    def write(self, manifest: Path, report: dict[str, Any]) -> None:
        """Write the files, and report them under "materialised"."""
        if self.materialize is not None:
            from mova.data.expansion.materialize import materialize
            from mova.utils.cluster import Cluster

            cluster = None if self.ray is None else Cluster(self.ray)
            written = materialize(manifest, self.materialize, short_side=self.short_side, cluster=cluster)
            report["materialised"] = written.to_json()


def expand(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Manifest (.jsonl); it is not changed.")],
    target: Annotated[
        Path,
        manifest_argument(
            "Manifest to write (.jsonl), or a folder for manifest.jsonl; the report is written next to it.",
            metavar="OUT",
        ),
    ],
    ops: Annotated[
        list[str],
        typer.Option(
            help='Operations in order: "integrate:source,min=4 compress:extractive,words=20" (docs/guides/expand.md).'
        ),
    ],
    base: Annotated[str, typer.Option(help="Granularity of rows that do not name one.")] = "SVST",
    leave_out: Annotated[
        list[str] | None, typer.Option(help="Granularity to omit from the output; may be repeated.")
    ] = None,
    shared_sources: Annotated[
        bool, typer.Option("--shared-sources", help="Allow source videos with clips in more than one split.")
    ] = False,
    *,
    files: Files,
    model: Annotated[
        str | None, typer.Option(help="Model that compares the compressed texts with the long ones (default: TF-IDF).")
    ] = None,
    json: Json = False,
) -> None:
    """Derive long videos, short texts and images from the clips of a manifest.

    No video is copied: the new rows refer to parts of the original files.
    """
    from mova.data.expansion import expand as gex
    from mova.data.expansion.operations import parse_operations

    operations = parse_operations(ops)
    files.check(manifest, gex.target_file(target))
    encoder = None if model is None else _load(model)
    expansion = gex.expand(
        manifest,
        target,
        operations,
        base=base,
        leave_out=leave_out or (),
        shared_sources=shared_sources,
        keep_workspace=True,
    )
    report = _plot_report(expansion, model, encoder)
    files.write(expansion.manifest, report)
    document = json_text.dumps(report, ensure_ascii=False, allow_nan=False, indent=1)
    path = expansion.manifest.with_name(f"{expansion.manifest.stem}-report.json")
    path.write_text(document + "\n", encoding="utf-8")
    gex.forget(expansion)
    if json:
        emit(report)
    else:
        _print_report(report)


def _plot_report(expansion: Expansion, model: str | None, encoder: DualEncoder | None) -> dict[str, Any]:
    """Return the report with the similarities of texts, and write its plot."""
    from mova.plots.expansion import draw_expansion

    report = expansion.to_json()
    similarities = _similarities(expansion, model, encoder)
    report["similarity"] = {row.level: row.to_json() for row in similarities}
    report["picture"] = str(expansion.manifest.with_name(f"{expansion.manifest.stem}-report.png"))
    draw_expansion(report["granularities"], similarities, report["picture"])
    return report


def _load(model: str) -> DualEncoder:
    from mova.models.registry import load

    return load(model)


def _similarities(expansion: Expansion, name: str | None, encoder: DualEncoder | None) -> list[Agreement]:
    from mova.eval.summary_agreement import agreements

    if encoder is None or name is None:
        return agreements(expansion.sample)
    embed, vector = partial(_embed, encoder), partial(_vector, encoder, expansion.manifest.parent)
    return agreements(expansion.sample, embed, name, vector)


def _embed(model: DualEncoder, texts: Sequence[str]) -> Any:
    """Encode texts as float64 (N, d)."""
    import numpy as np

    batches = [model.encode_text(list(texts[k : k + BATCH])).pooled for k in range(0, len(texts), BATCH)]
    return np.concatenate([batch.double().cpu().numpy() for batch in batches])


def _vector(model: DualEncoder, folder: Path, row: Row) -> Any:
    """Encode the video of a row, whose files are in `folder`, as float64 (d,). Return None if it is unreadable."""
    from mova.data.concat import VideoConcat
    from mova.video.reader import FrameRule

    try:
        frames = VideoConcat.of(row.segments, folder).select(FrameRule(FRAMES, rule="segment_midpoint"))
    except (VideoError, DataError) as error:
        log.info("%s: not in the plot of similarities: %s", row.id, error)
        return None
    return model.encode_video(frames).pooled.double().cpu().numpy()


def _print_report(report: dict[str, Any]) -> None:
    table = Table("granularity", "rows", "seconds", "words", "excluded")
    for name, statistics in report["granularities"].items():
        reasons = report["left_out"].get(name, {}).values()
        excluded = sum(reason["count"] for reason in reasons if not reason["kept"])
        seconds, words = _spread(statistics["seconds"]), _spread(statistics["words"])
        table.add_row(name, f"{statistics['rows']:,}", seconds, words, f"{excluded:,}")
    show(table)
    unwritten = report.get("materialised", {}).get("left_out", {})
    for name, causes in {**report["left_out"], "--materialize": unwritten}.items():
        for cause, rows in causes.items():
            note(f"{name}: {cause}: {rows['count']:,} (such as {rows['first'][0]})")
    if report["shared_sources"]:
        note(f"source videos in more than one split: {report['shared_sources']:,}")
    for name, similarity in report["similarity"].items():
        matched, others = similarity["own"], similarity["others"]
        baseline = "" if others["mean"] is None else f"; with other long texts {others['mean']:.3f}"
        mean = f"{matched['mean']:.3f} ± {matched['deviation']:.3f}"
        say(f"{name}: similarity with the long text {mean} ({similarity['measure']}){baseline}")
        if similarity["videos_not_read"]:
            note(f"{name}: unreadable videos in the plot of similarities: {similarity['videos_not_read']}")
    if "materialised" in report:
        written = report["materialised"]
        counts = (
            f"{written['rows']} rows, {written['videos']} videos written, {written['found']} shared or already there"
        )
        say(f"{written['manifest']}: {counts}")
    say(f"{report['manifest']}: {report['rows']:,} rows")
    say(f"wrote {report['picture']}")


def _spread(values: dict[str, Any]) -> str:
    return "unknown" if values["mean"] is None else f"{values['mean']:.1f} ± {values['deviation']:.1f}"
