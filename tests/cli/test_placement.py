"""The options --device and --precision."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable

import pytest

from mova.cli.main import COMMANDS, Command
from mova.cli.options import Model, take_groups
from mova.cli.placement import with_placement
from mova.errors import UsageError


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.group} {command.name}".strip())
def test_every_command_with_a_model_has_a_device_and_a_precision(command: Command) -> None:
    function = take_groups(command.function)
    options = inspect.signature(with_placement(function) if command.loads_model else function).parameters
    if "model" in options and options["model"].annotation == Model:
        assert "device" in options
        assert "precision" in options or command.name == "fit"


def test_they_hold_while_the_command_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOVA_DEVICE", "cuda:3")
    monkeypatch.delenv("MOVA_PRECISION", raising=False)
    seen = []

    def command(*, ray: str | None) -> None:
        seen.append((os.environ.get("MOVA_DEVICE"), os.environ.get("MOVA_PRECISION"), ray))

    placed = with_placement(command)
    placed(device="cpu", precision="fp32", ray=None)
    placed(device=None, precision=None, ray="auto")
    assert seen == [("cpu", "fp32", None), ("cuda:3", None, "auto")]
    assert (os.environ["MOVA_DEVICE"], "MOVA_PRECISION" in os.environ) == ("cuda:3", False)
    with pytest.raises(UsageError, match="do not reach the nodes of a cluster"):
        placed(device="cpu", precision=None, ray="auto")
    with pytest.raises(ValueError, match="has these options already: device, precision"):
        with_placement(placed)


def test_a_wrong_value_is_one_message(call: Callable[..., tuple[int, str, str]]) -> None:
    for option, value, message in (
        ("--precision", "fp17", "choose one of auto, fp32, bf16"),
        ("--device", "cuda:x", "is unknown; use cpu, cuda or cuda:1"),
    ):
        code, _, err = call("search", "red", option, value)
        assert (code, err) == (2, f"mova: {option} {value!r}: {message}\n")
