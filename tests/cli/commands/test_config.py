"""Defaults of a user: the file, the variables, and their order."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from mova.cli.user_settings import VARIABLES, config_path
from mova.models import registry
from mova.models.registry import with_defaults
from tests.support.fakes import ColourEncoder, write_colours

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "settings" / "config.toml"
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"MOVA_CONFIG": str(path)})
    return path


def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a call set, as a new process would."""
    for name in VARIABLES.values():
        os.environ.pop(name, None)


def test_a_default_is_set_used_shown_and_removed(
    file: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "load", lambda name: ColourEncoder())
    films = write_colours(tmp_path / "films" / "a.mp4", [("red", 2)]).parent
    assert call("config", "index", tmp_path / "my index")[0] == 0
    assert file.read_text() == f'index = "{tmp_path}/my index"\n'
    fresh(monkeypatch)
    code, out, _ = call("index", films)
    assert code == 0
    assert (tmp_path / "my index").is_dir()
    fresh(monkeypatch)
    code, out, _ = call("config", "--json")
    assert json.loads(out)["index"] == {"value": f"{tmp_path}/my index", "from": "the configuration file"}
    assert json.loads(out)["model"] == {"value": None, "from": None}
    fresh(monkeypatch)
    os.environ["MOVA_INDEX"] = "elsewhere"
    code, out, _ = call("config", "index")
    assert out.split() == ["index", "elsewhere", "from", "MOVA_INDEX"]
    fresh(monkeypatch)
    assert call("config", "index", "--unset")[0] == 0
    assert file.read_text() == ""


def test_a_default_model_is_only_used_for_a_new_index(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested: list[str] = []
    monkeypatch.setattr(registry, "load", lambda name: requested.append(name) or ColourEncoder())
    films = write_colours(tmp_path / "films" / "a.mp4", [("red", 2)]).parent
    os.environ["MOVA_MODEL"] = "one"
    assert call("index", films, "--index", tmp_path / "index")[0] == 0
    os.environ["MOVA_MODEL"] = "another"
    for words in (("index", films), ("update",), ("index", films, "--model", "named")):
        write_colours(films / f"{len(requested)}.mp4", [("blue", len(requested))])
        assert call(*words, "--index", tmp_path / "index")[0] == 0
    assert requested == ["one", "colours-a", "colours-a", "named"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index = ", "cannot be read as a configuration file"),
        ("folder = 'x'\n", "unknown key 'folder'; choose from index, model, device, precision"),
        ("index = 3\n", "index must be a text"),
    ],
)
def test_a_damaged_file_is_one_message(text: str, message: str, file: Path, call: Call) -> None:
    file.parent.mkdir()
    file.write_text(text)
    code, _, err = call("status")
    assert code == 2
    assert str(file) in err
    assert message in err


def test_wrong_keys_and_values_are_refused(call: Call, file: Path) -> None:
    for words, message in (
        (["colour", "red"], "unknown key 'colour'"),
        (["index", " "], "the value is empty"),
        (["index", "x", "--unset"], "either a VALUE or --unset"),
        (["--unset"], "--unset needs a KEY"),
        (["device", "gpu"], "device 'gpu': is unknown; use cpu, cuda or cuda:1"),
        (["precision", "fp64"], "precision 'fp64': choose one of auto, fp32, bf16"),
    ):
        code, _, err = call("config", *words)
        assert code == 2
        assert message in err
    assert not file.exists()


def test_device_and_precision_are_defaults_of_every_model() -> None:
    assert with_defaults("auto", None) == ("auto", None)
    os.environ.update(MOVA_DEVICE="cuda:1", MOVA_PRECISION="fp32")
    assert with_defaults("auto", None) == ("fp32", "cuda:1")
    assert with_defaults("bf16", "cpu") == ("bf16", "cpu")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("device", "gpu", "device 'gpu' is unknown"), ("precision", "fp64", "precision 'fp64' is unknown")],
)
def test_a_wrong_default_is_named_with_the_place_that_it_comes_from(
    key: str, value: str, message: str, file: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_colours(tmp_path / "a.mp4", [("red", 2)])
    words = ("align", film, "--text", "A dog.", "--model", "mova-worlds-tiny")
    os.environ[VARIABLES[key]] = value
    code, _, err = call(*words)
    assert code == 2
    assert message in err
    assert f"(set by the environment variable {VARIABLES[key]})" in err
    fresh(monkeypatch)
    file.parent.mkdir()
    file.write_text(f'{key} = "{value}"\n')  # by hand, or by a version that took any text
    code, _, err = call(*words)
    assert code == 2
    assert message in err
    assert f"(set in {file}; `mova config` changes it)" in err
    fresh(monkeypatch)
    assert call("config", key, "--unset")[0] == 0
    assert call(*words, f"--{key}", "maybe")[2].startswith(f"mova: --{key} 'maybe'")


def test_paths_are_kept_as_they_are_meant_in_every_folder(
    file: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model").mkdir()
    for key, value, stored in [
        ("index", "films.mova", f"{tmp_path}/films.mova"),
        ("index", f"file:{tmp_path}/films.mova", f"{tmp_path}/films.mova"),
        ("index", f"file://{tmp_path}/films.mova", f"{tmp_path}/films.mova"),
        ("index", "s3://bucket/films", "s3://bucket/films"),
        ("model", "my-model", f"{tmp_path}/my-model"),
        ("model", "openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32"),
        ("device", "cuda:1", "cuda:1"),
    ]:
        assert call("config", key, value)[0] == 0
        assert tomllib.loads(file.read_text())[key] == stored
        fresh(monkeypatch)


def test_an_empty_variable_is_as_good_as_none(file: Path, tmp_path: Path, call: Call) -> None:
    assert call("config", "index", tmp_path / "one")[0] == 0
    os.environ["MOVA_INDEX"] = ""
    assert f"{tmp_path / 'one'}: no index here" in call("search", "a dog")[2]


def test_the_folder_of_the_settings_is_that_of_typer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOVA_CONFIG", raising=False)
    for folder in (None, "/settings"):
        if folder is None:
            monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        else:
            monkeypatch.setenv("XDG_CONFIG_HOME", folder)
        assert config_path() == Path(typer.get_app_dir("mova")) / "config.toml"
