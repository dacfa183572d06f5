"""Options shared by several commands: single options, groups of options, and `take_groups` for commands with groups.

A group is a frozen dataclass whose fields are options. A command declares one parameter of that type, and
`take_groups` replaces the parameter by the fields of the dataclass, so that Typer sees plain options:

    @dataclass(frozen=True)
    class Caption:
        text: Annotated[str | None, typer.Option(help="The caption itself.")] = None

    def align(video: ..., caption: Caption, json: Json = False) -> None: ...

    app.command()(take_groups(align))  # mova align VIDEO [--text T] [--json]
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from mova.cli.output_files import manifest_argument, output_file
from mova.cli.user_settings import DEFAULT_INDEX as DEFAULT_INDEX
from mova.errors import DataError, UsageError

MAX_TEXT_BYTES = 4 << 20
"""Largest file that is read as a caption."""
STANDARD_INPUT = Path("/dev/stdin")
"""What a dash in place of a text file stands for."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and everything else on stderr.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="MOVA_MODEL",
        help="A name from `mova models` (which shows the default), a Hub name, or a local folder.",
    ),
]
MovedModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Where the model of the index is now, if it was moved: a folder, or a name. The index keeps it.",
    ),
]


def _check_rate(fps: float | None) -> float | None:
    if fps is not None and not (isfinite(fps) and fps > 0):
        raise UsageError(f"--fps: frames per second must be above 0, not {fps:g}")
    return fps


def _check_limit(seconds: float | None) -> float | None:
    if seconds is not None and not seconds > 0:
        raise UsageError(f"--time-limit: the time limit must be a positive number of seconds, not {seconds:g}")
    return seconds


Fps = Annotated[
    float | None,
    typer.Option(callback=_check_rate, help="Frames per second to sample (default: the model's own rate)."),
]
TimeLimit = Annotated[
    float | None,
    typer.Option(
        callback=_check_limit, help="Seconds without progress after which decoding a file is stopped (default: 60)."
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of the decoder, and of the model (default: all cores).")
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Do the work on a Ray cluster: an address, auto (the one that runs here), or local (start one).",
    ),
]
Nice = Annotated[
    int | None,
    typer.Option(min=0, max=19, help="Give way to other programs: lower the priority by this much, up to 19."),
]
MaxFrames = Annotated[
    int | None,
    typer.Option(min=1, help="Maximum number of frames per video for a video LLM (default: that of its family)."),
]
Precision = Annotated[str | None, typer.Option(help="Data type of the weights: auto, fp32 or bf16.")]
Device = Annotated[str | None, typer.Option(help="Device: cpu, cuda, cuda:1, ... (default: a GPU if there is one).")]
DeviceMap = Annotated[
    str | None, typer.Option(help="How to distribute a video LLM over several devices: auto, balanced, ...")
]
Quantize = Annotated[str | None, typer.Option(help="Quantize the weights of a video LLM: 4bit or 8bit; needs a GPU.")]
Quarantine = Annotated[
    Path | None,
    typer.Option(help="Exclude (and count) the rows in this list, written by `mova data check --out`."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume from the latest checkpoint in the output folder.")]
Splits = Annotated[list[str] | None, typer.Option(help="Use only this split; may be repeated (default: all).")]
ManifestTarget = Annotated[
    Path, manifest_argument("Manifest to write (.jsonl), or a folder for manifest.jsonl.", metavar="OUT")
]
Predictions = Annotated[
    Path | None,
    output_file("Write the predicted windows: .jsonl as QVHighlights has them, .json as ActivityNet has them."),
]
IndexFolder = Annotated[
    str, typer.Option("--index", envvar="MOVA_INDEX", help="Folder of the index, or any LanceDB URI.")
]

IndexFolders = Annotated[
    list[str] | None,
    typer.Option(
        "--index",
        help="Folder of the index, any LanceDB URI, or the address of a service (`mova serve --shard`); repeat it to "
        "search several indexes of one model as one "
        f"(default: MOVA_INDEX, else {DEFAULT_INDEX}).",
    ),
]


def index_folders(given: list[str] | None) -> list[str]:
    """Return the indexes that were named, or the default one."""
    return list(dict.fromkeys(given or ())) or [os.environ.get("MOVA_INDEX") or DEFAULT_INDEX]


def model_of_index(context: typer.Context, model: str | None, folder: str) -> str | None:
    """Return the model that was requested for an index; a default (MOVA_MODEL) is only used for a new one."""
    from mova.search.index import Index

    source = context.get_parameter_source("model")
    is_default = source is not None and source.name == "ENVIRONMENT"
    return None if is_default and Index(folder).exists else model


def require_video(path: str | Path) -> None:
    """Raise if a video that was named cannot be read, before a model is loaded. One that is missing is wrong usage.

    Raises:
        UsageError: it does not exist, or is a URL.
        VideoError: it is a folder, empty, or not permitted.
    """
    from mova.remote.objects import status_of, uri_of
    from mova.utils.files import require_paths
    from mova.video.limits import check_file

    require_paths([path])
    if uri_of(path) is not None:
        try:
            status_of(path)
        except FileNotFoundError as error:
            raise UsageError(f"{path}: no such object; check the URI") from error
        except OSError:  # explained below
            pass
    check_file(path)


def give_way(nice: int | None) -> None:
    """Lower the priority of this process, and of those that it starts; None: leave it as it is.

    Raises:
        UsageError: the system has no such priorities (Windows).
    """
    if nice:
        if not hasattr(os, "nice"):
            raise UsageError("--nice: not on this system; lower the priority in its task manager")
        os.nice(nice)


@dataclass(frozen=True)
class Caption:
    """The caption of a video, as text or in a file."""

    text: Annotated[str | None, typer.Option(help="The caption.")] = None
    text_file: Annotated[
        Path | None,
        typer.Option(
            help="UTF-8 text file that contains the caption, or subtitles (.srt, .vtt); - for standard input."
        ),
    ] = None

    def read(self) -> str:
        """Return the caption from whichever of the two options is used.

        Raises:
            UsageError: neither or both are used, the file cannot be read, or the caption is empty or too long.
        """
        from mova.text.units import sentences_or_windows

        if (self.text is None) == (self.text_file is None):
            raise UsageError("give the caption with exactly one of --text and --text-file")
        text = self.text
        if self.text_file is not None:
            text = read_caption(self.text_file)
        assert text is not None
        if not text.strip():
            raise UsageError("the caption is empty; it needs at least one sentence")
        sentences_or_windows(text)  # a caption that is too long is refused before a model is loaded
        return text


def read_caption(path: Path, option: str = "--text-file") -> str:
    """Return the content of the text file of an option; of subtitles, the texts of the cues, one per line.

    A dash stands for standard input.
    """
    from mova.data.readers.subtitles import SUBTITLE_SUFFIXES, read_cues
    from mova.utils.text_files import read_text

    if str(path) == "-" and STANDARD_INPUT.exists():
        path = STANDARD_INPUT
    if path.is_file() and path.stat().st_size > MAX_TEXT_BYTES:
        raise UsageError(f"{option} {path}: is larger than {MAX_TEXT_BYTES >> 20} MB, which no caption is; shorten it")
    try:
        if path.suffix.lower() in SUBTITLE_SUFFIXES:
            return "\n".join(cue.text for cue in read_cues(path))
        return read_text(path)
    except DataError as error:
        raise UsageError(f"{option} {error}") from error


@dataclass(frozen=True)
class Loading:
    """Options to load a model of any kind; most of these options apply to video LLMs only."""

    prompt: Annotated[
        str | None, typer.Option(help="Question for a video LLM: `entailment`, or a YAML file with the key `text`.")
    ] = None
    max_frames: MaxFrames = None
    precision: Precision = None
    device: Device = None
    device_map: DeviceMap = None
    quantize: Quantize = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `models.registry.load_any`; options that were not used are None.

        Raises:
            UsageError: the prompt is neither a known name nor a valid file.
        """
        from mova.models.video_llm.prompt import Question

        return {
            "question": None if self.prompt is None else Question.named(self.prompt),
            "max_frames": self.max_frames,
            "precision": self.precision,
            "device": self.device,
            "device_map": self.device_map,
            "quantise": self.quantize,
        }


def take_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with every parameter that is a dataclass replaced by the fields of that dataclass.

    Order is kept: `--help` lists the options of a group where the command declares it.

    Raises:
        ValueError: an option occurs in two groups, or in a group and in the command.
    """
    groups: dict[str, Any] = {}
    options: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        group: Any = parameter.annotation
        if is_dataclass(group):
            groups[parameter.name] = group
            options += _options(group)
        else:
            options.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def flat(**values: Any) -> None:
        built = {name: group(**{f.name: values.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        command(**built, **values)

    flat.__annotations__ = {option.name: option.annotation for option in options}
    flat.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return flat


def _options(group: Any) -> list[inspect.Parameter]:
    """Return a group's fields as keyword parameters, so that one without a default may follow one with a default."""
    types = get_type_hints(group, include_extras=True)
    empty = inspect.Parameter.empty
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=empty if field.default is MISSING else field.default,
            annotation=types[field.name],
        )
        for field in fields(group)
    ]
