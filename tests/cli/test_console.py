"""Console output: errors of users, system errors, and output that is not a terminal."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mova._version import __version__
from mova.cli import console
from mova.cli.report_output import print_report
from mova.errors import UsageError
from mova.eval.report import Evaluated, MetricGroup, Report, ReportHead
from mova.utils.file_lock import sole_writer

Call = Callable[..., tuple[int, str, str]]


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "mova", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__


def test_ctrl_c_prints_stopped_and_exits_with_130(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def pressed(paths: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mova.utils.files.find_videos", pressed)
    code, out, err = call("data", "check", tmp_path)
    assert (code, out, err) == (130, "", "mova: stopped\n")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match=rf"{target}: cannot write to this folder"), sole_writer(target):
            pass


def test_a_system_error_names_the_file_without_the_error_number(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(paths: object) -> None:
        raise OSError(28, "No space left on device", "/disk/frames")

    monkeypatch.setattr("mova.utils.files.find_videos", full)
    assert call("data", "check", tmp_path) == (1, "", "mova: /disk/frames: No space left on device\n")


def test_a_folder_without_videos_is_an_error(call: Call, tmp_path: Path) -> None:
    code, out, err = call("data", "check", tmp_path)
    assert (code, out) == (2, "")
    assert f"no videos found in {tmp_path}" in err


def test_a_warning_in_a_pipe_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.setup_logging()
    message = "skipped /some/where/" + "far/" * 40 + "away [red].mp4"
    logging.getLogger("mova.anything").warning(message)
    assert capsys.readouterr().err == f"WARNING {message}\n"


def test_the_title_of_a_report_names_protocol_sizes_model_and_form(capsys: pytest.CaptureFixture[str]) -> None:
    ranks = MetricGroup(dict.fromkeys(("R@1", "R@5", "R@10", "MdR", "MnR"), 50.0), {}, {}, ties=0)
    settings = {"data": "any, text i belongs to video i", "split": "test", "form": "rule"}
    model = Evaluated("retrieval", "/a/long/path/of/a/model", "0")
    head = ReportHead("pairs", "0123", "", 4, 3, settings, model)
    print_report(Report(head=head, directions={"t2v": ranks, "v2t": ranks}), "name")
    first = capsys.readouterr().out.splitlines()[0]
    assert first == (
        "pairs: any, text i belongs to video i, 4 texts by 3 videos, fingerprint 0123, /a/long/path/of/a/model, "
        "split test, form rule"
    )
