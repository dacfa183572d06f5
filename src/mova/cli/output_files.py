"""Options and arguments that name what a command writes: it is checked before the command begins.

csv: Annotated[Path | None, output_file("Write the moments as a table.")] = None
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from mova.errors import UsageError


def output_file(about: str, *names: str, **settings: Any) -> Any:
    """Return the `typer.Option` of a file to write.

    Args:
        about: its help.
        names: of the option (default: that of the parameter).
        settings: others of `typer.Option`.
    """
    return typer.Option(*names, help=about, callback=_file, **settings)


def output_folder(about: str, *names: str, **settings: Any) -> Any:
    """Return the `typer.Option` of a folder to write to, which is created; see `output_file`."""
    return typer.Option(*names, help=about, callback=_folder, **settings)


def file_argument(about: str, **settings: Any) -> Any:
    """Return the `typer.Argument` of a file to write."""
    return typer.Argument(help=about, callback=_file, **settings)


def folder_argument(about: str, **settings: Any) -> Any:
    """Return the `typer.Argument` of a folder to write to, which is created."""
    return typer.Argument(help=about, callback=_folder, **settings)


def manifest_argument(about: str, **settings: Any) -> Any:
    """Return the `typer.Argument` of a file, or of a folder for it; the folder of either is created."""
    return typer.Argument(help=about, callback=_manifest, **settings)


def require_file(name: str, path: Path | None) -> None:
    """Raise if a file cannot be written.

    Args:
        name: of its option.
        path: None: no such file was asked for.

    Raises:
        UsageError: its folder does not exist, or may not be changed; a folder has that name; or it is a dash.

    >>> require_file("--csv", Path("none/found.csv"))
    Traceback (most recent call last):
    mova.errors.UsageError: --csv none/found.csv: cannot be written; no such directory: none
    """
    if path is None:
        return
    _require_name(name, path)
    if path.is_dir():
        raise UsageError(f"{name} {path}: is a directory; name a file in it")
    parent = path.resolve().parent
    if not parent.is_dir():
        raise UsageError(f"{name} {path}: cannot be written; no such directory: {path.parent}")
    _require_permission(name, path, path if path.exists() and not path.is_file() else parent)


def require_folder(name: str, path: Path | None, *, may_be_file: bool = False) -> None:
    """Raise if a folder, which is created, cannot be written; see `require_file`.

    Args:
        name: of its option.
        path: None: no such folder was asked for.
        may_be_file: whether it may also be a file whose folder is created.

    Raises:
        UsageError: a file has that name, or the name of one of its folders; or see `require_file`.

    >>> Path("found.csv").touch()
    >>> require_folder("--export", Path("found.csv/clips"))
    Traceback (most recent call last):
    mova.errors.UsageError: --export found.csv/clips: cannot be written; not a directory: found.csv
    """
    if path is None:
        return
    _require_name(name, path)
    if path.exists() and not path.is_dir() and not may_be_file:
        raise UsageError(f"{name} {path}: is a file; name a folder")
    existing = next((part for part in path.parents if part.exists()), Path())
    if not existing.is_dir():
        raise UsageError(f"{name} {path}: cannot be written; not a directory: {existing}")
    _require_permission(name, path, path if path.is_dir() else existing)


def _require_name(name: str, path: Path) -> None:
    if str(path) == "-":
        raise UsageError(f"{name} -: cannot write to standard output; name a file or a folder (or use --json)")


def _require_permission(name: str, path: Path, changed: Path) -> None:
    if not os.access(changed, os.W_OK):
        raise UsageError(f"{name} {path}: cannot be written; no permission to write to {changed}")


def _file(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    require_file(_name(parameter), path)
    return path


def _folder(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    require_folder(_name(parameter), path)
    return path


def _manifest(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    require_folder(_name(parameter), path, may_be_file=True)
    return path


def _name(parameter: typer.CallbackParam) -> str:
    """Return what messages call a parameter: its first name, or the word of an argument."""
    first: str = parameter.opts[0]
    return first if first.startswith("-") else str(getattr(parameter, "metavar", None) or first.upper())
