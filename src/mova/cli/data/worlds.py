"""`mova data worlds`: render synthetic videos with exact annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mova.cli.console import emit, say
from mova.cli.options import Json
from mova.cli.output_files import folder_argument


def worlds(
    target: Annotated[Path, folder_argument("Folder for the videos and manifest.jsonl.", metavar="OUT")],
    videos: Annotated[int, typer.Option(min=1, help="Number of videos.")] = 8,
    seconds: Annotated[float, typer.Option(help="Length of each video in seconds, 10 to 1200.")] = 30.0,
    style: Annotated[str, typer.Option(help="Rendering style (an unknown name lists all).")] = "flat",
    seed: Annotated[int, typer.Option(help="Random seed; the same seed renders the same frames and manifest.")] = 0,
    size: Annotated[int, typer.Option(min=32, max=1080, help="Width and height in pixels.")] = 256,
    json: Json = False,
) -> None:
    """Render Worlds: synthetic videos with captions, event times and hard negatives."""
    from mova.worlds.writer import write_worlds

    manifest = write_worlds(target, videos, seconds, style, seed, size=size)
    if json:
        emit({"manifest": str(manifest), "videos": videos, "seconds": seconds, "style": style, "seed": seed})
    else:
        say(f"{manifest}: {videos} videos")
