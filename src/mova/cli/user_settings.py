"""Defaults of a user: environment variables, and a configuration file that sets those which are not set."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from mova.errors import UsageError
from mova.utils.replacing import replacing

VARIABLES = {
    "index": "MOVA_INDEX",
    "model": "MOVA_MODEL",
    "device": "MOVA_DEVICE",
    "precision": "MOVA_PRECISION",
}
"""Key of the configuration file -> the environment variable that it stands for."""
DEFAULT_INDEX = ".mova/index"
PRECISIONS = ("auto", "fp32", "bf16")
DEVICES = re.compile(r"(cpu|cuda|mps|xpu|hpu|npu|mtia|privateuseone)(:[0-9]+)?")
"""Devices of PyTorch; whether this machine has one shows when a model is loaded, which a search may not need."""
PATH_VARIABLE = "MOVA_CONFIG"


def config_path() -> Path:
    """Return the path of the configuration file: that of `MOVA_CONFIG`, or `config.toml` in the user's folder."""
    return Path(os.environ.get(PATH_VARIABLE) or _app_folder() / "mova" / "config.toml")


def require_placement(name: str, key: str, value: str) -> None:
    """Raise if a value cannot be a device or a precision; other keys take any text.

    Args:
        name: of the setting or option, for the message.
        key: of the configuration file.
        value: what was given.

    Raises:
        UsageError: with the allowed values.
    """
    if key == "precision" and value not in PRECISIONS:
        raise UsageError(f"{name} {value!r}: choose one of {', '.join(PRECISIONS)}")
    if key == "device" and not DEVICES.fullmatch(value):
        raise UsageError(f"{name} {value!r}: is unknown; use cpu, cuda or cuda:1")


def _app_folder() -> Path:
    """Return the folder in which this system keeps the settings of programs, as `typer.get_app_dir` has it."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", "~")).expanduser()
    if sys.platform == "darwin":
        return Path("~/Library/Application Support").expanduser()
    return Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")).expanduser()


def read_config() -> dict[str, str]:
    """Return the settings of the configuration file; none if the file does not exist.

    Raises:
        UsageError: the file cannot be read, is not TOML, or has an unknown key or a value that is not a text.
    """
    path = config_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as a configuration file: {error}") from error
    import tomllib  # only here, so that a short command starts fast

    try:
        document = tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{path}: cannot be read as a configuration file: {error}") from error
    for key, value in document.items():
        if key not in VARIABLES:
            raise UsageError(f"{path}: unknown key {key!r}; choose from {', '.join(VARIABLES)}")
        if not isinstance(value, str) or not value:
            raise UsageError(f'{path}: {key} must be a text, such as {key} = "..."')
    return document


def write_config(settings: dict[str, str]) -> Path:
    """Replace the configuration file, and return its path.

    Raises:
        UsageError: the file cannot be written.
    """
    path = config_path()
    lines = [f"{key} = {json.dumps(settings[key], ensure_ascii=False)}\n" for key in VARIABLES if key in settings]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def apply_config() -> None:
    """Set the environment variables that the configuration file stands for and that are not set, or empty.

    Raises:
        UsageError: see `read_config`.
    """
    for key, value in read_config().items():
        if not os.environ.get(VARIABLES[key]):
            from mova.utils.defaults import set_from_file  # only here, so that a command that asks starts fast

            set_from_file(VARIABLES[key], value, str(config_path()))
