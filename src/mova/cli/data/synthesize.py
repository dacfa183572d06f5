"""`mova data synthesize`: videos of captions, rendered here or by another program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mova.cli.console import FAILURES_SHOWN, emit, note, progress_bar, say
from mova.cli.options import Device, Json
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.data.manifest import Row
    from mova.data.synthetic import Order, Synthetic
    from mova.text_to_video.diffusers_pipeline import Settings, TextToVideo
    from mova.text_to_video.match_files import JoinResult


@dataclass(frozen=True)
class Rendering:
    """How a diffusers pipeline renders videos."""

    seed: Annotated[int, typer.Option(help="Every video's own seed follows from it.")] = 0
    frames: Annotated[int | None, typer.Option(min=1, help="Of a video; the pipeline's own number if left out.")] = None
    fps: Annotated[float | None, typer.Option(min=0.1, help="Frames a second; the family's own if left out.")] = None
    height: Annotated[int | None, typer.Option(min=1, help="Pixels.")] = None
    width: Annotated[int | None, typer.Option(min=1, help="Pixels.")] = None
    steps: Annotated[int | None, typer.Option(min=1, help="Of denoising.")] = None
    guidance: Annotated[float | None, typer.Option(help="Scale of classifier-free guidance.")] = None
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Further argument of the pipeline; may be repeated.")
    ] = None
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None
    motion_adapter: Annotated[str | None, typer.Option(help="AnimateDiff's adapter, for an image --model.")] = None
    device: Device = None
    dtype: Annotated[str, typer.Option("--precision", "--dtype", help="auto, fp32, bf16 or fp16.")] = "auto"
    offload: Annotated[bool, typer.Option("--offload", help="Keep only the part that works on the GPU.")] = False

    def settings(self) -> Settings:
        """Return the settings of the pipeline.

        Raises:
            UsageError: an --option is not NAME=VALUE.
        """
        from mova.text_to_video.diffusers_pipeline import Settings

        options = _parse_options(self.option or [])
        return Settings(self.frames, self.fps, self.height, self.width, self.steps, self.guidance, options)

    def load(self, model: str, settings: Settings) -> TextToVideo:
        """Load the pipeline from a folder or the hub."""
        from mova.text_to_video.diffusers_pipeline import TextToVideo

        return TextToVideo.from_pretrained(
            model,
            settings,
            revision=self.revision,
            motion_adapter=self.motion_adapter,
            device=self.device,
            dtype=self.dtype,
            offload=self.offload,
        )


@dataclass(frozen=True)
class Rendered:
    """Videos that another program rendered, and how to match them to captions."""

    join: Annotated[
        Path | None, typer.Option(help="Folder of videos that another program rendered, instead of rendering.")
    ] = None
    pattern: Annotated[
        str | None,
        typer.Option(help="Of names in --join: {text}, {id}, {of}, {misalignment}, {line}, {position}, {index}."),
    ] = None
    table: Annotated[Path | None, typer.Option(help="CSV or JSON lines (video, text) instead of --pattern.")] = None

    def __bool__(self) -> bool:
        return self.join is not None or self.table is not None

    def match(self, orders: Sequence[Order], name: str) -> JoinResult:
        """Match the videos to captions; `name` is the generator's."""
        from mova.text_to_video.match_files import join_folder, join_table

        if self.table is not None:
            return join_table(orders, self.table, self.join, name)
        assert self.join is not None
        assert self.pattern is not None
        return join_folder(orders, self.join, self.pattern, name)


@dataclass(frozen=True)
class Job:
    """The rows of a manifest, the videos ordered for them, and the folder to write."""

    manifest: Path
    rows: Sequence[Row]
    orders: Sequence[Order]
    target: Path

    def write_manifest(self, videos: dict[str, list[Synthetic]]) -> Path:
        """Write OUT/manifest.jsonl: all rows, with the new videos beside those they already had."""
        from mova.data.manifest import rebased, write_manifest
        from mova.data.synthetic import joined
        from mova.utils.files import seen_from

        self.target.mkdir(parents=True, exist_ok=True)
        new = {
            row: [replace(video, video=seen_from(self.target, video.video)) for video in made]
            for row, made in videos.items()
        }
        rows = [rebased(row, self.manifest.parent, self.target) for row in self.rows]
        return write_manifest(self.target / "manifest.jsonl", joined(rows, new))


def synthesize(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="With negatives, as `mova data contrast` makes.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the videos and manifest.jsonl.")],
    model: Annotated[
        str | None,
        typer.Option(help="Text-to-video pipeline of diffusers: folder or hub name. With --join only a name."),
    ] = None,
    captions: Annotated[str, typer.Option(help="Which captions to show: negative, positive or all.")] = "negative",
    per_caption: Annotated[int, typer.Option(min=1, help="Videos of each caption.")] = 1,
    *,
    rendering: Rendering,
    rendered: Rendered,
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Only write OUT/prompts.txt, a caption a line, for another program.")
    ] = False,
    json: Json = False,
) -> None:
    """Render captions as videos with any diffusers pipeline, or join videos made elsewhere to them.

    May be stopped at any moment; the same command goes on. The exit code is 1 if there is no video at all.
    """
    from mova.data.manifest import read_manifest
    from mova.data.synthetic import orders

    _check(model, rendered, prompts)
    rows = read_manifest(manifest)
    count = 1 if rendered or prompts else per_caption
    job = Job(manifest, rows, orders(rows, captions, count), target)  # type: ignore[arg-type]
    if prompts:
        _write_prompts(job, json)
    elif rendered:
        _join(job, rendered, model or "unnamed", json)
    else:
        assert model is not None
        _render(job, rendering, model, json)


def _check(model: str | None, rendered: Rendered, prompts: bool) -> None:
    if prompts and (model or rendered):
        raise UsageError("--prompts only writes the captions; leave --model, --join and --table out")
    if not prompts and not (model or rendered):
        raise UsageError("say which pipeline renders (--model), or where the videos are (--join or --table)")
    if rendered.pattern is not None and (rendered.join is None or rendered.table is not None):
        raise UsageError("--pattern says what the names in --join hold; with --table the table says it")
    if rendered.join is not None and rendered.pattern is None and rendered.table is None:
        raise UsageError("--join needs --pattern, such as '{text}-{index}.mp4', or --table")


def _parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse NAME=VALUE pairs; values are read as YAML, so numbers are numbers."""
    import yaml

    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--option {pair!r} must be NAME=VALUE")
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--option {pair!r}: its value cannot be read ({error})") from error
    return options


def _write_prompts(job: Job, json: bool) -> None:
    job.target.mkdir(parents=True, exist_ok=True)
    path = job.target / "prompts.txt"
    path.write_text("".join(" ".join(order.text.split()) + "\n" for order in job.orders), encoding="utf-8")
    if json:
        emit({"prompts": str(path), "captions": len(job.orders)})
    else:
        hint = "join the videos with --join FOLDER --pattern '{line}.mp4' or the like"
        say(f"{path}: {len(job.orders)} captions; {hint}")


def _render(job: Job, rendering: Rendering, model: str, json: bool) -> None:
    from mova.text_to_video.diffusers_pipeline import versions
    from mova.text_to_video.render import render

    generator = rendering.load(model, rendering.settings())
    with progress_bar() as progress:
        task = progress.add_task("rendering", total=len(job.orders))
        done = render(
            job.orders,
            generator,
            job.target,
            seed=rendering.seed,
            versions=versions(),
            progress=lambda at, _: progress.update(task, completed=at),
        )
    path = job.write_manifest(done.videos)
    for row, text, cause in done.failed[:FAILURES_SHOWN]:
        note(f"not rendered: {row}: {text!r}: {cause}")
    if json:
        emit(
            {
                "manifest": str(path),
                "captions": len(job.orders),
                "made": done.made,
                "kept": done.kept,
                "failed": [{"id": row, "text": text, "cause": cause} for row, text, cause in done.failed],
                "untried": done.untried,
                "generator": {"model": generator.name, **generator.identity},
            }
        )
    else:
        stopped = f", {done.untried} not tried after {len(done.failed)} failures" if done.untried else ""
        say(f"{path}: {done.made} videos made, {done.kept} there already, {len(done.failed)} failed{stopped}")
    if not done.videos:
        raise typer.Exit(1)


def _join(job: Job, rendered: Rendered, name: str, json: bool) -> None:
    done = rendered.match(job.orders, name)
    path = job.write_manifest(done.videos)
    _print_joined(done, path, json)
    if not done.joined:
        raise typer.Exit(1)


def _print_joined(done: JoinResult, path: Path, json: bool) -> None:
    for video, cause in done.broken[:FAILURES_SHOWN]:
        note(f"cannot be read: {video}: {cause}")
    for video, count in done.ambiguous[:FAILURES_SHOWN]:
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
