"""The plan of the house, held: floors, file and function lengths, light imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "src" / "mova"
FLOORS = {
    "_version": 0,
    "types": 0,
    "errors": 0,
    "clock": 0,
    "distributed": 0,
    "data": 1,
    "models": 2,
    "losses": 3,
    "eval": 4,
    "train": 5,
    "search": 6,
    "judge": 6,
    "lab": 6,
    "serve": 7,
    "cli": 8,
    "__main__": 9,
}
FILES = sorted(p for p in ROOT.rglob("*.py"))
HEAVY = ("torch", "transformers", "av", "lancedb", "matplotlib", "sklearn")


def floor_of(path: Path) -> int:
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return FLOORS[part]


def imported(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor"
            names.append(node.module or "")
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.split(".")[0] == "mova"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_only_its_own_floor_and_those_below(path: Path) -> None:
    if path == ROOT / "__init__.py":
        return
    for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")
        assert len(parts) > 1, f"{path}: imports the package root"
        if parts[1] in FLOORS:
            assert FLOORS[parts[1]] <= floor_of(path), f"{path}: imports upward: {name}"


def test_no_circle_among_modules() -> None:
    graph = {}
    modules = {".".join(("mova", *p.relative_to(ROOT).with_suffix("").parts)): p for p in FILES}
    for module, path in modules.items():
        if path.name == "__init__.py":
            continue
        found = set(imported(ast.parse(path.read_text(encoding="utf-8"))))
        graph[module] = {name for name in found if name in modules}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"import circle: {' -> '.join((*trail, module))}"
        if module in done:
            return
        for other in graph.get(module, ()):
            visit(other, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400, f"{path}: more than 400 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{path}:{node.lineno} {node.name}: {length} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_one_folder_deep(path: Path) -> None:
    assert len(path.relative_to(ROOT).parts) <= 2


@pytest.mark.parametrize("module", ["mova", "mova.cli.main"])
def test_importing_the_front_door_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
