"""`mova data synthesize` and `mova data weights`: videos of captions, and how far to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mova.cli.console import FAILURES_SHOWN, emit, note, progress_bar, say
from mova.cli.options import Device, Json
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.data.manifest import Row
    from mova.data.synthetic import Order, Synthetic
    from mova.text_to_video.match_files import Joined

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
    for row, text, cause in done.failed[:FAILURES_SHOWN]:
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
