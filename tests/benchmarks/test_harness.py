"""Provenance in benchmark results: version, commit and whether the checkout was changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.common import harness
from mova._version import __version__


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    for name in ("code.py", "benchmarks/results/speed.json"):
        (tmp_path / name).write_text("1")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    return tmp_path


def test_a_result_names_its_version_and_commit() -> None:
    environment = harness.environment()
    assert environment["version"] == __version__
    assert environment["commit"] == harness.commit(harness.ROOT)


def test_changed_code_makes_a_commit_dirty_but_new_results_do_not(checkout: Path) -> None:
    head = harness.commit(checkout)
    assert head is not None
    assert len(head) == 40
    (checkout / "benchmarks" / "results" / "speed.json").write_text("2")
    (checkout / "untracked").write_text("2")
    assert harness.commit(checkout) == head
    (checkout / "code.py").write_text("2")
    assert harness.commit(checkout) == f"{head}-dirty"


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert harness.commit(tmp_path / "missing") is None
    assert harness.commit(tmp_path) is None
