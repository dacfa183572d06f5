"""Options that several commands share: single ones, groups of them, and how a command takes a group.

A group is a frozen dataclass whose fields are options. A command names it as the type of one parameter, and
`take_groups` puts its fields in the parameter's place for Typer to read:

    @dataclass(frozen=True)
    class Caption:
        text: Annotated[str | None, typer.Option(help="The caption itself.")] = None

    def align(video: ..., caption: Caption, json: Json = False) -> None: ...

    app.command()(take_groups(align))  # mova align VIDEO [--text T] [--json]
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from mova.errors import UsageError

DEFAULT_INDEX = ".mova/index"

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else goes to stderr.")]
Model = Annotated[
    str | None, typer.Option("--model", help="Hub name, local folder, or a name that `mova models` lists.")
]
Fps = Annotated[float | None, typer.Option(help="Frames a second to look at; the model's own rate if left out.")]
MaxFrames = Annotated[
    int | None,
    typer.Option(min=1, help="Most frames that a video LLM looks at; the family's own number if left out."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...")]
Quarantine = Annotated[
    Path | None, typer.Option(help="A list of `mova data check`; rows that it names are left out and counted.")
]
IndexFolder = Annotated[str, typer.Option("--index", help="Folder (or any LanceDB URI) of the index.")]


@dataclass(frozen=True)
class Caption:
    """The caption of a video, as words or as a file."""

    text: Annotated[str | None, typer.Option(help="The caption itself.")] = None
    text_file: Annotated[Path | None, typer.Option(help="A UTF-8 file with the caption.")] = None

    def read(self) -> str:
        """The caption from exactly one of both options.

        Raises:
            UsageError: none or both are given, the file cannot be read, or there are no words.
        """
        if (self.text is None) == (self.text_file is None):
            raise UsageError("say the caption with exactly one of --text and --text-file")
        text = self.text
        if self.text_file is not None:
            try:
                text = self.text_file.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"--text-file {self.text_file}: cannot be read as UTF-8 text ({error})") from error
        assert text is not None
        if not text.strip():
            raise UsageError("the caption is empty; say at least one sentence")
        return text


@dataclass(frozen=True)
class Loading:
    """How a model of either kind is loaded; most of it speaks to video LLMs only."""

    prompt: Annotated[
        str | None, typer.Option(help="What a video LLM is asked: `entailment`, or a YAML file with `text`.")
    ] = None
    max_frames: MaxFrames = None
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None
    device: Device = None
    device_map: Annotated[str | None, typer.Option(help="Spread a video LLM over devices: auto, balanced, ...")] = None
    quantise: Annotated[str | None, typer.Option(help="Weights of a video LLM in `4bit` or `8bit`, on a GPU.")] = None

    def arguments(self) -> dict[str, Any]:
        """Arguments of `models.registry.load_any`; what was not said is None.

        Raises:
            UsageError: the prompt is no question.
        """
        from mova.models.video_llm.prompt import Question

        given = {field.name: getattr(self, field.name) for field in fields(self)}
        prompt = given.pop("prompt")
        return given | {"question": None if prompt is None else Question.named(prompt)}


def take_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The same command for Typer: every parameter whose type is a dataclass becomes that dataclass' fields.

    Order is kept, so `--help` lists a group's options where the command names the group.

    Raises:
        ValueError: an option stands in two groups, or in a group and in the command itself.
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
    def flat(**given: Any) -> None:
        taken = {name: group(**{f.name: given.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        command(**taken, **given)

    flat.__annotations__ = {option.name: option.annotation for option in options}
    flat.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return flat


def _options(group: Any) -> list[inspect.Parameter]:
    """A group's fields as parameters by name, so that one without a default may follow one with."""
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
