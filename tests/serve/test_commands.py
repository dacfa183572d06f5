"""A command asks the service that runs for its index, and prints what it would have found itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from mova.cli.answer_output import printed_answer
from mova.cli.quick_search import FLAGS, VALUES, print_by_service, read_words
from mova.search.cold import asked, service
from mova.search.cold.asked import packed, search_by_service, unpacked
from mova.search.cold.service import NAME, announced, ask
from mova.search.index import Index
from mova.search.narrow.filter import Filter
from mova.search.narrow.trim import Trim
from mova.serve.commands import answering
from mova.serve.engine import Engine

Call = Callable[..., tuple[int, str, str]]
PARAGRAPH = "A red star moves left. Then a blue square grows."
RANKING = {"order": "auto", "min_score": None, "rescore": "auto", "false_alarm": 0.05}


@pytest.fixture(scope="module")
def folder(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("asked") / "index"
    Index(target, "mova-worlds-tiny").add([worlds_manifest.parent])
    return target


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[None]:
    engine = Engine(str(folder))
    with answering(str(folder), engine, printed_answer):
        yield
    engine.close()
    assert not (folder / NAME).exists(), "removed at the end"


def same(out: str) -> str:
    return re.sub(r'"elapsed_seconds": [0-9.]+', "", out)


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    "options",
    [
        ("a", "red", "star"),
        ("a red star", "--json"),
        ("a red star", "--json", "-k", "3", "--page", "2", "--pad", "0.5", "--one-per-video"),
        ("a red star", "--json", "--dedupe", "--min-length", "1", "--false-alarm", "0.3"),
        (PARAGRAPH, "--json"),
        (PARAGRAPH, "--json", "--order", "no", "--rescore", "none", "--min-score", "0.1"),
        ("a red zyxwv", "--json", "--longer", "1"),
    ],
)
def test_the_output_is_that_of_a_search_without_the_service(
    options: tuple[str, ...], folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    real = asked.ask
    monkeypatch.setattr(asked, "ask", lambda *words: answers.append(real(*words)) or answers[-1])
    by_service = call("search", *options, "--index", folder)
    assert len(answers) == 1
    assert answers[0] is not None
    local = call("search", *options, "--index", folder, "--local")
    assert len(answers) == 1
    assert by_service[0] == local[0] == 0
    assert same(by_service[1]) == same(local[1])
    assert set(by_service[2].splitlines()) == set(local[2].splitlines())  # here both are one process


@pytest.mark.usefixtures("running")
def test_folders_are_seen_from_where_the_command_is(folder: Path, call: Call, worlds_manifest: Path) -> None:
    here = Path.cwd()
    try:
        os.chdir(worlds_manifest.parent)
        for options in (("--folder", "."), ("--folder", "nowhere")):
            by_service = call("search", "a star", "--index", folder, "--json", *options)
            local = call("search", "a star", "--index", folder, "--json", "--local", *options)
            assert (by_service[0], same(by_service[1]), by_service[2]) == (local[0], same(local[1]), local[2])
    finally:
        os.chdir(here)


@pytest.mark.usefixtures("running")
def test_the_file_is_for_its_owner_and_the_token_is_needed(folder: Path) -> None:
    path = folder / NAME
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    request = {"text": "a star", "k": 1, "filter": {}, "trim": {}, "start": "/", "skip": 0, **RANKING}
    assert ask(folder, request) is not None
    port = json.loads(path.read_text())["port"]
    for line in (json.dumps({**request, "token": "x"}), json.dumps(request), "GET / HTTP/1.1", "[" * 9000, "null", ""):
        with socket.create_connection(("127.0.0.1", port), 5) as connection, connection.makefile("rb") as lines:
            assert json.loads(lines.readline()) == service.GREETING
            connection.sendall(line.encode() + b"\n")
            assert lines.readline() == b""
    assert ask(folder, {"text": "a star"}) is None, "not a request of a search"
    assert ask(folder, {**request, "k": 0}) is None, "an error: the command finds it itself"
    assert ask(folder, request) is not None


def test_an_answer_survives_the_way(folder: Path) -> None:
    for text in ("a red star", PARAGRAPH):
        answer = Index(folder).search(text, k=7, skip=2)
        other = unpacked(json.loads(json.dumps(packed(answer))))
        assert other == answer
        assert (other.false_alarm, other.evidence, other.bar, other.skip) == (
            answer.false_alarm,
            answer.evidence,
            answer.bar,
            2,
        )
        assert other.to_json() == answer.to_json()


def test_a_file_that_was_left_behind_is_ignored(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for content in ("", "{}", '{"port": "x"}', json.dumps({"port": port, "token": "a"}), "[1]"):
            (tmp_path / NAME).write_text(content)
            assert ask(tmp_path, {"text": "a"}) is None
    assert ask(tmp_path, {"text": "a"}) is None, "nothing listens"
    assert ask(tmp_path / "nowhere", {"text": "a"}) is None
    assert search_by_service(tmp_path, "a", 1, Filter(), Trim()) is None


def test_another_version_is_not_asked(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(folder, tmp_path / "index", copy_function=shutil.copy2))
    engine = Engine(str(folder))
    request = {"text": "a star", "k": 1, "filter": {}, "trim": {}, "start": "/", "skip": 0, **RANKING}
    with answering(str(folder), engine):
        assert ask(folder, request) is not None
        monkeypatch.setattr(service, "GREETING", {"mova": "0.0.1", "answers": 1})
        assert ask(folder, request) is None
    engine.close()


def test_a_later_service_keeps_its_file_and_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    with announced(tmp_path, 1):
        with announced(tmp_path, 2) as token:
            pass
        (tmp_path / NAME).write_text(json.dumps({"port": 2, "token": token}))
    assert json.loads((tmp_path / NAME).read_text())["port"] == 2
    with announced(tmp_path / "nowhere", 1):
        pass
    with answering(str(tmp_path / "nowhere"), Engine(str(tmp_path / "nowhere"))):
        pass
    with answering("s3://bucket/index", Engine(str(tmp_path / "nowhere"))):
        pass


def test_windows_is_refused_with_what_to_do(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mova.cli.commands.serve.sys", SimpleNamespace(platform="win32"))
    code, _, err = call("serve", "--index", tmp_path)
    assert (code, "needs Linux or macOS; on Windows, run it in WSL" in err) == (2, True)


QUICK = [
    ("a", "red", "star"),
    ("a red star", "--page", "2", "-k", "2", "--one-per-video"),
    ("a red star", "--skip=900"),
    ("a red star", "--json", "--top", "3", "--pad", "0.5", "--dedupe", "--min-length", "1", "--false-alarm", "0.3"),
    (PARAGRAPH,),
    (PARAGRAPH, "--json", "--order", "no", "--rescore", "none", "--min-score", "0.1"),
    ("a red zyxwv", "--longer=1", "--shorter", "1h", "--after", "2001", "--before", "2199", "--folder", "."),
]


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("options", QUICK)
def test_the_service_prints_what_the_whole_command_prints(
    options: tuple[str, ...],
    folder: Path,
    call: Call,
    capsys: pytest.CaptureFixture[str],
    worlds_manifest: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the service sends counts: it runs in this process, so that its own log is captured, too."""
    sent: list[tuple[str, str]] = []
    monkeypatch.setattr("mova.cli.quick_search._write", sent.extend)
    monkeypatch.chdir(worlds_manifest.parent)
    assert print_by_service([*options, "--index", str(folder)])
    capsys.readouterr()
    code, out, err = call("search", *options, "--index", folder, "--local")
    printed = {name: "".join(text for stream, text in sent if stream == name) for name in ("out", "err")}
    assert (code, same(out), err) == (0, same(printed["out"]), printed["err"])
    assert bool(out) == ("--skip=900" not in options)  # a page beyond the answer is a message alone


@pytest.mark.usefixtures("running")
def test_a_video_that_is_gone_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], worlds_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mova.cli.answer_output.surely_gone", lambda path: True)
    assert print_by_service(["a star", "-k", "1", "--index", str(folder)])
    captured = capsys.readouterr()
    assert "1 of these videos no longer exists" in captured.err
    assert "no longer" not in captured.out


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    "words",
    [
        ["a star", "--local"],
        ["a star", "--csv", "a.csv"],
        ["a star", "--text-file", "a.txt"],
        ["a star", "-k", "0"],
        ["a star", "-k", "many"],
        ["a star", "-k"],
        ["a star", "--page", "1", "--skip", "1"],
        ["a star", "--order", "maybe"],
        ["a star", "--rescore", "maybe"],
        ["a star", "--after", "tomorrow"],
        ["a star", "--folder", "nowhere"],
        ["a star", "--skip", "-1"],
        ["--", "a star"],
        ["--json"],
        [""],
        ["..."],
        [],
    ],
)
def test_what_is_unusual_is_left_to_the_whole_command(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOVA_INDEX", str(folder))
    assert print_by_service(["a star"])
    assert capsys.readouterr().out
    assert not print_by_service(words)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not print_by_service(["a star"])
    assert capsys.readouterr() == ("", "")


def test_the_quick_search_knows_the_options_of_the_command(tmp_path: Path) -> None:
    from typer.main import get_command

    from mova.cli.main import app

    parameters = {name: p for p in get_command(app).commands["search"].params for name in p.opts}  # type: ignore[attr-defined]
    assert set(VALUES) | set(FLAGS) <= set(parameters)
    for name in VALUES:
        assert not getattr(parameters[name], "is_flag", False)
        assert parameters[name].nargs == 1
    defaults = {"-k": 10, "--rescore": "auto", "--false-alarm": 0.05, "--order": "auto", "--pad": "0"}
    assert {name: parameters[name].default for name in defaults} == defaults
    assert read_words(["-k3", "a"]) is None
    assert not print_by_service(["a star", "--index", str(tmp_path)])


@pytest.mark.usefixtures("running")
def test_output_that_cannot_be_written_is_not_printed_twice(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(text: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sys.stdout, "write", full)
        with pytest.raises(SystemExit) as stop:
            print_by_service(["a star", "--index", str(folder)])
    assert stop.value.code == 1
    assert capsys.readouterr().err == "mova: No space left on device\n"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)  # closed by the caller
        assert not print_by_service(["a star", "--index", str(folder)])
    assert not print_by_service(["a star", "--index", "~nobody-of-this-name/index"])


@pytest.mark.usefixtures("running")
@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_shows_the_same_colors_and_folds(folder: Path) -> None:
    import pty

    def seen(*options: str) -> bytes:
        leader, follower = pty.openpty()
        command = [sys.executable, "-m", "mova", "search", "a", "red", "zyxwv", "--index", str(folder), *options]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color", "COLUMNS": "60"}
        environment.pop("FORCE_COLOR", None)
        with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment) as process:
            os.close(follower)
            found = bytearray()
            while True:
                try:
                    part = os.read(leader, 4096)
                except OSError:
                    break
                if not part:
                    break
                found += part
        os.close(leader)
        assert process.returncode == 0, found
        return bytes(found)

    quick = seen()
    assert b"\x1b[1m" in quick
    assert quick == seen("--local")


@pytest.mark.usefixtures("running")
def test_a_command_that_asks_loads_next_to_nothing(folder: Path) -> None:
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('LOADED', *sorted(sys.modules), file=sys.stderr))\n"
        "from mova.cli.entry import run\nrun()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    loaded = []
    for words in (
        ("search", "a", "red", "star", "--index", str(folder), "--json"),
        ("search", "a star", "--min-score=-1"),
    ):
        command = [sys.executable, "-c", code, *words, "--index", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder.parent, check=False)
        assert done.returncode == 0, done.stderr
        loaded.append(set(done.stderr.strip().splitlines()[-1].split()[1:]))
    assert {name for name in loaded[0] if name.startswith("mova.")} == {
        "mova._version",
        "mova.cli",
        "mova.cli.entry",
        "mova.cli.quick_search",
        "mova.cli.user_settings",
        "mova.errors",
        "mova.search",
        "mova.search.cold",
        "mova.search.cold.service",
        "mova.utils",
        "mova.utils.replacing",
    }
    assert {name.partition(".")[0] for name in loaded[0]} & {
        "numpy",
        "typer",
        "click",
        "rich",
        "http",
        "asyncio",
    } == set()
    heavy = {"torch", "onnxruntime", "tokenizers", "lancedb", "pyarrow", "safetensors", "filelock"}
    assert loaded[1] & heavy == set(), "the whole command asks the service, too"
