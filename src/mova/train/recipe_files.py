"""The documents of recipes: found by name or path, merged with what they extend, overridden, and checked for files.

Nothing here imports torch, so that a wrong name or a missing file is reported at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from mova.errors import DataError, UsageError
from mova.utils.text_files import brief, parse_yaml, read_text

SECTIONS = ("model", "data", "objective", "training", "finish", "reproduce")


def read_document(name_or_path: str, overrides: Mapping[str, str] | None = None) -> tuple[Path, dict[str, Any]]:
    """Return the file of a recipe, and its document with that of the recipe it extends, and with overrides.

    Raises:
        UsageError: no such recipe, a base that cannot be run itself, an invalid document, or a wrong override.

    >>> path, document = read_document("own", {"training.max_steps": "10"})
    >>> path.name, document["training"]["max_steps"]
    ('own.yaml', 10)
    """
    path = _find(name_or_path)
    document = _read(path)
    if document.pop("base", False):
        raise UsageError(f"{path}: is a base of other recipes (extends: {path.stem}) and cannot be run itself")
    if "extends" in document:
        document = _extended(path, document)
    for key, value in (overrides or {}).items():
        _override(document, key, value)
    return path, document


def require_files(name_or_path: str, overrides: Mapping[str, str] | None = None) -> None:
    """Raise if a recipe, the run it starts from, or a file that its section `data` names, does not exist.

    Raises:
        UsageError: as `read_document`; a missing or unfinished run; a manifest or quarantine list that does not exist.

    >>> require_files("own", {"data.manifest": "none.jsonl"})
    Traceback (most recent call last):
    mova.errors.UsageError: recipe own: none.jsonl is not a file; pass --data.manifest PATH/manifest.jsonl
    """
    path, document = read_document(name_or_path, overrides)
    name, data = document.get("name", path.stem), document.get("data")
    if isinstance(document.get("model"), dict):
        require_stage(name, document["model"].get("source"))
    if not isinstance(data, dict):
        return
    for key in ("manifest", "quarantine"):
        value = data.get(key)
        if isinstance(value, str) and not Path(value).is_file():
            raise UsageError(f"recipe {name}: {value} is not a file; pass --data.{key} PATH/{key}.jsonl")
    if "manifest" in data and data["manifest"] is None:
        raise UsageError(f"recipe {name}: needs your copy of the data; pass --data.manifest PATH/manifest.jsonl")


def require_stage(name: str, source: object) -> None:
    """Raise if the model of a recipe is a run of an earlier stage that is missing or unfinished.

    Raises:
        UsageError: it is; the message says which command makes it.

    >>> require_stage("gexia-msrvtt", "openai/clip-vit-base-patch32")
    """
    if not isinstance(source, str):
        return
    folder = Path(source)
    unfinished = any(folder.glob("checkpoint-*")) and not (folder / "config.json").is_file()
    if unfinished:
        raise UsageError(
            f"recipe {name}: starts from the run {source}, which is not finished; continue it with "
            f"`mova train {folder.name} --resume`, or start from its checkpoint with --model.source"
        )
    if folder.parent == Path("runs") and not folder.is_dir():
        stage = f"`mova train {folder.name}`" if folder.name in shipped_recipes() else "its recipe"
        raise UsageError(
            f"recipe {name}: starts from the earlier stage {source}, and there is no such folder; run {stage} first, "
            "or name a model with --model.source"
        )


def shipped_recipes() -> dict[str, Path]:
    """Return name -> file of the recipes that come with the package; bases of others are not listed.

    >>> "own" in shipped_recipes()
    True
    """
    return {name: path for name, path in _shipped_files().items() if not _read(path).get("base")}


def require_target(name: str, section: object) -> None:
    """Raise if a recipe has no published figure to reproduce.

    Args:
        name: of the recipe.
        section: its section `reproduce`.

    Raises:
        UsageError: the section is empty; the message names the recipes that have one.

    >>> require_target("activitynet", read_document("activitynet")[1]["reproduce"])
    """
    if not section:
        raise UsageError(
            f"recipe {name} has no published result to reproduce (section 'reproduce'); these recipes do: "
            f"{', '.join(reproducible())}"
        )


def reproducible() -> list[str]:
    """Return the names of the shipped recipes that have a figure to reproduce.

    >>> "activitynet" in reproducible(), "own" in reproducible()
    (True, False)
    """
    return [name for name in shipped_recipes() if read_document(name)[1].get("reproduce")]


def _shipped_files() -> dict[str, Path]:
    folder = Path(str(files("mova"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _find(name_or_path: str, folder: Path | None = None) -> Path:
    """Return the file of a recipe: a path (relative to `folder`), or the name of a shipped recipe."""
    path = Path(name_or_path) if folder is None else folder / name_or_path
    if path.is_file():
        return path
    shipped = _shipped_files()
    if name_or_path not in shipped:
        known = ", ".join(shipped_recipes()) or "none"
        raise UsageError(f"{name_or_path}: neither a recipe file nor a recipe that ships with mova ({known})")
    return shipped[name_or_path]


def _read(path: Path) -> dict[str, Any]:
    try:
        document = parse_yaml(read_text(path), str(path))
    except DataError as error:
        raise UsageError(str(error)) from error
    if not isinstance(document, dict):
        raise UsageError(f"{path}: a recipe is a mapping with the sections {', '.join(SECTIONS)}")
    return document


def _extended(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Merge a document into that of the recipe it extends, by section; another `kind` replaces the whole section."""
    try:
        source = _find(str(document["extends"]), path.parent)
    except UsageError as error:
        raise UsageError(f"{path}: extends {error}") from error
    base = _read(source)
    if "extends" in base:
        raise UsageError(f"{path}: extends {source}, which extends another recipe itself; only one level is allowed")
    merged = {key: value for key, value in base.items() if key not in ("base", "name")}
    for key, value in document.items():
        if key == "extends":
            continue
        merged[key] = _merged(merged.get(key), value)
    return merged


def _merged(before: Any, value: Any) -> Any:
    if not (isinstance(before, dict) and isinstance(value, dict)):
        return value
    same_kind = value.get("kind", before.get("kind")) == before.get("kind")
    return {**before, **value} if same_kind else value


def _override(document: dict[str, Any], key: str, value: str) -> None:
    """Set `section.key` (or a top-level key) to a YAML value."""
    *parents, last = key.split(".")
    section = document
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise UsageError(f"--{key}: '{parent}' is not a section of the recipe")
    try:
        section[last] = _value(value, f"--{key}: {brief(value)}")
    except DataError as error:
        raise UsageError(str(error)) from error


class _OverrideLoader(yaml.SafeLoader):
    """YAML whose only booleans are true and false, as in YAML 1.2: `--training.eval_strategy no` is the text "no"."""


_OverrideLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_OverrideLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _value(text: str, where: str) -> Any:
    """Parse a YAML value. Text such as `1e-3` becomes a number, which YAML 1.1 alone would not do."""
    value = parse_yaml(text, where, _OverrideLoader)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
