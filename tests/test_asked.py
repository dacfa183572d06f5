"""The page of what people ask for: 25 rows, and every command that is not marked runs offline as it stands."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "guides" / "what-people-ask.md"
MARK = "†"
"""Behind a command that takes long, or needs data; another test runs what it stands for."""
CAPTION = "Two black discs shrink. Then a red star falls down. In the end a white square spins."


class Row(NamedTuple):
    number: int
    wish: str
    verdict: str
    command: list[str]
    runs: bool
    missing: str


def rows() -> list[Row]:
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if re.match(r"\| \d+ \|", line):
            number, wish, verdict, command, missing = (cell.strip() for cell in line.strip("|").split("|"))
            spans = re.findall(r"`(mova [^`]+)`", command)
            assert len(spans) == 1, line
            found.append(Row(int(number), wish, verdict, shlex.split(spans[0])[1:], MARK not in command, missing))
    return found


@pytest.fixture(scope="module")
def folder(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the page describes, with two reports and a score matrix of earlier commands."""
    from mova.search.index import Index

    root = tmp_path_factory.mktemp("asked")
    shutil.copytree(worlds_manifest.parent, root / "films")
    shutil.copy(next(iter(sorted((root / "films").glob("*.mp4")))), root / "film.mp4")
    (root / "caption.txt").write_text(CAPTION, encoding="utf-8")
    np.save(root / "sim.npy", np.random.default_rng(0).normal(size=(12, 12)))
    Index(root / ".mova" / "index", "mova-worlds-tiny").add([root / "films"])
    return root


def test_the_page_has_25_rows_and_says_what_is_missing() -> None:
    assert [row.number for row in rows()] == list(range(1, 26))
    for row in rows():
        assert row.verdict in ("yes", "partly", "no"), row
        assert bool(row.missing) == (row.verdict != "yes"), f"{row.number}: say what is missing, and only then"


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in rows() if row.runs], ids=lambda row: str(row.number))
def test_the_command_runs(
    row: Row, folder: Path, call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    if row.command[:2] == ["eval", "compare"]:
        for name in row.command[2:]:
            assert call("eval", "matrix", "sim.npy", "--protocol", "pairs", "--out", name)[0] == 0
    code, out, err = call(*row.command)
    assert code == 0, err
    assert out or err
