"""Every command finds wrong files and numbers before torch is imported, in one fresh process.

What cannot be written is found as well as what cannot be read.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from typing import Any, NamedTuple

import pytest
from typer.models import ArgumentInfo

from mova.cli.main import COMMANDS
from mova.cli.options import take_groups

CASES = {
    "index": ["index", "none"],
    "search": ["search", "a dog", "--index", "none"],
    "search (file)": ["search", "--text-file", "none.txt"],
    "search (page)": ["search", "a dog", "--html", "none/page.html"],
    "highlights": ["highlights", "--index", "none"],
    "align": ["align", "none.mp4", "--text", "a dog"],
    "align (file)": ["align", "film.mp4", "--text-file", "none.txt"],
    "align (index)": ["align", "film.mp4", "--text", "a dog", "--index", "none"],
    "align (rate)": ["align", "film.mp4", "--text", "a dog", "--fps", "0"],
    "align (limit)": ["align", "film.mp4", "--text", "a dog", "--time-limit", "-1"],
    "score": ["score", "none.mp4", "a dog"],
    "score (pairs)": ["score", "--pairs", "none.csv"],
    "explain": ["explain", "none.mp4", "--text", "a dog", "--plot", "x.png"],
    "judge": ["judge", "none.mp4", "a dog"],
    "judge (prompts)": ["judge", "--prompts", "none.csv"],
    "status": ["status", "--index", "none"],
    "list": ["list", "--index", "none"],
    "update": ["update", "--index", "none"],
    "watch": ["watch", "--index", "none"],
    "forget": ["forget", "none", "--index", "none"],
    "versions": ["versions", "--index", "none"],
    "train": ["train", "none"],
    "train (file)": ["train", "none.yaml"],
    "train (manifest)": ["train", "own", "--data.manifest", "none.jsonl"],
    "train (no manifest)": ["train", "own"],
    "train (earlier stage)": ["train", "gexia-images", "--data.manifest", "m.jsonl"],
    "train (quarantine)": ["train", "own", "--data.manifest", "m.jsonl", "--data.quarantine", "none.jsonl"],
    "models (check)": ["models", "check", "none"],
    "models (export)": ["models", "export", "a", "out", "--video", "none.mp4"],
    "fit": ["fit", "none", "out"],
    "reproduce": ["reproduce", "none"],
    "reproduce (data)": ["reproduce", "activitynet", "--data", "none"],
    "reproduce (nothing published)": ["reproduce", "own"],
    "demo": ["demo", "--videos", "none"],
    "bench": ["bench", "none"],
    "data convert": ["data", "convert", "msvd", "none", "out"],
    "data check": ["data", "check", "none"],
    "data check (manifest)": ["data", "check", "none.jsonl"],
    "data shards": ["data", "shards", "none.jsonl", "out"],
    "data table": ["data", "table", "none.jsonl", "out.arrow"],
    "data export": ["data", "export", "datasets", "none.jsonl", "out"],
    "data export (index)": ["data", "export", "clip-retrieval", "none", "out"],
    "data features": ["data", "features", "none.jsonl", "out"],
    "data expand": ["data", "expand", "none.jsonl", "out"],
    "data contrast": ["data", "contrast", "none.jsonl", "out.jsonl"],
    "data synthesize": ["data", "synthesize", "none.jsonl", "out", "--model", "a"],
    "data weights": ["data", "weights", "none.jsonl", "out", "--vqa", "a"],
    "eval retrieval": ["eval", "retrieval", "--manifest", "none.jsonl"],
    "eval retrieval (features)": ["eval", "retrieval", "--manifest", "m.jsonl", "--features", "none"],
    "eval retrieval (quarantine)": ["eval", "retrieval", "--manifest", "m.jsonl", "--quarantine", "none.jsonl"],
    "eval moments": ["eval", "moments", "--manifest", "none.jsonl"],
    "eval classify": ["eval", "classify", "--manifest", "none.jsonl"],
    "eval choice": ["eval", "choice", "--manifest", "none.jsonl"],
    "eval entailment": ["eval", "entailment", "--manifest", "none.jsonl"],
    "eval synvita": ["eval", "synvita", "--data", "none"],
    "eval generation": ["eval", "generation", "none.json"],
    "eval long": ["eval", "long", "--manifest", "none.jsonl"],
    "eval relations": ["eval", "relations", "none.csv"],
    "eval rerank": ["eval", "rerank", "--manifest", "none.jsonl", "--rerank", "mova-worlds-tiny"],
    "eval rerank (index)": ["eval", "rerank", "--manifest", "m.jsonl", "--rerank", "mova-worlds-tiny"],
    "eval summaries": ["eval", "summaries", "none.jsonl", "--candidates", "a=none.jsonl"],
    "eval matrix": ["eval", "matrix", "none.npy", "--protocol", "msrvtt-1ka"],
    "eval compare": ["eval", "compare", "none.json", "none2.json"],
}
WRITES = re.compile(r"\b[Ww]rite\b|^Output|^(New f|F)older for")
"""What the help of an option or argument says that names something to write."""
Answers = dict[str, tuple[int, list[str], str, str]]
WITHOUT_FILES = {"models", "config", "serve", "data worlds", "eval worlds"}
"""Commands that read no file that has to exist (`serve` begins with an empty index)."""

RUN = """
import contextlib, io, json, sys
from mova.cli.main import run
answers = {}
for name, words in json.loads(sys.argv[1]).items():
    sys.argv = ["mova", *words]
    out, err = io.StringIO(), io.StringIO()
    code = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run()
        except SystemExit as stop:
            code = stop.code
    answers[name] = [code, [m for m in ("torch", "transformers", "lancedb") if m in sys.modules]]
    answers[name] += [out.getvalue(), err.getvalue()]
    if answers[name][1]:
        break
print("@@" + json.dumps(answers))
"""


def test_every_command_has_a_case() -> None:
    named = {f"{command.group} {command.name}".strip() for command in COMMANDS}
    assert named == {name.partition(" (")[0] for name in CASES} | WITHOUT_FILES


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Exit code, heavy packages that are loaded by then, stdout and stderr of each case."""
    return _run(CASES, tmp_path_factory)


def _run(cases: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Answers:
    folder = tmp_path_factory.mktemp("missing")
    for name in ("film.mp4", "m.jsonl"):
        (folder / name).write_text("", encoding="utf-8")
    (folder / "sub").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(cases)], capture_output=True, text=True, cwd=folder, check=False
    )
    assert "@@" in done.stdout, done.stderr
    assert not (folder / "none").exists()
    return json.loads(done.stdout.partition("@@")[2])


def test_a_missing_file_is_reported_before_torch_is_imported(
    answers: dict[str, tuple[int, list[str], str, str]],
) -> None:
    assert {name: heavy for name, (_, heavy, _, _) in answers.items() if heavy} == {}
    assert {name: code for name, (code, *_) in answers.items() if code not in (1, 2)} == {}
    assert set(answers) == set(CASES)


def test_a_video_that_does_not_exist_is_wrong_usage_of_every_command(answers: Answers) -> None:
    named = [name for name, words in CASES.items() if "none.mp4" in words]
    assert {"align", "score", "explain", "judge", "models (export)"} <= set(named)
    for name in (*named, "index"):
        code, _, _, err = answers[name]
        assert code == 2, name
        assert "no such file or directory" in err, name


def test_the_message_names_what_is_missing(answers: Answers) -> None:
    for name, (_, _, out, err) in answers.items():
        assert out == "", name
        assert "Traceback" not in err, name
    for name in ("train", "train (manifest)", "reproduce (data)", "eval retrieval", "fit", "index"):
        assert "none" in answers[name][3], name


class Output(NamedTuple):
    """What a command writes: its option or argument, and the words of the command with another value of it."""

    name: str
    words: list[str]
    is_folder: bool

    def named(self, value: str) -> list[str]:
        return [value if word == "@" else word for word in self.words]


def _outputs() -> dict[str, Output]:
    """Return all options and arguments that name a file or a folder to write, found by their help."""
    found: dict[str, Output] = {}
    for command in COMMANDS:
        parameters = inspect.signature(take_groups(command.function)).parameters.values()
        described = {p.name: p.annotation.__metadata__[0] for p in parameters if p.name != "context"}
        required = [p.name for p in parameters if p.default is p.empty and p.name in described]
        for parameter in parameters:
            about = described.get(parameter.name)
            if about is None or "Path" not in str(parameter.annotation) or not WRITES.search(about.help or ""):
                continue
            words = [word for word in (command.group, command.name) if word]
            for name in dict.fromkeys([*required, parameter.name]):
                other = "datasets" if name == "form" else "m.jsonl"
                words += _given(name, described[name], "@" if name == parameter.name else other)
            name = _given(parameter.name, about, "")[0] or about.metavar
            found[f"{command.group} {command.name} {name}".strip()] = Output(name, words, "older" in about.help)
    return found


def _given(name: str, about: Any, value: str) -> list[str]:
    """Return the words that give a value to an option, or to an argument."""
    if isinstance(about, ArgumentInfo):
        return [value]
    first = about.default if isinstance(about.default, str) else next(iter(about.param_decls or ()), None)
    return [first or f"--{name.replace('_', '-')}", value]


def test_a_file_that_cannot_be_written_is_reported_before_torch_is_imported(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    outputs = _outputs()
    assert {"align --srt", "judge --html", "explain --plot", "search --export", "data weights OUT"} <= set(outputs)
    assert len(outputs) > 40
    cases: dict[str, list[str]] = {}
    for key, output in outputs.items():
        cases[f"{key}: below a file"] = output.named("film.mp4/x.png")
        cases[f"{key}: standard output"] = output.named("-")
        if not output.is_folder:
            cases[f"{key}: no folder"] = output.named("none/x.png")
            cases[f"{key}: a folder"] = output.named("sub")
        elif not key.endswith(" OUT"):
            cases[f"{key}: a file"] = output.named("film.mp4")
    answers = _run(cases, tmp_path_factory)
    assert {name: heavy for name, (_, heavy, _, _) in answers.items() if heavy} == {}
    assert set(answers) == set(cases)
    for key, (code, _, out, err) in answers.items():
        name = outputs[key.partition(":")[0]].name
        assert (code, out) == (2, ""), (key, err)
        assert err.startswith(f"mova: {name} "), (key, err)
        assert "Traceback" not in err, key
