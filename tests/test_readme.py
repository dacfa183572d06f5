"""README and docs: every command, option, link, make target and API name on a page exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import typer

from mova.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]
API = [page for page in DOCS if page.parent.name == "api"]
AVOIDED = r"\b(?:told|mend|so many|lies in|is no|if left out|whatever|a second)\b"
"""Wording that readers stumble over: reported, fix, at most N, is in, is not a, default, any, per second."""


def commands() -> dict[str, set[str]]:
    """`mova` sub-command -> its options."""
    options: dict[str, set[str]] = {}
    root = typer.main.get_command(app)
    queue = [((), root)]
    while queue:
        path, command = queue.pop()
        options[" ".join(path)] = {option for p in command.params for option in p.opts} | {"--help"}
        queue += [((*path, name), child) for name, child in getattr(command, "commands", {}).items()]
    return options


@cache
def visible_options() -> set[str]:
    """Options of any command that its help shows, and of the benchmarks; aliases kept for old scripts are hidden."""
    options = {"--help"}
    queue = [typer.main.get_command(app)]
    while queue:
        command = queue.pop()
        options |= {option for p in command.params if not getattr(p, "hidden", False) for option in p.opts}
        queue += getattr(command, "commands", {}).values()
    for script in (ROOT / "benchmarks").rglob("*.py"):
        options |= set(re.findall(r"add_argument\(\s*\"(--[a-z-]+)", script.read_text(encoding="utf-8")))
    return options


def slugs(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and the site build them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_and_options_on_the_page_exist(page: Path) -> None:
    options_of = commands()
    text = page.read_text(encoding="utf-8")
    lines = re.findall(r"`mova ([^`]+)`", text) + re.findall(r"^ *\$ mova (.+?)(?:\s+#.*)?$", text, re.MULTILINE)
    for line in lines:
        words = line.split()
        name = " ".join(words[:2]) if " ".join(words[:2]) in options_of else words[0]
        assert name in options_of, f"{page.name}: `mova {line}`"
        if name == "eval":  # `mova eval` or `mova eval TASK`: options of any task
            options_of[name] = set().union(
                *(options for path, options in options_of.items() if path.startswith("eval "))
            )
        for option in re.findall(r"(?<!\S)(--?[a-z][a-z-]*)(?![\w.-])", line):
            assert option in options_of[name], f"{page.name}: `mova {line}` has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_options_named_alone_exist(page: Path) -> None:
    for option in re.findall(r"`(--[a-z][a-z-]*)(?![\w.-])", page.read_text(encoding="utf-8")):
        assert option in visible_options(), f"{page.name}: {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_within_the_repository_exist(page: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8")):
        if "://" in path:
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {path}"
        assert not anchor or anchor in slugs(target), f"{page.name}: {path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_make_targets_on_the_page_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for name in re.findall(r"(?:`|\$ )make ([a-z-]+)", page.read_text(encoding="utf-8")):
        assert name in targets, f"{page.name}: make {name}"


@pytest.mark.parametrize("page", API, ids=lambda p: p.name)
def test_documented_modules_and_classes_exist(page: Path) -> None:
    for kind, name in re.findall(r"^\.\. auto(module|class|function):: (\S+)", page.read_text(encoding="utf-8"), re.M):
        module, _, member = (name, "", "") if kind == "module" else name.rpartition(".")
        path = ROOT / "src" / Path(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert path.is_file(), f"{page.name}: {name}"
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        assert not member or f'"{member}"' in text or member in {getattr(node, "name", None) for node in tree.body}, (
            name
        )


@pytest.mark.parametrize("folder", ["scoring", "losses", "eval/metrics"])
def test_every_module_of_pure_functions_is_documented(folder: str) -> None:
    modules = {path.stem for path in (ROOT / "src/mova" / folder).glob("*.py")} - {"__init__"}
    text = "".join(page.read_text(encoding="utf-8") for page in API)
    prefix = "mova." + folder.replace("/", ".")
    assert modules == set(re.findall(rf"automodule:: {re.escape(prefix)}\.(\w+)$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_page_avoids_listed_words(page: Path) -> None:
    matches = re.findall(f".*{AVOIDED}.*", page.read_text(encoding="utf-8"), re.IGNORECASE)
    assert not matches, f"{page.name}: {matches}"
