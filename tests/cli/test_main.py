"""The table of commands and the old names of options."""

from __future__ import annotations

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from mova.cli.main import COMMANDS, OLD_OPTIONS, app


def command_of(*path: str) -> object:
    command = get_command(app)
    for name in path:
        command = command.commands[name]  # type: ignore[attr-defined]
    return command


def test_every_row_of_the_table_is_a_command_with_help() -> None:
    for row in COMMANDS:
        path = [part for part in (row.group, row.name) if part]
        done = CliRunner().invoke(app, [*path, "--help"])
        assert done.exit_code == 0
        assert f"Usage: mova {' '.join(path)}" in done.output.replace("root", "mova")


@pytest.mark.parametrize(("old", "new"), OLD_OPTIONS.items())
def test_an_old_option_names_one_that_exists_and_is_not_in_the_help(old: str, new: str) -> None:
    options = {
        name for row in COMMANDS for p in command_of(*filter(None, (row.group, row.name))).params for name in p.opts
    }
    assert new in options
    assert old not in options


@pytest.mark.parametrize("words", [["--materialise", "x"], ["--materialise=x"], ["--materialize", "x"]])
def test_old_and_new_option_do_the_same(words: list[str]) -> None:
    done = CliRunner().invoke(app, ["data", "expand", "no.jsonl", "out", "--ops", "integrate", *words])
    assert "No such option" not in done.output
    assert CliRunner().invoke(app, ["data", "check", "a.mp4", *words]).exit_code == 2


def test_an_old_name_of_another_command_is_unchanged() -> None:
    done = CliRunner().invoke(app, ["search", "--materialise"])
    assert "--materialise" in done.output
