"""The architecture page: the map is current, and the ways name files that exist and import each other."""

from __future__ import annotations

import ast
import re

import pytest

from docs.make_map import PACKAGE, PAGE, with_map
from tests.test_layout import imported

TEXT = PAGE.read_text(encoding="utf-8")
WAYS = dict(re.findall(r"^### (.+?)\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL))


def files(way: str) -> list[str]:
    """Paths in order, from numbered lines such as "3. `search/query.py`: ..."."""
    return re.findall(r"^\d+\. `([^`]+)`", WAYS[way], re.MULTILINE)


def named(path: str) -> set[str]:
    """Modules that a file imports, or names as "package.module:attribute" for import on first use."""
    tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {*imported(tree), *(text.partition(":")[0] for text in texts if re.fullmatch(r"mova(\.\w+)+:[\w.]+", text))}


def test_the_map_is_current() -> None:
    assert with_map(TEXT) == TEXT, "run `python docs/make_map.py`"


def test_all_main_ways_are_described() -> None:
    assert [way.split()[1].rstrip("`") for way in WAYS] == [
        "index",
        "search",
        "align",
        "serve",
        "train",
        "eval",
        "data",
    ]


@pytest.mark.parametrize("way", WAYS)
def test_every_file_of_a_way_exists_and_is_imported_by_an_earlier_one(way: str) -> None:
    importable: set[str] = set()
    for number, path in enumerate(files(way)):
        assert (PACKAGE / path).is_file(), f"{way}: {path}"
        module = "mova." + path.removesuffix(".py").replace("/", ".")
        assert number == 0 or module in importable, f"{way}: no earlier file imports {path}"
        importable |= named(path)
