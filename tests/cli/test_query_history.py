"""Queries at the prompt: they are there again the next time, and nobody else can read them."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from mova.cli import query_history

readline = pytest.importorskip("readline", reason="Python has no readline here")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOVA_CONFIG", str(tmp_path / "settings" / "config.toml"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    return tmp_path / "settings" / "search_history"


def kept() -> list[str]:
    return [readline.get_history_item(k + 1) for k in range(readline.get_current_history_length())]


def test_queries_are_there_again_the_next_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_history, "MOST", 2)
    with query_history.query_history():
        assert kept() == []
        for text in ("a red wall", "a dog — barks", "tea"):
            readline.add_history(text)
    readline.clear_history()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with query_history.query_history():
        assert kept() == ["a dog — barks", "tea"]


def test_a_history_that_cannot_be_kept_is_no_error(file: Path) -> None:
    file.mkdir(parents=True)
    with query_history.query_history():
        readline.add_history("tea")
    assert list(file.iterdir()) == []


def test_nothing_is_kept_where_nobody_types(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with query_history.query_history():
        readline.add_history("tea")
    assert not file.exists()
