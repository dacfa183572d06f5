"""Console output: errors of users, system errors, and output that is not a terminal."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

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


@pytest.mark.parametrize("terminal", [False, True])
def test_a_note_has_no_level(terminal: bool) -> None:
    file = io.StringIO()
    handler = console.log_handler(Console(file=file, force_terminal=terminal, width=80, color_system=None))
    for level in (logging.INFO, logging.WARNING):
        handler.handle(logging.LogRecord("mova", level, "", 0, "%s", ("a note",), None))
    assert "INFO" not in file.getvalue()
    assert "WARNING" in file.getvalue()
    assert file.getvalue().count("a note") == 2


@pytest.mark.parametrize(("encoding", "written"), [("utf-8", "Ж日.mp4"), ("latin-1", "\\u0416\\u65e5.mp4")])
def test_json_has_letters_as_they_are_and_nothing_that_steers_a_terminal(encoding: str, written: str) -> None:
    raw = io.BytesIO()
    document = {"path": "Ж日.mp4", "odd": "\x9b2J\u202e\udcff\x7f\n"}
    stream = io.TextIOWrapper(raw, encoding=encoding)
    console.emit(document, Console(file=stream))
    text = raw.getvalue().decode(encoding)
    assert written in text
    assert not set("\x9b\u202e\x7f") & set(text)
    assert json.loads(text) == document


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


HOSTILE = "a\x1b]0;title\x07\x1b[2J\u202e\x9b31m\r[b]\udce9.mp4"
ESCAPED = r"a\x1b]0;title\x07\x1b[2J\u202e\x9b31m\r[b]\udce9.mp4"


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.setup_logging()
    console.say(f"one {HOSTILE}\n\ttwo é 影")
    console.note(HOSTILE)
    logging.getLogger("mova.x").warning("log %s", HOSTILE)
    table = Table()
    table.add_column("name")
    table.add_row(Text(HOSTILE))
    console.show(table)
    printed, noted = capsys.readouterr()
    assert printed.startswith(f"one {ESCAPED}\n")
    assert "two é 影" in printed
    assert noted == f"{ESCAPED}\nWARNING log {ESCAPED}\n"
    assert r"a\x1b]0;title\x1b[2J\u202e\x9b31m[b]\udce9.mp4" in printed  # Rich drops bells and returns by itself
    assert not set(printed + noted) & set("\x1b\x07\r\u202e\x9b")


def test_a_narrow_terminal_folds_paths_and_cuts_nothing_off() -> None:
    shown = Console(file=io.StringIO(), force_terminal=True, width=24, no_color=True)
    table = Table()
    for name in ("score", "video"):
        table.add_column(name)
    table.add_row("0.5", Text("/films/a-long-folder/the-last-one.mp4"))
    console.show(table, shown)
    lines = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    cells = [line.split("│")[2].strip() for line in lines if line.count("│") == 3]
    assert "".join(cells) == "/films/a-long-folder/the-last-one.mp4"


def test_names_in_a_progress_bar_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Console(file=io.StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(console, "err", shown)
    with console.file_bar("reading") as report:
        report("/x/[b]a\x1b]0;t\x07.mp4", 1.0, 2.0)
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert r"[b]a\x1b]0;t\x07.mp4" in text
    assert "\x1b]" not in text


def test_the_name_of_a_broken_file_is_escaped(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J.mp4").write_text("no video")
    code, out, err = call("data", "check", tmp_path)
    assert code == 1
    assert r"a\x1b[2J.mp4" in err
    assert "\x1b" not in out + err


def test_without_a_terminal_progress_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(console, "err", Console(file=sys.stderr, force_terminal=False))
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.file_bar("indexing") as bar:
        bar._progress.get_time = lambda: now[0]
        for second in range(0, 100, 5):
            now[0] = 100.0 + second
            bar.at_file(second // 50 + 1, 2)
            bar(f"/films/{second // 50}.mp4", second, 100.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "indexing: file 1 of 2, 0.mp4, 30 %, about 1:10 left",
        "indexing: file 2 of 2, 1.mp4, 1 files/min, 60 %, about 0:40 left",
        "indexing: file 2 of 2, 1.mp4, 0.667 files/min, 90 %, about 0:10 left",
    ]


def test_work_that_is_quick_prints_no_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "err", Console(file=sys.stderr, force_terminal=False))
    with console.file_bar("embedding", "clip") as bar:
        for done in range(1, 5):
            bar("[red]a.mp4", done, 4)
    assert capsys.readouterr().err == ""


def test_a_name_in_a_progress_line_is_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "err", Console(file=sys.stderr, force_terminal=False))
    monkeypatch.setattr(console, "LINE_SECONDS", 0.0)
    with console.file_bar("embedding", "clip") as bar:
        bar("[red]a\n\x1b[2J.mp4", 1, 4)
    assert capsys.readouterr().err == "embedding: clip 1 of 4, [red]a\\n\\x1b[2J.mp4, 25 %\n"
