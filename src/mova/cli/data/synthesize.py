"""`mova data synthesize`: render captions as videos, or match videos that another program rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mova.cli.console import FAILURES_SHOWN, emit, note, one_line, progress_bar, say
from mova.cli.data.shard_options import Merge, Shard, parse_shard
from mova.cli.options import Device, Json, Ray
from mova.cli.output_files import folder_argument
from mova.errors import DataError, UsageError

if TYPE_CHECKING:
    from mova.data.manifest import Row
    from mova.data.synthetic import RenderRequest, Synthetic
    from mova.text_to_video.diffusers_pipeline import Settings, TextToVideo
    from mova.text_to_video.match_files import MatchResult
    from mova.text_to_video.parts import Part
    from mova.text_to_video.render import RenderResult


@dataclass(frozen=True)
class Rendering:
    """Settings of a diffusers pipeline."""

    seed: Annotated[int, typer.Option(help="Random seed; the seed of each video is derived from it.")] = 0
    frames: Annotated[int | None, typer.Option(min=1, help="Frames per video (default: the pipeline's own).")] = None
    fps: Annotated[
        float | None, typer.Option(min=0.1, help="Frames per second (default: that of the pipeline's family).")
    ] = None
    height: Annotated[int | None, typer.Option(min=1, help="Height in pixels (default: the pipeline's own).")] = None
    width: Annotated[int | None, typer.Option(min=1, help="Width in pixels (default: the pipeline's own).")] = None
    steps: Annotated[
        int | None, typer.Option(min=1, help="Number of denoising steps (default: the pipeline's own).")
    ] = None
    guidance: Annotated[
        float | None, typer.Option(help="Classifier-free guidance scale (default: the pipeline's own).")
    ] = None
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Other argument of the pipeline; may be repeated.")
    ] = None
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")] = None
    motion_adapter: Annotated[
        str | None, typer.Option(help="AnimateDiff motion adapter for an image model: Hub name or folder.")
    ] = None
    text_encoder: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="MoVA or CLIP model whose text encoder replaces the pipeline's: RUN or name."
        ),
    ] = None
    text_length: Annotated[
        int | None,
        typer.Option(min=3, help="Tokens per prompt with --text-encoder (default: as many as that model reads)."),
    ] = None
    projection_texts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Texts, one per line, to fit the map to a pipeline whose text encoder has another width.",
        ),
    ] = None
    device: Device = None
    dtype: Annotated[
        str, typer.Option("--precision", "--dtype", help="Data type of the weights: auto, fp32, bf16 or fp16.")
    ] = "auto"
    offload: Annotated[
        bool, typer.Option("--offload", help="Keep only the active part of the pipeline on the GPU.")
    ] = False

    def settings(self) -> Settings:
        """Return the settings for the pipeline.

        Raises:
            UsageError: an --option does not have the form NAME=VALUE.
        """
        from mova.text_to_video.diffusers_pipeline import Settings

        options = _parse_options(self.option or [])
        return Settings(self.frames, self.fps, self.height, self.width, self.steps, self.guidance, options)

    def texts(self) -> list[str]:
        """Return the texts of --projection-texts.

        Raises:
            UsageError: options of --text-encoder without it, or the file has too few texts.
            DataError: the file cannot be read.
        """
        if self.text_encoder is None and (self.text_length is not None or self.projection_texts is not None):
            raise UsageError("--text-length and --projection-texts need --text-encoder")
        if self.projection_texts is None:
            return []
        from mova.text_to_video.projection import distinct_texts
        from mova.utils.text_files import read_text

        return distinct_texts(read_text(self.projection_texts).split("\n"), str(self.projection_texts))

    def load(self, model: str, settings: Settings, texts: Sequence[str]) -> TextToVideo:
        """Load the pipeline from a folder or the hub, with the text encoder of another model if it is to have one."""
        from mova.text_to_video.diffusers_pipeline import TextToVideo
        from mova.text_to_video.guide import TextGuide

        text_guide = None
        if self.text_encoder is not None:
            from mova.models.registry import load

            encoder = load(self.text_encoder, precision="fp32", device="cpu")
            text_guide = TextGuide(encoder, self.text_length, texts)
        return TextToVideo.from_pretrained(
            model,
            settings,
            revision=self.revision,
            motion_adapter=self.motion_adapter,
            device=self.device,
            dtype=self.dtype,
            offload=self.offload,
            text_guide=text_guide,
        )


@dataclass(frozen=True)
class Rendered:
    """Videos rendered by another program, and how to match them to captions."""

    join: Annotated[
        Path | None,
        typer.Option(help="Match the videos in this folder, rendered by another program, instead of rendering."),
    ] = None
    pattern: Annotated[
        str | None,
        typer.Option(
            help="Pattern of the file names in --join, from {text} {id} {of} {misalignment} {line} {position} {index}."
        ),
    ] = None
    table: Annotated[
        Path | None, typer.Option(help="CSV or JSON lines file that lists video and text, instead of --pattern.")
    ] = None

    def __bool__(self) -> bool:
        return self.join is not None or self.table is not None

    def match(self, requests: Sequence[RenderRequest], name: str) -> MatchResult:
        """Match the videos to captions; `name` is that of the generator."""
        from mova.text_to_video.match_files import match_folder, match_table

        if self.table is not None:
            return match_table(requests, self.table, self.join, name)
        assert self.join is not None
        assert self.pattern is not None
        return match_folder(requests, self.join, self.pattern, name)


@dataclass(frozen=True)
class Job:
    """The rows of a manifest, the videos to make for them, and the output folder."""

    manifest: Path
    rows: Sequence[Row]
    requests: Sequence[RenderRequest]
    target: Path

    def write_manifest(self, videos: dict[str, list[Synthetic]]) -> Path:
        """Write OUT/manifest.jsonl: all rows, with the new videos beside those they already had."""
        from mova.data.manifest import rebased, write_manifest
        from mova.data.synthetic import with_added_videos
        from mova.utils.files import seen_from

        self.target.mkdir(parents=True, exist_ok=True)
        new = {
            row: [replace(video, video=seen_from(self.target, video.video)) for video in made]
            for row, made in videos.items()
        }
        rows = [rebased(row, self.manifest.parent, self.target) for row in self.rows]
        return write_manifest(self.target / "manifest.jsonl", with_added_videos(rows, new))


def synthesize(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="Manifest with negatives, as written by `mova data contrast`.")
    ],
    target: Annotated[Path, folder_argument("Folder for the videos and manifest.jsonl.", metavar="OUT")],
    model: Annotated[
        str | None,
        typer.Option(help="Text-to-video pipeline of diffusers: Hub name or folder. With --join, the name to record."),
    ] = None,
    captions: Annotated[str, typer.Option(help="Captions to render: negative, positive or all.")] = "negative",
    per_caption: Annotated[int, typer.Option(min=1, help="Number of videos per caption.")] = 1,
    *,
    rendering: Rendering,
    rendered: Rendered,
    batch: Annotated[int, typer.Option(min=1, help="Number of videos to render at a time.")] = 1,
    shard: Shard = None,
    merge: Merge = False,
    ray: Ray = None,
    prompts: Annotated[
        bool,
        typer.Option("--prompts", help="Only write OUT/prompts.txt for another program, with one caption per line."),
    ] = False,
    json: Json = False,
) -> None:
    """Render captions as videos with a diffusers pipeline, or match existing videos.

    Run the same command again to resume an interrupted run. --shard 3/8 renders an eighth of the videos; --merge then
    writes the manifest. The exit code is 1 if there is no video at all.
    """
    from mova.data.manifest import read_manifest
    from mova.data.synthetic import render_requests

    part = parse_shard(shard, merge)
    _check(model, rendered, prompts, merge)
    if part is not None and (rendered or prompts):
        raise UsageError("--shard divides rendering; it cannot be combined with --join, --table or --prompts")
    if ray is not None and (rendered or prompts or merge or part is not None):
        raise UsageError("--ray renders on a cluster; omit --shard, --merge, --join, --table and --prompts")
    rows = read_manifest(manifest)
    count = 1 if rendered or prompts else per_caption
    job = Job(manifest, rows, render_requests(rows, captions, count), target)  # type: ignore[arg-type]
    if prompts:
        _write_prompts(job, json)
    elif rendered:
        _join(job, rendered, model or "unnamed", json)
    elif merge:
        _merge(job, rendering, json)
    elif ray is not None:
        assert model is not None
        _render_on_cluster(job, rendering, model, batch, ray, json)
    else:
        assert model is not None
        _render(job, rendering, model, batch, part, json)


def _check(model: str | None, rendered: Rendered, prompts: bool, merge: bool) -> None:
    if merge:
        if prompts or model or rendered:
            raise UsageError("--merge joins what shards have rendered; omit --model, --join, --table and --prompts")
        return
    if prompts and (model or rendered):
        raise UsageError("--prompts only writes the captions; it cannot be combined with --model, --join or --table")
    if not prompts and not (model or rendered):
        raise UsageError("give a pipeline that renders (--model) or existing videos (--join or --table)")
    if rendered.pattern is not None and (rendered.join is None or rendered.table is not None):
        raise UsageError("--pattern needs --join, and cannot be combined with --table")
    if rendered.join is not None and rendered.pattern is None and rendered.table is None:
        raise UsageError("--join needs --pattern, such as '{text}-{index}.mp4', or --table")


def _parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse NAME=VALUE pairs. Values are YAML, so that numbers become numbers."""
    from mova.utils.text_files import parse_yaml

    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--option {pair!r}: must have the form NAME=VALUE")
        try:
            options[name] = parse_yaml(value, f"--option {pair!r}: cannot parse the value")
        except DataError as error:
            raise UsageError(str(error)) from error
    return options


def _write_prompts(job: Job, json: bool) -> None:
    job.target.mkdir(parents=True, exist_ok=True)
    path = job.target / "prompts.txt"
    path.write_text("".join(" ".join(request.text.split()) + "\n" for request in job.requests), encoding="utf-8")
    if json:
        emit({"prompts": str(path), "captions": len(job.requests)})
    else:
        hint = "match the rendered videos with --join FOLDER --pattern '{line}.mp4' or similar"
        say(f"{path}: {len(job.requests)} captions; {hint}")


def _render(job: Job, rendering: Rendering, model: str, batch: int, part: Part | None, json: bool) -> None:
    from mova.text_to_video.diffusers_pipeline import versions
    from mova.text_to_video.render import render, save_part

    generator = rendering.load(model, rendering.settings(), rendering.texts())
    _note_text_encoder(generator)
    with progress_bar() as progress:
        task = progress.add_task("rendering", total=len(job.requests if part is None else part.pick(job.requests)))
        result = render(
            job.requests,
            generator,
            job.target,
            seed=rendering.seed,
            versions=versions(),
            progress=lambda at, _: progress.update(task, completed=at),
            batch=batch,
            part=part,
        )
    origin = {"model": generator.name, **generator.identity}
    if part is None:
        _print_rendered(job, result, job.write_manifest(result.videos), origin, json)
        return
    path = save_part(result, part, job.requests, generator, job.target, rendering.seed)
    _print_rendered(job, result, path, origin, json)
    note(f"when all {part.of} shards are finished: the same command with --merge, without --model and --shard")


def _render_on_cluster(job: Job, rendering: Rendering, model: str, batch: int, address: str, json: bool) -> None:
    from mova.text_to_video import render
    from mova.text_to_video.diffusers_pipeline import versions
    from mova.utils.cluster import Cluster, for_nodes

    load = partial(rendering.load, for_nodes(model), rendering.settings(), rendering.texts())
    with progress_bar() as progress:
        task = progress.add_task("rendering", total=len(job.requests))
        result, origin = render.render_on_cluster(
            job.requests,
            load,
            job.target,
            Cluster(address),
            seed=rendering.seed,
            versions=versions(),
            progress=lambda at, _: progress.update(task, completed=at),
            batch=batch,
        )
    _print_rendered(job, result, job.write_manifest(result.videos), origin, json)


def _merge(job: Job, rendering: Rendering, json: bool) -> None:
    from mova.text_to_video.render import merge

    result, origin = merge(job.requests, job.target, rendering.seed)
    _print_rendered(job, result, job.write_manifest(result.videos), origin, json)


def _print_rendered(job: Job, result: RenderResult, path: Path, origin: Mapping[str, Any], json: bool) -> None:
    """Print what was rendered; exit with 1 if there is no video."""
    for row, text, cause in result.failed[:FAILURES_SHOWN]:
        note(f"not rendered: {row}: {text!r}: {cause}")
    if json:
        emit(
            {
                "manifest": str(path),
                "captions": len(job.requests),
                "made": result.made,
                "kept": result.kept,
                "failed": [{"id": row, "text": text, "cause": cause} for row, text, cause in result.failed],
                "untried": result.untried,
                "generator": origin,
            }
        )
    else:
        stopped = f", {result.untried} not attempted after {len(result.failed)} failures" if result.untried else ""
        say(f"{path}: {result.made} videos rendered, {result.kept} already there, {len(result.failed)} failed{stopped}")
    if not result.videos:
        raise typer.Exit(1)


def _note_text_encoder(generator: TextToVideo) -> None:
    """Say on stderr how many tokens a replaced text encoder reads, and how well a fitted map explains the old one."""
    guided = generator.guided
    if guided is None:
        return
    note(f"text encoder of {one_line(guided.model)}: {guided.length} tokens per prompt")
    if guided.fit is not None:
        fit = guided.fit
        sizes = f"{fit.projection.in_features} to {fit.projection.out_features}"
        note(f"mapped from {sizes} dimensions, fitted on {fit.tokens} tokens")
        note(f"on other texts, the map explains {fit.explained:.0%} of the pipeline's own text encoder")


def _join(job: Job, rendered: Rendered, name: str, json: bool) -> None:
    result = rendered.match(job.requests, name)
    path = job.write_manifest(result.videos)
    _print_matched(result, path, json)
    if not result.matched:
        raise typer.Exit(1)


def _print_matched(result: MatchResult, path: Path, json: bool) -> None:
    for video, cause in result.broken[:FAILURES_SHOWN]:
        note(f"unreadable: {one_line(video)}: {one_line(cause)}")
    for video, count in result.ambiguous[:FAILURES_SHOWN]:
        note(f"ambiguous: {one_line(video)} matches {count} captions")
    without = [{"id": row, "text": text} for row, text in result.captions]
    if json:
        emit(
            {
                "manifest": str(path),
                "joined": result.matched,
                "captions_without_video": without,
                "videos_without_caption": result.files,
                "ambiguous": [{"video": video, "captions": count} for video, count in result.ambiguous],
                "broken": [{"video": video, "cause": cause} for video, cause in result.broken],
            }
        )
        return
    say(f"{path}: {result.matched} videos matched")
    say(f"{len(without)} captions without a video, {len(result.files)} videos without a caption")
    if result.ambiguous or result.broken:
        say(f"{len(result.ambiguous)} videos match more than one caption, {len(result.broken)} are unreadable")
