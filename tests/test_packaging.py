"""The wheel's metadata, and the Dockerfile: what it copies, installs and starts exists. Docker itself is not run."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from mova.cli.main import app
from mova.serve.guard import OPEN_PATHS

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_of_the_readme_are_absolute_in_the_wheel(hook: ModuleType) -> None:
    text = hook.with_absolute_links((ROOT / "README.md").read_text(encoding="utf-8"), "https://example.org/mova")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(targets) > 20
    assert all(target.startswith(("https://", "#")) for target in targets)
    assert "![" not in re.sub(r"!\[[^]]*\]\(https://example.org/mova/raw/main/docs/images/\w+\.png\)", "", text)
    paths = re.findall(r"\(https://example.org/mova/(?:blob|raw|tree)/main/([^)#\s]+)", text)
    assert all((ROOT / path).exists() for path in paths)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("git@example.org:me/mova.git", "https://example.org/me/mova"),
        ("https://example.org/me/mova/", "https://example.org/me/mova"),
        ("/srv/git/mova", ""),
        ("", ""),
    ],
)
def test_the_address_is_that_of_the_variable(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, expected: str
) -> None:
    monkeypatch.setenv("MOVA_REPOSITORY", address)
    assert hook.repository(tmp_path) == expected
    metadata: dict[str, object] = {}
    (tmp_path / "README.md").write_text("[a](docs/a.md)", encoding="utf-8")
    hook.PublishedMetadata(str(tmp_path), {}).update(metadata)
    assert ("urls" in metadata) == bool(expected)
    assert set(PROJECT["dynamic"]) == {"version", "readme", "urls"}


def test_what_the_image_copies_and_installs_exists() -> None:
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source not in (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", DOCKERFILE)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert {base.split(":")[0] for base in bases} == {"python"}


def test_the_image_serves_as_a_user_without_rights_and_is_checked() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\w+)", last, re.M) == ["mova"]
    (command,) = re.findall(r"^CMD (\[.+\])$", last, re.M)
    name, *words = json.loads(command)
    import typer.main

    serve = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    options = {option for parameter in serve.params for option in parameter.opts}
    given = [word for word in words if word.startswith("--")]
    assert set(given) <= options
    assert words[words.index("--host") + 1] == "0.0.0.0"
    assert "--token-file" in options, "and MOVA_TOKEN, without which the service makes a token"
    (port, path) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", last)[0]
    assert path.startswith(OPEN_PATHS)
    default = next(parameter.default for parameter in serve.params if parameter.name == "port")
    assert re.findall(r"^EXPOSE (\d+)", last, re.M) == [port] == [str(default)]
