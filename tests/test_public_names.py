"""The names of `import mova`: complete in `dir`, importable, documented, and lazy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import mova


def test_dir_lists_every_public_name_and_each_can_be_used() -> None:
    listed = dir(mova)
    assert set(mova.__all__) | set(mova._PUBLIC) | set(mova._PACKAGES) <= set(listed)
    for name in listed:
        assert getattr(mova, name) is not None or name == "__spec__"
    assert {"Any", "TYPE_CHECKING"}.isdisjoint(listed)
    assert set(mova.__all__) == {*mova._PUBLIC, "__version__"}


def test_type_checkers_see_the_names_that_exist_at_run_time() -> None:
    tree = ast.parse(Path(mova.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == mova._PUBLIC


def test_packages_are_attributes_without_an_import_of_their_own() -> None:
    code = "import sys, mova; mova.errors.MovaError; dir(mova); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(mova, "nothing_of_this_name")
