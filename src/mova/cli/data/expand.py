"""`mova data expand`: more granularities out of one manifest."""

from __future__ import annotations

import json as json_text
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mova.cli.console import emit, note, say, show
from mova.cli.options import Json, Model
from mova.errors import DataError, UsageError, VideoError

if TYPE_CHECKING:
    from mova.data.expansion.expand import Expansion
    from mova.data.manifest import Row
    from mova.eval.summary_agreement import Agreement
    from mova.models.encoder import DualEncoder

log = logging.getLogger(__name__)

FRAMES = 16
"""Of a video on the map."""
BATCH = 64
"""Texts encoded at once."""


def expand(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest.jsonl; it is not changed.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for manifest.jsonl and report, or a .jsonl.")],
    ops: Annotated[
        list[str],
        typer.Option(
            help='Operations in order: "integrate:source,min=4 compress:extractive,words=20" (docs/guides/expand.md).'
        ),
    ],
    base: Annotated[str, typer.Option(help="Granularity of the manifest's rows that name none.")] = "SVST",
    leave_out: Annotated[list[str] | None, typer.Option(help="A granularity not to write; may be repeated.")] = None,
    shared_sources: Annotated[
        bool, typer.Option("--shared-sources", help="Allow source videos whose clips are in several splits.")
    ] = False,
    materialize: Annotated[
        Path | None, typer.Option(help="Folder to write every row's own video into, with a manifest of them.")
    ] = None,
    short_side: Annotated[int | None, typer.Option(min=16, help="Pixels of materialized videos.")] = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Make long videos with long texts, long videos with short texts and images out of clips, without copying any."""
    from mova.data.expansion import expand as gex
    from mova.data.expansion.operations import parse_operations
    from mova.plots.expansion import draw_expansion

    operations = parse_operations(ops)
    if materialize is not None:
        _refuse_overwriting(materialize, manifest, gex.target_file(target))
    encoder = None
    if model is not None:
        from mova.models.registry import load

        encoder = load(model)
    done = gex.expand(
        manifest,
        target,
        operations,
        base=base,
        leave_out=leave_out or (),
        shared_sources=shared_sources,
        keep_workspace=True,
    )
    report = done.to_json()
    agreed = _agreed(done, model, encoder)
    report["similarity"] = {each.level: each.to_json() for each in agreed}
    report["picture"] = str(done.manifest.with_name(f"{done.manifest.stem}-report.png"))
    draw_expansion(report["granularities"], agreed, report["picture"])
    if materialize is not None:
        from mova.data.expansion.materialize import materialize as write_videos

        report["materialised"] = write_videos(done.manifest, materialize, short_side=short_side).to_json()
    document = json_text.dumps(report, ensure_ascii=False, allow_nan=False, indent=1)
    done.manifest.with_name(f"{done.manifest.stem}-report.json").write_text(document + "\n", encoding="utf-8")
    gex.forget(done)
    if json:
        emit(report)
    else:
        _tell(report)


def _refuse_overwriting(folder: Path, *manifests: Path) -> None:
    for manifest in manifests:
        if (folder / "manifest.jsonl").resolve() == manifest.resolve():
            raise UsageError(f"--materialize {folder}: its manifest.jsonl is {manifest}; choose another folder")


def _agreed(done: Expansion, name: str | None, encoder: DualEncoder | None) -> list[Agreement]:
    from mova.eval.summary_agreement import agreements

    if encoder is None or name is None:
        return agreements(done.sample)
    embed, vector = partial(_embed, encoder), partial(_vector, encoder, done.manifest.parent)
    return agreements(done.sample, embed, name, vector)


def _embed(model: DualEncoder, texts: Sequence[str]) -> Any:
    """Vectors of texts, float64 (N, d)."""
    import numpy as np

    batches = [model.encode_text(list(texts[k : k + BATCH])).pooled for k in range(0, len(texts), BATCH)]
    return np.concatenate([batch.double().cpu().numpy() for batch in batches])


def _vector(model: DualEncoder, folder: Path, row: Row) -> Any:
    """The vector of a row's video, float64 (d,); its files lie below a folder. None where they cannot be read."""
    from mova.data.concat import VideoConcat
    from mova.data.frame_selection import FrameRule

    try:
        frames = FrameRule(FRAMES, rule="segment_midpoint").read_concat(VideoConcat.of(row.segments, folder))
    except (VideoError, DataError) as error:
        log.info("%s: not on the map: %s", row.id, error)
        return None
    return model.encode_video(frames).pooled.double().cpu().numpy()


def _tell(report: dict[str, Any]) -> None:
    table = Table("granularity", "rows", "seconds", "words", "left out")
    for name, figures in report["granularities"].items():
        left = sum(each["count"] for each in report["left_out"].get(name, {}).values() if not each["kept"])
        row = (f"{figures['rows']:,}", _spread(figures["seconds"]), _spread(figures["words"]), f"{left:,}")
        table.add_row(name, *row)
    show(table)
    written = report.get("materialised", {}).get("left_out", {})
    for name, reasons in {**report["left_out"], "--materialize": written}.items():
        for reason, each in reasons.items():
            note(f"{name}: {reason}: {each['count']:,} (such as {each['first'][0]})")
    if report["shared_sources"]:
        note(f"source videos in several splits: {report['shared_sources']:,}")
    for name, each in report["similarity"].items():
        own, others = each["own"], each["others"]
        against = "" if others["mean"] is None else f", with another's {others['mean']:.3f}"
        alike = f"{own['mean']:.3f} ± {own['deviation']:.3f}{against} ({each['measure']})"
        say(f"{name}: similarity with the long text {alike}")
        if each["videos_not_read"]:
            note(f"{name}: videos of the map that could not be read: {each['videos_not_read']}")
    if "materialised" in report:
        each = report["materialised"]
        say(
            f"{each['manifest']}: {each['rows']} rows, {each['videos']} videos written, {each['found']} shared or there"
        )
    say(f"{report['manifest']}: {report['rows']:,} rows; {report['picture']}")


def _spread(figures: dict[str, Any]) -> str:
    return "not known" if figures["mean"] is None else f"{figures['mean']:.1f} ± {figures['deviation']:.1f}"
