"""`mova config`: show and change the defaults of index, model, device and precision."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from mova.cli.console import emit, note, say
from mova.cli.options import Json
from mova.cli.user_settings import VARIABLES, config_path, read_config, require_placement, write_config
from mova.errors import UsageError
from mova.utils.files import local_folder


def config(
    key: Annotated[str | None, typer.Argument(metavar="KEY", help=f"One of {', '.join(VARIABLES)}.")] = None,
    value: Annotated[str | None, typer.Argument(metavar="VALUE", help="Its new value.")] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Remove the key from the file.")] = False,
    json: Json = False,
) -> None:
    """Show the defaults, or change one: `mova config index ~/films.mova`.

    An option of a command comes first, then the environment variable (MOVA_INDEX, MOVA_MODEL, MOVA_DEVICE,
    MOVA_PRECISION), then the configuration file. The default model is only used for new indexes.
    """
    if key is not None and key not in VARIABLES:
        raise UsageError(f"unknown key {key!r}; choose from {', '.join(VARIABLES)}")
    settings = read_config()
    if key is not None and (value is not None or unset):
        _change(settings, key, value, unset)
        return
    if unset:
        raise UsageError("--unset needs a KEY")
    rows = {name: _state(name, settings) for name in VARIABLES if key in (None, name)}
    if json:
        emit({"file": str(config_path()), **{name: {"value": row[0], "from": row[1]} for name, row in rows.items()}})
        return
    for name, (current, source) in rows.items():
        say(f"{name:10} {current or '(not set)'}{f'  from {source}' if source else ''}")
    note(f"file: {config_path()}")


def _change(settings: dict[str, str], key: str, value: str | None, unset: bool) -> None:
    if unset and value is not None:
        raise UsageError("give either a VALUE or --unset")
    if value is not None and not value.strip():
        raise UsageError(f"{key}: the value is empty; use --unset to remove the key")
    if unset:
        settings.pop(key, None)
    elif value is not None:
        require_placement(key, key, value)
        settings[key] = _absolute(key, value)
    note(f"wrote {write_config(settings)}")


def _absolute(key: str, value: str) -> str:
    """Return the value as it is meant in every folder: the path of an index, or of a model in a local folder."""
    folder = local_folder(value)
    if folder is None or not (key == "index" or (key == "model" and folder.is_dir())):
        return value
    return os.path.abspath(folder)


def _state(key: str, settings: dict[str, str]) -> tuple[str | None, str | None]:
    """Return the value of a key, and where it is set."""
    variable = os.environ.get(VARIABLES[key])
    if variable and variable != settings.get(key):
        return variable, VARIABLES[key]
    return (settings[key], "the configuration file") if key in settings else (None, None)
