"""`mova data synthesize` and `mova data weights`: videos of captions, and how far to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mova.cli.console import emit, file_bar, note, progress_bar, say
from mova.cli.data.commands import data
from mova.cli.options import Device, Json
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.data.manifest import Row
    from mova.data.synthetic import Order, Synthetic
    from mova.text_to_video.match_files import Joined
    from mova.text_to_video.weighting import Weighed

NAMED = 5
"""Failures named on the terminal; all of them stand in the JSON."""

Pipeline = Annotated[
    str | None, typer.Option(help="Text-to-video pipeline of diffusers: folder or hub name. With --join only a name.")
]
Options = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="Further argument of the pipeline; may be repeated.")
]
Join = Annotated[
    Path | None, typer.Option(help="Folder of videos that another program rendered, instead of rendering.")
]
Pattern = Annotated[
    str | None,
    typer.Option(help="Of names in --join: {text}, {id}, {of}, {misalignment}, {line}, {position}, {index}."),
]
Prompts = Annotated[
    bool, typer.Option("--prompts", help="Only write OUT/prompts.txt, a caption a line, for another program.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `mova data`; `app` takes that group elsewhere."""
    data.command()(synthesize)
    data.command()(weights)


def synthesize(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="With negatives, as `mova data contrast` makes.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the videos and manifest.jsonl.")],
    model: Pipeline = None,
    captions: Annotated[str, typer.Option(help="Which captions to show: negative, positive or all.")] = "negative",
    per_caption: Annotated[int, typer.Option(min=1, help="Videos of each caption.")] = 1,
    seed: Annotated[int, typer.Option(help="Every video's own seed follows from it.")] = 0,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Of a video; the pipeline's own number if left out.")
    ] = None,
    fps: Annotated[float | None, typer.Option(min=0.1, help="Frames a second; the family's own if left out.")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Pixels.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Pixels.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of denoising.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Scale of classifier-free guidance.")] = None,
    option: Options = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    motion_adapter: Annotated[str | None, typer.Option(help="AnimateDiff's adapter, for an image --model.")] = None,
    device: Device = None,
    dtype: Annotated[str, typer.Option("--precision", "--dtype", help="auto, fp32, bf16 or fp16.")] = "auto",
    offload: Annotated[bool, typer.Option("--offload", help="Keep only the part that works on the GPU.")] = False,
    join: Join = None,
    pattern: Pattern = None,
    table: Annotated[Path | None, typer.Option(help="CSV or JSON lines (video, text) instead of --pattern.")] = None,
    prompts: Prompts = False,
    json: Json = False,
) -> None:
    """Render captions as videos with any diffusers pipeline, or join videos made elsewhere to them.

    May be stopped at any moment; the same command goes on. The exit code is 1 if there is no video at all.
    """
    from mova.data.manifest import read_manifest
    from mova.data.synthetic import orders
    from mova.text_to_video.diffusers_pipeline import Settings

    _check(model, join, pattern, table, prompts)
    rows = read_manifest(manifest)
    wanted = orders(rows, captions, 1 if join or table or prompts else per_caption)  # type: ignore[arg-type]
    if prompts:
        _write_prompts(wanted, target, json)
        return
    if join is not None or table is not None:
        _join(rows, wanted, manifest, target, join, pattern, table, model or "unnamed", json)
        return
    settings = Settings(frames, fps, height, width, steps, guidance, _options(option or []))
    loading = {
        "revision": revision,
        "motion_adapter": motion_adapter,
        "device": device,
        "dtype": dtype,
        "offload": offload,
    }
    assert model is not None
    _render(rows, wanted, manifest, target, seed, (model, settings, loading), json)


def _check(model: str | None, join: Path | None, pattern: str | None, table: Path | None, prompts: bool) -> None:
    if prompts and (model or join or table):
        raise UsageError("--prompts only writes the captions; leave --model, --join and --table out")
    if not prompts and not (model or join or table):
        raise UsageError("say which pipeline renders (--model), or where the videos are (--join or --table)")
    if pattern is not None and (join is None or table is not None):
        raise UsageError("--pattern says what the names in --join hold; with --table the table says it")
    if join is not None and pattern is None and table is None:
        raise UsageError("--join needs --pattern, such as '{text}-{index}.mp4', or --table")


def _options(given: Sequence[str]) -> dict[str, Any]:
    """Arguments of the pipeline; values are read as YAML, so numbers are numbers."""
    import yaml

    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--option {each!r} must be NAME=VALUE")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--option {each!r}: its value cannot be read ({error})") from error
    return found


def _write_prompts(wanted: Sequence[Order], target: Path, json: bool) -> None:
    target.mkdir(parents=True, exist_ok=True)
    path = target / "prompts.txt"
    path.write_text("".join(" ".join(order.text.split()) + "\n" for order in wanted), encoding="utf-8")
    if json:
        emit({"prompts": str(path), "captions": len(wanted)})
    else:
        say(f"{path}: {len(wanted)} captions; join the videos with --join FOLDER --pattern '{{line}}.mp4' or the like")


def _render(
    rows: Sequence[Row],
    wanted: Sequence[Order],
    manifest: Path,
    target: Path,
    seed: int,
    how: tuple[str, Any, dict[str, Any]],
    json: bool,
) -> None:
    from mova.text_to_video.diffusers_pipeline import TextToVideo, versions
    from mova.text_to_video.render import render

    model, settings, loading = how
    generator = TextToVideo.from_pretrained(model, settings, **loading)
    with progress_bar() as progress:
        task = progress.add_task("rendering", total=len(wanted))
        done = render(
            wanted,
            generator,
            target,
            seed=seed,
            versions=versions(),
            progress=lambda at, _: progress.update(task, completed=at),
        )
    path = _write_manifest(rows, done.videos, manifest, target)
    for row, text, cause in done.failed[:NAMED]:
        note(f"not rendered: {row}: {text!r}: {cause}")
    counts = {"captions": len(wanted), "made": done.made, "kept": done.kept}
    failed = [{"id": row, "text": text, "cause": cause} for row, text, cause in done.failed]
    if json:
        emit(
            {
                "manifest": str(path),
                **counts,
                "failed": failed,
                "untried": done.untried,
                "generator": {"model": generator.name, **generator.identity},
            }
        )
    else:
        stopped = f", {done.untried} not tried after {len(done.failed)} failures" if done.untried else ""
        say(f"{path}: {done.made} videos made, {done.kept} there already, {len(done.failed)} failed{stopped}")
    if not done.videos:
        raise typer.Exit(1)


def _join(
    rows: Sequence[Row],
    wanted: Sequence[Order],
    manifest: Path,
    target: Path,
    folder: Path | None,
    pattern: str | None,
    table: Path | None,
    name: str,
    json: bool,
) -> None:
    from mova.text_to_video.match_files import join_folder, join_table

    if table is not None:
        done = join_table(wanted, table, folder, name)
    else:
        assert folder is not None
        assert pattern is not None
        done = join_folder(wanted, folder, pattern, name)
    target.mkdir(parents=True, exist_ok=True)
    path = _write_manifest(rows, done.videos, manifest, target)
    _tell_joined(done, path, json)
    if not done.joined:
        raise typer.Exit(1)


def _tell_joined(done: Joined, path: Path, json: bool) -> None:
    for video, cause in done.broken[:NAMED]:
        note(f"cannot be read: {video}: {cause}")
    for video, count in done.ambiguous[:NAMED]:
        note(f"fits {count} captions: {video}")
    without = [{"id": row, "text": text} for row, text in done.captions]
    if json:
        emit(
            {
                "manifest": str(path),
                "joined": done.joined,
                "captions_without_video": without,
                "videos_without_caption": done.files,
                "ambiguous": [{"video": video, "captions": count} for video, count in done.ambiguous],
                "broken": [{"video": video, "cause": cause} for video, cause in done.broken],
            }
        )
        return
    say(f"{path}: {done.joined} videos joined")
    say(f"{len(without)} captions without a video, {len(done.files)} videos without a caption")
    if done.ambiguous or done.broken:
        say(f"{len(done.ambiguous)} fit several captions, {len(done.broken)} cannot be read")


def _write_manifest(rows: Sequence[Row], videos: dict[str, list[Synthetic]], manifest: Path, target: Path) -> Path:
    """OUT/manifest.jsonl: all rows, with the new videos beside those that they had."""
    from dataclasses import replace

    from mova.data.manifest import rebased, write_manifest
    from mova.data.synthetic import joined
    from mova.utils.files import seen_from

    new = {row: [replace(each, video=seen_from(target, each.video)) for each in made] for row, made in videos.items()}
    return write_manifest(
        target / "manifest.jsonl", joined([rebased(row, manifest.parent, target) for row in rows], new)
    )


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


def _tell_weights(found: Weighed, path: Path, plot: Path | None, strategy: str, vqa: Sequence[str], json: bool) -> None:
    from mova.plots.generator_agreement import draw_misalignments, spreads
    from mova.plots.generator_agreement import table as as_table

    kinds = spreads([case.misalignment for case in found.cases], found.own, found.other)
    if plot is not None:
        draw_misalignments(kinds, plot, ", ".join(Path(name).name for name in vqa))
    for video, cause in found.broken[:NAMED]:
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
