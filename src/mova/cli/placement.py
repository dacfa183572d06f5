"""The options --device and --precision, for every command that may load a model."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from mova.cli.options import Device, Precision
from mova.cli.user_settings import VARIABLES, require_placement
from mova.errors import UsageError

OPTIONS = {"device": Device, "precision": Precision}


def with_placement(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that also has --device and --precision.

    While it runs, they take the place of MOVA_DEVICE and MOVA_PRECISION, so that they hold for each model that is
    loaded, in child processes too.

    Args:
        command: its parameters are options of Typer (`mova.cli.options.take_groups`).

    Raises:
        ValueError: the command has such an option already.
    """
    parameters = list(inspect.signature(command).parameters.values())
    if taken := OPTIONS.keys() & {parameter.name for parameter in parameters}:
        raise ValueError(f"{command.__name__} has these options already: {', '.join(sorted(taken))}")
    for name, annotation in OPTIONS.items():
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))

    @wraps(command)
    def placed(*, device: str | None, precision: str | None, **values: Any) -> None:
        """Check both options, and run the command with them."""
        for key, value in {"precision": precision, "device": device}.items():
            if value is not None:
                require_placement(f"--{key}", key, value)
        if values.get("ray") and (device or precision):
            raise UsageError(
                "--device and --precision do not reach the nodes of a cluster; set MOVA_DEVICE and MOVA_PRECISION there"
            )
        with _variables({"device": device, "precision": precision}):
            command(**values)

    placed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    placed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return placed


@contextmanager
def _variables(chosen: dict[str, str | None]) -> Iterator[None]:
    """Set the environment variables of settings that were chosen, during the block."""
    changed = {VARIABLES[name]: value for name, value in chosen.items() if value is not None}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
