"""`mova data weights`: weight synthetic videos by how well they show their captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mova.cli.console import FAILURES_SHOWN, emit, file_bar, note, one_line, say
from mova.cli.data.shard_options import Merge, Shard, parse_shard
from mova.cli.options import Device, DeviceMap, Json, ManifestTarget, Precision, Quantize, Ray
from mova.cli.output_files import output_file
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.text_to_video.parts import Part
    from mova.text_to_video.weighting import Case, Scored, WeighResult

Judges = Annotated[
    list[str] | None,
    typer.Option(help="Video or image LLM that scores the videos; may be repeated for an ensemble."),
]
Cache = Annotated[Path | None, output_file("SQLite file that caches scores (default: scores.sqlite next to OUT).")]


def weights(
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST", help="Manifest with synthetic videos, as written by `mova data synthesize`."
        ),
    ],
    target: ManifestTarget,
    vqa: Judges = None,
    strategy: Annotated[
        str, typer.Option(help="Weighting: fixed, own, product, indicator or difference (SynViTA, Table 4).")
    ] = "difference",
    frames: Annotated[int, typer.Option(min=1, help="Number of frames to score per video.")] = 4,
    prompt: Annotated[
        str, typer.Option(help="Question for the LLMs: `figure`, or a YAML file with the key `text`.")
    ] = "figure",
    cache: Cache = None,
    batch: Annotated[int, typer.Option(min=1, help="Number of videos to score at a time.")] = 1,
    shard: Shard = None,
    merge: Merge = False,
    ray: Ray = None,
    plot: Annotated[
        Path | None,
        output_file("Write a plot of the score differences by kind of misalignment (.png), with a JSON table."),
    ] = None,
    precision: Precision = "auto",
    device: Device = None,
    device_map: DeviceMap = None,
    quantize: Quantize = None,
    json: Json = False,
) -> None:
    """Weight synthetic videos by how well an ensemble of VQA models rates their captions.

    --shard 3/8 scores an eighth of the videos; --merge then writes the manifest.
    """
    from mova.data.manifest import read_manifest, rebased, write_manifest

    part = _part(shard, merge, ray, vqa)
    path = target if target.suffix == ".jsonl" else target / "manifest.jsonl"
    rows = read_manifest(manifest)
    from mova.text_to_video import weighting

    cases, _ = weighting.find_cases(rows, manifest.parent)
    asked = {"frames": frames, "prompt": prompt}
    if merge:
        scored = weighting.merge_scores(cases, path.parent, **asked)
    else:
        options = {"precision": precision, "device": device, "device_map": device_map, "quantise": quantize}
        chosen = cases if part is None else part.pick(cases)
        default = path.parent / "scores.sqlite" if part is None else part.file(path.parent, "scores", ".sqlite")
        scored = _score(chosen, vqa or [], asked, cache or default, batch, options, ray)
        if part is not None:
            file = weighting.save_scores(scored, part, cases, path.parent, **asked)
            _print_part(file, part, scored, json)
            return
    result = weighting.apply_scores(rows, manifest.parent, scored, strategy)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(path, [rebased(row, manifest.parent, path.parent) for row in result.rows])
    _print_weights(result, path, plot, strategy, list(scored.keys), json)


def _part(shard: str | None, merge: bool, ray: str | None, vqa: list[str] | None) -> Part | None:
    """Return which part is scored; None for all.

    Raises:
        UsageError: options that do not fit together.
    """
    part = parse_shard(shard, merge)
    if ray is not None and (merge or part is not None):
        raise UsageError("--ray scores all videos on a cluster; omit --shard and --merge")
    if bool(vqa) == merge:
        raise UsageError("name at least one model with --vqa; with --merge none, because the shards have been scored")
    return part


def _score(
    cases: Sequence[Case],
    vqa: Sequence[str],
    asked: Mapping[str, Any],
    cache: Path,
    batch: int,
    options: Mapping[str, Any],
    ray: str | None,
) -> Scored:
    from mova.models.video_llm.prompt import Question
    from mova.text_to_video.score_cache import ScoreCache
    from mova.text_to_video.weighting import figure_loader, score_cases
    from mova.utils.cluster import Cluster, for_nodes

    question = Question.named(asked["prompt"])
    models = {name: figure_loader(for_nodes(name), asked["frames"], question, **options) for name in vqa}
    with ScoreCache(cache) as scores, file_bar("scoring", "case") as progress:
        return score_cases(cases, models, scores, progress, batch, None if ray is None else Cluster(ray))


def _print_part(file: Path, part: Part, scored: Scored, json: bool) -> None:
    broken = sum(cause is not None for cause in scored.broken)
    if json:
        emit({"part": str(part), "file": str(file), "videos": len(scored.broken), "broken": broken})
        return
    say(f"{file}: scores of {len(scored.broken)} videos, {broken} of them unreadable")
    note(f"when all {part.of} shards are finished: the same command with --merge, without --vqa and --shard")


def _print_weights(
    result: WeighResult, path: Path, plot: Path | None, strategy: str, vqa: Sequence[str], json: bool
) -> None:
    from mova.plots.generator_agreement import draw_misalignments, spreads
    from mova.plots.generator_agreement import table as as_table

    kinds = spreads([case.misalignment for case in result.cases], result.own, result.other)
    if plot is not None:
        draw_misalignments(kinds, plot, ", ".join(Path(name).name for name in vqa))
    for video, cause in result.broken[:FAILURES_SHOWN]:
        note(f"no weight: {one_line(video)}: {one_line(cause)}")
    if result.positives:
        note(f"no weight: {result.positives} videos of positive captions, for which no weight is defined")
    if json:
        emit(
            {
                "manifest": str(path),
                "strategy": strategy,
                "models": list(vqa),
                "videos": len(result.cases),
                "mean_weight": float(result.weights.mean()),
                "zero": int((result.weights == 0).sum()),
                "broken": [{"video": video, "cause": cause} for video, cause in result.broken],
                "positives": result.positives,
                "differences": as_table(kinds),
                "plot": None if plot is None else str(plot),
            }
        )
        return
    say(f"{path}: {len(result.cases)} weights, mean {result.weights.mean():.3f}, {(result.weights == 0).sum()} are 0")
    for kind in kinds:
        say(
            f"{kind.kind}: difference {kind.mean:+.3f} (std {kind.std:.3f}), {kind.below:.0%} below 0, n = {kind.count}"
        )
