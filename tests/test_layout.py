"""The structure of the package: floors, folders, file and function lengths, light imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "src" / "mova"
FLOORS = {
    name: floor
    for floor, names in enumerate(
        (
            ("_version", "displayed", "types", "errors", "distributed", "remote"),
            ("utils", "video", "text", "scoring"),
            ("data", "losses"),
            ("worlds",),
            ("models",),
            ("search", "eval", "explain", "text_to_video", "features", "baselines", "exports"),
            ("train", "plots"),
            ("reproduce", "serve", "client", "judge"),
            ("cli",),
            ("__main__",),
        ),
        start=1,
    )
    for name in names
}
MOST_FOLDERS, MOST_FILES, MOST_LINES, MOST_FUNCTION_LINES, LARGEST_ROOM = 2, 18, 400, 60, 0.17
FILES = sorted(p for p in ROOT.rglob("*.py"))
HEAVY = ("torch", "transformers", "av", "lancedb", "matplotlib", "sklearn")


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
def test_a_folder_imports_only_floors_below_it(path: Path) -> None:
    if path == ROOT / "__init__.py":
        return
    folder = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")
        assert len(parts) > 1, f"{path}: imports the package root"
        if parts[1] in FLOORS and parts[1] != folder and FLOORS[folder] > 1:
            assert FLOORS[parts[1]] < FLOORS[folder], f"{path}: imports upward or sideways: {name}"


def test_modules_have_no_import_cycle() -> None:
    graph = {}
    modules = {".".join(("mova", *p.relative_to(ROOT).with_suffix("").parts)): p for p in FILES}
    for module, path in modules.items():
        if path.name == "__init__.py":
            continue
        imports = set(imported(ast.parse(path.read_text(encoding="utf-8"))))
        graph[module] = {name for name in imports if name in modules}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"import circle: {' -> '.join((*trail, module))}"
        if module in done:
            return
        for imported_module in graph.get(module, ()):
            visit(imported_module, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES, f"{path}: more than {MOST_LINES} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MOST_FUNCTION_LINES, f"{path}:{node.lineno} {node.name}: {length} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_at_most_two_folders_deep_and_no_file_repeats_its_folder(path: Path) -> None:
    *folders, _ = path.relative_to(ROOT).parts
    assert len(folders) <= MOST_FOLDERS
    if folders:
        assert not path.stem.startswith(f"{folders[-1]}_"), f"{path}: repeats the name of its folder"


def test_every_folder_has_a_one_line_description() -> None:
    for folder in {path.parent for path in FILES} - {ROOT}:
        files = [path for path in FILES if path.parent == folder and path.name != "__init__.py"]
        assert len(files) <= MOST_FILES, f"{folder}: {len(files)} files"
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) == 1, f"{folder}/__init__.py: one line that says the folder's idea, no re-exports"
        assert ast.get_docstring(ast.parse(text)), f"{folder}/__init__.py: no docstring"


def test_no_folder_exceeds_its_share_of_lines() -> None:
    """Share of a first-level folder, with its sub-folders, in all lines of the package and the benchmarks."""

    def lines(folder: Path) -> int:
        return sum(path.read_text(encoding="utf-8").count("\n") for path in folder.rglob("*.py"))

    total = lines(ROOT) + lines(ROOT.parents[1] / "benchmarks")
    for directory in (path for path in ROOT.iterdir() if path.is_dir()):
        share = lines(directory) / total
        assert share <= LARGEST_ROOM, f"{directory}: {share:.1%} of all lines"


@pytest.mark.parametrize("module", ["mova", "mova.cli.main"])
def test_importing_the_package_loads_no_heavy_dependency(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
