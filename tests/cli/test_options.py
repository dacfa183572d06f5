"""Groups of options behave like options written one by one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from mova.cli.options import STANDARD_INPUT, Caption, Fps, Json, Loading, read_caption, take_groups
from mova.errors import UsageError

Name = Annotated[str, typer.Option(help="Whose it is.")]
Count = Annotated[int, typer.Option("-k", "--count", min=1, help="How many.")]


@dataclass(frozen=True)
class Owner:
    name: Name
    fps: Fps = None


@dataclass(frozen=True)
class Numbered(Owner):
    count: Count = 3


def one_by_one(
    video: Annotated[Path, typer.Argument(metavar="VIDEO")],
    name: Name,
    fps: Fps = None,
    count: Count = 3,
    size: Annotated[int, typer.Option()] = 7,
    json: Json = False,
) -> None:
    """What it does."""


def in_groups(
    video: Annotated[Path, typer.Argument(metavar="VIDEO")],
    owner: Numbered,
    size: Annotated[int, typer.Option()] = 7,
    *,
    json: Json = False,
) -> None:
    """What it does."""


def app_of(command: Any) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command(name="same")(command)
    return app


def test_groups_give_the_same_help_and_parameters_as_plain_options() -> None:
    apart, grouped = app_of(one_by_one), app_of(take_groups(in_groups))
    helps = [CliRunner().invoke(app, ["--help"]).output for app in (apart, grouped)]
    assert "--count" in helps[0]
    assert helps[0] == helps[1]
    parameters = [
        [(p.name, p.opts, p.default, p.required, getattr(p, "min", None)) for p in get_command(app).params]
        for app in (apart, grouped)
    ]
    assert parameters[0] == parameters[1]


def test_a_command_gets_its_group_as_one_object() -> None:
    got: list[tuple[Any, ...]] = []

    def command(owner: Numbered, size: Annotated[int, typer.Option()] = 7, *, caption: Caption) -> None:
        got.append((owner, size, caption))

    app = app_of(take_groups(command))
    assert CliRunner().invoke(app, ["--name", "Ada", "--text", "A dog."]).exit_code == 0
    assert CliRunner().invoke(app, ["--size", "2", "--fps", "0.5", "-k", "9", "--name", "Bo"]).exit_code == 0
    assert got == [
        (Numbered("Ada", None, 3), 7, Caption("A dog.")),
        (Numbered("Bo", 0.5, 9), 2, Caption()),
    ]


@pytest.mark.parametrize(
    ("words", "message"), [([], "--name"), (["--name", "A", "-k", "0"], "--count"), (["--nome", "A"], "No such option")]
)
def test_wrong_options_of_a_group_are_wrong_usage(words: list[str], message: str) -> None:
    def command(owner: Numbered) -> None:
        raise AssertionError("not reached")

    done = CliRunner().invoke(app_of(take_groups(command)), words)
    assert done.exit_code == 2
    assert message in done.output


def test_a_duplicate_option_is_rejected() -> None:
    def command(owner: Owner, fps: Fps = None) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name"):
        take_groups(command)


def test_a_command_without_groups_is_unchanged() -> None:
    assert CliRunner().invoke(app_of(take_groups(one_by_one)), ["a.mp4", "--name", "A"]).exit_code == 0


def test_a_caption_is_read_from_exactly_one_source(tmp_path: Path) -> None:
    path = tmp_path / "caption.txt"
    path.write_bytes("\ufeffEin Hund läuft.".encode())
    assert Caption(text_file=path).read() == "Ein Hund läuft."
    assert Caption("A dog.").read() == "A dog."
    subtitles = tmp_path / "film.SRT"
    subtitles.write_text(
        "1\n00:00:01,000 --> 00:00:02,000\n<i>A dog</i>\nruns.\n\n2\n00:00:03,000 --> 00:00:04,000\nIt stops.\n"
    )
    assert Caption(text_file=subtitles).read() == "A dog runs.\nIt stops."
    for wrong in (Caption(), Caption("A dog.", path), Caption(" \n"), Caption(text_file=tmp_path / "none.txt")):
        with pytest.raises(UsageError):
            wrong.read()


def test_unused_loading_options_are_none(tmp_path: Path) -> None:
    assert set(Loading().arguments().values()) == {None}
    arguments = Loading(prompt="entailment", precision="bf16", max_frames=4).arguments()
    assert arguments["question"].text
    assert {name for name, value in arguments.items() if value is not None} == {"question", "precision", "max_frames"}
    with pytest.raises(UsageError, match="prompt"):
        Loading(prompt=str(tmp_path / "none.yaml")).arguments()


def test_a_text_file_that_is_no_caption_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(5 << 20)
    with pytest.raises(UsageError, match="is larger than 4 MB"):
        Caption(text_file=tmp_path / "large.txt").read()


def test_a_caption_that_is_too_long_is_refused() -> None:
    with pytest.raises(UsageError, match="the text has 20,000 sentences or parts, at most 10,000"):
        Caption(text="A dog runs. " * 20_000).read()


@pytest.mark.skipif(not STANDARD_INPUT.exists(), reason="needs /dev/stdin")
def test_a_dash_is_standard_input(tmp_path: Path) -> None:
    (tmp_path / "caption.txt").write_text("A dog runs.\nIt barks.", encoding="utf-8")
    before, file = os.dup(0), os.open(tmp_path / "caption.txt", os.O_RDONLY)
    try:
        os.dup2(file, 0)
        assert read_caption(Path("-")) == "A dog runs.\nIt barks."
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(file)
