"""`mova data weights`: weight synthetic videos by how well they show their captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mova.cli.console import FAILURES_SHOWN, emit, file_bar, note, say
from mova.cli.options import Device, Json

if TYPE_CHECKING:
    from mova.text_to_video.weighting import WeighResult


def weights(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="With synthetic videos.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="manifest.jsonl to write, or a folder for it.")],
    vqa: Annotated[list[str], typer.Option(help="Video or image LLM that scores; may be repeated for an ensemble.")],
    strategy: Annotated[
        str, typer.Option(help="fixed, own, product, indicator or difference (SynViTA, Table 4).")
    ] = "difference",
    frames: Annotated[int, typer.Option(min=1, help="Looked at in each video.")] = 4,
    prompt: Annotated[str, typer.Option(help="What is asked: `figure`, or a YAML file with `text`.")] = "figure",
    cache: Annotated[Path | None, typer.Option(help="File of scores; scores.sqlite beside OUT if left out.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="PNG of the differences by misalignment, with a JSON table.")
    ] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    device: Device = None,
    device_map: Annotated[str | None, typer.Option(help="Spread a model over devices: auto, balanced, ...")] = None,
    quantise: Annotated[str | None, typer.Option(help="Weights in `4bit` or `8bit`, on a GPU.")] = None,
    json: Json = False,
) -> None:
    """How far to trust each synthetic video of a negative: an ensemble of VQA models over a few frames."""
    from mova.data.manifest import read_manifest, rebased, write_manifest
    from mova.models.video_llm.prompt import Question
    from mova.text_to_video.score_cache import ScoreCache
    from mova.text_to_video.weighting import figure_loader, weigh

    path = target if target.suffix == ".jsonl" else target / "manifest.jsonl"
    rows = read_manifest(manifest)
    options = {"precision": precision, "device": device, "device_map": device_map, "quantise": quantise}
    question = Question.named(prompt)
    models = {name: figure_loader(name, frames, question, **options) for name in vqa}
    with ScoreCache(cache or path.parent / "scores.sqlite") as scores, file_bar("scoring") as shown:
        found = weigh(rows, manifest.parent, models, strategy, scores, shown)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(path, [rebased(row, manifest.parent, path.parent) for row in found.rows])
    _tell_weights(found, path, plot, strategy, vqa, json)


def _tell_weights(
    found: WeighResult, path: Path, plot: Path | None, strategy: str, vqa: Sequence[str], json: bool
) -> None:
    from mova.plots.generator_agreement import draw_misalignments, spreads
    from mova.plots.generator_agreement import table as as_table

    kinds = spreads([case.misalignment for case in found.cases], found.own, found.other)
    if plot is not None:
        draw_misalignments(kinds, plot, ", ".join(Path(name).name for name in vqa))
    for video, cause in found.broken[:FAILURES_SHOWN]:
        note(f"no weight: {video}: {cause}")
    if found.positives:
        note(f"no weight: {found.positives} videos of positive captions, which no weight is defined for")
    if json:
        emit(
            {
                "manifest": str(path),
                "strategy": strategy,
                "models": list(vqa),
                "videos": len(found.cases),
                "mean_weight": float(found.weights.mean()),
                "zero": int((found.weights == 0).sum()),
                "broken": [{"video": video, "cause": cause} for video, cause in found.broken],
                "positives": found.positives,
                "differences": as_table(kinds),
                "plot": None if plot is None else str(plot),
            }
        )
        return
    say(f"{path}: {len(found.cases)} weights, mean {found.weights.mean():.3f}, {(found.weights == 0).sum()} of them 0")
    for kind in kinds:
        say(f"{kind.kind}: difference {kind.mean:+.3f} (std {kind.std:.3f}), below 0 {kind.below:.0%}, n {kind.count}")
