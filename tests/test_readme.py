"""What README and the guides say exists: commands, options, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from mova.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands() -> dict[str, set[str]]:
    """`mova` sub-command -> its options."""
    found: dict[str, set[str]] = {}
    root = typer.main.get_command(app)
    queue = [((), root)]
    while queue:
        path, command = queue.pop()
        found[" ".join(path)] = {option for p in command.params for option in p.opts}
        queue += [((*path, name), child) for name, child in getattr(command, "commands", {}).items()]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_and_options_on_the_page_exist(page: Path) -> None:
    known = commands()
    text = page.read_text(encoding="utf-8")
    lines = re.findall(r"`mova ([^`]+)`", text) + re.findall(r"^\$ mova (.+?)(?:\s+#.*)?$", text, re.MULTILINE)
    for line in lines:
        words = line.split()
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        assert name in known, f"{page.name}: `mova {line}`"
        for option in re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", line):
            assert option in known[name], f"{page.name}: `mova {line}` has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_make_targets_on_the_page_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for name in re.findall(r"(?:`|\$ )make ([a-z-]+)", page.read_text(encoding="utf-8")):
        assert name in targets, f"{page.name}: make {name}"
