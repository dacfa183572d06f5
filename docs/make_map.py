"""Write the map of folders in docs/architecture.md.

Floors come from tests/test_layout.py, purposes from docstrings. Run `python docs/make_map.py`.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "mova"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- map: written by docs/make_map.py -->\n", "<!-- end of map -->\n"

sys.path.insert(0, str(ROOT))
from tests.test_layout import FLOORS  # noqa: E402  (the one place that says which floor a folder is on)


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def entries(name: str) -> list[tuple[str, str]]:
    """Return path and description of a room and its sub-folders; nothing for a room that does not exist yet."""
    if (module := PACKAGE / f"{name}.py").exists():
        return [(module.name, first_line(module))]
    folders = [init.parent for init in sorted((PACKAGE / name).rglob("__init__.py"))]
    return [(f"{folder.relative_to(PACKAGE)}/", first_line(folder / "__init__.py")) for folder in folders]


def make_map() -> str:
    """Return the map as Markdown: one table row per folder, highest floor first."""
    rooms: dict[int, list[str]] = defaultdict(list)
    for name, floor in FLOORS.items():
        if not name.startswith("_"):
            rooms[floor].append(name)
    rows = ["| floor | folder | purpose |", "|---|---|---|"]
    for floor in sorted(rooms, reverse=True):
        label = str(floor)
        for name in rooms[floor]:
            for path, purpose in entries(name):
                rows.append(f"| {label} | `{path}` | {purpose} |")
                label = ""
    return "\n".join(rows) + "\n"


def with_map(page: str) -> str:
    """Return the page with a current map between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{make_map()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_map(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
